"""A job that is waited for: its states are printed, and its end is the command's end."""

import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Render, run
from specs import TOOLS, submit

pytestmark = pytest.mark.xdist_group("jobs")

# A cluster by way of kubectl: it takes what it is given, and looks on it one state further with each look.
KUBECTL = """\
#!{python}
import json, os, pathlib, sys
folder = pathlib.Path(os.environ["RECORD"])
words = [word for word in sys.argv[1:] if not word.startswith("--namespace")]
with (folder / "calls").open("a") as calls:
    print(*words, file=calls)
if words[0] == "kustomize":
    os.execv(os.environ["REAL"], [os.environ["REAL"], *words])
elif words[0] in ("create", "apply"):
    (folder / "sent").write_text(sys.stdin.read())
    print(os.environ["NAME"])
elif words[:2] == ["get", os.environ["NAME"]]:
    states = json.loads((folder / "states").read_text())
    if len(states) > 1:
        (folder / "states").write_text(json.dumps(states[1:]))
    if isinstance(states[0], str):
        sys.exit(states[0])
    print(json.dumps(states[0]))
elif words[:2] == ["get", "pods"]:
    print((folder / "pods").read_text())
elif words[0] == "logs":
    print("my-ml-project version 2: promoted to champion")
elif words[0] == "port-forward":
    print("Forwarding from 127.0.0.1:%s -> 8000" % os.environ["FORWARD"], flush=True)
    sys.stdin.read()
"""


def cluster(folder: Path, name: str, *states: Any, pods: Any = ()) -> dict[str, str]:
    """An environment with that kubectl, and the states that a job or deployment goes through."""
    program = folder / "kubectl"
    program.write_text(KUBECTL.format(python=sys.executable))
    program.chmod(0o755)
    (folder / "states").write_text(json.dumps(states))
    (folder / "pods").write_text(json.dumps({"items": list(pods)}))
    real = str((TOOLS / "kubectl").absolute())
    return {"PATH": f"{folder}:/usr/bin:/bin", "RECORD": str(folder), "NAME": name, "REAL": real, "PAUSE": "0"}


def job(**status: Any) -> Any:
    return {"status": status}


def condition(kind: str, reason: str = "", message: str = "") -> list[dict[str, str]]:
    return [{"type": kind, "status": "True", "reason": reason, "message": message}]


def waiting(reason: str, message: str) -> Any:
    return {"status": {"containerStatuses": [{"state": {"waiting": {"reason": reason, "message": message}}}]}}


def deployment(fresh: int, ready: int, total: int, **status: Any) -> Any:
    counts = {"updatedReplicas": fresh, "readyReplicas": ready, "replicas": total, "observedGeneration": 2}
    return {"metadata": {"generation": 2}, "spec": {"replicas": 2}, "status": counts | status}


NAME = "job.batch/my-ml-project-train-x7k2p"


def states(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith(("state", "done", "my-ml"))]


def test_waiting_ends_with_the_job_and_its_last_words(render: Render, tmp_path: Path) -> None:
    ended = job(succeeded=1, conditions=condition("Complete"))
    environment = cluster(tmp_path, NAME, job(), job(active=1), job(active=1), ended)
    done = submit(render(orchestrator="none"), "train", "--wait", **environment)
    assert done.returncode == 0, done.stderr
    assert states(done.stdout) == [
        "state  pending",
        "state  1 active",
        "state  1 succeeded",
        "state  its last lines",
        "my-ml-project version 2: promoted to champion",
        f"done   {NAME}",
    ]


def test_waiting_fails_with_the_job(render: Render, tmp_path: Path) -> None:
    failed = job(failed=3, conditions=condition("Failed", "BackoffLimitExceeded", "Job has reached its limit"))
    environment = cluster(tmp_path, NAME, job(active=1), failed)
    done = submit(render(orchestrator="none"), "train", "--wait", **environment)
    assert done.returncode == 1
    assert done.stderr == f"jobs/submit.sh: {NAME} failed: BackoffLimitExceeded: Job has reached its limit\n"
    assert "its last lines" in done.stdout


