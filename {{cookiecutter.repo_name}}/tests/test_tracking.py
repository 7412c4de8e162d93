import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from time import monotonic, sleep

import pytest
import requests
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from {{ cookiecutter.src_package_name }} import tracking as module
from {{ cookiecutter.src_package_name }}.errors import Problem
from {{ cookiecutter.src_package_name }}.tracking import Tracker

from .conftest import tracker, versions


@pytest.fixture
def here(folder: Path) -> Tracker:
    return tracker()


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
        Tracker(uri, experiment="any")
    assert uri in str(caught.value)
    assert monotonic() - start < 60


def test_a_refused_login_names_what_to_set(locked: str) -> None:
    with pytest.raises(Problem, match="MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"):
        Tracker(locked)


def test_a_run_takes_no_other_run_for_itself(here: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    parent = here.create("parent")
    monkeypatch.setenv("MLFLOW_RUN_ID", parent)
    child = here.create("child", parent=parent)
    with here.record(child) as run:
        run.metrics({"measure": 1.5})
    assert child != parent
    assert here.client.get_run(parent).data.metrics == {}
    assert here.client.get_run(child).data.metrics == {"measure": 1.5}
    assert here.client.get_run(child).data.tags["mlflow.parentRunId"] == parent


def test_a_run_names_the_job_that_made_it(here: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "job" not in here.client.get_run(here.create("on a laptop")).data.tags
    monkeypatch.setenv("JOB", "train-x7k2p")
    made = here.create("on a cluster", tags={"study": "one"})
    tags = here.client.get_run(made).data.tags
    assert (tags["job"], tags["study"]) == ("train-x7k2p", "one")
    [found] = here.client.search_runs([here.experiment], "tags.job = 'train-x7k2p'")
    assert found.info.run_id == made


def test_a_run_that_raises_is_marked_as_failed(here: Tracker) -> None:
    run_id = here.create("fails")
    with pytest.raises(RuntimeError), here.record(run_id):
        raise RuntimeError
    assert here.client.get_run(run_id).info.status == "FAILED"


SLOW = f"""
import sys, time
from {module.__package__}.tracking import Tracker
tracker = Tracker(sys.argv[1], "x", patience=2)
run_id = tracker.create("slow")
with tracker.record(run_id):
    time.sleep(1)
    print(run_id, flush=True)
    time.sleep(600)
"""


def test_a_run_whose_process_was_killed_is_closed_and_one_that_lives_is_not(here: Tracker) -> None:
    processes = [
        subprocess.Popen([sys.executable, "-c", SLOW, here.uri], stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    killed, living = (process.stdout.readline().strip() for process in processes if process.stdout)
    watching = Tracker(here.uri, "x", patience=2)
    silent = watching.create("of a notebook")
    processes[0].kill()
    processes[0].wait()
    watching.release()
    assert watching.client.get_run(killed).info.status == "RUNNING"  # it has not been silent for long enough
    sleep(4)
    watching.release()
    runs = {run_id: watching.client.get_run(run_id) for run_id in (killed, living, silent)}
    processes[1].terminate()
    assert [run.info.status for run in runs.values()] == ["KILLED", "RUNNING", "RUNNING"]
    assert runs[killed].data.tags["abandoned"] == "no sign of life for 2 seconds"
    processes[1].wait()


def test_a_run_that_was_taken_for_lost_goes_on(here: Tracker) -> None:
    run_id = here.create("lost")
    here.abandon(run_id, "any")
    here.revive(run_id)
    found = here.client.get_run(run_id)
    assert (found.info.status, "abandoned" in found.data.tags) == ("RUNNING", False)
    here.client.set_terminated(run_id)
    here.revive(run_id)
    assert here.client.get_run(run_id).info.status == "FINISHED"


def test_a_server_that_goes_away_is_told_in_a_line_and_not_asked_again(
    here: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent, run_id = here.create("search"), here.create("training")
    asked: list[str] = []
    monkeypatch.setattr(here.client, "set_terminated", lambda *_: asked.append("end"))
    told = f"stopped answering: run {run_id} keeps there what was recorded until then"
    with pytest.raises(Problem, match=told), here.record(parent), here.record(run_id):
        fail_as_mlflow_does()
    assert asked == []


def fail_as_mlflow_does() -> None:
    try:
        raise requests.ConnectionError
    except requests.ConnectionError:
        raise MlflowException("API request failed with exception …")  # noqa: B904  as in its rest_utils.py


def test_a_refusal_of_the_server_ends_the_run_as_failed(here: Tracker) -> None:
    run_id = here.create("training")
    with pytest.raises(MlflowException), here.record(run_id):
        here.client.get_run("0" * 32)
    assert here.client.get_run(run_id).info.status == "FAILED"


def test_a_server_that_is_away_is_waited_for_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("urllib3.util.retry.time.sleep", pauses.append)
    with pytest.raises(MlflowException):
        MlflowClient("http://127.0.0.1:9").get_run("0" * 32)
    assert 60 < sum(pauses) < 70


def test_a_rehearsal_leaves_no_run(here: Tracker) -> None:
    before = here.client.search_runs([here.experiment])
    here.rehearse()
    assert len(here.client.search_runs([here.experiment])) == len(before)


def git(folder: Path, *words: str) -> None:
    who = ["-c", "user.name=someone", "-c", "user.email=someone@example.com"]
    subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True)


def test_a_run_tells_whether_the_code_was_committed(
    here: Tracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = tmp_path / "code"
    (code / "src").mkdir(parents=True)
    (code / "src/features.py").write_text("one")
    git(tmp_path, "init", "code")
    git(code, "add", ".")
    git(code, "commit", "--message", "one")
    monkeypatch.setattr(module, "CONF", code / "conf")
    monkeypatch.delenv("REVISION", raising=False)

    def recorded() -> tuple[str, str]:
        made = tracker()
        tags = made.client.get_run(made.create("any")).data.tags
        return tags["mlflow.source.git.commit"], tags["mlflow.source.git.dirty"]

    commit, dirty = recorded()
    assert (len(commit), dirty) == (40, "false")
    (code / "src/features.py").write_text("two")
    assert recorded() == (commit, "true")
    git(code, "checkout", ".")
    (code / "src/new.py").write_text("not added")
    assert recorded() == (commit, "true")


def test_in_an_image_the_commit_is_known_and_nothing_of_the_files(
    here: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REVISION", "0ff1ce0")
    tags = here.client.get_run(here.create("any")).data.tags
    assert tags["mlflow.source.git.commit"] == "0ff1ce0"
    assert "mlflow.source.git.dirty" not in tags


def test_a_model_is_recorded_byte_for_byte(trained: Path, tmp_path: Path) -> None:
    here, made = tracker(), versions()
    written = made.fetch(made.address, tmp_path / "written")
    (written / "registered_model_meta").unlink()  # which fetching adds: the name and the version
    run_id = here.create("any")
    with here.record(run_id) as run:
        run.metrics({"measure": 1.5})
        address = here.log_model(run_id, written)
    version = made.register(address)
    fetched = made.fetch(f"models:/{made.name}/{version}", tmp_path / "fetched")
    names = [path.relative_to(written) for path in written.rglob("*") if path.is_file()]
    assert Path("MLmodel") in names
    assert [name for name in names if (fetched / name).read_bytes() != (written / name).read_bytes()] == []
    [output] = here.client.get_run(run_id).outputs.model_outputs
    assert address == f"models:/{output.model_id}"
    model = here.client.get_logged_model(output.model_id)
    assert (model.source_run_id, model.status, [m.value for m in model.metrics]) == (run_id, "READY", [1.5])
    assert here.client.get_model_version(made.name, version).run_id == run_id
