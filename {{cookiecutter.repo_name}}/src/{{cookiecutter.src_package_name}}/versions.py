"""What is champion: the versions of registered models, the alias among them, and the race for it."""

import getpass
import os
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import mlflow
from mlflow.exceptions import MlflowException
from pydantic import BaseModel

from .errors import Problem
from .predictor import Loaded, load
from .tracking import Tracker

# What MLflow answers where there is no model, or no alias, of a name.
ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")

# Two trainings that judged the same champion within this time may not have seen each other.
RACE = timedelta(minutes=10)


class Claim(BaseModel):
    """Why a version should take the champion's place."""

    score: float
    sign: int  # 1 if a higher score is better, else -1
    reason: str
    over: str | None  # the champion that it was judged against
    data: str  # the version of the prepared data: scores on others cannot be compared
    since: datetime  # when that champion was looked up


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

    def register(self, address: str) -> str:
        """Give a recorded model a name and a version; returns the version."""
        return str(mlflow.register_model(address, self.name).version)

    def champion(self) -> str | None:
        """Find the version that the alias points to."""
        return self._version(self.name, self.alias)

    def _version(self, name: str, alias: str) -> str | None:
        try:
            return str(self._client.get_model_version_by_alias(name, alias).version)
        except MlflowException as error:
            if error.error_code in ABSENT:
                return None
            raise

    def promote(self, version: str, claim: Claim) -> str:
        """Let the alias point to a version, and keep who did so, when, why and what it replaced as its tags.

        MLflow cannot move an alias on the condition that nobody else just did. So whoever promotes says so first, moves
        the alias, and then looks who else claims the same place: it goes to the best of them. Who looks last sees all.

        Returns:
            The version that the alias points to in the end, which is another one if a training that ended at the same
            time was better.
        """
        self._client.set_model_version_tag(self.name, version, "claim", claim.model_dump_json())
        self._client.set_registered_model_alias(self.name, self.alias, version)
        while (best := self._best(claim)) != self.champion():
            self._client.set_registered_model_alias(self.name, self.alias, best)
        won = {
            "promoted_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "promoted_by": _who(),
            "promoted_because": claim.reason,
            "promoted_over": claim.over or "none",
        }
        for name, value in (won if best == version else {"gave_way_to": best}).items():
            self._client.set_model_version_tag(self.name, version, name, value)
        return best

    def _best(self, claim: Claim) -> str:
        """Find the best of the versions that claim the same place; of equals, the first."""
        rivals = []
        for found in self._client.search_model_versions(f"name='{self.name}'"):
            if "claim" in found.tags:
                other = Claim.model_validate_json(found.tags["claim"])
                if (other.over, other.data) == (claim.over, claim.data) and other.since > claim.since - RACE:
                    rivals.append((-claim.sign * other.score, int(found.version)))
        return str(min(rivals)[1])

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
        """Load the model at an address, such as models:/name@champion or models:/name/3; see predictor.load."""
        name, version = self.resolve(address)
        with tempfile.TemporaryDirectory() as folder:
            fetched = self.fetch(f"models:/{name}/{version}", Path(folder))
            return Loaded(name, version, load(fetched, threads, trusted))


def _who() -> str:
    """Name who runs this: the person behind a pipeline, or the user; a pod's user may have a number only."""
    try:
        return os.environ.get("GITLAB_USER_LOGIN") or getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
