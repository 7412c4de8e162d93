import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from {{ cookiecutter.src_package_name }} import freshness, plan, storage
from {{ cookiecutter.src_package_name }}.errors import Problem
from {{ cookiecutter.src_package_name }}.prepare import prepare
from {{ cookiecutter.src_package_name }}.tables import Manifest, Source
from {{ cookiecutter.src_package_name }}.tune import tune

from .conftest import QUICK, configure, raw_files, retrain, rewrite, tracker

OLDER = "the tables are older than the raw files ("


@pytest.fixture
def folder_of_files(tmp_path: Path) -> Path:
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("x\n1\n")
    return tmp_path


def made_of(folder: Path) -> Manifest:
    """The manifest of tables that were made from a folder's files as they are."""
    found = [
        Source(path=name, rows=1, sha256=storage.digest(file), bytes=file.stat().st_size, stamp=storage.stamp(file))
        for name, file in storage.files(folder).items()
    ]
    return Manifest.model_construct(raw=found)


def changes(folder: Path, manifest: Manifest) -> list[str] | None:
    return freshness.changes(configure("train", f"data.raw={folder}", "data.split.files=null"), manifest)


def unread(*_: object) -> str:
    raise AssertionError("a raw file was read")


def test_files_that_are_as_they_were_are_not_read_again(folder_of_files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = made_of(folder_of_files)
    monkeypatch.setattr(storage, "digest", unread)
    assert changes(folder_of_files, manifest) == []


def test_a_copy_with_another_time_is_the_same_file(folder_of_files: Path) -> None:
    manifest = made_of(folder_of_files)
    shutil.copyfile(folder_of_files / "a.csv", folder_of_files / "_copy")
    (folder_of_files / "_copy").replace(folder_of_files / "a.csv")
    os.utime(folder_of_files / "b.csv", (2e9, 2e9))
    assert changes(folder_of_files, manifest) == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda folder: (folder / "a.csv").write_text("x\n2\n"), ["a.csv has changed"]),
        (lambda folder: (folder / "b.csv").write_text("x\n1\n2\n"), ["b.csv has changed"]),
        (lambda folder: (folder / "c.csv").write_text("x\n3\n"), ["c.csv is new"]),
        (lambda folder: (folder / "a.csv").unlink(), ["a.csv is gone"]),
        (lambda folder: (folder / "a.csv").rename(folder / "c.csv"), ["c.csv is new", "a.csv is gone"]),
    ],
)
def test_files_that_changed_are_named(
    folder_of_files: Path, change: Callable[[Path], object], expected: list[str]
) -> None:
    manifest = made_of(folder_of_files)
    change(folder_of_files)
    assert changes(folder_of_files, manifest) == expected


def test_a_file_of_another_size_has_changed_unread(folder_of_files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = made_of(folder_of_files)
    (folder_of_files / "a.csv").write_text("x\n1\n2\n")
    monkeypatch.setattr(storage, "digest", unread)
    assert changes(folder_of_files, manifest) == ["a.csv has changed"]


def test_files_of_one_name_for_several_splits_are_told_apart(tmp_path: Path) -> None:
    for number, name in enumerate(("train", "valid", "test")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.csv").write_text(f"x\n{number}\n")
    files = ", ".join(f"{name}: {tmp_path}/{name}/x.csv" for name in ("train", "valid", "test"))
    parts = [made_of(tmp_path / name).raw for name in ("train", "valid", "test")]
    manifest = Manifest.model_construct(raw=[source for part in parts for source in part])
    # A brace beside another one would be the template's.
    config = configure("train", "data.split.files={" + files + "}")
    assert freshness.changes(config, manifest) == []
    (tmp_path / "test" / "x.csv").write_text("x\n9\n")
    assert freshness.changes(config, manifest) == ["x.csv has changed"]


@pytest.mark.parametrize("error", [Problem("no such file"), PermissionError(13, "Permission denied")])
def test_files_that_cannot_be_seen_stop_no_training(
    folder_of_files: Path, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> None:
        raise error

    manifest = made_of(folder_of_files)
    monkeypatch.setattr(storage, "files", refuse)
    assert changes(folder_of_files, manifest) is None


def test_many_changes_are_one_short_line() -> None:
    found = [f"{name}.csv is new" for name in "abcde"]
    assert freshness.describe(found) == "a.csv is new, b.csv is new, c.csv is new, and 2 more"
    [remark] = freshness.remarks(found)
    assert remark == f"{OLDER}{freshness.describe(found)}): to train on these, run `make prepare` first"
    assert freshness.remarks([]) == freshness.remarks(None) == []


def lose_a_row(folder: Path) -> None:
    """Take a row from the raw files."""
    rewrite(folder, lambda table: table[:-1])


@pytest.mark.usefixtures("undrawn")
def test_a_training_on_older_tables_says_so(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def tag() -> str:
        return str(tracker().client.get_run(retrain().run_id).data.tags["raw_files"])

    assert tag() == "unchanged"
    assert OLDER not in capsys.readouterr().out
    lose_a_row(trained)
    changed = tag()
    assert changed.endswith("has changed")
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first == f"{OLDER}{changed}): to train on these, run `make prepare` first"
    assert second.startswith("run ")
    for file in raw_files(trained):
        file.unlink()
    assert tag() == "not seen"
    assert OLDER not in capsys.readouterr().out


def test_prepare_makes_the_tables_anew(folder: Path) -> None:
    prepare(configure("prepare"))
    lose_a_row(folder)
    config = configure("train", f"model={QUICK}")
    assert plan.make(config).remarks
    prepare(configure("prepare"))
    assert plan.make(config).changes == []


@pytest.mark.usefixtures("undrawn")
def test_a_search_on_older_tables_says_so_before_its_trials(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lose_a_row(trained)
    tune(configure("tune", f"model={QUICK}", "study.trials=1"), tracker())
    assert capsys.readouterr().out.startswith(OLDER)
