"""The servers of a platform and the project rendered for it, started when a test first asks and shared by all that do.

Tests that use them belong to the xdist group "servers", so that one worker has them all.
"""

import base64
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from servers import BUCKET, MODELS, Database, Store, Tracking, gcs, mlflow, postgres, s3

STORES = {"onprem": s3, "gcp": gcs}


@pytest.fixture(scope="session")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the servers write their logs."""
    return tmp_path_factory.mktemp("servers")


@pytest.fixture(scope="session")
def database(logs: Path) -> Iterator[Database]:
    with postgres(logs) as database:
        yield database


@dataclass
class Site:
    """A platform's servers, and the project that was rendered for it."""

    platform: str
    project: Path
    store: Store
    tracking: Tracking
    database: Database
    environment: dict[str, str]  # what the jobs' secret holds

    def secrets(self) -> list[str]:
        """All that must not be told, in the forms that it is sent in."""
        login = f"jobs:{self.environment['MLFLOW_TRACKING_PASSWORD']}"
        sent = base64.b64encode(login.encode()).decode()
        return [self.database.password, *self.store.secrets, *self.tracking.secrets, sent]


@pytest.fixture(scope="session")
def site(logs: Path, database: Database, render: Callable[..., Path]) -> Iterator[Callable[[str], Site]]:
    """Start the servers of a platform when they are first asked for."""
    started: dict[str, Site] = {}
    with ExitStack() as stack:

        def start(platform: str) -> Site:
            if platform not in started:
                store = stack.enter_context(STORES[platform](logs))
                tracking = stack.enter_context(mlflow(logs, database, store))
                started[platform] = furnish(render(platform=platform, orchestrator="none"), store, tracking, database)
            return started[platform]

        yield start


def furnish(project: Path, store: Store, tracking: Tracking, database: Database) -> Site:
    """Put what a team has in place: raw files, an inbox, and an experiment for the project."""
    platform = "onprem" if store.scheme == "s3" else "gcp"
    store.put("penguins/raw/penguins.csv", (project / "data/raw/penguins.csv").read_bytes())
    for name in ("monday", "tuesday", "wednesday", "thursday"):
        store.put(f"penguins/inbox/{name}.csv", (project / "data/inbox/sample.csv").read_bytes())
    environment = {
        "STORAGE_ROOT": f"{store.scheme}://{BUCKET}/penguins",
        **store.environment,
        **tracking.environment,
        "OPTUNA_STORAGE": database.url(f"study_{store.scheme}"),
    }
    if platform == "onprem":  # here models go straight to the store, and there by way of the MLflow server
        environment["MLFLOW_S3_ENDPOINT_URL"] = store.url
        direct = f"s3://{MODELS}/direct"
        tracking.ask("POST", "experiments/create", name=project.name, artifact_location=direct)
    return Site(platform, project, store, tracking, database, environment)
