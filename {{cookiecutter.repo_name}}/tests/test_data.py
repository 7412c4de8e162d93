from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from {{ cookiecutter.src_package_name }} import data
from {{ cookiecutter.src_package_name }}.errors import Problem
from {{ cookiecutter.src_package_name }}.schema import EXAMPLE, FEATURES, TARGET, TASK, Example, Row

from .conftest import a_number, raw_file, spoil

MISSING = ["", "NA"]


@pytest.fixture
def raw(folder: Path) -> pl.DataFrame:
    return data.scan(raw_file(folder), MISSING).collect()


def test_good_rows_come_back_with_the_types_of_the_schema(raw: pl.DataFrame) -> None:
    good, bad, faults = data.check(raw, Example, "raw.csv")
    assert (len(good), len(bad), faults) == (len(raw), 0, [])
    assert good.schema[a_number()].is_numeric()


def test_every_fault_is_told_with_its_row_column_value_and_rule(raw: pl.DataFrame) -> None:
    spoiled = spoil(5, TARGET, "no such thing")(spoil(2, a_number(), "much")(raw))
    good, bad, faults = data.check(spoiled, Example, "raw.csv")
    assert [(fault.row, fault.column, fault.value) for fault in faults] == [
        (2, a_number(), "'much'"),
        (5, TARGET, "'no such thing'"),
    ]
    assert "valid number" in faults[0].rule
    assert (len(good), len(bad)) == (len(raw) - 2, 2)


def test_rows_of_a_later_batch_keep_their_numbers(raw: pl.DataFrame) -> None:
    _, _, faults = data.check(spoil(2, a_number(), "much")(raw), Example, "raw.csv", start=1000)
    assert [fault.row for fault in faults] == [1002]


def test_a_row_without_a_target_is_good_where_none_is_asked_for() -> None:
    good, _, faults = data.check(pl.DataFrame([EXAMPLE]), Row, "inbox.csv")
    assert not faults
    assert good.to_dicts() == [Row(**EXAMPLE).model_dump()]


@pytest.mark.parametrize("suffix", data.SUFFIXES)
@pytest.mark.parametrize(("size", "start"), [(1, 0), (3, 0), (3, 4), (10, 0), (100, 9), (3, 10)])
def test_batches_are_the_file_in_pieces(tmp_path: Path, suffix: str, size: int, start: int) -> None:
    table = pl.DataFrame({"number": [str(number) for number in range(10)]})
    file = tmp_path / f"table{suffix}"
    (table.write_csv if suffix == ".csv" else table.write_parquet)(file)
    found = list(data.batches(file, MISSING, size, start))
    assert all(len(batch) == size for batch in found[:-1])
    assert [value for batch in found for value in batch["number"]] == table["number"].to_list()[start:]


def test_nan_in_parquet_is_a_missing_value(tmp_path: Path) -> None:
    pl.DataFrame({"number": [1.0, float("nan")]}).write_parquet(tmp_path / "table.parquet")
    assert data.scan(tmp_path / "table.parquet", MISSING).collect()["number"].to_list() == [1.0, None]


def test_a_missing_column_is_named(folder: Path) -> None:
    with pytest.raises(Problem, match="no column 'colour'"):
        data.require(["colour"], raw_file(folder), MISSING)


def test_a_split_keeps_proportions_and_repeats() -> None:
    classes = pl.Series(["a"] * 600 + ["b"] * 300 + ["c"] * 100)
    split = data.split(classes, valid=0.2, test=0.1, seed=1)
    assert Counter(split) == {"train": 700, "valid": 200, "test": 100}
    if TASK == "classification":
        assert Counter(classes.filter(split == "test")) == {"a": 60, "b": 30, "c": 10}
    assert data.split(classes, valid=0.2, test=0.1, seed=1).equals(split)
    assert not data.split(classes, valid=0.2, test=0.1, seed=2).equals(split)


@pytest.mark.parametrize(("valid", "test"), [(0, 0.1), (0.1, 0), (0.5, 0.5), (-0.1, 0.2)])
def test_a_split_that_leaves_nothing_is_refused(valid: float, test: float) -> None:
    with pytest.raises(Problem, match="above 0"):
        data.split(pl.Series(["a"] * 10), valid, test, seed=1)


def test_targets_are_what_a_model_can_learn(tables: dict[str, pl.DataFrame]) -> None:
    target = data.target(tables["train"])
    assert len(target) == len(tables["train"])
    assert np.issubdtype(target.dtype, np.number) or all(isinstance(value, str) for value in target)


def test_columns_hold_every_feature(tables: dict[str, pl.DataFrame]) -> None:
    assert set(FEATURES) <= set(data.columns(tables["train"]))
