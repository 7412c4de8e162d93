from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from {{ cookiecutter.src_package_name }} import data, reader
from {{ cookiecutter.src_package_name }}.columns import COLUMNS, EXAMPLE, EXAMPLE_ROW, TARGET
from {{ cookiecutter.src_package_name }}.errors import Problem
from {{ cookiecutter.src_package_name }}.reader import Dialect
from {{ cookiecutter.src_package_name }}.schema import Example, Row

from .conftest import a_number, as_text, raw_files, spoil
from .other import Other, declare


def read(file: Path) -> pl.DataFrame:
    written = Dialect(missing=("", "NA"))
    (shard,) = reader.shards(file, written, 10**6)
    return pl.concat(reader.batches(file, written, shard))


@pytest.fixture
def raw(folder: Path) -> pl.DataFrame:
    as_text(*raw_files(folder)).write_csv(folder / "raw.csv")
    return read(folder / "raw.csv")


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
    assert good.to_dicts() == [EXAMPLE_ROW.model_dump(by_alias=True)]


def test_a_missing_column_is_named(folder: Path) -> None:
    with pytest.raises(Problem, match="no column 'colour'"):
        data.require(["colour"], ["size"], "raw.csv")


def test_targets_are_what_a_model_can_learn(tables: dict[str, pl.DataFrame]) -> None:
    target = data.target(tables["train"])
    assert len(target) == len(tables["train"])
    assert np.issubdtype(target.dtype, np.number) or all(isinstance(value, str) for value in target)


def test_columns_hold_every_column_of_a_row(tables: dict[str, pl.DataFrame]) -> None:
    assert set(COLUMNS) <= set(data.columns(tables["train"]))


ROW = """
length: Annotated[float | None, Field(alias="Bill length (mm)", gt=0, examples=[46.1])] = None
size: Annotated[int | None, Field(alias="größe", examples=[3])] = None
sunny: Annotated[bool, Field(examples=[True])] | None = None
day: Annotated[date, Field(examples=["2024-02-29"])] | None = None
seen: Annotated[datetime, Field(examples=["2024-02-29T12:00:00Z"])] | None = None
place: Annotated[str, Field(examples=["here"])] | None = None
"""
EXAMPLES = """
class_: Annotated[bool, Field(alias="class")]
group: Annotated[str, ASIDE, Field(alias="by whom")]
"""
CSV = """Bill length (mm),größe,sunny,day,seen,place,class,by whom
46.1,3,true,2024-02-29,2024-02-29T12:00:00+02:00,here,true,a
,,,,,,false,b
"""


@pytest.fixture
def other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Other:
    """A schema of every type, under names that Python does not allow."""
    return declare(tmp_path, ROW, EXAMPLES, monkeypatch)


def checked(other: Other, text: str = CSV) -> Any:
    (other.folder / "raw.csv").write_text(text, encoding="utf-8")
    table = read(other.folder / "raw.csv")
    return other.data.check(table, other.schema.Example, "raw.csv")


def test_columns_go_by_the_names_of_the_file(other: Other) -> None:
    good, _, faults = checked(other)
    assert (faults, good.columns) == ([], CSV.splitlines()[0].split(","))
    assert good.dtypes[:5] == [pl.Float64, pl.Int64, pl.Boolean, pl.Date, pl.Datetime("us")]
    assert good.row(0) == (46.1, 3, True, date(2024, 2, 29), datetime(2024, 2, 29, 10), "here", True, "a")
    assert good.row(1) == (None, None, None, None, None, None, False, "b")


def test_a_fault_names_the_column_of_the_file(other: Other) -> None:
    _, _, faults = checked(other, CSV.replace("46.1,3", "-1,much").replace("false", "maybe"))
    assert [(fault.row, fault.column, fault.value) for fault in faults] == [
        (1, "Bill length (mm)", "'-1'"),
        (1, "größe", "'much'"),
        (2, "class", "'maybe'"),
    ]


def test_parquet_with_types_holds_the_same_rows(other: Other) -> None:
    good, _, _ = checked(other)
    zoned = good.with_columns(pl.col("seen").dt.replace_time_zone("UTC"), pl.col("größe").cast(pl.Float64))
    again, _, faults = other.data.check(zoned, other.schema.Example, "raw.parquet")
    assert faults == []
    assert again.equals(good)


