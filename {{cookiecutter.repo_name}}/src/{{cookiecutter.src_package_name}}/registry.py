"""The only door to MLflow: runs, registered models and the champion among them."""

import getpass
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

# Said before MLflow is imported, because it looks only then: no bar for each of a model's few small files, and no word
# to its makers about who trains what.
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

import mlflow
import requests
import yaml
from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException
from mlflow.tracking.context.registry import resolve_tags
from pydantic import BaseModel

from .errors import Problem, explain, redacted
from .predictor import Card

NEEDS = {"onnx": ["onnx", "onnxruntime", "numpy"], "skops": ["scikit-learn", "skops", "numpy"]}

for name in ("alembic", "mlflow.store.db.utils"):  # a new database is no news
    logging.getLogger(name).setLevel(logging.WARNING)


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


class Run:
    """One run that is being recorded."""

    def __init__(self, client: mlflow.MlflowClient, run_id: str) -> None:
        self.id = run_id
        self._client = client

    def configuration(self, config: Mapping[str, Any]) -> None:
        """Record the resolved configuration: as parameters to search by, and as the file that repeats the run."""
        params = [Param(name, redacted(str(value))) for name, value in _flatten(config).items()]
        self._client.log_batch(self.id, params=params)
        self._client.log_text(self.id, redacted(yaml.safe_dump(config, sort_keys=False)), "config.yaml")

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Record measures, of one step where there are several."""
        now = int(datetime.now(UTC).timestamp() * 1000)
        self._client.log_batch(self.id, metrics=[Metric(name, value, now, step) for name, value in values.items()])

    def figure(self, figure: Any, name: str) -> None:
        """Record an image under plots/."""
        # Optuna leaves long names no room: "tight" makes it.
        self._client.log_figure(self.id, figure, f"plots/{name}.png", save_kwargs={"bbox_inches": "tight"})

    def text(self, text: str, name: str) -> None:
        """Record a text file."""
        self._client.log_text(self.id, text, name)

    def tag(self, **tags: str) -> None:
        """Record what should be found by a search."""
        for name, value in tags.items():
            self._client.set_tag(self.id, name, value)


class Registry:
    """An MLflow server, or a file in its place, and the names that this project uses there."""

    def __init__(self, uri: str, experiment: str = "", model: str = "", alias: str = "champion") -> None:
        """Connect; raises Problem within seconds if that cannot work."""
        self.uri, self.name, self.alias = uri, model, alias
        self._experiment = experiment
        _reach(uri)
        try:
            mlflow.set_tracking_uri(uri)
            self.client = mlflow.MlflowClient(uri)
            self.client.search_experiments(max_results=1)
        except MlflowException as error:
            raise Problem(f"MLFLOW_TRACKING_URI={uri} cannot be used: {explain(error)}") from error

    @cached_property
    def experiment(self) -> str:
        """The id of the experiment, which is created when it is first needed."""
        found = self.client.get_experiment_by_name(self._experiment)
        return str(found.experiment_id if found else self.client.create_experiment(self._experiment))

    def create(self, name: str, tags: Mapping[str, str] | None = None, parent: str | None = None) -> str:
        """Create a run, inside another one if there is a parent; returns its id."""
        lineage = {"mlflow.parentRunId": parent} if parent else {}
        job = {"job": os.environ["JOB"]} if os.environ.get("JOB") else {}  # what the cluster calls this pod's work
        revision = os.environ.get("REVISION", "unknown")  # of the image, in which there is no git to ask
        commit = {} if revision == "unknown" else {"mlflow.source.git.commit": revision}
        all_tags = resolve_tags({**commit, **lineage, **job, **(tags or {})})
        return str(self.client.create_run(self.experiment, run_name=name, tags=all_tags).info.run_id)

    @contextmanager
    def record(self, run_id: str) -> Iterator[Run]:
        """Record to a run, which ends with the block: finished or, if the block raises, failed.

        Runs are opened by id and nothing else, because with MLFLOW_RUN_ID in the environment MLflow would silently
        take that run instead of a new one.
        """
        with mlflow.start_run(run_id=run_id, nested=True):
            yield Run(self.client, run_id)

    def log_model(self, model: Any, card: Card, example: Any, trusted: list[str]) -> str:
        """Record a model with its card and an example of its input; returns its address."""
        from mlflow.models import infer_signature  # not in mlflow-skinny, which is what the service has

        common: dict[str, Any] = {
            "name": "model",
            "signature": infer_signature(example),
            "input_example": example,
            "metadata": card.model_dump(),
            # Spelled out, because MLflow would import the model in a process of its own to find them.
            "pip_requirements": [f"{package}=={version(package)}" for package in NEEDS[card.format]],
        }
        if card.format == "onnx":
            info = mlflow.onnx.log_model(model, onnx_execution_providers=["CPUExecutionProvider"], **common)
        else:
            info = mlflow.sklearn.log_model(model, serialization_format="skops", skops_trusted_types=trusted, **common)
        return str(info.model_uri)

    def register(self, address: str) -> str:
        """Give a recorded model a name and a version; returns the version."""
        return str(mlflow.register_model(address, self.name).version)

    def abandon(self, run_id: str, reason: str) -> None:
        """End a run whose worker is gone."""
        self.client.set_tag(run_id, "abandoned", reason)
        self.client.set_terminated(run_id, "KILLED")

    def address(self, run_id: str) -> str:
        """Say where people find a run: its page on the server, or its number in the file."""
        if not self.uri.startswith("http"):
            return f"{run_id} in {self.uri}"
        return f"{redacted(self.uri).rstrip('/')}/#/experiments/{self.experiment}/runs/{run_id}"

    def rehearse(self) -> None:
        """Write a small run, read it back and delete it; raises Problem if it is not what was written."""
        run_id = self.create("doctor")
        try:
            self.client.log_batch(run_id, metrics=[Metric("one", 1, 0, 0)], params=[Param("two", "2")])
            self.client.log_text(run_id, "three", "three.txt")
            stored = self.client.get_run(run_id).data
            with tempfile.TemporaryDirectory() as folder:
                text = Path(self.client.download_artifacts(run_id, "three.txt", folder)).read_text()
            if (stored.metrics.get("one"), stored.params.get("two"), text) != (1, "2", "three"):
                raise Problem(f"{self.uri} does not give back what was recorded")
        finally:
            self.client.delete_run(run_id)

    def champion(self) -> str | None:
        """Find the version that the alias points to."""
        return self._version(self.name, self.alias)

    def _version(self, name: str, alias: str) -> str | None:
        try:
            return str(self.client.get_model_version_by_alias(name, alias).version)
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
        self.client.set_model_version_tag(self.name, version, "claim", claim.model_dump_json())
        self.client.set_registered_model_alias(self.name, self.alias, version)
        while (best := self._best(claim)) != self.champion():
            self.client.set_registered_model_alias(self.name, self.alias, best)
        won = {
            "promoted_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "promoted_by": _who(),
            "promoted_because": claim.reason,
            "promoted_over": claim.over or "none",
        }
        for name, value in (won if best == version else {"gave_way_to": best}).items():
            self.client.set_model_version_tag(self.name, version, name, value)
        return best

    def _best(self, claim: Claim) -> str:
        """Find the best of the versions that claim the same place; of equals, the first."""
        rivals = []
        for found in self.client.search_model_versions(f"name='{self.name}'"):
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
            raise Problem(f"no model {model} in {self.uri}: run `make train` first")
        return name, holder

    def fetch(self, address: str, folder: Path) -> Path:
        """Download the model at an address, such as models:/name/3, into a folder."""
        return Path(mlflow.artifacts.download_artifacts(artifact_uri=address, dst_path=str(folder)))


def _who() -> str:
    """Name who runs this: the person behind a pipeline, or the user; a pod's user may have a number only."""
    try:
        return os.environ.get("GITLAB_USER_LOGIN") or getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def _reach(uri: str) -> None:
    """Fail fast: MLflow itself goes on trying to connect for minutes."""
    if uri.startswith(("http://", "https://")):
        try:
            requests.get(f"{uri.rstrip('/')}/health", timeout=5)
        except requests.exceptions.SSLError:
            return  # it answers; whether it can be trusted is for MLflow's own settings to say
        except requests.exceptions.RequestException as error:
            fix = "is the network (VPN) up, and the address right?"
            raise Problem(f"MLFLOW_TRACKING_URI={uri} does not answer: {fix} ({type(error).__name__})") from error


def _flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {prefix: value}
    inner = (_flatten(item, f"{prefix}.{name}" if prefix else name) for name, item in value.items())
    return {name: item for items in inner for name, item in items.items()}
