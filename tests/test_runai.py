"""Jobs reach Run:ai by its own client, and what goes wrong on the way is told in a line."""

import json
import shlex
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from conftest import Render, run, surroundings
from forks import Forks
from specs import DASK, JOBS, SCHEDULES, SENT, TOOLS, VERBS, calls, dry_run, stand_in

pytestmark = pytest.mark.xdist_group("jobs")

CLUSTER = "71f69d83-ba66-4822-adf5-55ce55efd210"
NAMES = {"RUNAI_PROJECT": "team-a", "RUNAI_CLUSTER": "gpu-1"}
KEY = {"RUNAI_CLIENT_ID": "an-id", "RUNAI_CLIENT_SECRET": "hush-hush"}

Submit = Callable[..., Any]


class Console(BaseHTTPRequestHandler):
    """Run:ai's REST interface, as far as a submission goes, with the answers that it documents."""

    status = 202
    message = "as it was told to"
    phases: list[str]  # of a workload, one look after the other; an empty one is none
    received: list[tuple[str, str | None, Any]]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.received.append((self.path, self.headers["Authorization"], body))
        if self.path == "/api/v1/token":
            known = body == {"grantType": "app_token", "AppId": "an-id", "AppSecret": "hush-hush"}
            self.answer(200, {"accessToken": "a-token"}) if known else self.answer(401, {"code": 401, "message": "no"})
        elif self.status == 202:
            name = (body.get("metadata") or body)["name"]
            number = len(self.received) - 2  # the first was for the token
            suffix = "-x7k2p" + (f"-{number}" if number else "")
            prefix = (body.get("metadata") or body).get("useGivenNameAsPrefix")
            self.answer(202, {"name": name + suffix if prefix else name})
        else:
            self.answer(self.status, {"code": self.status, "message": self.message})

    def do_PATCH(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.received.append((self.path, self.headers["Authorization"], body))
        self.answer(200, {})

    def do_GET(self) -> None:
        assert self.headers["Authorization"] == "Bearer a-token"
        if self.path.startswith("/api/v1/workloads?"):
            [phase, *later] = self.phases
            self.phases[:] = later or [phase]
            name = parse_qs(urlsplit(self.path).query)["filterBy"][0].removeprefix("name==")
            known = [{"name": name, "id": "an-id", "phase": phase, "phaseMessage": "the node went away"}]
            return self.answer(200, {"workloads": known if phase else []})
        if self.path.startswith("/api/v1/clusters"):
            self.answer(200, [{"name": "gpu-1", "uuid": CLUSTER}, {"name": "gpu-2", "uuid": "another"}])
        else:
            assert f"clusterId=={CLUSTER}".replace("=", "%3D") in self.path
            self.answer(200, {"projects": [{"name": "team-a", "id": "4500001"}, {"name": "team-b", "id": "4500002"}]})
        return None

    def answer(self, status: int, content: Any) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(content).encode())

    def log_message(self, *words: object) -> None:
        pass


