"""The hooks, as plain functions."""

import importlib.metadata
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import CHOICES, ROOT

from hooks.post_gen_project import lay
from hooks.pre_gen_project import TAKEN, complaints

GOOD = {
    "project_name": "Penguins",
    "description": "Tells penguins apart.",
    "author_name": "Polar Team",
    "repo_name": "penguins-2",
    "src_package_name": "penguins_2",
    "registry_project_path": "registry.example.com:5000/team/penguins",
    **{question: options[-1] for question, options in CHOICES.items()},
}


def write(path: Path, text: str = "x") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_lay_keeps_the_chosen_overlay_only(tmp_path: Path) -> None:
    write(tmp_path / "README.md")
    write(tmp_path / "_overlays/orchestrator/a/jobs/train.yaml", "a")
    write(tmp_path / "_overlays/orchestrator/b/jobs/train.yaml", "b")
    lay(tmp_path, {"orchestrator": "b"})
    assert (tmp_path / "jobs/train.yaml").read_text() == "b"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "jobs"]


def test_lay_leaves_what_the_user_added(tmp_path: Path) -> None:
    write(tmp_path / "jobs/mine/train.yaml", "mine")
    write(tmp_path / "_overlays/orchestrator/a/jobs/train.yaml")
    lay(tmp_path, {"orchestrator": "a"})
    assert (tmp_path / "jobs/mine/train.yaml").read_text() == "mine"


def test_lay_changes_nothing_the_second_time(tmp_path: Path) -> None:
    write(tmp_path / "_overlays/orchestrator/a/jobs/train.yaml")
    lay(tmp_path, {"orchestrator": "a"})
    lay(tmp_path, {"orchestrator": "a"})
    assert (tmp_path / "jobs/train.yaml").read_text() == "x"


def test_of_two_renders_into_one_folder_at_once_neither_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other's hook runs when this one has begun; Cookiecutter would delete the folder of a hook that fails."""
    write(tmp_path / "_overlays/orchestrator/a/jobs/train.yaml")
    copy = shutil.copytree

    def meanwhile(*words: Any, **options: Any) -> Any:
        monkeypatch.setattr(shutil, "copytree", copy)
        lay(tmp_path, {"orchestrator": "a"})
        return copy(*words, **options)

    monkeypatch.setattr(shutil, "copytree", meanwhile)
    lay(tmp_path, {"orchestrator": "a"})
    assert (tmp_path / "jobs/train.yaml").read_text() == "x"
    assert [path.name for path in tmp_path.iterdir()] == ["jobs"]


def test_lay_fails_on_a_choice_without_an_overlay(tmp_path: Path) -> None:
    write(tmp_path / "_overlays/platform/earth/README.md")
    with pytest.raises(FileNotFoundError):
        lay(tmp_path, {"platform": "moon"})


def test_good_answers_raise_no_complaint() -> None:
    assert complaints(GOOD, CHOICES) == []


@pytest.mark.parametrize("question", GOOD)
@pytest.mark.parametrize("value", [None, 3, "", " ", "a\nb", "\x00", "a" * 5000, "\ud800"])
def test_each_question_refuses_what_none_can_use(question: str, value: object) -> None:
    (complaint,) = complaints(GOOD | {question: value}, CHOICES)
    assert complaint.startswith(f"  {question}: ")
    assert "e.g. " in complaint


@pytest.mark.parametrize(
    ("question", "value"),
    [
        *[("project_name", f"a{sign}b") for sign in "\\`${}<>\t\u202e"],
        *[("project_name", bad) for bad in (" outer", "outer ", "a" * 121)],
        ("description", "a" * 201),
        *[("repo_name", bad) for bad in ("../x", "/x", "a--b", "-a", "a-", "1a", "A", "a_b", "é")],
        *[("repo_name", bad) for bad in ("numpy", "scikit-learn", "json", "a" * 41)],
        *[("src_package_name", bad) for bad in ("a-b", "_a", "a__b", "A", "1a", "a" * 41)],
        *[("src_package_name", bad) for bad in ("class", "match", "json", "tests", "conf")],
        *[("src_package_name", bad) for bad in ("sklearn", "yaml", "google", "mlflow")],
        *[("registry_project_path", f"r.io/x{end}") for end in ("/", ":1", "@sha256:0", "/../y")],
        *[("registry_project_path", bad) for bad in ("https://r.io/x", "r.io", "R.io/x", "team/x")],
        ("platform", "moon"),
    ],
)
def test_a_bad_value_is_the_one_complaint(question: str, value: str) -> None:
    (complaint,) = complaints(GOOD | {question: value}, CHOICES)
    assert complaint.startswith(f"  {question}: {value[:40]!r}"[:20])


@pytest.mark.parametrize(
    ("question", "value"),
    [
        *[("description", good) for good in ('say "hi"', "it's", "模型 é 😀 👩‍🔬", "a: #b, [c]", "a" * 200)],
        *[("repo_name", good) for good in ("a", "a1-b2-3", "a" * 40)],
        ("src_package_name", "a1_b2_3"),
        *[("registry_project_path", good) for good in ("localhost:5000/a", "kind:5000/a", "r.io/a__b-c.d/e")],
    ],
)
def test_an_unusual_value_is_good(question: str, value: str) -> None:
    assert complaints(GOOD | {question: value}, CHOICES) == []


def test_a_project_cannot_take_the_name_of_anything_installed() -> None:
    """Which is every render's packages too: they share this environment."""
    installed = {dist.metadata["Name"].lower() for dist in importlib.metadata.distributions()}
    names = {name.replace("-", "_").replace(".", "_") for name in installed}
    names |= {name for name in importlib.metadata.packages_distributions() if name.isidentifier()}
    usable = {name for name in names if name == name.lower() and not name.startswith("_")}
    assert not usable - TAKEN - {"slipway"}, "add these to TAKEN"


def test_the_hooks_need_nothing_but_python() -> None:
    for hook in (ROOT / "hooks").glob("*.py"):
        lines = [line.split()[1] for line in hook.read_text().splitlines() if line.startswith(("import", "from"))]
        assert {line.split(".")[0] for line in lines} <= sys.stdlib_module_names
