import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from time import monotonic

import pytest

from {{ cookiecutter.src_package_name }}.errors import Problem
from {{ cookiecutter.src_package_name }}.registry import Claim, Registry

from .conftest import configure


@pytest.fixture
def registry(trained: Path) -> Registry:
    return Registry(**configure("train").tracking)


@pytest.fixture
def locked() -> Iterator[str]:
    """A server that wants a login."""

    class Locked(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/health" else 401)
            self.end_headers()
            self.wfile.write(b"You are not authenticated.")

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Locked)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.mark.parametrize("uri", ["http://127.0.0.1:1", "htp://nowhere", "./mlruns"])
def test_a_wrong_address_fails_at_once_and_is_named(uri: str) -> None:
    start = monotonic()
    with pytest.raises(Problem, match="MLFLOW_TRACKING_URI") as caught:
        Registry(uri, experiment="any")
    assert uri in str(caught.value)
    assert monotonic() - start < 60


def test_a_refused_login_names_what_to_set(locked: str) -> None:
    with pytest.raises(Problem, match="MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"):
        Registry(locked)


def test_a_run_takes_no_other_run_for_itself(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    parent = registry.create("parent")
    monkeypatch.setenv("MLFLOW_RUN_ID", parent)
    child = registry.create("child", parent=parent)
    with registry.record(child) as run:
        run.metrics({"measure": 1.5})
    assert child != parent
    assert registry.client.get_run(parent).data.metrics == {}
    assert registry.client.get_run(child).data.metrics == {"measure": 1.5}
    assert registry.client.get_run(child).data.tags["mlflow.parentRunId"] == parent


def test_a_run_names_the_job_that_made_it(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "job" not in registry.client.get_run(registry.create("on a laptop")).data.tags
    monkeypatch.setenv("JOB", "train-x7k2p")
    made = registry.create("on a cluster", tags={"study": "one"})
    tags = registry.client.get_run(made).data.tags
    assert (tags["job"], tags["study"]) == ("train-x7k2p", "one")
    [found] = registry.client.search_runs([registry.experiment], "tags.job = 'train-x7k2p'")
    assert found.info.run_id == made


def test_a_run_that_raises_is_marked_as_failed(registry: Registry) -> None:
    run_id = registry.create("fails")
    with pytest.raises(RuntimeError), registry.record(run_id):
        raise RuntimeError
    assert registry.client.get_run(run_id).info.status == "FAILED"


def test_there_is_no_champion_before_there_is_a_model(folder: Path) -> None:
    registry = Registry(**configure("train").tracking)
    assert registry.champion() is None
    with pytest.raises(Problem, match="make train"):
        registry.resolve("models:/nothing@champion")


def test_an_address_leads_to_a_version(registry: Registry) -> None:
    assert registry.resolve(f"models:/{registry.name}@champion") == (registry.name, "1")
    assert registry.resolve("models:/other/3") == ("other", "3")


def test_a_rehearsal_leaves_no_run(registry: Registry) -> None:
    before = registry.client.search_runs([registry.experiment])
    registry.rehearse()
    assert len(registry.client.search_runs([registry.experiment])) == len(before)


@pytest.fixture
def rivals(registry: Registry) -> list[str]:
    """The champion, and two versions that were trained at the same time."""
    source = registry.client.get_model_version(registry.name, "1").source
    return ["1", *(registry.client.create_model_version(registry.name, source).version for _ in range(2))]


def claim(score: float, over: str | None = "1", data: str = "a", age: timedelta = timedelta()) -> Claim:
    now = datetime.now(UTC)
    return Claim(score=score, sign=-1, reason=f"loss {score}", over=over, data=data, since=now - age)


def say_first(registry: Registry, version: str, said: Claim) -> None:
    """Do what another training does before it moves the alias."""
    registry.client.set_model_version_tag(registry.name, version, "claim", said.model_dump_json())


@pytest.mark.parametrize("moved", [True, False])
@pytest.mark.parametrize(("ours", "holder"), [(0.1, "2"), (0.2, "2"), (0.3, "3")])
def test_of_two_trainings_at_the_same_time_the_better_wins(
    registry: Registry, rivals: list[str], moved: bool, ours: float, holder: str
) -> None:
    say_first(registry, "3", claim(0.2))
    if moved:
        registry.client.set_registered_model_alias(registry.name, "champion", "3")
    assert registry.promote("2", claim(ours)) == holder
    assert registry.champion() == holder
    tags = registry.client.get_model_version(registry.name, "2").tags
    assert tags.get("gave_way_to") == (None if holder == "2" else "3")
    assert ("promoted_at" in tags) == (holder == "2")


@pytest.mark.parametrize(
    "other",
    [
        claim(0.01, age=timedelta(days=1)),  # someone has gone back to "1" since
        claim(0.01, data="b"),  # measured on another test split
        claim(0.01, over=None),
    ],
)
def test_what_was_promoted_otherwise_is_no_rival(registry: Registry, rivals: list[str], other: Claim) -> None:
    say_first(registry, "3", other)
    assert registry.promote("2", claim(0.2)) == "2"


def test_any_number_of_trainings_agree_on_the_best(registry: Registry, rivals: list[str]) -> None:
    source = registry.client.get_model_version(registry.name, "1").source
    scores = [0.5, 0.2, 0.4, 0.1, 0.3, 0.6]
    versions = [registry.client.create_model_version(registry.name, source).version for _ in scores]
    gate = threading.Barrier(len(scores))

    def race(version: str, score: float) -> str:
        mine = Registry(registry.uri, model=registry.name)
        gate.wait()
        return mine.promote(version, claim(score))

    with ThreadPoolExecutor(len(scores)) as pool:
        list(pool.map(race, versions, scores))
    assert registry.champion() == str(versions[3])