class Elsewhere(Console):
    """A server that is not Run:ai's."""

    def do_POST(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>Welcome</html>")


@pytest.fixture
def listen() -> Iterator[Callable[[type[Console]], tuple[type[Console], str]]]:
    servers = []

    def start(kind: type[Console]) -> tuple[type[Console], str]:
        handler = type("Fresh", (kind,), {"received": [], "phases": [""]})
        server = HTTPServer(("127.0.0.1", 0), handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return handler, f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def project(render: Render, tmp_path: Path) -> Path:
    """A render whose `make jobs` is the tools' environment, which has the same client."""
    copy = Path(shutil.copytree(render(orchestrator="runai"), tmp_path / "project"))
    (copy / ".venv-jobs").symlink_to(TOOLS.parent)
    return copy


@pytest.fixture(scope="module")
def client() -> Iterator[Forks]:
    with closing(Forks(TOOLS / "python", ["runai"])) as client:
        yield client


@pytest.fixture
def submit(project: Path, client: Forks) -> Submit:
    """What jobs/submit.sh calls."""

    def call(*words: str, **environment: str) -> Any:
        env = surroundings(project, **{"PATH": "/usr/bin:/bin", "no_proxy": "*"} | environment)
        return client.run("jobs/submit.py", *words, cwd=project, env=env)

    return call


@pytest.fixture
def console(listen: Any, tmp_path: Path) -> tuple[type[Console], dict[str, str]]:
    handler, url = listen(Console)
    kubectl = stand_in(tmp_path, "kubectl", "secret/my-ml-project-env")
    return handler, {**NAMES, **KEY, **kubectl, "RUNAI_URL": url, "KUBECONFIG": "/a/file"}


def test_a_job_is_posted_with_ids_in_place_of_names(
    project: Path, submit: Submit, console: tuple[type[Console], dict[str, str]]
) -> None:
    handler, environment = console
    done = run("jobs/submit.sh", "train", *SENT, cwd=project, no_proxy="*", **environment)
    assert done.returncode == 0, done.stderr
    token, (path, authorization, body) = handler.received
    assert token[0] == "/api/v1/token"
    assert (path, authorization) == ("/api/v1/workloads/trainings", "Bearer a-token")
    assert (body["projectId"], body["clusterId"]) == ("4500001", CLUSTER)
    assert shlex.split(body["spec"]["args"])[2:] == [word.replace("$", "$$") for word in SENT]
    assert "runai training delete my-ml-project-train-x7k2p --project team-a\n" in done.stdout
    assert "runai training logs my-ml-project-train-x7k2p --project team-a --follow\n" in done.stdout
    # Nothing but ids differs from what --dry-run prints, and the secret is not in either's output.
    printed = yaml.safe_load(submit("train", *SENT, "--dry-run", **environment).stdout)
    assert printed | {"projectId": "4500001", "clusterId": CLUSTER} == body
    assert "hush" not in done.stdout + done.stderr
    assert calls(environment)[0][0] == [
        "--namespace=runai-team-a", "get", "secret", "my-ml-project-env", "--output=name",
    ]  # fmt: skip


PATHS = {
    **dict.fromkeys((*VERBS, *DASK), "/api/v1/workloads/trainings"),
    **dict.fromkeys(("pipeline", *SCHEDULES), "/api/v2/workloads"),
    "workspace": "/api/v1/workloads/workspaces",
    "jupyter": "/api/v1/workloads/workspaces",
    "serve": "/api/v1/workloads/inferences",
}


@pytest.mark.parametrize(("job", "path"), PATHS.items())
def test_each_kind_has_its_address(
    submit: Submit, console: tuple[type[Console], dict[str, str]], job: str, path: str
) -> None:
    assert set(JOBS) == set(PATHS)
    handler, environment = console
    done = submit(job, **environment)
    assert done.returncode == 0, done.stderr
    assert handler.received[-1][0] == path
    assert done.stdout.startswith("sent   my-ml-project-")
    if path == "/api/v2/workloads":
        body = handler.received[-1][2]
        assert (body["metadata"]["projectId"], body["metadata"]["clusterId"]) == ("4500001", CLUSTER)
        template = body["manifest"]["spec"].get("jobTemplate", body["manifest"])["spec"]["template"]
        assert template["metadata"]["labels"]["runai/queue"] == "team-a"


def test_waiting_ends_with_the_workload(submit: Submit, console: tuple[type[Console], dict[str, str]]) -> None:
    handler, environment = console
    handler.phases[:] = ["Pending", "Running", "Running", "Completed"]
    done = submit("train", "--wait", **environment, PAUSE="0")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-4:] == [
        "state  Pending", "state  Running", "state  Completed", "done   my-ml-project-train-x7k2p",
    ]  # fmt: skip


def test_a_pipeline_is_a_job_of_two_steps(submit: Submit, console: tuple[type[Console], dict[str, str]]) -> None:
    handler, environment = console
    handler.phases[:] = ["Running", "Failed"]
    done = submit("pipeline", *SENT, "--wait", **environment, PAUSE="0")
    name = "my-ml-project-pipeline-x7k2p"
    [body] = [body for path, _, body in handler.received if path == "/api/v2/workloads"]
    assert body["metadata"]["useGivenNameAsPrefix"] is True
    pod = body["manifest"]["spec"]["template"]["spec"]
    assert [step["command"][2] for step in (*pod["initContainers"], *pod["containers"])] == [
        "my_ml_project.prepare", "my_ml_project.train",
    ]  # fmt: skip
    assert pod["containers"][0]["args"] == [word.replace("$", "$$") for word in SENT]
    assert f"stop   kubectl --namespace=runai-team-a delete job/{name}\n" in done.stdout
    logs = f"kubectl --namespace=runai-team-a logs job/{name} --all-containers"
    assert done.stderr == f"jobs/submit.sh: {name} failed: Failed: the node went away; `{logs}` shows its last lines\n"


def test_waiting_waits_for_all_workers(submit: Submit, console: tuple[type[Console], dict[str, str]]) -> None:
    handler, environment = console
    handler.phases[:] = ["Completed", "Running", "Completed", "Completed"]
    done = submit("tune", "--wait", **environment, PAUSE="0", TUNE_WORKERS="2")
    assert done.returncode == 0, done.stderr
    assert "state  Completed, Running\nstate  Completed, Completed\n" in done.stdout


@pytest.mark.parametrize("job", DASK)
def test_what_stays_is_waited_for_until_it_runs(
    submit: Submit, console: tuple[type[Console], dict[str, str]], job: str
) -> None:
    handler, environment = console
    handler.phases[:] = ["Pending", "Running"]
    done = submit(job, "--wait", **environment, PAUSE="0", DASK_WORKERS="1")
    assert done.returncode == 0, done.stderr
    assert "state  Pending\nstate  Running\ndone   my-ml-project-dask" in done.stdout


@pytest.mark.parametrize("phase", ["Failed", "Stopped", "Deleting"])
def test_waiting_fails_with_the_workload(
    submit: Submit, console: tuple[type[Console], dict[str, str]], phase: str
) -> None:
    handler, environment = console
    handler.phases[:] = ["Running", phase]
    done = submit("train", "--wait", **environment, PAUSE="0")
    assert done.returncode == 1
    assert f"my-ml-project-train-x7k2p failed: {phase}: the node went away; `runai training logs" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_service_that_is_there_gets_a_new_revision(
    submit: Submit, console: tuple[type[Console], dict[str, str]]
) -> None:
    handler, environment = console
    handler.phases[:] = ["Running"]
    done = submit("serve", "--wait", **environment, PAUSE="0", SERVE_MODEL="models:/my-ml-project/3")
    assert done.returncode == 0, done.stderr
    path, _, body = handler.received[-1]
    while path == "/api/v1/token":
        handler.received.pop()
        path, _, body = handler.received[-1]
    assert path == "/api/v1/workloads/inferences/an-id"
    variables = {variable["name"]: variable.get("value") for variable in body["spec"]["environmentVariables"]}
    assert variables["SERVE_MODEL"] == "models:/my-ml-project/3"
    assert variables["RESTARTED_AT"]
    assert "storage" not in body["spec"]


def test_each_worker_is_a_workload(submit: Submit, console: tuple[type[Console], dict[str, str]]) -> None:
    handler, environment = console
    done = submit("tune", "study.trials=8", **environment, TUNE_WORKERS="3")
    assert done.returncode == 0, done.stderr
    sent = [body["spec"]["args"] for _, _, body in handler.received[1:]]
    assert sent == [f"-m my_ml_project.tune study.worker={n} study.trials=8" for n in range(3)]
    assert done.stdout.count("stop   ") == 3


@pytest.mark.parametrize(
    ("status", "message", "advice"),
    [
        (400, "bad field", "cannot read the body: bad field"),
        (403, "", "may not do this in the project"),
        (409, "", "a workload of this name already"),
        (422, "image is mandatory", "does not accept the body: image is mandatory"),
        (422, "quota exceeded for project team-a", "quota exceeded for project team-a"),
        (500, "", "Run:ai answered 500"),
    ],
)
def test_a_refusal_is_told_in_a_line(
    submit: Submit, console: tuple[type[Console], dict[str, str]], status: int, message: str, advice: str
) -> None:
    handler, environment = console
    handler.status, handler.message = status, message
    done = submit("train", **environment)
    assert done.returncode == 1
    assert f"Run:ai answered {status}" in done.stderr
    assert advice in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("change", "advice"),
    [
        ({"RUNAI_CLIENT_SECRET": "wrong"}, "Run:ai answered 401: RUNAI_CLIENT_ID or RUNAI_CLIENT_SECRET is wrong"),
        ({"RUNAI_CLIENT_SECRET": "", "RUNAI_CLIENT_ID": ""}, "RUNAI_CLIENT_ID, RUNAI_CLIENT_SECRET not set"),
        (
            {"RUNAI_PROJECT": "team-x"},
            "RUNAI_PROJECT=team-x: there is no such project on gpu-1; there is team-a, team-b",
        ),
        ({"RUNAI_CLUSTER": "gpu"}, "RUNAI_CLUSTER=gpu: there is no such cluster; there is gpu-1, gpu-2"),
        ({"RUNAI_URL": "http://127.0.0.1:9"}, "http://127.0.0.1:9 does not answer ([Errno 111] Connection refused): "),
        ({"RUNAI_URL": "my-team.run.ai"}, "RUNAI_URL=my-team.run.ai: an address is needed"),
    ],
)
def test_a_wrong_setting_is_told_in_a_line(
    submit: Submit, console: tuple[type[Console], dict[str, str]], change: dict[str, str], advice: str
) -> None:
    done = submit("train", **console[1] | change)
    assert done.returncode == 1
    assert advice in done.stderr
    assert done.stderr.count("\n") == 1
    assert "hush" not in done.stderr


