"""A third organisation, and a fourth orchestrator: made as docs/add-a-choice.md says, and nothing else is touched."""

import json
import re
import shutil
from pathlib import Path

import pytest
from conftest import ROOT, run
from specs import submit

STEPS = (ROOT / "docs" / "add-a-choice.md").read_text(encoding="utf-8")


@pytest.fixture
def template(tmp_path: Path) -> Path:
    names = ("cookiecutter.json", "hooks", "local_extensions.py", "{{cookiecutter.repo_name}}")
    for name in names:
        source = ROOT / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, tmp_path / name)
    return tmp_path


def choose(template: Path, question: str, sibling: str, name: str) -> Path:
    """Steps 1 and 3 of the page: copy a sibling's folder, and name the choice."""
    assert "Copy `{{cookiecutter.repo_name}}/_overlays/orchestrator/none`" in STEPS
    assert re.search(r"Add `\"slurm\"` to `orchestrator` in `cookiecutter.json`, and under `__prompts__`", STEPS)
    overlays = template / "{{cookiecutter.repo_name}}" / "_overlays" / question
    shutil.copytree(overlays / sibling, overlays / name)
    file = template / "cookiecutter.json"
    questions = json.loads(file.read_text(encoding="utf-8"))
    questions[question].append(name)
    questions["__prompts__"][question][name] = f"{name.title()}: as the page says"
    file.write_text(json.dumps(questions), encoding="utf-8")
    return overlays / name


def built(template: Path, **answers: str) -> Path:
    words = [f"{name}={value}" for name, value in answers.items()]
    done = run("cookiecutter", template, "--no-input", "--output-dir", template / "out", *words, cwd=template)
    assert done.returncode == 0, done.stdout + done.stderr
    (project,) = (template / "out").iterdir()
    quiet = {"NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(project / "src")}
    done = run("mkdocs", "build", "--strict", cwd=project, **quiet)
    assert done.returncode == 0, done.stderr
    return project


def test_a_third_organisation_is_a_folder(template: Path) -> None:
    assert "its addresses in `docs/links.md`" in STEPS
    folder = choose(template, "organisation", "generic", "acme")
    links = folder / "docs" / "links.md"
    links.write_text(links.read_text(encoding="utf-8").replace("example.com", "acme.test"), encoding="utf-8")
    project = built(template, organisation="acme", orchestrator="runai")
    html = "".join(page.read_text(encoding="utf-8") for page in (project / "site").rglob("*.html"))
    for name in ("registry", "storage", "clusters", "jobs", "gitlab"):
        assert f"https://{name}.acme.test" in html
    assert not re.search(r'href="https://\w+\.example\.com', html)


def test_a_fourth_orchestrator_is_a_folder(template: Path) -> None:
    folder = choose(template, "orchestrator", "none", "slurm")
    page = folder / "docs" / "guide" / "orchestrator.md"
    page.write_text("# Slurm\n\nQueues.\n\n## The namespace\n\n## On a laptop\n", encoding="utf-8")
    project = built(template, orchestrator="slurm")
    assert "Queues." in (project / "site" / "guide" / "orchestrator.html").read_text(encoding="utf-8")
    done = submit(project, "train", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "my-ml-project-train" in done.stdout
