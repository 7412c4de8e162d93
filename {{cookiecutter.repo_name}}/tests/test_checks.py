"""Rules for whole columns against Pydantic, row by row: the same rows, values and faults, whatever the schema."""

import re
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any, Literal
from unittest.mock import patch

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    create_model,
    field_validator,
    model_validator,
)

from {{ cookiecutter.src_package_name }} import checks, columns, data
from {{ cookiecutter.src_package_name }}.errors import Problem

WHOLE = [0, 1, -1, 2**31, 2**53 - 1, 2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63)]
REAL = [0.0, -0.0, 0.1, 1.0, 1.5, -3.0, 1e300, 2.0**53, 2.0**63, float("nan"), float("inf"), float("-inf")]
DAYS = [date(1, 1, 1), date(1969, 12, 31), date(2024, 2, 29), date(9999, 12, 31)]
MOMENTS = [
    datetime(1, 1, 1),
    datetime(1677, 9, 22),
    datetime(2024, 2, 29, 12),
    datetime(2024, 2, 29, 23, 59, 59, 999_999),
    datetime(9999, 12, 31, 23, 59, 59),
]
NEAR = [datetime(1970, 1, 1), datetime(2024, 2, 29), datetime(2024, 10, 27, 1, 30, 0, 1)]
TEXTS = """a|A|ab|abcd|ß|NA|None|-|+|.|1.|.5|+1|-0|007|1_000|1__0| 1|1 |1e3|1E-3|1e|0x10|1d5|1,5|٣|1.0|-1.0|0.0|2.5|nan
NaN|inf|-Infinity|1e400|9007199254740993|9007199254740993.0|9223372036854775807|9223372036854775808|-9223372036854775809
99999999999999999999999999|true|True|TRUE|tRUE|false|FALSE|t|f|yes|no|on|off|0|1|2|2024-02-29|2023-02-29|2024-2-29
2024-02-29 |20240229|0000-01-01|0001-01-01|9999-12-31|10000-01-01|29.02.2024|2024-02-29T00:00:00|2024-02-29T12:00:00Z
2024-02-29 12:00:00|2024-02-29t12:00:00z|2024-02-29T12:00|2024-02-29T24:00:00|2024-02-29T12:00:60|2024-02-29_12:00:00
2024-02-29T12:00:00.1|2024-02-29T12:00:00.123456Z|2024-02-29T12:00:00.1234567|2024-02-29T12:00:00.Z
2024-02-29T12:00:00+02:00|2024-02-29T12:00:00-00:00|0001-01-01T00:00:00+05:00|9999-12-31T23:59:59-05:00|1700000000
1700000000.5|-1|1e10""".replace("\n", "|").split("|")

CELLS = st.one_of(
    st.sampled_from(TEXTS),
    st.text("0123456789.eE+-_ ", max_size=8),
    st.integers().map(str),
    st.floats().map(repr),
    st.datetimes(timezones=st.sampled_from([None, UTC, timezone(timedelta(hours=2))])).map(str),
    st.text(max_size=4),
)
DECIMALS = st.decimals(-(10**20), 10**20, places=2, allow_nan=False)
KINDS: dict[Any, st.SearchStrategy[Any]] = {
    pl.String(): CELLS,
    pl.Categorical(): st.sampled_from(TEXTS),
    pl.Int64(): st.sampled_from(WHOLE) | st.integers(-(2**63), 2**63 - 1),
    pl.UInt64(): st.integers(0, 2**64 - 1) | st.sampled_from([1, 2**63, 2**53 + 1]),
    pl.Int8(): st.integers(-3, 3),
    pl.Float64(): st.sampled_from(REAL) | st.floats(),
    pl.Float32(): st.sampled_from([0.0, 1.0, 0.1, 16777217.0, float("nan"), float("inf")]) | st.floats(width=32),
    pl.Boolean(): st.booleans(),
    pl.Decimal(38, 2): DECIMALS | st.sampled_from([Decimal("1.00"), Decimal("0.50")]),
    pl.Date(): st.sampled_from(DAYS) | st.dates(),
    pl.Datetime("us"): st.sampled_from(MOMENTS) | st.datetimes(),
    pl.Datetime("ms"): st.sampled_from(NEAR),
    pl.Datetime("ns"): st.sampled_from(NEAR),
    pl.Datetime("us", "UTC"): st.sampled_from(NEAR).map(lambda moment: moment.replace(tzinfo=UTC)),
    pl.Datetime("us", "Europe/Berlin"): st.sampled_from(NEAR).map(lambda moment: moment.replace(tzinfo=UTC)),
    pl.Time(): st.times(),
    pl.Duration(): st.timedeltas(timedelta(-9), timedelta(9)),
    pl.Binary(): st.binary(max_size=2),
    pl.List(pl.Int64()): st.lists(st.integers(0, 1), max_size=2),
    pl.Null(): st.none(),
}


