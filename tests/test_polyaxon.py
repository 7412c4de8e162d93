"""Jobs reach Polyaxon by its own client, are waited for, and what goes wrong on the way is told in a line."""

import json
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Render, run, surroundings
from forks import Forks
from specs import DASK, JOBS, SCHEDULES, SENT, SERVICES, TOOLS, stand_in

pytestmark = pytest.mark.xdist_group("jobs")

UUID, OLDER = "8aac02e3a62a4f0aaa257c59da5eab80", "1" * 32


class Api(BaseHTTPRequestHandler):
    """Polyaxon's REST interface, as far as a run needs it, with the answers that it documents."""

    protocol_version = "HTTP/1.1"
    status = 200
    states: list[str]  # what the run is at, one look after the other; the last one stays
    received: list[tuple[str, str, Any]]
    dask = False  # whether a scheduler runs

    def answer_any(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        body = json.loads(self.rfile.read(length) or "null")
        self.received.append((self.command, self.path, body))
        if self.headers["Authorization"] != "Token hush-hush":
            self.answer(401, {"detail": "Invalid token."})
        elif self.status != 200:
            self.answer(self.status, {"detail": "as it was told to"})
        elif self.path.endswith("/statuses"):
            condition = {"type": self.states[0], "status": "True", "reason": "Because", "message": "the node went away"}
            self.answer(200, {"uuid": UUID, "status": self.states[0], "status_conditions": [condition]})
        elif self.command == "GET" and self.path.endswith(f"/runs/{UUID}"):
            self.answer(200, {"uuid": UUID, "name": "train", "status": self.states[0]})
        elif self.command == "GET" and "name%3Adask" in self.path:
            runs = [{"uuid": OLDER, "status": "running"}] if self.dask else []
            self.answer(200, {"count": len(runs), "results": runs})
        elif self.command == "GET":
            runs = [{"uuid": UUID, "status": "running"}, {"uuid": OLDER, "status": "running"}]
            self.answer(200, {"count": 2, "results": runs})
        else:
            self.answer(200, {"uuid": UUID, "name": "train"})

    do_GET = do_POST = do_PUT = do_PATCH = answer_any  # noqa: N815 - as http.server wants it

    def answer(self, status: int, content: Any) -> None:
        # Two calls make one look; the state moves on after the second.
        if self.path.endswith("/statuses") and len(self.states) > 1:
            del self.states[0]
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def api() -> Iterator[type[Api]]:
    handler = type("Fresh", (Api,), {"received": [], "states": ["succeeded"]})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    handler.url = f"http://127.0.0.1:{server.server_port}"
    yield handler
    server.shutdown()
    server.server_close()


@pytest.fixture
def project(render: Render, tmp_path: Path) -> Path:
    """A render whose `make jobs` is the tools' environment, which has the same client."""
    copy = Path(shutil.copytree(render(orchestrator="polyaxon"), tmp_path / "project"))
    (copy / ".venv-jobs").symlink_to(TOOLS.parent)
    return copy


Submit = Callable[..., Any]


@pytest.fixture(scope="module")
def client() -> Iterator[Forks]:
    """Polyaxon's client, but for its settings, which it reads when it is imported."""
    with closing(Forks(TOOLS / "python", ["polyaxon.schemas", "aiohttp"])) as client:
        yield client


def login(api: Any) -> dict[str, str]:
    known = {"POLYAXON_HOST": api.url, "POLYAXON_AUTH_TOKEN": "hush-hush", "PATH": "/usr/bin:/bin", "PAUSE": "0"}
    return known | {"no_proxy": "*"}


@pytest.fixture
def submit(project: Path, api: Any, client: Forks) -> Submit:
    """What jobs/submit.sh calls."""

    def call(*words: str, **environment: str) -> Any:
        env = surroundings(project, **login(api) | environment)
        return client.run("jobs/submit.py", *words, cwd=project, env=env)

    return call


def test_a_job_is_created_as_a_run(project: Path, api: Any) -> None:
    done = run("jobs/submit.sh", "train", *SENT, cwd=project, **login(api))
    assert done.returncode == 0, done.stderr
    [(verb, path, body)] = [call for call in api.received if call[0] == "POST"]
    assert (verb, path) == ("POST", "/api/v1/default/my-ml-project/runs")
    content = yaml.safe_load(body["content"])
    container = content["component"]["run"]["container"]
    assert container["command"] == ["python", "-m", "my_ml_project.train"]
    assert [word.replace("$$", "$") for word in container["args"]][-2:] == SENT
    assert done.stdout.startswith(f"sent   my-ml-project {UUID}\n")
    assert f"ops logs --project=my-ml-project --uid={UUID}\n" in done.stdout
    assert "hush" not in done.stdout + done.stderr


@pytest.mark.parametrize("job", JOBS)
def test_every_job_is_taken(submit: Submit, api: Any, job: str) -> None:
    done = submit(job)
    assert done.returncode == 0, done.stderr
    last = {
        **dict.fromkeys((*SCHEDULES, "tune", "infer", "dask-workers"), "runs"),
        **dict.fromkeys(SERVICES, "open"),
    }
    assert f"\n{last.get(job, 'stop')} " in done.stdout
    assert len([body for verb, _, body in api.received if verb == "POST" and "content" in body]) == 1


def test_two_schedulers_do_not_share_an_address(submit: Submit, api: Any) -> None:
    api.dask = True
    done = submit("dask")
    assert done.returncode == 1
    assert done.stderr == (
        "jobs/submit.sh: dask runs in my-ml-project already, and two cannot share its address: stop that run first\n"
    )
    assert not [verb for verb, *_ in api.received if verb == "POST"]


@pytest.mark.parametrize("job", DASK)
def test_what_stays_is_waited_for_until_it_runs(submit: Submit, api: Any, job: str) -> None:
    api.states[:] = ["starting", "running"]
    assert submit(job, "--wait").stdout.endswith(f"state  starting\nstate  running\ndone   {UUID}\n")


# The command takes seconds for each file, and reads them as test_jobs.py has them read.
FILES = [pytest.param(job, marks=() if job in ("train", "tune") else pytest.mark.nightly) for job in JOBS]


@pytest.mark.parametrize("job", FILES)
def test_polyaxon_checks_the_file(project: Path, job: str) -> None:
    words = (TOOLS / "polyaxon", "check", f"--file=jobs/{job}.yaml", "--file=jobs/presets/pod.yaml")
    assert run(*words, cwd=project).returncode == 0
    file = project / "jobs" / f"{job}.yaml"
    file.write_text(file.read_text(encoding="utf-8").replace("run:", "runs:", 1), encoding="utf-8")
    assert run(*words, cwd=project).returncode == 1


def test_waiting_ends_with_the_run(submit: Submit, api: Any) -> None:
    api.states[:] = ["created", "running", "running", "succeeded"]
    done = submit("train", "--wait")
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if line.startswith(("state", "done"))] == [
        "state  created", "state  running", "state  succeeded", f"done   {UUID}",
    ]  # fmt: skip


