"""The commands that jobs hold, on servers that check who asks: from the bucket to the service, and what goes wrong."""

import re
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import CHOICES
from pods import Machine, pods
from servers import BUCKET, MODELS
from sites import Site

from tools import demo

# All on one worker, which starts each server once.
pytestmark = pytest.mark.xdist_group("servers")

SMALL = ["experiment=small"]
TRIALS, WORKERS, SHARDS = 6, 3, 2


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
        "pipeline": machine.run("pipeline", *SMALL),
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
    prepared = f"{store.scheme}://{BUCKET}/penguins/prepared/"
    assert -1 < said["pipeline"].find(prepared) < said["pipeline"].find("promoted to champion")
    assert f"study.trials={TRIALS}" in said["tune"]
    part = r"penguins/predictions/\w+\.csv/\d+/part-\d+\.parquet"
    parts = [name for name in store.names(BUCKET) if re.fullmatch(part, name)]
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


def test_nothing_is_written_into_the_image(journey: Journey) -> None:
    assert journey.machine.untouched()


def test_no_secret_is_told(journey: Journey, logs: Path) -> None:
    """Not in what commands print, leave behind, and record, nor in the logs of any server."""
    site = journey.site
    told = {
        str(path): path.read_bytes()
        for place in (journey.machine.folder, logs)
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
