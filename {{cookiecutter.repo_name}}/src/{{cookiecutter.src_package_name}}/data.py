"""Tables in and out of memory: scan files in batches, check rows against the schema, split. Nothing here writes."""

import functools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from polars import selectors
from pydantic import BaseModel, TypeAdapter, ValidationError

from .errors import Problem
from .schema import TARGET, TASK

SUFFIXES = (".csv", ".parquet")
SPLITS = ("train", "valid", "test")


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


def require(columns: Iterable[str], file: Path, missing: Iterable[str]) -> None:
    """Refuse a file that lacks a column of the schema."""
    found = scan(file, missing).collect_schema().names()
    if absent := [name for name in columns if name not in found]:
        raise Problem(
            f"{file.name} has no column {', '.join(map(repr, absent))}; it has {', '.join(map(repr, found))}. "
            "Correct the file, or the fields of Row and Example in schema.py."
        )


def check(
    table: pl.DataFrame, model: type[BaseModel], file: str, start: int = 0
) -> tuple[pl.DataFrame, pl.DataFrame, list[Fault]]:
    """Part a table into rows that keep every rule of a model, with its types, and rows that do not.

    Returns the good rows, the bad rows as they came, and every fault of the bad rows. Columns that the model does not
    know stay with the good rows untouched.
    """
    names = list(model.model_fields)
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
    """Gather checked rows in a table whose column types follow the model's fields."""
    return pl.DataFrame([row.model_dump() for row in rows], schema=dict(_types(model)), orient="row")


def _types(model: type[BaseModel]) -> Iterator[tuple[str, Any]]:
    """Polars' type for each field: what JSON calls it decides."""
    names = {"number": pl.Float64, "integer": pl.Int64, "boolean": pl.Boolean, "string": pl.String}
    for name, schema in model.model_json_schema()["properties"].items():
        kinds = [part.get("type") for part in schema.get("anyOf", [schema])]
        yield name, next((names[kind] for kind in kinds if kind in names), pl.String)


def _fault(detail: Any, rows: list[dict[str, Any]], file: str, start: int) -> Fault:
    number, *path = detail["loc"]
    column = str(path[0])
    return Fault(file, start + number + 1, column, repr(rows[number][column]), detail["msg"])


def split(target: pl.Series, valid: float, test: float, seed: int) -> pl.Series:
    """Assign each row to train, valid or test at random, in the same proportions for each class of the target."""
    if valid <= 0 or test <= 0 or valid + test >= 1:
        raise Problem(f"split valid={valid} test={test}: both must be above 0 and leave something for training")
    random = np.random.default_rng(seed)
    labels = np.full(len(target), SPLITS[0], dtype=object)
    groups = target.rank("dense").to_numpy() if TASK == "classification" else np.zeros(len(target))
    for group in np.unique(groups):
        rows = random.permutation(np.flatnonzero(groups == group))
        first, second = round(len(rows) * test), round(len(rows) * (test + valid))
        labels[rows[:first]], labels[rows[first:second]] = "test", "valid"
    return pl.Series("split", labels, dtype=pl.String)


def columns(table: pl.DataFrame) -> dict[str, list[Any]]:
    """Give the columns of a table as lists, the target among them where the table has it."""
    return table.to_dict(as_series=False)


def target(table: pl.DataFrame) -> np.ndarray[Any, Any]:
    """Give the values to be predicted: text or whole numbers for classes, float64 for a number."""
    return table[TARGET].to_numpy()
