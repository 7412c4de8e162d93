"""A project's pipeline judges its job specs: what the team changes in jobs/ is refused before the cluster sees it."""

import subprocess
from pathlib import Path

import pytest
from conftest import CHOICES, Render, run
from specs import JOBS, TOOLS, dry_run

# Slips of a team, by orchestrator: what to change in what is sent, into what, and of what the complaint must speak.
BROKEN = {
    ("none", "train"): ("image: ", "imagee: ", "imagee"),
    ("none", "serve"): ("readinessProbe:", "readynessProbe:", "readynessProbe"),
    ("none", "infer-schedule"): ("schedule: ", "scheduled: ", "schedule"),
    ("none", "dask"): ("podSelector:", "podsSelector:", "podsSelector"),
    ("none", "tune"): ("completions: ", "completions: some # ", "spec.completions"),
    ("runai", "train"): ("image: ", "imagee: ", "spec.imagee: unknown"),
    ("runai", "serve"): ("minReplicas: ", "minimumReplicas: ", "minimumReplicas"),
    ("runai", "workspace"): ("name: ", "nom: ", "name"),
    ("runai", "dask"): ("labels:", "label:", "spec.label: unknown"),
    ("runai", "infer"): ("cpuCoreRequest: ", "cpuCoreRequest: some # ", "cpuCoreRequest"),
    ("polyaxon", "train"): ("kind: ", "kinds: ", "kind"),
    ("polyaxon", "tune"): ("concurrency: ", "concurrent: ", "concurrent"),
    ("polyaxon", "infer-schedule"): ("cron: ", "crone: ", "crone"),
    ("polyaxon", "dask-workers"): ("matrix:", "matrices:", "matrices"),
    ("polyaxon", "serve"): ("ports:", "port:", "port"),
}


def judged(project: Path, *files: Path) -> subprocess.CompletedProcess[str]:
    return run(TOOLS.absolute() / "python", "ci/specs.py", *files, cwd=project)


@pytest.mark.parametrize("orchestrator", CHOICES["orchestrator"])
def test_all_jobs_are_taken(render: Render, tmp_path: Path, orchestrator: str) -> None:
    project = render(orchestrator=orchestrator)
    files = [tmp_path / f"{job}.yaml" for job in JOBS]
    for file in files:
        file.write_text(dry_run(project, file.stem), encoding="utf-8")
    done = judged(project, *files)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("orchestrator", "job"), BROKEN)
def test_a_slip_is_named(render: Render, tmp_path: Path, orchestrator: str, job: str) -> None:
    old, new, complaint = BROKEN[orchestrator, job]
    project = render(orchestrator=orchestrator)
    text = dry_run(project, job)
    assert old in text
    (tmp_path / "broken.yaml").write_text(text.replace(old, new, 1), encoding="utf-8")
    done = judged(project, tmp_path / "broken.yaml")
    assert done.returncode == 1
    assert f"{tmp_path}/broken.yaml: " in done.stderr
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr
