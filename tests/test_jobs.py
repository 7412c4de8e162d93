"""Every job spec is accepted by its orchestrator's own code, and broken ones are not."""

import functools
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import CHOICES, CONTEXTS, ROOT, Render, run

# Where `make tools` puts the orchestrators' clients, whose dependencies are not the suite's.
TOOLS = Path(os.environ.get("TOOLS", ROOT / ".venv-tools")) / "bin"

# On one worker: the orchestrators' clients are imported once for all tests of this file.
pytestmark = pytest.mark.xdist_group("jobs")

VERBS = ("prepare", "train", "tune", "infer", "doctor")
JOBS = (*VERBS, "serve", "workspace")
# Of all that a shell, YAML, Kubernetes' $(NAME) or Polyaxon's templates might take for their own.
OVERRIDES = [
    "model=forest",
    """note="it's" a \\"test\\" of $HOME, $$, ${x} and $(id)""",
    "a={b: [1, 2]}",
]
SENT = ["note=it's $(id)", "model=forest"]
SETTINGS = {
    "RUNAI_PROJECT_ID": "4500001",
    "RUNAI_CLUSTER_ID": "71f69d83-ba66-4822-adf5-55ce55efd210",
}

# Faults of different kinds: orchestrator, job, what to change in the spec that is sent, and into what.
BROKEN = [
    ("none", "train", "envFrom:", "envForm:"),
    ("none", "train", "apiVersion: batch/v1", "apiVersion: batch/v1beta1"),
    ("none", "train", "backoffLimit: 1", "backoffLimit: one"),
    ("none", "train", "memory: 8Gi", "memory: 8GiB"),
    ("none", "train", "cpu: '2'", "cpu: '16'"),
    ("none", "train", "restartPolicy: Never", "restartPolicy: Always"),
    (
        "none",
        "train",
        "mountPath: /tmp",
        "mountPath: /tmp\n        - name: nowhere\n          mountPath: /nowhere",
    ),
    ("none", "train", "generateName: ", "generateName: Not_A_Name-"),
    ("none", "train", "image: ", "imagePullPolicy: Always #"),
    ("none", "train", "secretRef:", "secretKeyRef:"),
    ("none", "tune", "completionMode: Indexed", "completionModes: Indexed"),
    ("none", "serve", "matchLabels:", "matchLabels:\n      tier: none"),
    ("none", "serve", "targetPort: http", "targetPort: https"),
    ("none", "serve", "port: http", "port: web"),
    ("none", "workspace", "serviceName:", "service:"),
    ("polyaxon", "train", "kind: component", "kind: compnent"),
    ("polyaxon", "train", "plugins:", "plugin:"),
    ("polyaxon", "train", "kind: job", "kind: jobs"),
    ("polyaxon", "train", "envFrom:", "envForm:"),
    ("polyaxon", "train", "secretRef:", "secretKeyRef:"),
    ("polyaxon", "train", "claimName:", "claim:"),
    ("polyaxon", "train", "memory: 8Gi", "memory: 8GiB"),
    ("polyaxon", "train", "cpu: '2'", "cpu: '16'"),
    (
        "polyaxon",
        "train",
        "mountPath: /tmp",
        "mountPath: /tmp\n    - name: nowhere\n      mountPath: /nowhere",
    ),
    ("polyaxon", "train", "- python\n", "- '{{ python }}'\n"),
    ("polyaxon", "train", "timeout: 14400", "timeout: soon"),
    ("polyaxon", "tune", "kind: mapping", "kind: map"),
    ("polyaxon", "tune", "- worker: 3", "- wroker: 3"),
    ("polyaxon", "serve", "ports:\n  - 8000", "ports:\n  - http"),
    ("runai", "train", "imagePullSecrets:", "imagePullSecret:"),
    ("runai", "train", "command: python", "command: [python]"),
    ("runai", "train", "projectId: '4500001'", "projectId: 4500001"),
    ("runai", "train", "name: my-ml-project-train", "title: my-ml-project-train"),
    ("runai", "train", "cpuCoreRequest: 2", "cpuCoreRequest: two"),
    ("runai", "train", "cpuCoreRequest: 2", "cpuCoreRequest: 16"),
    ("runai", "train", "cpuMemoryLimit: 8G", "cpuMemoryLimit: 8 gigabytes"),
    ("runai", "train", "  image: ", "  imagePullPolicy: Always #"),
    ("runai", "train", "compute:", "compute:\n    gpuPortionRequest: 0.5"),
    ("runai", "train", "restartPolicy: Never", "restartPolicy: Sometimes"),
    ("runai", "train", "claimName:", "claim:"),
    ("runai", "serve", "protocol: http", "protocol: https"),
    ("runai", "serve", "servingPort:", "servingPort:\n    port: 8000"),
    ("runai", "workspace", "exposedUrls:", "completions: 4\n  exposedUrls:"),
]


