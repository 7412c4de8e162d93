"""Tables in memory: check rows against the schema, give arrays. Nothing here reads or writes."""

import functools
import math
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import date, datetime
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from pydantic import BaseModel, TypeAdapter, ValidationError

from . import checks
from .columns import COLUMNS, EXTRA, TARGET, Column
from .errors import Problem
from .inputs import UNITS, Values
from .kinds import Kind
from .schema import Row

SPLITS = ("train", "valid", "test")

# The column in which a line that is no row has its reason: a control character, which no file has in a name.
REASON = "\x1e"

# Polars' type for a column's; times are UTC without a zone.
TYPES: dict[type, Any] = {
    float: pl.Float64,
    int: pl.Int64,
    bool: pl.Boolean,
    str: pl.String,
    date: pl.Date,
    datetime: pl.Datetime("us"),
}


class Fault(NamedTuple):
    """One rule that one cell breaks; rows count from 1, without the header."""

    file: str
    row: int
    column: str
    value: str
    rule: str


def require(
    columns: Iterable[str], found: Sequence[str], file: str, place: str = "the fields of Row and Example in schema.py"
) -> None:
    """Refuse a file that lacks one of the columns that a place names."""
    if absent := [name for name in columns if name not in found]:
        raise Problem(
            f"{file} has no column {', '.join(map(repr, absent))}; it has {', '.join(map(repr, found))}. "
            f"Correct the file, or {place}."
        )


def columns_of(model: type[BaseModel]) -> dict[str, Column]:
    """List the columns of Row or of Example, by their names in files."""
    return COLUMNS if model is Row else {**COLUMNS, **EXTRA}


def check(
    table: pl.DataFrame, model: type[BaseModel], file: str, start: int = 0
) -> tuple[pl.DataFrame, pl.DataFrame, list[Fault]]:
    """Part a table into rows that keep every rule of Row or Example, with its types, and rows that do not.

    Args:
        table: Rows as the reader gives them; columns have the names that files have.
        model: Row or Example.
        file: The file's name, for faults.
        start: How many rows of the file came before these.

    Returns:
        The good rows, the bad rows as they came, and every fault of the bad rows. Columns that the model does not know
        stay with the good rows untouched.
    """
    names = list(columns_of(model))
    reasons = table[REASON] if REASON in table.columns else pl.repeat(None, len(table), dtype=pl.String, eager=True)
    values, sure = _compiled(table.select(names), model)
    others = [table[name] for name in table.columns if name not in (*names, REASON)]
    if reasons.null_count() == len(table) and sure.all():
        return pl.DataFrame([*others, *values]), table.clear(), []
    sure &= reasons.is_null()
    doubtful = (~sure & reasons.is_null()).arg_true().to_numpy()
    taken, late, faults = _by_row(table[doubtful].select(names), model)
    faults = [fault._replace(file=file, row=start + int(doubtful[fault.row]) + 1) for fault in faults]
    for place in reasons.is_not_null().arg_true():
        faults.append(Fault(file, start + place + 1, "all", repr(table[place, 0]), reasons[place]))
    places = np.concatenate([sure.arg_true().to_numpy(), doubtful[taken]])
    good = pl.concat([values.filter(sure), late])[np.argsort(places)]
    keep = np.zeros(len(table), dtype=bool)
    keep[places] = True
    rejects = table.filter(~keep).drop(REASON, strict=False)
    faults.sort(key=lambda fault: fault.row)
    return pl.DataFrame([*(column.filter(keep) for column in others), *good]), rejects, faults


def _compiled(table: pl.DataFrame, model: type[BaseModel]) -> tuple[pl.DataFrame, pl.Series]:
    """Give columns their types, and say of which rows this is surely right."""
    kinds = {name: TYPES[column.type] for name, column in columns_of(model).items()}
    fields = _fields(model)
    if fields is None:
        return pl.DataFrame(schema=kinds).clear(len(table)), pl.repeat(value=False, n=len(table), eager=True)
    rules = {name: checks.rule(fields[name], pl.col(name), table.schema[name]) for name in kinds}
    compiled = {name: rule for name, rule in rules.items() if rule}
    found = table.select(
        *(rule.value.cast(kinds[name], strict=False).alias(name) for name, rule in compiled.items()),
        pl.all_horizontal(pl.lit(value=True), *(rule.sure for rule in compiled.values())).alias(REASON),
    )
    sure = found[REASON]
    columns = {name: found[name] for name in compiled}
    for name in kinds.keys() - compiled.keys():
        columns[name], right = checks.values(model, fields[name], table[name], kinds[name])
        sure &= right
    return pl.DataFrame([columns[name] for name in kinds]), sure


def _fields(model: type[BaseModel]) -> dict[str, checks.Core] | None:
    """List what checks.fields finds, if it goes by the names that columns have; a validation_alias has its own."""
    found = checks.fields(model)
    return found if found and columns_of(model).keys() <= found.keys() else None


