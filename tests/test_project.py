"""What a rendered project promises of itself: its own checks pass, in every combination."""

import itertools
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import CHOICES, CONTEXTS, ROOT, Render, run, texts
from hydra import compose, initialize_config_dir

VENV = Path(sys.executable).parents[1]
# On one worker, where the second check finds the types of all libraries looked up.
CHECKS = pytest.mark.xdist_group("checks")
MYPY = {"MYPY_CACHE_DIR": str(ROOT / "build" / "mypy")}


def copied(project: Path, to: Path) -> Path:
    """Copy a render, so that it may be worked in."""
    return Path(shutil.copytree(project, to / project.name))


def passes(*command: object, cwd: Path, **more: str) -> str:
    """Run a command that must succeed."""
    done = run(*command, cwd=cwd, PYTHONPATH=str(cwd / "src"), **more)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-6000:]
    return done.stdout


def test_it_is_formatted_and_linted(project: Path) -> None:
    passes("ruff", "format", "--no-cache", "--check", ".", cwd=project)
    passes("ruff", "check", "--no-cache", ".", cwd=project)


def test_its_configuration_composes(render: Render, monkeypatch: pytest.MonkeyPatch) -> None:
    """In every combination; where the files are the same, they are looked at once."""
    monkeypatch.delenv("STORAGE_ROOT", raising=False)
    folders = [render(**context) / "conf" for context in CONTEXTS]
    distinct = {frozenset(texts(folder).items()): folder for folder in folders}
    assert len(distinct) >= len(CHOICES["platform"])
    for folder in distinct.values():
        models = sorted(path.stem for path in (folder / "model").glob("*.yaml"))
        with initialize_config_dir(str(folder), version_base="1.3"):
            for verb in ("prepare", "infer", "doctor"):
                assert compose(verb).storage.root == "data", folder
            for verb in ("train", "tune"):
                assert [compose(verb, [f"model={model}"]).model.name for model in models] == models, folder


Answers = dict[str, str]


def pairs(context: Answers) -> set[tuple[tuple[str, str], tuple[str, str]]]:
    return set(itertools.combinations(context.items(), 2))


def pairwise(contexts: list[Answers]) -> Iterator[Answers]:
    """Some combinations that hold every pair of choices, since a link is of one file, and leads to one other."""
    left = set().union(*map(pairs, contexts))
    while left:
        best = max(contexts, key=lambda context: len(pairs(context) & left))
        left -= pairs(best)
        yield best


DAILY = list(pairwise(CONTEXTS))


def test_every_pair_of_choices_is_in_some_of_the_combinations() -> None:
    assert set().union(*map(pairs, DAILY)) == set().union(*map(pairs, CONTEXTS))
    assert len(DAILY) < len(CONTEXTS) / 2


@pytest.mark.parametrize(
    "choices",
    [pytest.param(context, marks=() if context in DAILY else pytest.mark.nightly) for context in CONTEXTS],
    ids=lambda choices: "-".join(choices.values()),
    indirect=True,
)
def test_its_guide_builds_strictly(project: Path, tmp_path: Path) -> None:
    passes("mkdocs", "build", "--strict", f"--site-dir={tmp_path}", cwd=project, NO_MKDOCS_2_WARNING="1")


@CHECKS
@pytest.mark.timeout(2400)
def test_its_whole_check_passes(render: Render, tmp_path: Path) -> None:
    """Types too, which are those of all renders: tests/test_render.py sees that they are of the same files."""
    project = copied(render(), tmp_path)
    said = passes("make", "check", f"VENV={VENV}", "ARGS=-q -n 2 -p no:cacheprovider", cwd=project, **MYPY)
    assert " passed" in said
    assert " failed" not in said


@pytest.mark.parametrize(
    "answers",
    [
        {"project_name": "Ünïcode “quoted” 🐧 项目", "repo_name": "a", "src_package_name": "z"},
        {"repo_name": "long-" + "x" * 35, "src_package_name": "p" * 40, "author_name": 'O\'Neil "Ada" #1'},
    ],
    ids=["short", "long"],
)
def test_awkward_names_change_nothing(render: Render, answers: dict[str, str], tmp_path: Path) -> None:
    project = copied(render(**answers), tmp_path)
    passes("ruff", "format", "--check", ".", cwd=project)
    passes("ruff", "check", ".", cwd=project)
    passes("mkdocs", "build", "--strict", cwd=project, NO_MKDOCS_2_WARNING="1")
    package = answers["src_package_name"]
    for verb in ("prepare", "train"):
        said = passes(sys.executable, "-m", f"{package}.{verb}", cwd=project)
    assert "promoted to champion" in said
