"""What is recorded: runs, with the models that they made. The only way to MLflow, with versions.py behind it."""

import logging
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import mlflow
import yaml
from mlflow.entities import LoggedModelOutput, Metric, Param
from mlflow.exceptions import MlflowException
from mlflow.tracking.context.registry import resolve_tags
from mlflow.utils.git_utils import get_git_commit
from mlflow.utils.mlflow_tags import MLFLOW_GIT_COMMIT, MLFLOW_GIT_DIRTY

from . import CONF, servers
from .errors import Problem, explain, is_silent, redacted

# MLflow looks at these for each request. By its own values it would try for four minutes; with these it tries for one,
# enough for a server to restart, and for five where a server takes requests and says nothing.
for variable, value in {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "6",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}.items():
    os.environ.setdefault(variable, value)

BEATS = 6  # signs of life in the time after which a run without one is taken for lost

for name in ("alembic", "mlflow", "mlflow.store.db.utils"):  # a new database, or a fetched model, is no news
    logging.getLogger(name).setLevel(logging.WARNING)
logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # a line for each retry says no more than the last


@contextmanager
def _database(uri: str) -> Iterator[None]:
    """Have a database in place of a server ready, and put into words what is wrong with it."""
    if uri.startswith(("http://", "https://")):
        yield
        return
    from sqlalchemy.exc import SQLAlchemyError  # the image of the service, which asks a server, is without it

    from . import database

    database.ready(uri)
    try:
        yield
    except SQLAlchemyError as error:
        fix = database.BROKEN if uri.startswith("sqlite") else "is the database in order?"
        reason = str(error).splitlines()[0]
        raise Problem(f"MLFLOW_TRACKING_URI={uri} cannot be used: {fix} ({reason})") from error


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
        # Optuna leaves long names no room: "tight" makes it. A figure with a layout has some, and is drawn once less.
        box = None if figure.get_layout_engine() else "tight"
        self._client.log_figure(self.id, figure, f"plots/{name}.png", save_kwargs={"bbox_inches": box})

    def text(self, text: str, name: str) -> None:
        """Record a text file."""
        self._client.log_text(self.id, text, name)

    def tag(self, **tags: str) -> None:
        """Record what should be found by a search."""
        for name, value in tags.items():
            self._client.set_tag(self.id, name, value)


