import json
import os
from pathlib import Path

import pytest

from {{ cookiecutter.src_package_name }} import doctor
from {{ cookiecutter.src_package_name }}.columns import TARGET

from .conftest import ROOT, rewrite


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[bool, dict[str, dict[str, object]]]:
    with pytest.raises(SystemExit) as stop:
        doctor.main(["--json", *argv])
    return not stop.value.code, {finding["name"]: finding for finding in json.loads(capsys.readouterr().out)}


def test_a_new_project_is_well(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    well, findings = run(capsys)
    assert well
    assert [name for name, finding in findings.items() if finding["well"]][: len(doctor.NEEDED)] == list(doctor.NEEDED)


def test_every_page_it_points_to_exists() -> None:
    assert all((ROOT / page).exists() for _, page in doctor.CHECKS.values())


@pytest.mark.parametrize(
    ("check", "override", "fix"),
    [
        ("mlflow", "tracking.uri=http://127.0.0.1:1", "MLFLOW_TRACKING_URI"),
        ("data", "data.raw=raw/nothing.csv", "no such file"),
        ("storage", "storage.root=/proc/nowhere", "nowhere"),
    ],
)
def test_what_is_wrong_is_named(
    folder: Path, capsys: pytest.CaptureFixture[str], check: str, override: str, fix: str
) -> None:
    well, findings = run(capsys, override, "--only", "python", check)
    assert not well
    assert findings["python"]["well"]
    assert fix in str(findings[check]["text"])


def test_a_changed_column_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rewrite(folder, lambda table: table.drop(TARGET))
    well, findings = run(capsys, "--only", "data")
    assert not well
    assert repr(TARGET) in str(findings["data"]["text"])


def test_what_is_not_needed_does_not_fail_unless_it_is_asked_for(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(folder))
    well, findings = run(capsys, "--only", "images", "cluster")
    assert well
    assert "docker login" in str(findings["images"]["text"])
    assert "there is no jobs/submit" in str(findings["cluster"]["text"])
    well, _ = run(capsys, "--only", "cluster", "--need", "cluster")
    assert not well


@pytest.mark.skipif(os.name == "nt", reason="the stand-in is a shell's")
@pytest.mark.parametrize(
    ("line", "well", "text"),
    [
        ('echo "the cluster would take $1"', True, "the cluster would take doctor"),
        ('echo "jobs/submit.sh: you may not" >&2; exit 1', False, "you may not"),
        ("exit 1", False, "`jobs/submit.sh doctor --check` prints no reason"),
    ],
)
def test_the_cluster_is_asked_by_what_sends_jobs(
    folder: Path, capsys: pytest.CaptureFixture[str], line: str, well: bool, text: str
) -> None:
    script = folder / "jobs" / "submit.sh"
    script.parent.mkdir()
    script.write_text(f"#!/bin/sh\n{line}\n")
    script.chmod(0o755)
    found, findings = run(capsys, "--only", "cluster", "--need", "cluster")
    assert found == well
    assert findings["cluster"]["text"] == text


@pytest.mark.parametrize(
    ("host", "login"), [("registry.test", "registry.test"), ("docker.io", "https://index.docker.io/v1/")]
)
def test_a_login_is_seen(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, host: str, login: str
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(folder))
    (folder / "config.json").write_text(json.dumps({"auths": {login: {}}}))
    well, _ = run(capsys, f"images={host}/team/project", "--only", "images", "--need", "images")
    assert well


def test_lines_are_for_people(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        doctor.main(["data.raw=nothing", "--only", "python", "data"])
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("ok   python")
    assert second.startswith("FAIL data")
    assert second.endswith("(see docs/guide/prepare.md)")