def test_without_the_client_there_is_one_line(render: Render) -> None:
    done = run(
        "jobs/submit.sh", "train", cwd=render(orchestrator="polyaxon"), VENV=str(Path(sys.executable).parents[1])
    )
    assert done.returncode == 1
    assert done.stderr == "jobs/submit.sh: Polyaxon's client is missing: run `make jobs`\n"


@pytest.mark.parametrize("state", ["failed", "stopped", "upstream_failed"])
def test_waiting_fails_with_the_run(submit: Submit, api: Any, state: str) -> None:
    api.states[:] = ["running", state]
    done = submit("train", "--wait")
    assert done.returncode == 1
    assert f"jobs/submit.sh: my-ml-project {UUID} failed: {state}: the node went away" in done.stderr
    assert f"ops logs --project=my-ml-project --uid={UUID}" in done.stderr


def test_a_new_service_takes_the_place_of_the_old_one(submit: Submit, api: Any) -> None:
    api.states[:] = ["starting", "running"]
    done = submit("serve", "--wait", SERVE_MODEL="models:/my-ml-project/3")
    assert done.returncode == 0, done.stderr
    created = next(body for verb, path, body in api.received if verb == "POST" and path.endswith("/runs"))
    variables = yaml.safe_load(created["content"])["component"]["run"]["container"]["env"]
    assert {"name": "SERVE_MODEL", "value": "models:/my-ml-project/3"} in variables
    stopped = [path for verb, path, _ in api.received if path.endswith("/stop")]
    assert stopped == [f"/api/v1/default/my-ml-project/runs/{OLDER}/stop"]


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (401, "does not know you: run"),
        (403, "does not let you run jobs in my-ml-project"),
        (404, "there is no project my-ml-project at"),
        (409, "answers 409: "),
        (422, "answers 422: "),
        (500, "answers 500: "),
    ],
)
def test_a_refusal_is_told_in_a_line(submit: Submit, api: Any, status: int, advice: str) -> None:
    api.status = status
    done = submit("train")
    assert done.returncode == 1
    assert advice in done.stderr
    assert done.stderr.count("\n") == 1
    assert "hush" not in done.stderr


def test_polyaxon_is_asked_whether_it_would_take_a_job(submit: Submit, api: Any) -> None:
    done = submit("train", "--check")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "Polyaxon can read train, and knows this login and the project my-ml-project\n"
    assert {verb for verb, _, _ in api.received} == {"GET"}
    api.status = 404
    refused = submit("train", "--check")
    assert refused.returncode == 1
    assert "there is no project my-ml-project at" in refused.stderr


def test_a_wrong_token_and_a_silent_host_are_told_apart(submit: Submit) -> None:
    assert "does not know you" in submit("train", POLYAXON_AUTH_TOKEN="wrong").stderr
    silent = submit("train", POLYAXON_HOST="http://127.0.0.1:9")
    assert "Polyaxon does not answer at http://127.0.0.1:9 ([Errno 111] Connection refused): " in silent.stderr
    assert silent.stderr.count("\n") == 1


SECRET = {"secret": 'Error from server (NotFound): secrets "my-ml-project-env" not found'}
ACCOUNT = {"serviceaccount": 'Error from server (NotFound): serviceaccounts "default" not found'}


@pytest.mark.parametrize(
    ("missing", "advice"),
    [
        (SECRET, "there is no secret my-ml-project-env in the namespace team: run `make secrets`"),
        (SECRET | ACCOUNT, "the namespace team does not exist: set NAMESPACE in jobs/settings.env"),
    ],
)
def test_what_is_missing_is_told_before_anything_is_sent(
    submit: Submit, api: Any, tmp_path: Path, missing: dict[str, str], advice: str
) -> None:
    done = submit("train", **stand_in(tmp_path, "kubectl", "", missing), NAMESPACE="team")
    assert done.returncode == 1
    assert advice in done.stderr
    assert done.stderr.count("\n") == 1
    assert not api.received
