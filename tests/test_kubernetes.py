"""Jobs reach Kubernetes by kubectl, in the sizes of an environment, and what goes wrong is told in a line."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from conftest import Render, run
from specs import JOBS, SENT, TOOLS, calls, judge, stand_in, submit

pytestmark = pytest.mark.xdist_group("jobs")

ENVIRONMENTS = ("dev", "prod")
MISSING = 'Error from server (NotFound): secrets "my-ml-project-env" not found'


@pytest.fixture(scope="session")
def project(render: Render) -> Path:
    return render(orchestrator="none")


@pytest.fixture(scope="session")
def cluster(project: Path) -> list[str]:
    """The commands that make what a namespace needs once, and its documents' names."""
    done = run(TOOLS / "kubectl", "kustomize", "environments/dev", cwd=project)
    documents = list(yaml.safe_load_all(done.stdout))
    chosen = [d for d in documents if d["metadata"]["labels"]["app.kubernetes.io/component"] == "cluster"]
    return [f"{document['kind']}/{document['metadata']['name']}" for document in chosen]


def test_a_job_is_created_under_a_name_of_its_own(project: Path, tmp_path: Path) -> None:
    environment = stand_in(tmp_path, "kubectl", "job.batch/my-ml-project-train-x7k2p") | {"NAMESPACE": "team"}
    done = submit(project, "train", *SENT, **environment)
    assert done.returncode == 0, done.stderr
    words, text = calls(environment)[-1]
    assert words == ["--namespace=team", "create", "--filename=-", "--output=name"]
    sent = yaml.safe_load(text)
    assert sent["metadata"]["generateName"] == "my-ml-project-train-"
    assert sent["spec"]["template"]["spec"]["containers"][0]["args"] == ["note=it's $$(id)", SENT[1]]
    assert done.stdout.startswith("sent   job.batch/my-ml-project-train-x7k2p\nwatch  kubectl --namespace=team")
    assert "stop   kubectl --namespace=team delete job.batch/my-ml-project-train-x7k2p\n" in done.stdout


@pytest.mark.parametrize(
    ("job", "answer", "kinds", "told"),
    [
        (
            "serve",
            "deployment.apps/my-ml-project-serve\nservice/my-ml-project-serve",
            {"Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy"},
            "port-forward deployment.apps/my-ml-project-serve 8000",
        ),
        ("workspace", "statefulset.apps/w", {"StatefulSet", "Service"}, "port-forward statefulset.apps/w 8080"),
        ("jupyter", "statefulset.apps/j", {"StatefulSet", "Service"}, "port-forward statefulset.apps/j 8888"),
        (
            "dask",
            "statefulset.apps/d",
            {"StatefulSet", "Service", "NetworkPolicy"},
            "localhost:8787/info/main/workers.html",
        ),
        ("infer-schedule", "cronjob.batch/s", {"CronJob"}, "create job --from=cronjob.batch/s s-now"),
    ],
)
def test_what_stays_is_applied(
    project: Path, tmp_path: Path, job: str, answer: str, kinds: set[str], told: str
) -> None:
    environment = stand_in(tmp_path, "kubectl", answer)
    done = submit(project, job, **environment)
    assert done.returncode == 0, done.stderr
    words, text = calls(environment)[-1]
    assert words == ["apply", "--filename=-", "--output=name"]
    assert {document["kind"] for document in yaml.safe_load_all(text)} == kinds
    assert told in done.stdout


@pytest.mark.parametrize("job", JOBS)
def test_every_job_is_sent_as_it_is_printed(project: Path, tmp_path: Path, job: str) -> None:
    environment = stand_in(tmp_path, "kubectl", "kind.group/name") | {"NAMESPACE": "team"}
    done = submit(project, job, **environment)
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()][:3] == ["sent", "watch", "logs"]
    assert "\nstop   kubectl --namespace=team delete kind.group/name" in done.stdout
    sent = list(yaml.safe_load_all(calls(environment)[-1][1]))
    sent[0]["spec"].get("template", {}).get("metadata", {}).pop("annotations", None) if job == "serve" else None
    assert sent == list(yaml.safe_load_all(submit(project, job, "--dry-run").stdout))


@pytest.mark.parametrize(
    ("refuse", "advice"),
    [
        ({"secret": MISSING}, "there is no secret my-ml-project-env in the namespace team: run `make secrets`"),
        (
            {"secret": MISSING, "serviceaccount": 'Error from server (NotFound): serviceaccounts "default" not found'},
            "the namespace team does not exist: set NAMESPACE in jobs/settings.env",
        ),
        ({"secret": "error: You must be logged in to the server (Unauthorized)"}, "the cluster does not know you"),
        (
            {"secret": "Unable to connect: dial tcp: lookup api: no such host"},
            "the cluster does not answer: is the VPN up",
        ),
        ({"secret": "The connection to the server localhost:8080 was refused"}, "kubectl knows no cluster"),
        (
            {"persistentvolumeclaim/my-ml-project-data": 'Error (NotFound): persistentvolumeclaims "x" not found'},
            "the namespace lacks what jobs need: run `kubectl --namespace=team apply --kustomize=environments/dev",
        ),
        ({"create": 'Error from server (Forbidden): exceeded quota: gpus, requested: "1"'}, "exceeded quota: gpus"),
        ({"create": 'Error from server (NotFound): namespaces "team" not found'}, "there is no such namespace"),
    ],
)
def test_a_refusal_is_told_in_a_line(project: Path, tmp_path: Path, refuse: dict[str, str], advice: str) -> None:
    environment = stand_in(tmp_path, "kubectl", "job.batch/x", refuse) | {"NAMESPACE": "team"}
    done = submit(project, "train", **environment)
    assert done.returncode == 1
    assert advice in done.stderr
    assert done.stderr.count("\n") == 1
    assert "create" in refuse or not any("create" in words for words, _ in calls(environment))