def bounds(**values: Any) -> st.SearchStrategy[Any]:
    """Draw some of a field's rules."""
    return st.fixed_dictionaries({}, optional={name: st.just(value) for name, value in values.items()}).map(
        lambda chosen: Field(**chosen)
    )


TYPES: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (float, bounds(gt=0, le=2**53, allow_inf_nan=False)),
    (float, bounds(ge=-1.5, lt=1e10, allow_inf_nan=True)),
    (float, bounds(multiple_of=0.5, strict=True)),
    (int, bounds(ge=0, lt=2**53, strict=False)),
    (int, bounds(gt=-2, le=7, multiple_of=2)),
    (bool, bounds()),
    (str, bounds(min_length=1, max_length=3, pattern="^[a-zA-Z0-9ß]+$")),
    (date, bounds(ge=date(1970, 1, 1), lt=date(2024, 3, 1))),
    (datetime, bounds(gt=datetime(1970, 1, 1))),
    (datetime, bounds(lt=datetime(2025, 1, 1, tzinfo=UTC))),
    (Literal["a", "1", "true"], bounds()),
    (Literal["a"], bounds()),
    (Literal[0, 1, 2], bounds()),
    (Literal[2**53, 2**53 + 1], bounds()),
    (Literal[True], bounds()),
]
CONFIGS = [{}, {"allow_inf_nan": False}, {"extra": "forbid"}, {"strict": True}, {"str_strip_whitespace": True}]


@st.composite
def models(draw: st.DrawFn) -> type[BaseModel]:
    fields: dict[str, Any] = {}
    for name in ["x", "y"][: draw(st.integers(1, 2))]:
        kind, rules = draw(st.sampled_from(TYPES))
        rule = draw(rules)
        forms = [
            (Annotated[kind, rule], ...),
            (Annotated[kind, rule] | None, None),
            (Annotated[kind | None, rule], ...),
            (Annotated[kind, rule, Field(alias=f"{name} (mm)")], ...),
        ]
        fields[name] = draw(st.sampled_from(forms))
    return create_model("Row", __config__=ConfigDict(**draw(st.sampled_from(CONFIGS))), **fields)


def series(draw: st.DrawFn, name: str, rows: int) -> pl.Series:
    kind = draw(st.sampled_from([pl.String(), pl.String(), *KINDS]))
    cells = draw(st.lists(KINDS[kind] | st.none(), min_size=rows, max_size=rows))
    return pl.Series(name, cells, dtype=kind)


@st.composite
def cases(draw: st.DrawFn) -> tuple[type[BaseModel], pl.DataFrame]:
    """Draw a schema, and rows that may be right or wrong by it."""
    model = draw(models())
    rows = draw(st.integers(0, 6))
    return model, pl.DataFrame([series(draw, name, rows) for name in columns._columns(model, "Row", {})])


def compare(model: type[BaseModel], table: pl.DataFrame) -> list[data.Fault]:
    """Hold both ways to check a table equal, and give the faults."""
    with patch.object(data, "columns_of", lambda _: columns._columns(model, "Row", {})):
        good, bad, faults = data.check(table, model, "x.csv")
        with patch.object(checks, "fields", lambda _: None):
            slow_good, slow_bad, slow_faults = data.check(table, model, "x.csv")
    assert faults == slow_faults
    assert_frame_equal(good, slow_good, check_exact=True)
    assert_frame_equal(bad, slow_bad)
    return faults


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(cases())
def test_whole_columns_are_checked_as_pydantic_checks_rows(case: tuple[type[BaseModel], pl.DataFrame]) -> None:
    compare(*case)


def rejected(rule: Any, *cells: Any, **config: Any) -> list[tuple[int, str]]:
    """Check a column by a rule, both ways, and give the bad rows with the reason."""
    model = create_model("Row", __config__=ConfigDict(**config), x=(rule, ...))
    return [(fault.row, fault.rule) for fault in compare(model, pl.DataFrame({"x": cells}))]