def test_the_console_is_asked_whether_it_would_take_a_job(
    submit: Submit, console: tuple[type[Console], dict[str, str]]
) -> None:
    handler, environment = console
    done = submit("train", "--check", **environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "Run:ai knows this access key, and the project team-a on gpu-1\n"
    assert [path for path, _, _ in handler.received] == ["/api/v1/token"]
    refused = submit("train", "--check", **environment | {"RUNAI_PROJECT": "team-x"})
    assert refused.returncode == 1
    assert "there is no such project on gpu-1; there is team-a, team-b" in refused.stderr


def test_another_server_is_told_apart(submit: Submit, listen: Any) -> None:
    _, url = listen(Elsewhere)
    done = submit("train", **NAMES, **KEY, RUNAI_URL=url)
    assert done.returncode == 1
    assert f"{url} does not answer as Run:ai does" in done.stderr


@pytest.mark.parametrize(
    ("refuse", "advice"),
    [
        ({"secret": 'Error from server (NotFound): secrets "my-ml-project-env" not found'}, "run `make secrets`"),
        (
            {
                "secret": 'Error from server (NotFound): secrets "my-ml-project-env" not found',
                "serviceaccount": 'Error from server (NotFound): serviceaccounts "default" not found',
            },
            "the namespace runai-team-a does not exist",
        ),
        ({"secret": "error: You must be logged in to the server (Unauthorized)"}, "the cluster does not know you"),
    ],
)
def test_a_missing_secret_is_told_before_anything_is_sent(
    submit: Submit,
    console: tuple[type[Console], dict[str, str]],
    tmp_path: Path,
    refuse: dict[str, str],
    advice: str,
) -> None:
    handler, environment = console
    done = submit("train", **environment | stand_in(tmp_path, "kubectl", "", refuse))
    assert done.returncode == 1
    assert advice in done.stderr
    assert not handler.received


def test_without_the_client_there_is_one_line(render: Render) -> None:
    environment = {**NAMES, **KEY, "RUNAI_URL": "http://127.0.0.1:9"}
    done = run(
        "jobs/submit.sh", "train", cwd=render(orchestrator="runai"), VENV=str(TOOLS.parents[1] / ".venv"), **environment
    )
    assert done.returncode == 1
    assert done.stderr == "jobs/submit.sh: Run:ai's client is missing: run `make jobs`\n"


def test_what_is_printed_holds_no_secret(render: Render) -> None:
    text = dry_run(render(orchestrator="runai"), "train")
    [body] = yaml.safe_load_all(text)
    held = [variable for variable in body["spec"]["environmentVariables"] if "secret" in variable]
    assert held
    assert all(variable.keys() == {"name", "secret"} for variable in held)