def test_the_step_of_a_pipeline_that_failed_is_named(render: Render, tmp_path: Path) -> None:
    failed = job(failed=2, conditions=condition("Failed", "BackoffLimitExceeded", "Job has reached its limit"))
    steps = {
        "initContainerStatuses": [{"name": "prepare", "state": {"terminated": {"exitCode": 1}}}],
        "containerStatuses": [{"name": "train", "state": {"waiting": {"reason": "PodInitializing"}}}],
    }
    name = NAME.replace("train", "pipeline")
    environment = cluster(tmp_path, name, job(active=1), failed, pods=[{"status": steps}])
    done = submit(render(orchestrator="none"), "pipeline", "--wait", **environment)
    assert done.returncode == 1
    assert done.stderr == f"jobs/submit.sh: {name} failed in prepare: BackoffLimitExceeded: Job has reached its limit\n"
    assert "--container=prepare    # then --container=train\n" in done.stdout
    asked = [call for call in (tmp_path / "calls").read_text().splitlines() if call.startswith("logs")]
    assert len(asked) == 1
    assert "--all-containers --ignore-errors" in asked[0]


@pytest.mark.parametrize(
    ("reason", "advice"),
    [
        ("ImagePullBackOff", "its image cannot be pulled"),
        ("ErrImagePull", "its image cannot be pulled"),
        ("InvalidImageName", "look at IMAGE_TAG"),
        ("CreateContainerConfigError", "run `make secrets`"),
    ],
)
def test_what_cannot_start_is_not_waited_for(render: Render, tmp_path: Path, reason: str, advice: str) -> None:
    environment = cluster(tmp_path, NAME, job(active=1), pods=[waiting(reason, "said the node")])
    done = submit(render(orchestrator="none"), "train", "--wait", **environment)
    assert done.returncode == 1
    assert advice in done.stderr
    assert "(said the node)" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_cluster_that_stumbles_is_asked_again_and_one_that_is_gone_is_not(render: Render, tmp_path: Path) -> None:
    ended = job(succeeded=1, conditions=condition("Complete"))
    environment = cluster(tmp_path, NAME, "Unable to connect: i/o timeout", "net/http: i/o timeout", ended)
    assert submit(render(orchestrator="none"), "train", "--wait", **environment).returncode == 0
    environment = cluster(tmp_path, NAME, "Unable to connect: i/o timeout")
    done = submit(render(orchestrator="none"), "train", "--wait", **environment)
    assert "the cluster does not answer" in done.stderr
    assert done.stderr.count("\n") == 1


def test_workers_are_waited_for_until_all_are_ready(render: Render, tmp_path: Path) -> None:
    environment = cluster(tmp_path, NAME, job(active=2), job(active=2, ready=1), job(active=2, ready=2))
    done = submit(render(orchestrator="none"), "dask-workers", "--wait", DASK_WORKERS="2", **environment)
    assert done.returncode == 0, done.stderr
    assert states(done.stdout)[:2] == ["state  2 active", "state  2 ready"]


SERVE = "deployment.apps/my-ml-project-serve"


def test_a_service_is_there_when_all_its_pods_are_new(render: Render, tmp_path: Path) -> None:
    path = [deployment(0, 2, 2, observedGeneration=1), deployment(1, 2, 3), deployment(2, 2, 3), deployment(2, 2, 2)]
    environment = cluster(tmp_path, SERVE, *path)
    done = submit(render(orchestrator="none"), "serve", "--wait", SERVE_MODEL="models:/my-ml-project/3", **environment)
    assert done.returncode == 0, done.stderr
    assert states(done.stdout) == [
        "state  seen", "state  1 of 2 new, 2 ready", "state  2 of 2 new, 2 ready", f"done   {SERVE}",
    ]  # fmt: skip
    sent = next(yaml.safe_load_all((tmp_path / "sent").read_text()))["spec"]["template"]
    variable = {"name": "SERVE_MODEL", "value": "models:/my-ml-project/3"}
    assert variable in sent["spec"]["containers"][0]["env"]
    assert "kubectl.kubernetes.io/restartedAt" in sent["metadata"]["annotations"]


