"""Every job is accepted by its orchestrator's own code and asks for the same everywhere; broken ones are refused."""

import functools
import importlib
import re
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from conftest import CHOICES, CONTEXTS, Render, run
from specs import DASK, JOBS, NOTE, OVERRIDES, SERVICES, TOOLS, VERBS, Verdict, dry_run, judge, submit

# On one worker: the orchestrators' clients are imported once for all tests of this file.
pytestmark = pytest.mark.xdist_group("jobs")

ORCHESTRATORS = CHOICES["orchestrator"]
BROKEN = {name: importlib.import_module(f"faults.{name}").BROKEN for name in ORCHESTRATORS}

Judged = dict[tuple[str, str], Verdict]


@pytest.fixture(scope="session")
def judged(render: Render) -> Callable[[str], Judged]:
    """Judge all jobs of an orchestrator, with each platform, in one process: its imports are slow."""

    @functools.cache
    def verdicts(orchestrator: str) -> Judged:
        renders = {p: render(platform=p, orchestrator=orchestrator) for p in CHOICES["platform"]}
        texts = {(p, job): dry_run(project, job) for p, project in renders.items() for job in JOBS}
        return dict(zip(texts, judge(orchestrator, *texts.values()), strict=True))

    return verdicts


@pytest.mark.parametrize("orchestrator", ORCHESTRATORS)
def test_every_job_is_accepted(judged: Callable[[str], Judged], orchestrator: str) -> None:
    faults = {job: verdict["faults"] for job, verdict in judged(orchestrator).items()}
    assert not any(faults.values()), faults


@pytest.mark.parametrize("orchestrator", ORCHESTRATORS)
def test_broken_jobs_are_refused(
    render: Render, orchestrator: str, record_property: Callable[[str, object], None]
) -> None:
    """Thirty faults and more of different kinds; the layers that find them are told at the end of the run."""
    project = render(orchestrator=orchestrator)
    changes = BROKEN[orchestrator]
    assert len(set(changes)) == len(changes) >= 30
    originals = [dry_run(project, job) for job, _, _ in changes]
    absent = [change for change, text in zip(changes, originals, strict=True) if change[1] not in text]
    assert not absent, "these change nothing"
    texts = [text.replace(old, new, 1) for (_, old, new), text in zip(changes, originals, strict=True)]
    found = [verdict["faults"] for verdict in judge(orchestrator, *texts)]
    assert all(found), [change for change, faults in zip(changes, found, strict=True) if not faults]
    layers = Counter(faults[0][0] for faults in found)
    counts = ", ".join(f"{layer} {count}" for layer, count in layers.most_common())
    record_property("told", f"{orchestrator}: {len(found)} broken jobs refused: {counts}")


@pytest.mark.parametrize("orchestrator", ORCHESTRATORS)
def test_every_job_is_accepted_under_the_longest_name(render: Render, orchestrator: str) -> None:
    project = render(repo_name="x" * 40, src_package_name="p" * 40, orchestrator=orchestrator)
    verdicts = judge(orchestrator, *(dry_run(project, job) for job in JOBS))
    assert not any(verdict["faults"] for verdict in verdicts), verdicts


# What to change in jobs/cluster.yaml, and into what: each of them in all files that hold it.
UNFIT = [
    ("accessModes", "accessMode"),
    ("ReadWrite", "WriteRead"),
    ("storage: 20Gi", "storage: 20GiB"),
    ("v1\nkind: PersistentVolumeClaim", "v2\nkind: PersistentVolumeClaim"),
    ("automountServiceAccountToken: false", "automountServiceAccountToken: true"),
    ("policyTypes: [Ingress]", "policyTypes: [Entry]"),
    ("runAsUser: 10001", "runAsUser: 0"),
    ("claimName", "claim"),
    ("ingress: [{from: ", "ingress: [{}] #"),
    ("port: 8786", "port: dask"),
]


