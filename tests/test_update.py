"""Rendering again gives the same bytes, so an update of a project shows real changes only."""

import json
import shutil
from pathlib import Path

import pytest
from conftest import CHOICES, OVERLAYS, ROOT, TEMPLATE, Render, files, run

TEMPLATE_FILES = ("cookiecutter.json", "local_extensions.py", "hooks/", f"{TEMPLATE.name}/")


def contents(folder: Path) -> dict[str, bytes]:
    held = files(folder) - {".cruft.json"}
    return {name: (folder / name).read_bytes() for name in held if not name.startswith(".git/")}


def git(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=A", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false")
    done = run("git", *who, *words, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def commit(folder: Path) -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "a change")


def cruft(folder: Path, *words: object) -> None:
    done = run("cruft", *words, cwd=folder)
    assert done.returncode == 0, done.stderr + done.stdout
    assert "is ready" not in done.stdout


@pytest.fixture
def template(tmp_path: Path) -> Path:
    """The template in a repository of its own, because cruft renders commits and not edits."""
    template = tmp_path / "template"
    for name in files(ROOT):
        if name.startswith(TEMPLATE_FILES):
            copy = template / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy)
    git(template, "init", "--quiet")
    commit(template)
    return template


@pytest.fixture
def project(template: Path, tmp_path: Path) -> Path:
    """A project that cruft made of it, under version control."""
    cruft(tmp_path, "create", template, "--no-input", "--output-dir", tmp_path)
    project = tmp_path / "my-ml-project"
    git(project, "init", "--quiet")
    commit(project)
    return project


def test_two_renders_are_identical(tmp_path: Path) -> None:
    """In two processes, whose hash seeds, clocks and output folders differ."""
    for number in ("1", "2"):
        out = tmp_path / number
        command = ("cookiecutter", ROOT, "--no-input", "-o", out)
        done = run(*command, cwd=tmp_path, PYTHONHASHSEED=number)
        assert done.returncode == 0, done.stderr
        assert "cd my-ml-project\n    make setup" in done.stdout
    assert contents(tmp_path / "1") == contents(tmp_path / "2")


def test_cruft_renders_what_cookiecutter_renders(project: Path, render: Render) -> None:
    assert contents(project) == contents(render())


def test_an_update_brings_the_new_release_and_keeps_a_users_edits(template: Path, project: Path) -> None:
    readme = project / "README.md"
    readme.write_text("Ours.\n\n" + readme.read_text(encoding="utf-8"), encoding="utf-8")
    (project / "jobs" / "mine.yaml").write_text("mine: true\n")
    (project / "mkdocs.yml").unlink()
    commit(project)
    with (template / TEMPLATE.name / "README.md").open("a", encoding="utf-8") as text:
        text.write("\nNew in this release.\n")
    (template / TEMPLATE.name / "NEWS.md").write_text("News of {{ cookiecutter.repo_name | shouted }}\n")
    extension = template / "local_extensions.py"
    with extension.open("a", encoding="utf-8") as code:
        code.write("\n        environment.filters['shouted'] = str.upper\n")
    commit(template)

    cruft(project, "update", "--skip-apply-ask")

    text = readme.read_text(encoding="utf-8")
    assert text.startswith("Ours.\n")
    assert text.endswith("New in this release.\n")
    assert (project / "NEWS.md").read_text() == "News of MY-ML-PROJECT\n"
    assert (project / "jobs" / "mine.yaml").exists()
    assert not (project / "mkdocs.yml").exists()
    changed = git(project, "status", "--porcelain", "--untracked-files=all").split()[1::2]
    assert set(changed) == {".cruft.json", "README.md", "NEWS.md"}


@pytest.mark.parametrize("question", CHOICES)
def test_a_live_project_can_change_its_mind(question: str, project: Path, render: Render) -> None:
    (project / "notes.md").write_text("Ours.\n")
    commit(project)
    answer = {question: CHOICES[question][-1]}

    cruft(project, "update", "--skip-apply-ask", "--variables-to-update", json.dumps(answer))

    assert contents(project) == contents(render(**answer)) | {"notes.md": b"Ours.\n"}
    changed = git(project, "status", "--porcelain", "--untracked-files=all").split()[1::2]
    overlay = set().union(*(files(OVERLAYS / question / choice) for choice in CHOICES[question]))
    assert set(changed) <= overlay | {".cruft.json", "docs/project.md"}  # the page that lists the answers


def test_an_update_refuses_a_bad_answer_and_changes_nothing(project: Path) -> None:
    done = run("cruft", "update", "-y", "--variables-to-update", '{"repo_name": "../x"}', cwd=project)
    assert done.returncode == 1
    assert "repo_name: '../x'" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert git(project, "status", "--porcelain") == ""
