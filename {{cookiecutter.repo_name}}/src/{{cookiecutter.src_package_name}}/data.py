"""Tables in memory: scan files in batches, check rows against the schema, give arrays. Nothing here writes."""

import functools
from collections.abc import Iterable, Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from polars import selectors
from pydantic import BaseModel, TypeAdapter, ValidationError

from .columns import COLUMNS, EXTRA, TARGET, Column
from .errors import Problem
from .inputs import UNITS, Values
from .kinds import Kind
from .schema import Row

SUFFIXES = (".csv", ".parquet")
SPLITS = ("train", "valid", "test")

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


def scan(file: Path, missing: Iterable[str]) -> pl.LazyFrame:
    """Open a CSV or Parquet file without reading it.

    A CSV file's cells stay text, for the schema to judge. In Parquet, NaN is how pandas says "no value".
    """
    if file.suffix == ".parquet":
        return pl.scan_parquet(file).with_columns(selectors.float().fill_nan(None))
    return pl.scan_csv(file, infer_schema=False, null_values=list(missing))


def batches(file: Path, missing: Iterable[str], size: int, start: int = 0) -> Iterator[pl.DataFrame]:
    """Read a table from row `start` on, `size` rows at a time."""
    frames = scan(file, missing).slice(start).collect_batches(chunk_size=size, maintain_order=True, engine="streaming")
    waiting: list[pl.DataFrame] = []
    for frame in frames:
        waiting.append(frame)
        while sum(map(len, waiting)) >= size:
            table = pl.concat(waiting)
            yield table.head(size)
            waiting = [table.slice(size)]
    if rest := [frame for frame in waiting if len(frame)]:
        yield pl.concat(rest)


def require(
    columns: Iterable[str],
    file: Path,
    missing: Iterable[str],
    place: str = "the fields of Row and Example in schema.py",
) -> None:
    """Refuse a file that lacks one of the columns that a place names."""
    found = scan(file, missing).collect_schema().names()
    if absent := [name for name in columns if name not in found]:
        raise Problem(
            f"{file.name} has no column {', '.join(map(repr, absent))}; it has {', '.join(map(repr, found))}. "
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
        table: Rows as they came; columns have the names that files have.
        model: Row or Example.
        file: The file's name, for faults.
        start: How many rows of the file came before these.

    Returns:
        The good rows, the bad rows as they came, and every fault of the bad rows. Columns that the model does not know
        stay with the good rows untouched.
    """
    names = list(columns_of(model))
    rows = [_counted(row, model) for row in table.select(names).to_dicts()]
    adapter = TypeAdapter(list[model])  # type: ignore[valid-type]
    faults: list[Fault] = []
    try:
        valid = adapter.validate_python(rows)
    except ValidationError as error:
        faults = [_fault(detail, rows, file, start) for detail in error.errors(include_url=False)]
        bad = {fault.row - start - 1 for fault in faults}
        valid = adapter.validate_python([row for number, row in enumerate(rows) if number not in bad])
    keep = np.ones(len(table), dtype=bool)
    keep[[fault.row - start - 1 for fault in faults]] = False
    others = [name for name in table.columns if name not in names]
    good = pl.concat([table.filter(keep).select(others), frame(valid, model)], how="horizontal")
    return good, table.filter(~keep), faults


def _counted(row: dict[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """Read whole numbers where a field names the ones it allows; Literal[0, 1] takes neither "0" nor pandas' 0.0."""
    for name in _counts(model):
        try:
            number = float(row[name])
        except (TypeError, ValueError):
            continue
        if number.is_integer():
            row[name] = int(number)
    return row


@functools.cache
def _counts(model: type[BaseModel]) -> list[str]:
    """List the fields that are one of some whole numbers."""
    properties = model.model_json_schema()["properties"].items()
    parts = ((name, part) for name, schema in properties for part in schema.get("anyOf", [schema]))
    return [name for name, part in parts if part.get("type") == "integer" and {"enum", "const"} & part.keys()]


def frame(rows: list[Any], model: type[BaseModel]) -> pl.DataFrame:
    """Gather checked rows in a table whose column types follow the model's fields; Polars puts times into UTC."""
    records = [row.model_dump(by_alias=True) for row in rows]
    types = {name: TYPES[column.type] for name, column in columns_of(model).items()}
    return pl.DataFrame(records, schema=types, orient="row")


def _fault(detail: Any, rows: list[dict[str, Any]], file: str, start: int) -> Fault:
    number, *path = detail["loc"]
    if not path:  # a rule about several columns at once
        return Fault(file, start + number + 1, "all", repr(rows[number]), detail["msg"])
    column = str(path[0])
    return Fault(file, start + number + 1, column, repr(rows[number].get(column)), detail["msg"])


def columns(table: pl.DataFrame) -> dict[str, Values]:
    """Give the columns of a table that the schema knows, as inputs.tensors takes them.

    Numbers and booleans are float64 arrays of shape (rows,), with NaN for a missing value; dates are datetime64[D] and
    times datetime64[us], with NaT; other columns are lists, with None.
    """
    known = {**COLUMNS, **EXTRA}
    return {name: _values(table[name], known[name]) for name in table.columns if name in known}


def _values(series: pl.Series, column: Column) -> Values:
    if column.kind in (Kind.NUMBER, Kind.BOOLEAN):
        return series.cast(pl.Float64).to_numpy()
    if column.kind in UNITS:
        return series.to_numpy().astype(f"datetime64[{UNITS[column.kind]}]")
    return series.to_list()


def target(table: pl.DataFrame) -> np.ndarray[Any, Any]:
    """Give the values to be predicted, of shape (rows,): objects for text, bool, int64 or float64."""
    return table[TARGET].to_numpy()