def test_a_service_that_does_not_come_up_fails(render: Render, tmp_path: Path) -> None:
    late = condition("Progressing", "ProgressDeadlineExceeded", "It has timed out progressing.")
    environment = cluster(tmp_path, SERVE, deployment(1, 1, 2), deployment(1, 1, 2, conditions=late))
    done = submit(render(orchestrator="none"), "serve", "--wait", **environment)
    assert done.returncode == 1
    assert "It has timed out progressing. Its pods' logs say why." in done.stderr


def test_a_service_that_refuses_its_model_is_quoted(render: Render, tmp_path: Path) -> None:
    """As when code that makes an input otherwise meets a champion of before, whose image the service names."""
    refused = "serve: … Take the image that made it, IMAGE_TAG=5c1a9e0f, or train a new model"
    ended = {"terminated": {"exitCode": 1, "message": f"loading\n{refused}\n"}}
    before = {"ready": True, "state": {"running": {}}, "lastState": {"terminated": {"message": "long ago"}}}
    pods = [{"status": {"containerStatuses": [before]}}]
    pods += [{"status": {"containerStatuses": [{"state": waiting, "lastState": ended}]}} for waiting in ({}, {})]
    late = condition("Progressing", "ProgressDeadlineExceeded", "It has timed out progressing.")
    environment = cluster(tmp_path, SERVE, deployment(1, 2, 3, conditions=late), pods=pods)
    done = submit(render(orchestrator="none"), "serve", "--wait", **environment)
    assert done.returncode == 1
    assert done.stderr == f"jobs/submit.sh: {SERVE} failed: It has timed out progressing. {refused}\n"


@pytest.mark.parametrize("orchestrator", ["none", "polyaxon", "runai"])
def test_a_model_must_have_an_address(render: Render, orchestrator: str) -> None:
    done = submit(render(orchestrator=orchestrator), "serve", "--dry-run", SERVE_MODEL="3")
    assert "SERVE_MODEL=3: an address is needed, such as models:/my-ml-project/3" in done.stderr
    assert done.stderr.count("\n") == 1