def slow(model: type[BaseModel]) -> list[str]:
    with patch.object(data, "columns_of", lambda _: columns._columns(model, "Row", {})):
        return data.by_value(model)


def even(value: float) -> float:
    if value % 2:
        raise ValueError("odd")
    return value


class OfTwoColumns(BaseModel):
    x: int
    y: int

    @field_validator("y")
    @classmethod
    def is_above(cls, value: int, info: ValidationInfo) -> int:
        if value <= info.data.get("x", 0):
            raise ValueError("not above x")
        return value


class OfTheRow(BaseModel):
    x: int
    y: int

    @model_validator(mode="after")
    def is_above(self) -> "OfTheRow":
        if self.y <= self.x:
            raise ValueError("not above x")
        return self


class OfOneColumn(BaseModel):
    x: int
    y: int = Field(default_factory=lambda: 3)

    @field_validator("y")
    @classmethod
    def is_above(cls, value: int) -> int:
        if value <= 2:
            raise ValueError("not above x")
        return 2 * value


@pytest.mark.parametrize(
    ("model", "named"), [(OfTwoColumns, ["all"]), (OfTheRow, ["all"]), (OfOneColumn, ["y"])], ids=str
)
def test_validators_of_a_team_hold_and_are_named(model: type[BaseModel], named: list[str]) -> None:
    table = pl.DataFrame({"x": ["1", "2", "x"], "y": ["3", "2", "9"]})
    assert [(fault.row, fault.rule.split(",")[-1].strip()) for fault in compare(model, table)] == [
        (2, "not above x"),
        (3, "unable to parse string as an integer"),
    ]
    assert slow(model) == named


@pytest.mark.parametrize(
    ("config", "rows"),
    [({"strict": True}, [1, 2, 3]), ({"str_strip_whitespace": True}, [3]), ({"str_max_length": 1}, [1, 3])],
)
def test_a_configuration_that_changes_rules_is_followed_and_named(config: dict[str, Any], rows: list[int]) -> None:
    model = create_model(
        "Row", __config__=ConfigDict(**config), x=(int, ...), y=(Annotated[str, Field(min_length=1)], "")
    )
    found = compare(model, pl.DataFrame({"x": ["1", 2, 3], "y": ["ab", "a", "  "]}, strict=False))
    assert sorted({fault.row for fault in found}) == rows
    assert slow(model) == ["all"]


@pytest.mark.parametrize("rule", [Annotated[float, AfterValidator(even)], Annotated[float, BeforeValidator(float)]])
def test_what_the_model_allows_holds_for_a_validated_column(rule: Any) -> None:
    assert rejected(rule, 2.0, float("inf"), allow_inf_nan=False) == [(2, "Input should be a finite number")]


def test_what_no_table_can_hold_is_a_fault() -> None:
    large = "a whole number beyond 64 bits; declare the column as float"
    assert rejected(int, str(2**63), str(2**63 - 1), str(-(2**63) - 1)) == [(1, large), (3, large)]
    assert rejected(Annotated[int, AfterValidator(lambda value: 10 * value)], 1, 2**62) == [(2, large)]
    edge = "a moment that is beyond the years 1 to 9999 in UTC"
    assert rejected(datetime, "0001-01-01T00:00:00+05:00", "2024-01-01T00:00:00+05:00") == [(1, edge)]


def test_whole_numbers_past_double_precision_are_told_apart() -> None:
    assert rejected(Literal[2**53], 2**53, 2**53 + 1) == [(2, f"Input should be {2**53}")]
    assert rejected(Literal[2**53 + 1], str(2**53 + 1), str(2**53)) == [(2, f"Input should be {2**53 + 1}")]


def test_a_validator_that_gives_another_type_is_named() -> None:
    with pytest.raises(Problem, match=r"schema\.py: a validator of x gives what its type does not allow; .*String"):
        rejected(Annotated[float, AfterValidator(str)], "1", "2")


def test_names_and_patterns_that_pydantic_keeps_elsewhere_are_followed() -> None:
    assert rejected(Annotated[str, Field(pattern=re.compile("^a"))], "ab", "ba") == [
        (2, "String should match pattern '^a'")
    ]
    assert rejected(Annotated[float, Field(validation_alias="length")], "1") == [(1, "Field required")]