def test_columns_are_arrays_as_the_inputs_take_them(other: Other) -> None:
    good, _, _ = checked(other)
    columns = other.data.columns(good)
    assert {name: values.dtype for name, values in columns.items()} == {
        **dict.fromkeys(["Bill length (mm)", "größe", "sunny", "class"], np.float64),
        "day": np.dtype("datetime64[D]"),
        "seen": np.dtype("datetime64[us]"),
        **dict.fromkeys(["place", "by whom"], np.dtype(object)),
    }
    assert np.isnan(columns["größe"][1])
    assert np.isnat(columns["day"][1])
    assert columns["place"].tolist() == ["here", ""]
    rows = [other.schema.Row.model_validate(row) for row in good.select(*other.columns.COLUMNS).to_dicts()]
    one, same = other.inputs.tensors(columns), other.inputs.tensors(other.columns.of_rows(rows))
    assert all(np.array_equal(one[name], same[name], equal_nan=one[name].dtype != object) for name in one)


def test_values_are_named_alike_in_tables_and_in_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = """
    number: Annotated[float, Kind.CATEGORY, Field(examples=[1])]
    yes: Annotated[bool, Kind.CATEGORY, Field(examples=[True])]
    seen: Annotated[datetime, Kind.CATEGORY, Field(examples=["2024-02-29T12:00:00"])]
    count: Annotated[int, Kind.CATEGORY, Field(examples=[3])]
    """
    other = declare(tmp_path, row, "y: float", monkeypatch)
    table = pl.DataFrame(
        {"number": ["1e20"], "yes": ["true"], "seen": ["2024-02-29T12:00:00"], "count": ["3"], "y": ["1"]}
    )
    good, _, _ = other.data.check(table, other.schema.Example, "raw.csv")
    rows = [other.schema.Row.model_validate(row) for row in good.drop("y").to_dicts()]
    one, same = other.inputs.tensors(other.data.columns(good)), other.inputs.tensors(other.columns.of_rows(rows))
    assert {name: values.item() for name, values in one.items()} == {
        name: values.item() for name, values in same.items()
    }


@pytest.mark.parametrize(
    ("kind", "cells", "values"),
    [
        ("bool", ["true", "False", "1"], [True, False, True]),
        ("int", ["1", "2", "30"], [1, 2, 30]),
        ("float", ["1", "2.5", "1e3"], [1.0, 2.5, 1000.0]),
        ("Literal[0, 1]", ["0", "1", "1.0"], [0, 1, 1]),
        ("str", ["a", "ß", "1"], ["a", "ß", "1"]),
    ],
)
def test_a_target_keeps_its_own_values(
    kind: str, cells: list[str], values: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = declare(tmp_path, "x: Annotated[float, Field(examples=[1])]", f"y: {kind}", monkeypatch)
    good, _, faults = other.data.check(pl.DataFrame({"x": ["1"] * 3, "y": cells}), other.schema.Example, "raw.csv")
    assert faults == []
    assert other.data.target(good).tolist() == values
    assert [type(value) for value in other.data.target(good).tolist()] == [type(value) for value in values]


def test_a_rule_about_several_columns_is_told_with_the_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = """
    low: Annotated[float, Field(examples=[1])]
    high: Annotated[float, Field(examples=[2])]

    from pydantic import model_validator

    @model_validator(mode="after")
    def in_order(self):
        if self.low > self.high:
            raise ValueError("low is above high")
        return self
    """
    other = declare(tmp_path, row, "y: float", monkeypatch)
    table = pl.DataFrame({"low": ["1", "3"], "high": ["2", "2"], "y": ["0", "0"]})
    _, bad, faults = other.data.check(table, other.schema.Example, "raw.csv")
    assert [(fault.row, fault.column, fault.rule) for fault in faults] == [(2, "all", "Value error, low is above high")]
    assert len(bad) == 1


def test_equal_texts_of_few_are_one_object_and_stay_what_they_are() -> None:
    texts = pl.Series(["b", "", "a", "b", "a, with more than a few letters"] * 2)
    shared = data._shared(texts)
    assert shared.dtype == object
    assert shared.tolist() == texts.to_list()
    assert len({id(text) for text in shared}) == 4