def _by_row(table: pl.DataFrame, model: type[BaseModel]) -> tuple[list[int], pl.DataFrame, list[Fault]]:
    """Let Pydantic look at whole rows: the places of those that it takes, these with their types, and the faults."""
    rows = [_counted(row, model) for row in table.to_dicts()]
    adapter = TypeAdapter(list[model])  # type: ignore[valid-type]
    places = list(range(len(rows)))
    faults: list[Fault] = []
    try:
        valid = adapter.validate_python(rows)
    except ValidationError as error:
        faults = [_fault(detail, rows) for detail in error.errors(include_url=False)]
        bad = {fault.row for fault in faults}
        places = [place for place in places if place not in bad]
        valid = adapter.validate_python([rows[place] for place in places])
    unheld = [
        Fault("", place, name, repr(value), reason)
        for place, row in zip(places, valid, strict=True)
        for name, column in columns_of(model).items()
        if (reason := checks.beyond(value := getattr(row, column.field)))
    ]
    bad = {fault.row for fault in unheld}
    good = {place: row for place, row in zip(places, valid, strict=True) if place not in bad}
    return list(good), frame(list(good.values()), model), faults + unheld


def by_value(model: type[BaseModel]) -> list[str]:
    """Name the columns whose rules are not compiled, all if its rows are looked at as a whole: their check is slow."""
    fields = _fields(model)
    if fields is None:
        return ["all"]
    text = pl.String()
    return [name for name in columns_of(model) if checks.rule(fields[name], pl.col(name), text) is None]


def _counted(row: dict[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """Read whole numbers where a field names the ones it allows; Literal[0, 1] takes neither "0" nor pandas' 0.0."""
    for name in _counts(model):
        row[name] = _whole(row[name])
    return row


def _whole(value: Any) -> Any:
    """Give a text or a float that stands for a whole number as one; others as they are."""
    if isinstance(value, str):
        for read in (int, float):  # int first: past 2**53, a float is another number
            with suppress(ValueError):
                return _whole(read(value))
    whole = isinstance(value, float | Decimal) and math.isfinite(value) and int(value) == value
    return int(value) if whole else value


@functools.cache
def _counts(model: type[BaseModel]) -> list[str]:
    """List the fields that are one of some whole numbers."""
    properties = model.model_json_schema()["properties"].items()
    parts = ((name, part) for name, schema in properties for part in schema.get("anyOf", [schema]))
    return [name for name, part in parts if part.get("type") == "integer" and {"enum", "const"} & part.keys()]


def frame(rows: list[Any], model: type[BaseModel]) -> pl.DataFrame:
    """Gather checked rows in a table whose column types follow the model's fields."""
    known = columns_of(model)
    return pl.DataFrame(
        checks.gathered(name, [getattr(row, column.field) for row in rows], TYPES[column.type])
        for name, column in known.items()
    )


def _fault(detail: Any, rows: list[dict[str, Any]]) -> Fault:
    """Put one of Pydantic's faults; `row` is a place among the rows, from 0."""
    place, *path = detail["loc"]
    if not path:  # a rule about several columns at once
        return Fault("", place, "all", repr(rows[place]), detail["msg"])
    column = str(path[0])
    return Fault("", place, column, repr(rows[place].get(column)), detail["msg"])


def columns(table: pl.DataFrame) -> dict[str, Values]:
    """Give the columns of a table that the schema knows, as inputs.tensors takes them.

    All are arrays of shape (rows,): numbers and booleans float64, with NaN for a missing value; dates datetime64[D] and
    times datetime64[us], with NaT; others objects, which are texts, with "".
    """
    known = {**COLUMNS, **EXTRA}
    return {name: _values(table[name], known[name]) for name in table.columns if name in known}


def _values(series: pl.Series, column: Column) -> Values:
    if column.kind in (Kind.NUMBER, Kind.BOOLEAN):
        return series.cast(pl.Float64).to_numpy()
    if column.kind in UNITS:
        return series.to_numpy().astype(f"datetime64[{UNITS[column.kind]}]")
    if series.dtype not in (pl.String, pl.Int64):  # Polars writes other values otherwise than str does for a request
        return np.array(["" if value is None else str(value) for value in series.to_list()], dtype=object)
    texts = series.cast(pl.String).fill_null("")
    return _shared(texts) if column.kind == Kind.CATEGORY else texts.to_numpy()


def _shared(texts: pl.Series) -> np.ndarray[Any, Any]:
    """Give texts of which few differ, as objects that equal ones share: less memory, and sooner compared."""
    different = texts.unique()
    return np.asarray(different.to_numpy()[texts.cast(pl.Enum(different)).to_physical().to_numpy()])


def target(table: pl.DataFrame) -> np.ndarray[Any, Any]:
    """Give the values to be predicted, of shape (rows,): objects for text, bool, int64 or float64."""
    values = table[TARGET]
    return _shared(values) if values.dtype == pl.String else values.to_numpy()