class Tracker:
    """An MLflow server, or a file in its place, and the experiment that this project's runs are gathered under."""

    def __init__(self, uri: str, experiment: str = "", patience: float = 120) -> None:
        """Connect; raises Problem within seconds if that cannot work.

        A run that gives no sign of life for `patience` seconds is taken for lost.
        """
        self.uri = uri
        self._experiment = experiment
        self._patience = patience
        self._gone = False
        servers.reach("MLFLOW_TRACKING_URI", uri)
        with _database(uri):
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
        if found:
            return str(found.experiment_id)
        try:
            return str(self.client.create_experiment(self._experiment))
        except MlflowException as error:
            made = self.client.get_experiment_by_name(self._experiment)
            if error.error_code != "RESOURCE_ALREADY_EXISTS" or made is None:
                raise
            return str(made.experiment_id)  # another command was quicker

    @cached_property
    def code(self) -> dict[str, str]:
        """Tags for the code that runs: its commit and, where there is git, whether files differ from it.

        An image has no git to ask: its build tells the commit, and nothing of the files.
        """
        if commit := revision():
            return {MLFLOW_GIT_COMMIT: commit}
        commit = get_git_commit(str(CONF.parent))
        if commit is None:
            return {}
        command = ["git", "status", "--porcelain", "."]  # of this project, where others share its repository
        done = subprocess.run(command, cwd=CONF.parent, capture_output=True, text=True, check=False)
        dirty = {} if done.returncode else {MLFLOW_GIT_DIRTY: str(bool(done.stdout)).lower()}
        return {MLFLOW_GIT_COMMIT: commit, **dirty}

    def create(self, name: str, tags: Mapping[str, str] | None = None, parent: str | None = None) -> str:
        """Create a run, inside another one if there is a parent; returns its id."""
        lineage = {"mlflow.parentRunId": parent} if parent else {}
        job = {"job": os.environ["JOB"]} if os.environ.get("JOB") else {}  # what the cluster calls this pod's work
        all_tags = resolve_tags({**self.code, **lineage, **job, **(tags or {})})
        return str(self.client.create_run(self.experiment, run_name=name, tags=all_tags).info.run_id)

    @contextmanager
    def record(self, run_id: str) -> Iterator[Run]:
        """Record to a run, which ends with the block: finished or, if the block raises, failed.

        Runs are opened by id and nothing else, because with MLFLOW_RUN_ID in the environment MLflow would silently
        take that run instead of a new one.
        """
        with self.alive(run_id):
            self.client.update_run(run_id, status="RUNNING")
            try:
                yield Run(self.client, run_id)
            except BaseException as error:
                if isinstance(error, MlflowException) and is_silent(error):
                    self._gone = True
                    raise Problem(
                        f"{self.uri} stopped answering: run {run_id} keeps there what was recorded until then, and the "
                        "rest is lost; run the command again once the server answers"
                    ) from error
                self._end(run_id, "FAILED")
                raise
            self._end(run_id, "FINISHED")

    def _end(self, run_id: str, status: str) -> None:
        if not self._gone:  # or else it would be waited for once more
            self.client.set_terminated(run_id, status)

    @contextmanager
    def alive(self, run_id: str) -> Iterator[None]:
        """Let other commands see that a run is being worked on, until the block ends."""
        ended = threading.Event()

        def beat() -> None:
            while not ended.is_set():
                with suppress(MlflowException):  # the next sign may get through
                    self.client.set_tag(run_id, "alive", str(int(time.time())))
                ended.wait(self._patience / BEATS)

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join(1)  # and no longer: with the server gone, it is still waiting

    def revive(self, run_id: str) -> None:
        """Go on with a run, even if it was taken for lost."""
        run = self.client.get_run(run_id)
        if run.info.status == "KILLED":
            self.client.update_run(run_id, status="RUNNING")
            if "abandoned" in run.data.tags:
                self.client.delete_tag(run_id, "abandoned")

    def release(self) -> None:
        """End runs whose command must have died; those that never gave a sign of life, such as a notebook's, stay."""
        for run in self.client.search_runs([self.experiment], "attributes.status = 'RUNNING'"):
            sign = run.data.tags.get("alive")
            if sign and time.time() - float(sign) > self._patience:
                self.abandon(run.info.run_id, f"no sign of life for {self._patience:g} seconds")

    def log_model(self, run_id: str, folder: Path) -> str:
        """Record a folder that holds a whole model, byte for byte, as what a run made; returns the model's address.

        The model carries the parameters and measures that the run has by now.
        """
        run = self.client.get_run(run_id)
        made = self.client.create_logged_model(
            run.info.experiment_id, "model", source_run_id=run_id, params=run.data.params
        )
        self.client.log_outputs(run_id, [LoggedModelOutput(made.model_id, step=0)])
        measures = [self.client.get_metric_history(run_id, name)[-1] for name in run.data.metrics]
        of_model = [Metric(m.key, m.value, m.timestamp, m.step, model_id=made.model_id) for m in measures]
        self.client.log_batch(run_id, metrics=of_model)
        self.client.log_model_artifacts(made.model_id, str(folder))
        self.client.finalize_logged_model(made.model_id, "READY")
        return f"models:/{made.model_id}"

    def abandon(self, run_id: str, reason: str) -> None:
        """End a run whose worker is gone."""
        if not self._gone:
            self.client.set_tag(run_id, "abandoned", reason)
        self._end(run_id, "KILLED")

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


def revision() -> str | None:
    """Give the commit that this image was built of, if its build said so."""
    commit = os.environ.get("REVISION", "unknown")
    return None if commit == "unknown" else commit


def _flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {prefix: value}
    inner = (_flatten(item, f"{prefix}.{name}" if prefix else name) for name, item in value.items())
    return {name: item for items in inner for name, item in items.items()}
