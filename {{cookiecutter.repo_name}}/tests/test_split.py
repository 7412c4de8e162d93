from collections import Counter
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from {{ cookiecutter.src_package_name }} import split, tables
from {{ cookiecutter.src_package_name }}.columns import COLUMNS, EXTRA, TARGET, Column
from {{ cookiecutter.src_package_name }}.data import SPLITS
from {{ cookiecutter.src_package_name }}.errors import Problem
from {{ cookiecutter.src_package_name }}.kinds import Kind
from {{ cookiecutter.src_package_name }}.prepare import prepare
from {{ cookiecutter.src_package_name }}.split import Files, Given, Hash, Time

from .conftest import NUMBERED, as_text, configure, number

Change = Callable[[Path], object]
SHARES = {"valid": 0.15, "test": 0.15, "by": None, "time": None, "given": None, "files": None}


def hashed(*by: str, seed: int = 42, valid: float = 0.15, test: float = 0.15) -> Hash:
    return Hash(by=list(by), seed=seed, valid=valid, test=test)


def labels(rule: Hash | Time | Given, table: pl.DataFrame) -> list[str]:
    return table.select(rule.labels(table.schema)).to_series().to_list()


def placed(folder: Path) -> Counter[tuple[str, tuple[Any, ...]]]:
    """Count the rows of the prepared tables, by their split."""
    _, found = tables.read(folder / "data/prepared")
    columns = sorted([*COLUMNS, *EXTRA])
    return Counter((name, row) for name in SPLITS for row in found[name].select(columns).rows())