def submit(project: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    venv = str(Path(sys.executable).parents[1])
    return run("jobs/submit.sh", *words, cwd=project, VENV=venv, **environment)


@functools.cache
def dry_run(project: Path, job: str) -> str:
    words = OVERRIDES if job in VERBS else []
    done = submit(project, job, *words, "--dry-run", **SETTINGS)
    assert done.returncode == 0, done.stderr
    return done.stdout


@functools.cache
def judge(orchestrator: str, *texts: str) -> list[dict[str, Any]]:
    assert TOOLS.exists(), f"{TOOLS.parent} is missing: run `make tools` first"
    done = subprocess.run(
        [TOOLS / "python", ROOT / "tests" / "job_specs.py", orchestrator],
        input=json.dumps(texts),
        env=os.environ | {"POLYAXON_NO_OP": "true"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    verdicts: list[dict[str, Any]] = json.loads(done.stdout)
    return verdicts


Judged = dict[tuple[str, str], dict[str, Any]]


@pytest.fixture(scope="session")
def judged(render: Render) -> Callable[[str], Judged]:
    """Judge all jobs of an orchestrator, with each platform, in one process: its imports are slow."""

    @functools.cache
    def verdicts(orchestrator: str) -> Judged:
        renders = {p: render(platform=p, orchestrator=orchestrator) for p in CHOICES["platform"]}
        texts = {(p, job): dry_run(project, job) for p, project in renders.items() for job in JOBS}
        return dict(zip(texts, judge(orchestrator, *texts.values()), strict=True))

    return verdicts


@pytest.fixture(scope="session")
def broken(render: Render) -> Callable[[str], dict[tuple[str, str, str], list[str]]]:
    @functools.cache
    def verdicts(orchestrator: str) -> dict[tuple[str, str, str], list[str]]:
        project = render(orchestrator=orchestrator)
        changes = [change[1:] for change in BROKEN if change[0] == orchestrator]
        texts = [dry_run(project, job).replace(old, new, 1) for job, old, new in changes]
        return dict(zip(changes, (v["faults"] for v in judge(orchestrator, *texts)), strict=True))

    return verdicts


@pytest.mark.parametrize("orchestrator", CHOICES["orchestrator"])
def test_every_job_is_accepted(judged: Callable[[str], Judged], orchestrator: str) -> None:
    faults = {job: verdict["faults"] for job, verdict in judged(orchestrator).items()}
    assert not any(faults.values()), faults


@pytest.mark.parametrize(("orchestrator", "job", "old", "new"), BROKEN)
def test_a_broken_job_is_refused(
    render: Render,
    broken: Callable[[str], dict[tuple[str, str, str], list[str]]],
    orchestrator: str,
    job: str,
    old: str,
    new: str,
) -> None:
    assert old in dry_run(render(orchestrator=orchestrator), job)
    assert broken(orchestrator)[job, old, new]


@pytest.mark.parametrize("orchestrator", CHOICES["orchestrator"])
@pytest.mark.parametrize("job", JOBS)
def test_a_job_asks_for_the_same_everywhere(
    judged: Callable[[str], Judged], render: Render, orchestrator: str, job: str
) -> None:
    project = render(orchestrator=orchestrator)
    for platform in CHOICES["platform"]:
        asks = dict(judged(orchestrator)[platform, job]["asks"])
        command = asks.pop("command")
        role = job if job in ("serve", "workspace") else "pipeline"
        assert asks == {
            "image": f"registry.example.com/my-team/my-ml-project/{role}:latest",
            "pull": ["my-ml-project-registry"],
            "env": ["my-ml-project-env"],
            "user": [10001, 10001, True],
            "read_only": True,
            "escalation": False,
            "data": "my-ml-project-data",
            "files": "my-ml-project-files",
            "scratch": True,
            "limits": ["cpu", "memory"],
        }
        if job == "workspace":
            assert command[0] == "code-server"
            continue
        # The command of a laptop, of a module that exists, and its overrides as they were typed.
        words = OVERRIDES if job in VERBS else []
        if job == "tune":  # what tells its workers apart; Kubernetes expands it in the pod
            words = [f"study.worker={'$(JOB_COMPLETION_INDEX)' if orchestrator == 'none' else 0}", *words]
        assert command == ["python", "-m", f"my_ml_project.{job}", *words]
        assert (project / "src" / "my_ml_project" / f"{job}.py").exists()


def test_organisations_do_not_change_jobs(render: Render) -> None:
    for context in CONTEXTS:
        project, plain = render(**context), render(**context | {"organisation": "generic"})
        assert {f.name: f.read_bytes() for f in project.glob("jobs/*")} == {
            f.name: f.read_bytes() for f in plain.glob("jobs/*")
        }


@pytest.mark.parametrize("orchestrator", CHOICES["orchestrator"])
def test_limits_hold_a_job_back(render: Render, orchestrator: str) -> None:
    """What runs to an end is tried again at most so often and, where the orchestrator can, has its time."""
    project = render(orchestrator=orchestrator)
    for job in VERBS:
        text = (project / "jobs" / f"{job}.yaml").read_text(encoding="utf-8")
        words = {
            "none": ("restartPolicy: Never", "backoffLimit", "activeDeadlineSeconds"),
            "polyaxon": ("restartPolicy: Never", "maxRetries", "timeout"),
            "runai": ("restartPolicy: Never", "backoffLimit"),
        }[orchestrator]
        assert all(word in text for word in words), job


def test_the_tag_comes_from_one_place(render: Render) -> None:
    for orchestrator in CHOICES["orchestrator"]:
        project = render(orchestrator=orchestrator)
        done = submit(project, "train", "--dry-run", IMAGE_TAG="1.2.0", **SETTINGS)
        assert "my-ml-project/pipeline:1.2.0\n" in done.stdout
        assert "IMAGE_TAG=latest\n" in (project / "jobs" / "settings.env").read_text(encoding="utf-8")


@pytest.mark.parametrize("orchestrator", CHOICES["orchestrator"])
@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ([], "usage: jobs/submit.sh <job>"),
        (["trian"], "one of: doctor infer prepare serve train tune workspace"),
        (["serve", "port=9000"], "change jobs/serve.yaml instead"),
    ],
)
def test_a_wrong_call_gets_one_line(render: Render, orchestrator: str, words: list[str], answer: str) -> None:
    done = submit(render(orchestrator=orchestrator), *words)
    assert done.returncode == 1
    assert answer in done.stderr
    assert done.stderr.count("\n") == 1


def test_polyaxon_templates_are_refused(render: Render) -> None:
    done = submit(render(orchestrator="polyaxon"), "train", "note={{ uuid }}", "--dry-run")
    assert done.returncode == 1
    assert "two braces" in done.stderr


@pytest.mark.parametrize("orchestrator", CHOICES["orchestrator"])
def test_a_missing_client_or_setting_gets_one_line(render: Render, tmp_path: Path, orchestrator: str) -> None:
    done = subprocess.run(
        [sys.executable, "jobs/submit.py", "train"],
        cwd=render(orchestrator=orchestrator),
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    answers = {"none": "kubectl is not", "polyaxon": "polyaxon is not", "runai": "RUNAI_URL, RUNAI"}
    assert answers[orchestrator] in done.stderr
    assert done.stderr.count("\n") == 1


FAKE = """\
#!/bin/sh
printf '%s\\n' "$@" > "$RECORD/words"
for word; do case $word in --file=*) cat "${word#--file=}" ;; esac; done > "$RECORD/sent"
[ -s "$RECORD/sent" ] || cat > "$RECORD/sent"
printf '%s\\n' "$ANSWER"
exit "${STATUS:-0}"
"""


@pytest.fixture
def client(tmp_path: Path) -> Callable[..., dict[str, str]]:
    """Put a stand-in for a command-line client on the PATH, which keeps what it is given."""

    def environment(name: str, answer: str, status: int = 0) -> dict[str, str]:
        (tmp_path / name).write_text(FAKE)
        (tmp_path / name).chmod(0o755)
        path = os.pathsep.join([str(tmp_path), os.environ["PATH"]])
        return {"PATH": path, "RECORD": str(tmp_path), "ANSWER": answer, "STATUS": str(status)}

    return environment


def test_kubectl_is_handed_the_job(render: Render, client: Callable[..., dict[str, str]], tmp_path: Path) -> None:
    name = "job.batch/my-ml-project-train-x7k2p"
    environment = client("kubectl", name) | {"NAMESPACE": "team"}
    done = submit(render(orchestrator="none"), "train", *SENT, **environment)
    words = (tmp_path / "words").read_text().splitlines()
    assert words == ["--namespace=team", "create", "--filename=-", "--output=name"]
    sent = yaml.safe_load((tmp_path / "sent").read_text())
    assert sent["spec"]["template"]["spec"]["containers"][0]["args"] == [
        "note=it's $$(id)",
        SENT[1],
    ]
    assert f"stop   kubectl --namespace=team delete {name}\n" in done.stdout


def test_kubectl_is_handed_the_service(render: Render, client: Callable[..., dict[str, str]], tmp_path: Path) -> None:
    answer = "deployment.apps/my-ml-project-serve\nservice/my-ml-project-serve"
    done = submit(render(orchestrator="none"), "serve", **client("kubectl", answer))
    assert (tmp_path / "words").read_text().splitlines() == [
        "apply",
        "--filename=-",
        "--output=name",
    ]
    assert "port-forward deployment.apps/my-ml-project-serve 8000" in done.stdout


def test_polyaxon_is_handed_the_job(render: Render, client: Callable[..., dict[str, str]], tmp_path: Path) -> None:
    run_id = "8aac02e3a62a4f0aaa257c59da5eab80"
    environment = client("polyaxon", f"A new run `{run_id}` was created")
    done = submit(render(orchestrator="polyaxon"), "train", *SENT, **environment)
    words = (tmp_path / "words").read_text().splitlines()
    assert words[:2] == ["run", "--project=my-ml-project"]
    sent = yaml.safe_load((tmp_path / "sent").read_text())
    assert sent["run"]["container"]["args"] == ["note=it's $$(id)", SENT[1]]
    assert f"polyaxon ops stop --project=my-ml-project --uid={run_id}\n" in done.stdout


@pytest.mark.parametrize(("orchestrator", "name"), [("none", "kubectl"), ("polyaxon", "polyaxon")])
def test_a_client_that_fails_is_said_to(
    render: Render, client: Callable[..., dict[str, str]], orchestrator: str, name: str
) -> None:
    done = submit(render(orchestrator=orchestrator), "train", **client(name, "", 1))
    assert done.returncode == 1
    assert "docs/guide/jobs.md" in done.stderr


class Console(BaseHTTPRequestHandler):
    """Run:ai's REST interface, as far as a submission goes."""

    status = 202
    received: list[tuple[str, str | None, dict[str, Any]]]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.received.append((self.path, self.headers["Authorization"], body))
        token = self.path.endswith("/token")
        answer = {"accessToken": "a-token"} if token else {"name": "my-ml-project-train-x7k2p"}
        self.send_response(200 if token else self.status)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def console() -> Iterator[tuple[type[Console], dict[str, str]]]:
    handler = type("Fresh", (Console,), {"received": []})
    server = HTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    key = {"RUNAI_CLIENT_ID": "an-id", "RUNAI_CLIENT_SECRET": "hush"}
    yield handler, {**SETTINGS, **key, "RUNAI_URL": url, "no_proxy": "*"}
    server.shutdown()
    server.server_close()


def test_runai_is_handed_the_job(render: Render, console: tuple[type[Console], dict[str, str]]) -> None:
    handler, environment = console
    done = submit(render(orchestrator="runai"), "train", *SENT, **environment)
    (path, _, key), (kind, authorization, body) = handler.received
    assert (path, key["clientSecret"]) == ("/api/v1/token", "hush")
    assert (kind, authorization) == ("/api/v1/workloads/trainings", "Bearer a-token")
    assert body["spec"]["args"] == """-m my_ml_project.train 'note=it'"'"'s $$(id)' model=forest"""
    assert "runai training delete my-ml-project-train-x7k2p\n" in done.stdout
    assert "hush" not in done.stdout + done.stderr


@pytest.mark.parametrize(("status", "advice"), [(403, "may not submit"), (409, "exists already")])
def test_runai_refusals_are_explained(
    render: Render, console: tuple[type[Console], dict[str, str]], status: int, advice: str
) -> None:
    handler, environment = console
    handler.status = status
    done = submit(render(orchestrator="runai"), "train", **environment)
    assert done.returncode == 1
    assert f"Run:ai answered {status}" in done.stderr
    assert advice in done.stderr


def test_runai_is_handed_each_worker(render: Render, console: tuple[type[Console], dict[str, str]]) -> None:
    handler, environment = console
    done = submit(render(orchestrator="runai"), "tune", "study.trials=8", **environment, TUNE_WORKERS="3")
    assert done.returncode == 0, done.stderr
    sent = [body["spec"]["args"] for _, _, body in handler.received[1:]]
    assert sent == [f"-m my_ml_project.tune study.worker={n} study.trials=8" for n in range(3)]


def test_an_unreachable_console_is_named(render: Render) -> None:
    key = {"RUNAI_CLIENT_ID": "an-id", "RUNAI_CLIENT_SECRET": "hush"}
    nowhere = SETTINGS | key | {"RUNAI_URL": "http://127.0.0.1:9", "no_proxy": "*"}
    done = submit(render(orchestrator="runai"), "train", **nowhere)
    assert done.returncode == 1
    assert "http://127.0.0.1:9 does not answer" in done.stderr


@pytest.mark.parametrize("orchestrator", CHOICES["orchestrator"])
def test_the_script_is_sound(render: Render, orchestrator: str) -> None:
    done = run(TOOLS / "shellcheck", "jobs/submit.sh", cwd=render(orchestrator=orchestrator))
    assert done.returncode == 0, done.stdout