class Service(BaseHTTPRequestHandler):
    """A service, as jobs/smoke.py sees it; tests on servers have it ask the real one."""

    version, ready, status, predictions = "3", 200, 200, 1

    def do_GET(self) -> None:
        rows = {"examples": [{"rows": [{"island": "Biscoe"}]}]}
        if self.path == "/readyz":
            self.answer(self.ready, {})
        else:
            self.answer(200, {"components": {"schemas": {"Rows": rows}}})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert asked == {"rows": [{"island": "Biscoe"}]}
        model = {"name": "my-ml-project", "version": self.version}
        self.answer(self.status, {"model": model, "predictions": [{}] * self.predictions})

    def answer(self, status: int, content: Any) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(content).encode())

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def service() -> Iterator[Any]:
    handler = type("Fresh", (Service,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    handler.port = server.server_port
    yield handler
    server.shutdown()
    server.server_close()


def smoke(project: Path, **environment: str) -> Any:
    path = {"PATH": environment.pop("PATH", "/usr/bin:/bin")}
    return run(sys.executable, "jobs/smoke.py", cwd=project, SMOKE_SECONDS="1", **path, **environment)


@pytest.mark.parametrize("orchestrator", ["none", "polyaxon", "runai"])
def test_a_smoke_test_names_what_answered(render: Render, service: Any, orchestrator: str) -> None:
    done = smoke(render(orchestrator=orchestrator), SERVE_URL=f"http://127.0.0.1:{service.port}")
    assert (done.returncode, done.stdout) == (0, "SERVE_MODEL=models:/my-ml-project/3\n"), done.stderr


def test_a_smoke_test_finds_its_own_way_by_kubectl(render: Render, service: Any, tmp_path: Path) -> None:
    environment = cluster(tmp_path, SERVE) | {"FORWARD": str(service.port)}
    done = smoke(render(orchestrator="none"), NAMESPACE="staging", **environment)
    assert (done.returncode, done.stdout) == (0, "SERVE_MODEL=models:/my-ml-project/3\n"), done.stderr


@pytest.mark.parametrize(
    ("change", "environment", "advice"),
    [
        ({"version": "2"}, {"SERVE_MODEL": "models:/my-ml-project/3"}, "not with SERVE_MODEL=models:/my-ml-project/3"),
        ({"ready": 503}, {}, "not ready within 1 seconds: "),
        ({"status": 500}, {}, "/predict answers 500"),
        ({"predictions": 0}, {}, "gave 0 predictions for 1 rows"),
        ({}, {"SERVE_URL": "penguins.example.com"}, "an address is needed"),
        ({}, {"SERVE_URL": "http://127.0.0.1:9"}, "not ready within 1 seconds: http://127.0.0.1:9/readyz does not"),
    ],
)
def test_a_smoke_test_fails_in_a_line(
    render: Render, service: Any, change: dict[str, Any], environment: dict[str, str], advice: str
) -> None:
    for name, value in change.items():
        setattr(service, name, value)
    done = smoke(render(orchestrator="none"), **{"SERVE_URL": f"http://127.0.0.1:{service.port}"} | environment)
    assert (done.returncode, done.stdout) == (1, "")
    assert advice in done.stderr
    assert "Traceback" not in done.stderr


DOOR = "/rewrite-services/v1/team/default/my-ml-project/runs/" + "b" * 32 + "/8000"


class BehindPolyaxon(Service):
    """Polyaxon's server, and a service behind its door, whose address is another for each run."""

    def do_GET(self) -> None:
        assert self.headers["Authorization"] == "Token hush"
        run = {"uuid": "b" * 32, "name": "serve", "status": "running", "settings": {"namespace": "team"}}
        if self.path.startswith(DOOR):
            self.path = self.path.removeprefix(DOOR)
            super().do_GET()
        else:
            self.answer(200, {"results": [run], "count": 1} if "/runs?" in self.path else run)

    def do_POST(self) -> None:
        assert self.headers["Authorization"] == "Token hush"
        assert self.path == f"{DOOR}/predict"
        super().do_POST()


class BehindRunai(Service):
    """Run:ai's console, and a service that wants the console's token."""

    def do_GET(self) -> None:
        assert self.headers["Authorization"] == "Bearer a-token"
        host = f"http://{self.headers['Host']}"
        answers = {
            "/api/v1/clusters": [{"name": "gpu-1", "uuid": "a-cluster"}],
            "/api/v1/org-unit/projects": {"projects": [{"name": "team-a", "id": "4500001"}]},
            "/api/v1/workloads": {"workloads": [{"name": "my-ml-project-serve", "id": "an-id", "urls": [f"{host}/"]}]},
        }
        answer = answers.get(self.path.partition("?")[0])
        self.answer(200, answer) if answer else super().do_GET()

    def do_POST(self) -> None:
        self.answer(200, {"accessToken": "a-token"}) if self.path == "/api/v1/token" else super().do_POST()


@pytest.mark.parametrize(("orchestrator", "kind"), [("polyaxon", BehindPolyaxon), ("runai", BehindRunai)])
def test_a_smoke_test_finds_the_address_that_the_orchestrator_gave(
    render: Render, orchestrator: str, kind: type[Service]
) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    console = {"RUNAI_URL": url, "RUNAI_PROJECT": "team-a", "RUNAI_CLUSTER": "gpu-1"}
    logins = {"RUNAI_CLIENT_ID": "an-id", "RUNAI_CLIENT_SECRET": "hush", "POLYAXON_AUTH_TOKEN": "hush"}
    environment = {**console, **logins, "POLYAXON_HOST": url, "no_proxy": "*", "SMOKE_SECONDS": "1"}
    done = run(TOOLS.absolute() / "python", "jobs/smoke.py", cwd=render(orchestrator=orchestrator), **environment)
    server.shutdown()
    server.server_close()
    assert (done.returncode, done.stdout) == (0, "SERVE_MODEL=models:/my-ml-project/3\n"), done.stderr
    assert "hush" not in done.stderr
