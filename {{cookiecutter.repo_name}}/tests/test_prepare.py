from pathlib import Path

import polars as pl
import pytest

from {{ cookiecutter.src_package_name }} import prepared, storage
from {{ cookiecutter.src_package_name }}.errors import Problem
from {{ cookiecutter.src_package_name }}.prepare import prepare
from {{ cookiecutter.src_package_name }}.schema import TARGET

from .conftest import a_number, configure, rewrite, spoil


def test_every_row_is_in_one_table(folder: Path) -> None:
    manifest = prepare(configure("prepare"))
    _, tables = prepared.read(folder / "data/prepared")
    assert sum(map(len, tables.values())) == sum(part.rows for part in manifest.raw)
    assert [len(tables[name]) for name in tables] == [manifest.splits[name].rows for name in tables]


def test_the_size_of_batches_changes_nothing(folder: Path) -> None:
    whole = prepare(configure("prepare"))
    assert prepare(configure("prepare", "batch_rows=7")) == whole


def test_another_seed_makes_other_tables(folder: Path) -> None:
    one, other = prepare(configure("prepare")), prepare(configure("prepare", "seed=1"))
    assert one.version != other.version
    assert one.splits["train"].sha256 != other.splits["train"].sha256


def test_bad_rows_are_all_told_and_nothing_is_written(folder: Path) -> None:
    rewrite(folder, spoil(3, a_number(), "much"))
    rewrite(folder, spoil(9, TARGET, "no such thing"))
    with pytest.raises(Problem, match="2 bad row") as caught:
        prepare(configure("prepare", "batch_rows=5"))
    assert all(word in str(caught.value) for word in ("much", "no such thing", a_number(), TARGET))
    assert not (folder / "data/prepared").exists()


def test_bad_rows_can_be_set_aside(folder: Path) -> None:
    rewrite(folder, spoil(3, a_number(), "much"))
    rewrite(folder, spoil(9, TARGET, "no such thing"))
    manifest = prepare(configure("prepare", "bad_rows=quarantine", "batch_rows=5"))
    quarantine = pl.read_csv(folder / "data/prepared" / manifest.version / "quarantine.csv")
    assert manifest.rejected == 2
    assert quarantine["row"].to_list() == [3, 9]
    assert ["much" in record for record in quarantine["record"]] == [True, False]


def test_a_changed_column_is_named_and_nothing_is_written(folder: Path) -> None:
    rewrite(folder, lambda table: table.rename({TARGET: "renamed"}))
    with pytest.raises(Problem, match=f"no column '{TARGET}'"):
        prepare(configure("prepare"))
    assert not (folder / "data/prepared").exists()


def test_a_failure_half_way_leaves_the_tables_before_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = prepare(configure("prepare"))

    def fail(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(pl, "collect_all", fail)
    with pytest.raises(OSError, match="disk full"):
        prepare(configure("prepare", "seed=1"))
    manifest, _ = prepared.read(folder / "data/prepared")
    assert manifest == before


def test_files_of_a_folder_are_one_table(folder: Path) -> None:
    file = rewrite(folder, lambda table: table)
    whole = pl.read_csv(file, infer_schema=False)
    (folder / "data/many").mkdir()
    whole.head(10).write_csv(folder / "data/many/some.csv")
    whole.slice(10).write_csv(folder / "data/many/more.csv")
    manifest = prepare(configure("prepare", "data.raw=many"))
    assert sum(part.rows for part in manifest.splits.values()) == len(whole)


def test_too_few_rows_are_a_problem(folder: Path) -> None:
    rewrite(folder, lambda table: table.head(1))
    with pytest.raises(Problem, match="too few"):
        prepare(configure("prepare"))


def test_an_unknown_policy_is_a_problem(folder: Path) -> None:
    with pytest.raises(Problem, match="fail or quarantine"):
        prepare(configure("prepare", "bad_rows=ignore"))


def test_tables_that_were_changed_are_refused(folder: Path) -> None:
    manifest = prepare(configure("prepare"))
    file = folder / "data/prepared" / manifest.splits["test"].path
    pl.read_parquet(file).head(3).write_parquet(file)
    with pytest.raises(Problem, match="not the file that prepare wrote"):
        prepared.read(folder / "data/prepared")


def test_tables_of_another_schema_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(configure("prepare"))
    monkeypatch.setattr(prepared, "VERSION", "another")
    with pytest.raises(Problem, match="has changed"):
        prepared.read(folder / "data/prepared")


def test_no_tables_are_a_problem(folder: Path) -> None:
    with pytest.raises(Problem, match="make prepare"):
        prepared.read(storage.locate("data", "prepared"))