def appended(file: Path) -> None:
    """Append a tenth of the rows once more, as other rows: with numbers of their own."""
    table = as_text(file)
    more = table.head(len(table) // 10).with_columns(pl.format("new-{}", "row_id").alias("row_id"))
    pl.concat([more, table]).write_csv(file)


def shuffled(file: Path) -> None:
    as_text(file).sample(fraction=1.0, shuffle=True, seed=1).write_csv(file)


def parted(file: Path) -> None:
    table = as_text(file)
    for place, part in enumerate(table.iter_slices(100)):
        part.write_csv(file.with_name(f"part-{9 - place}.csv"))
    file.unlink()


def to_parquet(file: Path) -> None:
    pl.read_csv(file, null_values=["", "NA"], infer_schema_length=None).write_parquet(file.with_suffix(".parquet"))
    file.unlink()


@pytest.mark.parametrize(
    ("by", "change"),
    [
        *(("null", change) for change in (appended, shuffled, parted, to_parquet)),
        *(("content", change) for change in (parted, to_parquet)),
    ],
)
def test_no_row_moves_when_the_table_grows_or_comes_in_another_form(folder: Path, by: str, change: Change) -> None:
    (folder / "data/alone").mkdir()
    file = folder / "data/alone/table.csv"
    number(folder).write_csv(file)
    settings = [*NUMBERED, "data.raw=alone", f"data.split.by={by}"]
    prepare(configure("prepare", *settings))
    before = placed(folder)
    change(file)
    prepare(configure("prepare", *settings, "shard_bytes=2000"))
    after = placed(folder)
    assert sum((before - after).values()) == 0
    assert change is appended or before == after


@pytest.mark.parametrize(("valid", "test"), [(0.15, 0.15), (0.3, 0.05), (0.01, 0.5)])
def test_shares_are_met_within_what_chance_allows(valid: float, test: float) -> None:
    rows = 20_000
    found = Counter(labels(hashed("id", valid=valid, test=test), pl.DataFrame({"id": range(rows)})))
    for name, share in {"valid": valid, "test": test}.items():
        assert abs(found[name] - rows * share) < 5 * (rows * share * (1 - share)) ** 0.5  # five standard deviations


def test_seeds_are_independent() -> None:
    table = pl.DataFrame({"id": range(20_000)})
    one, other = (labels(hashed("id", seed=seed, valid=0.1, test=0.5), table) for seed in (1, 2))
    both = sum(pair == ("test", "test") for pair in zip(one, other, strict=True))
    assert abs(both - 5_000) < 5 * (20_000 * 0.25 * 0.75) ** 0.5


def test_a_hash_is_the_same_in_every_release() -> None:
    """Whoever changes these numbers moves rows between test and train in every project."""
    table = pl.DataFrame(
        {
            "text": ["", "größe", None],
            "number": [1.5, -0.0, 1e300],
            "whole": [1, -2, None],
            "truth": [True, False, None],
            "day": [date(2024, 2, 29), None, date(1969, 1, 1)],
            "time": [datetime(2024, 1, 1, 12), None, datetime(1969, 1, 1)],
        }
    )
    found = table.select(split.digest(table.schema, 42)).to_series().to_list()
    assert found == [15_270_395_645_814_404_107, 15_194_728_673_477_370_732, 17_428_545_401_639_484_972]


def test_groups_never_straddle() -> None:
    table = pl.DataFrame({"patient": [f"p{number % 150}" for number in range(1500)]})
    found = table.with_columns(pl.Series("split", labels(hashed("patient"), table)))
    assert found.group_by("patient").agg(pl.col("split").n_unique())["split"].unique().to_list() == [1]
    assert set(found["split"]) == set(SPLITS)


def test_the_order_of_the_named_columns_does_not_matter() -> None:
    table = pl.DataFrame({"a": range(100), "b": range(100, 200)})
    assert labels(hashed("a", "b"), table) == labels(hashed("b", "a"), table)
    assert labels(hashed("a", "b"), table.select("b", "a")) == labels(hashed("a", "b"), table)


CELLS = st.one_of(st.none(), st.text(alphabet=st.sampled_from("%,2C5"), max_size=4))
ROWS = st.tuples(CELLS, CELLS)


@given(one=ROWS, other=ROWS)
@example(one=(None, ""), other=("", None))
@example(one=("1,2", "3"), other=("1", "2,3"))
@example(one=("%", ""), other=(None, ""))
@example(one=("%2C", ""), other=(",", ""))
@settings(max_examples=200, deadline=None)
def test_rows_of_texts_are_hashed_alike_only_if_they_are_equal(one: Any, other: Any) -> None:
    table = pl.DataFrame([one, other], schema={"a": pl.String, "b": pl.String}, orient="row")
    first, second = table.select(split.digest(table.schema, 1)).to_series()
    assert (first == second) == (one == other)


@given(one=st.floats(allow_nan=False), other=st.floats(allow_nan=False))
@example(one=0.0, other=-0.0)
@example(one=2.0**53, other=2.0**53 + 2)
@example(one=0.1 + 0.2, other=0.3)
@settings(max_examples=200, deadline=None)
def test_numbers_are_written_alike_only_if_they_are_equal(one: float, other: float) -> None:
    table = pl.DataFrame({"number": [one, other]})
    first, second = table.select(split.text("number", pl.Float64())).to_series()
    assert (first == second) == (one == other)


@pytest.mark.parametrize("kind", [pl.Int64, pl.Int8, pl.UInt16, pl.Float32, pl.Float64, pl.String, pl.Categorical])
def test_a_whole_number_is_written_alike_in_every_type(kind: Any) -> None:
    table = pl.DataFrame({"id": ["7", "12", None]}).with_columns(pl.col("id").cast(kind))
    assert table.select(split.text("id", table.schema["id"])).to_series().to_list() == ["7", "12", None]


def test_dates_and_booleans_are_written_as_a_csv_file_has_them() -> None:
    table = pl.DataFrame({"day": [date(2024, 2, 29)], "truth": [True]})
    found = table.select(split.text(name, kind).alias(name) for name, kind in table.schema.items())
    assert found.row(0) == ("2024-02-29", "true")


def test_a_larger_test_share_takes_rows_from_validation_and_never_gives_any_to_training() -> None:
    table = pl.DataFrame({"id": range(5000)})
    pairs = set(zip(labels(hashed("id"), table), labels(hashed("id", test=0.2), table), strict=True))
    assert pairs == {("test", "test"), ("valid", "test"), ("valid", "valid"), ("train", "valid"), ("train", "train")}


DAYS = pl.DataFrame({"day": [date(2024, 1, 1) + timedelta(days=number) for number in range(100)]})


def test_time_bounds_decide() -> None:
    found = labels(Time(column="day", valid="2024-02-01", test="2024-03-01"), DAYS)
    assert Counter(found) == {"train": 31, "valid": 29, "test": 40}
    assert found == sorted(found, key=["train", "valid", "test"].index)


def numbers(times: pl.Series) -> tuple[np.ndarray[Any, Any], Any]:
    """Give times as the numbers that Polars keeps, and their type."""
    return times.to_physical().to_numpy().copy(), times.dtype


@pytest.mark.parametrize(
    ("given_bounds", "expected"),
    [
        ({}, {"train": 70, "valid": 10, "test": 20}),
        ({"test": "2024-02-01"}, {"train": 21, "valid": 10, "test": 69}),
        ({"valid": "2024-02-01"}, {"train": 31, "valid": 49, "test": 20}),
    ],
)
def test_shares_decide_where_time_bounds_are_open(given_bounds: dict[str, str], expected: dict[str, int]) -> None:
    rule = Time(column="day", **given_bounds).settled(*numbers(DAYS["day"].shuffle(1)), valid=0.1, test=0.2)
    assert Counter(labels(rule, DAYS)) == expected
    assert given_bounds.items() <= rule.model_dump().items()


def test_rows_of_one_moment_fall_together() -> None:
    times = pl.DataFrame({"hour": [datetime(2024, 1, 1, number // 10) for number in range(100)]})
    rule = Time(column="hour").settled(*numbers(times["hour"]), valid=0.15, test=0.15)
    assert Counter(labels(rule, times)) == {"train": 60, "valid": 20, "test": 20}


def test_bounds_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(Problem, match="2024-03-01 and test with 2024-02-01, which is not later"):
        Time(column="day", valid="2024-03-01", test="2024-02-01").settled(*numbers(DAYS["day"]), valid=0.1, test=0.2)


def test_every_rule_survives_the_manifest() -> None:
    time = Time(column="day", valid="2024-02-01", test="2024-03-01")
    table = DAYS.with_columns(pl.int_range(100).alias("id"), pl.lit("test").alias("given"))
    for rule in (hashed("id"), time, Given(column="given"), Files(test=["a"])):
        tested = table if isinstance(rule, Files) else table.filter(rule.labels(table.schema) == "test")
        assert split.still(rule.model_dump(mode="json"), rule, tested).to_list() == [True] * len(tested)


def test_the_gate_compares_rows_that_are_test_rows_under_both_rules() -> None:
    table = pl.DataFrame({"id": range(5000)})
    today = hashed("id", test=0.2)
    tested = table.filter(pl.Series(labels(today, table)) == "test")
    both = split.still(hashed("id").model_dump(), today, tested)
    assert both.to_list() == [found == "test" for found in labels(hashed("id"), tested)]
    assert 0.6 < both.mean() < 0.9
    assert split.still(today.model_dump(), today, tested).all()


def test_no_row_can_be_compared_under_a_rule_that_cannot_be_followed() -> None:
    table = pl.DataFrame({"id": range(10)})
    for rule in (hashed("patient"), Given(column="gone"), Files(test=["a"])):
        assert split.still(rule.model_dump(), hashed("id"), table).to_list() == [False] * 10
    assert split.still(Files(test=["a"]).model_dump(), Files(test=["a"]), table).all()


def test_where_a_split_is_given_a_test_row_that_is_also_learnt_from_is_not_new() -> None:
    name = next(name for name, column in COLUMNS.items() if column.kind == Kind.NUMBER)
    values = {"train": [1.0, 2, 3], "valid": [4.0, 5, 6], "test": [3.0, 4, 7]}
    parts = {part: pl.DataFrame({name: numbers}) for part, numbers in values.items()}
    others = [parts["train"].lazy(), parts["valid"].lazy()]
    assert split.apart(Files(test=["a"]), parts["test"], others).to_list() == [False, False, True]
    assert split.apart(hashed("id"), parts["test"], others).to_list() == [True, True, True]


@pytest.mark.parametrize("rule", [hashed("id"), Time(column="id", valid="1", test="2"), Given(column="part"), Files()])
def test_a_sample_is_a_share_of_the_rows_and_a_larger_one_keeps_the_smaller_ones(rule: Hash | Time | Given) -> None:
    name = next(name for name, column in COLUMNS.items() if column.kind == Kind.NUMBER)
    table = pl.DataFrame({"id": range(20_000), name: pl.int_range(20_000, eager=True).cast(pl.Float64)})
    kept = [table.filter(rule.sampled(table.schema, share))["id"].to_list() for share in (0.1, 0.3, 1)]
    assert [len(rows) for rows in kept] == pytest.approx([2000, 6000, 20_000], rel=0.06)
    assert set(kept[0]) < set(kept[1])
    mixed = table.sample(fraction=1, shuffle=True, seed=1)  # in another order
    assert set(mixed.filter(rule.sampled(table.schema, 0.1))["id"]) == set(kept[0])


def test_a_sample_of_the_training_split_is_no_other_split_in_disguise() -> None:
    """Rows of the training split are alike in the hash that parted them."""
    table = pl.DataFrame({"id": range(20_000)})
    for wanted in SPLITS:
        rows = table.filter(pl.Series(labels(hashed("id"), table)) == wanted)
        assert len(rows.filter(hashed("id").sampled(rows.schema, 0.5))) == pytest.approx(len(rows) / 2, rel=0.1)


def test_a_sample_keeps_groups_whole() -> None:
    table = pl.DataFrame({"patient": [row // 10 for row in range(20_000)], "id": range(20_000)})
    sizes = table.filter(hashed("patient").sampled(table.schema, 0.3))["patient"].value_counts()["count"]
    assert set(sizes) == {10}
    assert 400 < len(sizes) < 800


@pytest.mark.parametrize(("valid", "test"), [(0, 0.1), (0.1, 0), (0.5, 0.5), (-0.1, 0.2)])
def test_shares_that_leave_nothing_are_refused(valid: float, test: float) -> None:
    with pytest.raises(Problem, match="above 0"):
        split.rule(SHARES | {"valid": valid, "test": test}, 42, "id")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"by": ["a"], "given": "b"}, "by and given: only one of them can decide"),
        ({"by": "patient"}, r"write a list of columns, \[patient\]"),
        ({"by": []}, "data.split.by"),
        ({"time": {"column": TARGET + "?"}}, "schema.py has no such date, time or number"),
        ({"time": {"column": "x", "until": 1}}, "data.split.time has until"),
        ({"files": {"train": "a", "test": "b"}}, "name train, valid, test"),
    ],
)
def test_settings_that_cannot_be_followed_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(Problem, match=words):
        split.rule(SHARES | changes, 42, "id")


def test_a_time_that_is_no_column_is_answered_with_those_that_are(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = {"seen_on": (date, Kind.DATE), "size": (float, Kind.NUMBER), "island": (str, Kind.CATEGORY)}
    columns = {name: Column(name, name, *what, seen=True, optional=False) for name, what in kinds.items()}
    monkeypatch.setattr(split, "COLUMNS", columns)
    monkeypatch.setattr(split, "EXTRA", {})
    with pytest.raises(Problem, match=r"column=island: .* it has seen_on, size\. Name one"):
        split.rule(SHARES | {"time": {"column": "island"}}, 42, "id")


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(Problem, match="seed=-1"):
        split.rule(SHARES, -1, "id")


def test_rows_are_split_by_the_id_where_there_is_one_and_else_by_all_columns() -> None:
    assert split.rule(SHARES, 42, "id").columns == ["id"]
    assert split.rule(SHARES, 42, None).columns == [*COLUMNS, *EXTRA]
    assert split.rule(SHARES | {"by": "content"}, 42, "id").columns == [*COLUMNS, *EXTRA]