@pytest.mark.parametrize("orchestrator", ORCHESTRATORS)
def test_what_a_namespace_needs_is_accepted(
    render: Render, orchestrator: str, record_property: Callable[[str, object], None]
) -> None:
    text = (render(orchestrator=orchestrator) / "jobs" / "cluster.yaml").read_text(encoding="utf-8")
    broken = [text.replace(old, new, 1) for old, new in UNFIT if old in text]
    sound, *found = judge("cluster", text, *broken)
    assert not sound["faults"]
    assert sound["asks"]["PersistentVolumeClaim"] == "my-ml-project-data"
    assert all(verdict["faults"] for verdict in found), found
    record_property("told", f"{orchestrator}: {len(found)} broken jobs/cluster.yaml refused")


@pytest.mark.parametrize("orchestrator", ORCHESTRATORS)
@pytest.mark.parametrize("job", JOBS)
def test_a_job_asks_for_the_same_everywhere(
    judged: Callable[[str], Judged], render: Render, orchestrator: str, job: str
) -> None:
    project = render(orchestrator=orchestrator)
    for platform in CHOICES["platform"]:
        asks = dict(judged(orchestrator)[platform, job]["asks"])
        asks.pop("workers", None)
        command, before = asks.pop("command"), asks.pop("before")
        role = "serve" if job == "serve" else "workspace" if job in SERVICES else "pipeline"
        gpu = {"train-gpu": 1, "train-fraction": 0.5}.get(job, 0)
        assert asks == {
            "image": f"registry.example.com/my-team/my-ml-project/{role}{'-gpu' if gpu else ''}:latest",
            "pull": ["my-ml-project-registry"],
            "env": ["my-ml-project-env"],
            "job": True,
            "user": [10001, 10001, True],
            "read_only": True,
            "escalation": False,
            "data": "my-ml-project-data",
            "files": "my-ml-project-files",
            "scratch": True,
            "limits": ["cpu", "memory"],
            "gpu": gpu,
        }
        steps = [asks | {"command": ["python", "-m", "my_ml_project.prepare"]}] if job.startswith("pipeline") else []
        assert before == steps
        if job in ("workspace", "jupyter"):
            assert command[0] == {"workspace": "code-server", "jupyter": "jupyter-lab"}[job]
            continue
        if job in DASK:
            assert command[command.index("dask") + 1] == {"dask": "scheduler", "dask-workers": "worker"}[job]
            continue
        # The command of a laptop, of a module that exists, and its overrides as they were typed.
        words = OVERRIDES if job in VERBS else []
        worker = "$(JOB_COMPLETION_INDEX)" if orchestrator == "none" else "0"
        if job == "tune":  # what tells its workers apart; Kubernetes expands it in the pod
            words = [f"study.worker={worker}", *words]
        if job == "infer":
            words = [f"worker.index={worker}", "worker.count=1", *words]
        verb = job.partition("-")[0].replace("pipeline", "train")
        assert command == ["python", "-m", f"my_ml_project.{verb}", *words]
        assert (project / "src" / "my_ml_project" / f"{verb}.py").exists()


def test_overrides_reach_hydra_as_they_were_typed(judged: Callable[[str], Judged], render: Render) -> None:
    """By way of each orchestrator's own reading of the spec."""
    project = render()
    commands = {
        tuple(judged(orchestrator)[platform, "train"]["asks"]["command"])
        for orchestrator in ORCHESTRATORS
        for platform in CHOICES["platform"]
    }
    for command in commands:
        done = run(*command, "--cfg", "job", cwd=project, PYTHONPATH=str(project / "src"))
        assert done.returncode == 0, done.stderr
        config = yaml.safe_load(done.stdout)
        assert (config["note"], config["a"], config["model"]["name"]) == (NOTE, {"b": [1, 2]}, "forest")


def test_the_script_for_windows_is_powershell(render: Render) -> None:
    code = "import sys, tree_sitter as t, tree_sitter_powershell as p;" + (
        "sys.exit(t.Parser(t.Language(p.language())).parse(sys.stdin.buffer.read()).root_node.has_error)"
    )
    script = (render() / "jobs" / "submit.ps1").read_text(encoding="utf-8")
    for text, broken in ((script, False), (script.replace("(Test-Path $python) {", "(Test-Path $python {"), True)):
        done = subprocess.run([TOOLS / "python", "-c", code], input=text.encode())
        assert bool(done.returncode) == broken


