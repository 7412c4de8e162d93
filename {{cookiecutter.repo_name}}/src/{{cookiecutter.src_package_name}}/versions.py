"""What is champion: the versions of registered models, the alias among them, and the race for it."""

import getpass
import io
import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import mlflow
from mlflow.exceptions import MlflowException
from pydantic import BaseModel

from .errors import Problem
from .formats import load
from .predictor import Loaded, Missing
from .tracking import Tracker, revision

# What MLflow answers where there is no model, or no alias, of a name.
ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")

# How often a training looks whether the best of its rivals holds the place. Once is enough unless several end at the
# same moment; it does not go on for ever, whatever others do to the alias meanwhile.
LOOKS = 20


@dataclass(frozen=True)
class Place:
    """The champion's place at one moment."""

    holder: str | None
    settled: list[str]  # versions whose race for the place of this very holder is over: someone has gone back since


class Claim(BaseModel):
    """Why a version should take the champion's place."""

    score: float
    sign: int  # 1 if a higher score is better, else -1
    reason: str
    over: str | None  # the champion that it was judged against
    data: str  # the version of the prepared data: scores on others cannot be compared
    settled: list[str] = []  # what had settled when that champion was looked up, and so is no rival


class Versions:
    """The versions of a registered model, and the alias that says which of them is the champion.

    Without a name, as a service has it, it leads from any address to a model.
    """

    def __init__(self, tracker: Tracker, name: str = "", alias: str = "champion") -> None:
        self.name, self.alias = name, alias
        self._client, self._uri = tracker.client, tracker.uri

    @property
    def address(self) -> str:
        """Say where the champion is found, such as models:/name@champion."""
        return f"models:/{self.name}@{self.alias}"

    def register(self, address: str, tags: Mapping[str, str] | None = None) -> str:
        """Give a recorded model a name and a version, tagged with what made it; returns the version.

        In an image, the tag `image` names the commit that the image was built of.
        """
        image = {"image": commit} if (commit := revision()) else {}
        with redirect_stderr(io.StringIO()):  # MLflow tells of the version there; the command does, too
            return str(mlflow.register_model(address, self.name, tags={**image, **(tags or {})}).version)

    def champion(self) -> str | None:
        """Find the version that the alias points to; None if there is no such model yet, or no alias."""
        # Asked for the alias of a model that is not there, a server that knows rights answers that it may not be told.
        known = self._client.search_registered_models(f"name='{self.name}'")
        return self._version(self.name, self.alias) if known else None

    def _version(self, name: str, alias: str) -> str | None:
        try:
            return str(self._client.get_model_version_by_alias(name, alias).version)
        except MlflowException as error:
            if error.error_code in ABSENT:
                return None
            raise

    def place(self) -> Place:
        """Look up the champion, and who has settled already after being judged against it; a claim needs both."""
        claims = self._claims()  # first, or what is promoted at this moment would look as if it had been undone
        holder = self.champion()
        over = [version for version, (claim, settled) in claims.items() if settled and claim.over == holder]
        return Place(holder, over)

    def promote(self, version: str, claim: Claim) -> str | None:
        """Let the alias point to a version, and keep who did so, when, why and what it replaced as its tags.

        MLflow cannot move an alias on the condition that nobody else just did. So whoever promotes says so first, moves
        the alias, and then looks who else claims the same place: it goes to the best of them. Who looks last sees all.
        Versions that had settled before, and over which someone has gone back, are not among them.

        Returns:
            The version that the alias points to in the end. It is another one if a training that ended at the same time
            was better, or if someone gave the place to what cannot be compared; None if someone deleted the alias.
        """
        place = self.place()
        if place.holder == claim.over:  # still, or again
            claim = claim.model_copy(update={"settled": sorted({*claim.settled, *place.settled} - {version})})
        self._client.set_model_version_tag(self.name, version, "claim", claim.model_dump_json())
        self._client.set_registered_model_alias(self.name, self.alias, version)
        holder: str | None = version
        for _ in range(LOOKS):
            ranked = self._ranked(claim)
            holder = self.champion()
            if holder not in ranked[1:]:  # it is the best, or cannot be compared
                break
            self._client.set_registered_model_alias(self.name, self.alias, ranked[0])
        won = {
            "promoted_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "promoted_by": _who(),
            "promoted_because": claim.reason,
            "promoted_over": claim.over or "none",
        }
        for name, value in (won if holder == version else {"gave_way_to": holder or "none"}).items():
            self._client.set_model_version_tag(self.name, version, name, value)
        return holder

    def _ranked(self, claim: Claim) -> list[str]:
        """Order the versions that claim the same place, the best first; of equals, the first comes first.

        What any of them knows as settled is no rival to any, so that all who look come to the same order.
        """
        claims = {version: other for version, (other, _) in self._claims().items()}
        rivals = {name: other for name, other in claims.items() if (other.over, other.data) == (claim.over, claim.data)}
        settled = {version for other in rivals.values() for version in other.settled}
        return sorted(rivals.keys() - settled, key=lambda version: (-claim.sign * rivals[version].score, int(version)))

    def _claims(self) -> dict[str, tuple[Claim, bool]]:
        """Read what versions have claimed, and whether they have settled: were promoted, or gave way."""
        found = self._client.search_model_versions(f"name='{self.name}'")
        return {
            str(item.version): (
                Claim.model_validate_json(item.tags["claim"]),
                bool({"promoted_at", "gave_way_to"} & set(item.tags)),
            )
            for item in found
            if "claim" in item.tags
        }

    def resolve(self, model: str) -> tuple[str, str]:
        """Find the name and version behind an address such as models:/name@champion or models:/name/3."""
        name, _, alias = model.removeprefix("models:/").partition("@")
        if not alias:
            name, _, version = name.partition("/")
            return name, version
        holder = self._version(name, alias)
        if holder is None:
            raise Problem(f"no model {model} in {self._uri}: run `make train` first")
        return name, holder

    def fetch(self, address: str, folder: Path) -> Path:
        """Download the model at an address, such as models:/name/3, into a folder."""
        return Path(mlflow.artifacts.download_artifacts(artifact_uri=address, dst_path=str(folder)))

    def load(self, address: str, threads: int = 1, trusted: Sequence[str] = ()) -> Loaded:
        """Load the model at an address, such as models:/name@champion, models:/name/3 or models:/m-…; see formats.load.

        Raises Problem, with the address of the version, if there is none such or its files are gone.
        """
        name, version = self.resolve(address)
        exact = f"models:/{name}/{version}" if version else address
        with tempfile.TemporaryDirectory() as folder:
            try:
                predictor = load(self.fetch(exact, Path(folder)), threads, trusted)
            except Missing as error:
                fix = f"put them back, or move the alias {self.alias} to a version that has its files"
                raise Problem(f"{exact} cannot be loaded, because its files are gone: {fix}") from error
            except MlflowException as error:
                if error.error_code in ABSENT:
                    raise Problem(f"there is no {exact} in {self._uri}: correct its name or number") from error
                raise
        tags = self._client.get_model_version(name, version).tags if version else {}
        return Loaded(name, version, predictor, tags.get("image"))


def _who() -> str:
    """Name who runs this: the person behind a pipeline, or the user; a pod's user may have a number only."""
    try:
        return os.environ.get("GITLAB_USER_LOGIN") or getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