@pytest.mark.parametrize(("job", "verb"), [("train", "create"), ("serve", "apply")])
def test_the_cluster_is_asked_whether_it_would_take_a_job(project: Path, tmp_path: Path, job: str, verb: str) -> None:
    environment = stand_in(tmp_path, "kubectl", "kind.group/name (server dry run)") | {"NAMESPACE": "team"}
    done = submit(project, job, "--check", **environment)
    assert (done.returncode, done.stdout) == (0, f"the cluster would take {job}\n"), done.stderr
    words, text = calls(environment)[-1]
    assert words == ["--namespace=team", verb, "--filename=-", "--output=name", "--dry-run=server"]
    assert text == submit(project, job, "--dry-run").stdout


@pytest.mark.parametrize(
    ("refuse", "told"),
    [
        ({}, "ok   cluster   the cluster would take doctor"),
        (
            {"create": 'Error from server (Forbidden): User "ada" cannot create "jobs"'},
            'FAIL cluster   kubectl create: Error from server (Forbidden): User "ada" cannot create "jobs"  (see',
        ),
    ],
)
def test_the_doctor_asks_what_sends_jobs(project: Path, tmp_path: Path, refuse: dict[str, str], told: str) -> None:
    environment = stand_in(tmp_path, "kubectl", "job.batch/x", refuse) | {"VENV": str(Path(sys.executable).parents[1])}
    words = ("-m", "my_ml_project.doctor", "--only", "cluster", "--need", "cluster")
    done = run(sys.executable, *words, cwd=project, PYTHONPATH="src", **environment)
    assert done.stdout.startswith(told), done.stdout + done.stderr
    assert done.returncode == bool(refuse)


def test_an_account_that_may_not_look_may_still_submit(project: Path, tmp_path: Path) -> None:
    forbidden = "Error from server (Forbidden): secrets is forbidden"
    environment = stand_in(tmp_path, "kubectl", "job.batch/x", {"secret": forbidden})
    assert submit(project, "train", **environment).returncode == 0


def test_a_missing_kubectl_is_told(project: Path, tmp_path: Path) -> None:
    for name in ("bash", "env", "dirname"):
        (tmp_path / name).symlink_to(shutil.which(name) or name)
    venv = str(Path(run("python", "-c", "import sys; print(sys.prefix)", cwd=tmp_path).stdout.strip()))
    done = run(shutil.which("bash"), "jobs/submit.sh", "train", cwd=project, PATH=str(tmp_path), VENV=venv)
    assert done.returncode == 1
    assert done.stderr.startswith("jobs/submit.sh: kubectl is not on the PATH")


def test_an_unknown_environment_is_told(project: Path) -> None:
    done = submit(project, "train", "--dry-run", ENVIRONMENT="staging")
    assert done.returncode == 1
    assert done.stderr == "jobs/submit.sh: ENVIRONMENT=staging: one of dev, prod is needed\n"


def test_every_job_is_accepted_in_every_environment(project: Path) -> None:
    texts = {
        (environment, job): submit(project, job, "--dry-run", ENVIRONMENT=environment).stdout
        for environment in ENVIRONMENTS
        for job in JOBS
    }
    verdicts = judge("none", *texts.values())
    faults = {key: verdict["faults"] for key, verdict in zip(texts, verdicts, strict=True)}
    assert not any(faults.values()), faults
    assert texts["dev", "train"] != texts["prod", "train"]


def test_a_namespace_is_made_ready_once(cluster: list[str]) -> None:
    assert cluster == [
        "PersistentVolumeClaim/my-ml-project-data",
        "ServiceAccount/my-ml-project",
        "NetworkPolicy/my-ml-project",
    ]


def test_the_base_lists_every_file(project: Path) -> None:
    listed = yaml.safe_load((project / "jobs" / "kustomization.yaml").read_text())["resources"]
    assert sorted(listed) == sorted(f.name for f in project.glob("jobs/*.yaml") if f.name != "kustomization.yaml")


BASE, DEV = "jobs/kustomization.yaml", "environments/dev/kustomization.yaml"
BROKEN = {
    "a file that is not there": (BASE, "  - train.yaml", "  - trian.yaml"),
    "an unknown field": (DEV, "patches:", "patchs:"),
    "a base that is not there": (DEV, "../../jobs", "../../job"),
    "a patch of nothing": (DEV, "/spec/minReplicas", "/spec/min/replicas"),
    "a patch that is no list": (DEV, "- {op: replace, path: /spec/min", "{op: replace /spec/min"),
    "a document twice": (BASE, "  - train.yaml", "  - train.yaml\n  - train.yaml"),
    "a document without a name": ("jobs/train.yaml", "metadata:\n  name: my", "metadata:\n  title: my"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_kustomization_is_refused(
    project: Path, tmp_path: Path, fault: str, record_property: Callable[[str, object], None]
) -> None:
    copy = shutil.copytree(project, tmp_path / "project")
    name, old, new = BROKEN[fault]
    text = (copy / name).read_text()
    assert old in text
    (copy / name).write_text(text.replace(old, new, 1))
    done = submit(copy, "train", "--dry-run")
    assert done.returncode == 1
    assert done.stderr.startswith("jobs/submit.sh: kubectl kustomize: ")
    assert done.stderr.count("\n") == 1
    record_property("told", f"none: refused by kustomize: {fault}")