@pytest.mark.parametrize("orchestrator", ORCHESTRATORS)
@pytest.mark.parametrize(
    ("job", "setting"), [("tune", "TUNE_WORKERS"), ("infer", "INFER_WORKERS"), ("dask-workers", "DASK_WORKERS")]
)
def test_workers_share_a_job(render: Render, orchestrator: str, job: str, setting: str) -> None:
    project = render(orchestrator=orchestrator)
    done = submit(project, job, "--dry-run", **{setting: "3"})
    [verdict] = judge(orchestrator, done.stdout)
    assert not verdict["faults"]
    assert verdict["asks"].get("workers", 3) == 3
    if job == "infer":
        assert "worker.count=3" in verdict["asks"]["command"]
    for wrong in ("0", "three", ""):
        refused = submit(project, job, "--dry-run", **{setting: wrong})
        assert refused.returncode == 1
        assert f"{setting}={wrong}: a number of workers" in refused.stderr


def test_organisations_and_pipelines_do_not_change_jobs(render: Render) -> None:
    """So that what is said of jobs for a platform and an orchestrator is said of every combination."""
    for context in CONTEXTS:
        project, plain = render(**context), render(**context | {"organisation": "generic", "ci": "gitlab"})
        assert {f.name: f.read_bytes() for f in project.glob("jobs/*.*")} == {
            f.name: f.read_bytes() for f in plain.glob("jobs/*.*")
        }


@pytest.mark.parametrize("orchestrator", ORCHESTRATORS)
def test_limits_hold_a_job_back(render: Render, orchestrator: str) -> None:
    """What runs to an end is tried again at most so often and, where the orchestrator can, has its time."""
    project = render(orchestrator=orchestrator)
    for job in VERBS:
        text = dry_run(project, job)
        words = {
            "none": ("restartPolicy: Never", "backoffLimit", "activeDeadlineSeconds"),
            "polyaxon": ("restartPolicy: Never", "maxRetries", "timeout"),
            "runai": ("restartPolicy: Never", "backoffLimit"),
        }[orchestrator]
        assert all(word in text for word in words), job


@pytest.mark.parametrize("orchestrator", ORCHESTRATORS)
@pytest.mark.parametrize(
    ("tag", "image"), [("1.2.0", ":1.2.0"), ("sha256:" + "0" * 64, "@sha256:" + "0" * 64), ("", ":latest")]
)
def test_the_tag_or_digest_comes_from_one_place(render: Render, orchestrator: str, tag: str, image: str) -> None:
    project = render(orchestrator=orchestrator)
    done = submit(project, "train", "--dry-run", **({"IMAGE_TAG": tag} if tag else {}))
    assert f"my-ml-project/pipeline{image}\n" in done.stdout
    assert "IMAGE_TAG=latest\n" in (project / "jobs" / "settings.env").read_text(encoding="utf-8")


@pytest.mark.parametrize("orchestrator", ORCHESTRATORS)
@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (
            [],
            "which job? One of: dask dask-workers doctor infer infer-schedule jupyter pipeline",
        ),
        (["trian"], "trian is not one of: dask"),
        (["serve", "port=9000"], "serve takes no arguments; change jobs/serve.yaml instead"),
        (["dask-workers", "n=9"], "dask-workers takes no arguments; change jobs/dask-workers.yaml instead"),
    ],
)
def test_a_wrong_call_gets_one_line(render: Render, orchestrator: str, words: list[str], answer: str) -> None:
    done = submit(render(orchestrator=orchestrator), *words)
    assert done.returncode == 1
    assert answer in done.stderr
    assert done.stderr.count("\n") == 1


def test_help_names_the_jobs(render: Render) -> None:
    done = submit(render(), "--help")
    assert done.returncode == 0
    said = re.sub(r"-\n\s+", "-", done.stdout)  # where a line ends within a name
    assert all(job in said for job in JOBS)
    assert "--dry-run" in done.stdout


def test_without_an_environment_there_is_one_line(render: Render) -> None:
    done = run("jobs/submit.sh", "train", cwd=render(), VENV="/nowhere")
    assert done.returncode == 1
    assert done.stderr == "jobs/submit.sh: there is no environment to run it in: run 'make jobs' first\n"


def test_the_scripts_are_sound(render: Render) -> None:
    done = run(TOOLS / "shellcheck", *Path(render()).glob("jobs/*.sh"), cwd=render())
    assert done.returncode == 0, done.stdout
