"""The commands that jobs hold, on servers that check who asks: from the bucket to the service, and what goes wrong."""

import base64
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import CHOICES, Render
from pods import Machine, pods
from servers import BUCKET, MODELS, Database, Store, Tracking, gcs, mlflow, postgres, s3

from tools import demo

# All on one worker, which starts each server once.
pytestmark = pytest.mark.xdist_group("servers")

STORES = {"onprem": s3, "gcp": gcs}
SMALL = ["experiment=small"]
TRIALS, WORKERS, SHARDS = 6, 3, 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the servers' logs are."""
    return tmp_path_factory.mktemp("servers")


@pytest.fixture(scope="module")
def database(folder: Path) -> Iterator[Database]:
    with postgres(folder) as database:
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


@pytest.fixture(scope="module")
def site(folder: Path, database: Database, render: Render) -> Iterator[Callable[[str], Site]]:
    """Start the servers of a platform when they are first asked for."""
    started: dict[str, Site] = {}
    with ExitStack() as stack:

        def start(platform: str) -> Site:
            if platform not in started:
                store = stack.enter_context(STORES[platform](folder))
                tracking = stack.enter_context(mlflow(folder, database, store))
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


@dataclass
class Journey:
    """A pipeline that ran, and what each of its commands printed."""

    site: Site
    machine: Machine
    said: dict[str, str]
    answer: Any


@pytest.fixture(scope="module", params=CHOICES["platform"])
def journey(request: pytest.FixtureRequest, site: Callable[[str], Site], tmp_path_factory: Any) -> Journey:
    """Go all the way, with the commands of the job specs, on a machine that knows nothing but its variables."""
    there = site(request.param)
    machine = Machine(there.project, tmp_path_factory.mktemp(request.param), there.environment)
    said = {
        "prepare": machine.run("prepare"),
        "train": machine.run("train", *SMALL),
        "tune": machine.run("tune", *SMALL, f"study.trials={TRIALS}", TUNE_WORKERS=str(WORKERS)),
        "infer": machine.run("infer", INFER_WORKERS=str(SHARDS)),
    }
    (pod,) = pods(there.project, "serve")
    port = demo.free_port()
    service = machine.start(pod, SERVE_HOST="127.0.0.1", SERVE_PORT=str(port))
    try:
        url = f"http://127.0.0.1:{port}"
        demo.wait_until_ready(service.running, url)
        answer = demo.ask(f"{url}/predict", demo.example(url))
    finally:
        service.running.send_signal(signal.SIGTERM)
        said["serve"] = service.end().said
    return Journey(there, machine, said, answer)


def test_the_pipeline_runs_from_the_bucket_to_the_service(journey: Journey) -> None:
    store, said = journey.site.store, journey.said
    assert f"{store.scheme}://{BUCKET}/penguins/prepared/" in said["prepare"]
    assert "promoted to champion" in said["train"]
    assert f"study.trials={TRIALS}" in said["tune"]
    parts = [name for name in store.names(BUCKET) if re.fullmatch(r"penguins/predictions/\w+\.csv/part-.*", name)]
    assert len(parts) == 4
    assert len(re.findall(r"\w+\.csv: 10 rows scored", said["infer"])) == 4
    alias = journey.site.tracking.ask(
        "GET", "registered-models/alias", name=journey.site.project.name, alias="champion"
    )
    assert journey.answer["model"]["version"] == alias["model_version"]["version"]
    assert journey.answer["predictions"][0]["prediction"] in ("Adelie", "Chinstrap", "Gentoo")


def test_models_lie_where_the_team_keeps_them(journey: Journey) -> None:
    names = journey.site.store.names(MODELS)
    place = "direct/" if journey.site.platform == "onprem" else "proxied/"
    assert {name for name in names if name.endswith("model.onnx")}
    assert all(name.startswith(place) for name in names)


def test_no_secret_is_told(journey: Journey, folder: Path) -> None:
    """Not in what commands print, leave behind, and record, nor in the logs of any server."""
    site = journey.site
    told = {
        str(path): path.read_bytes()
        for place in (journey.machine.folder, folder)
        for path in place.rglob("*")
        if path.is_file() and path.suffix not in (".ini", ".json")
    }
    for name in (f"runs_{site.store.scheme}", f"study_{site.store.scheme}"):
        told[name] = site.database.dump(name)
    for bucket in (BUCKET, MODELS):
        told |= {name: site.store.get(bucket, name) for name in site.store.names(bucket)}
    assert any(name.endswith("config.yaml") for name in told)
    leaks = {name: value[:9] for name, data in told.items() for value in site.secrets() if value.encode() in data}
    assert not leaks
