"""The predictions for one file: a folder of parts, one for each shard of the file, and a state once all are there.

A part appears whole, with its record behind it; so a run that was stopped, or that runs beside another, goes on with
the parts that have no record. The folder is that of one version of the model: versions never mix.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple, TypeVar

import polars as pl
from pydantic import BaseModel, ValidationError

from . import storage, tables
from .data import Fault
from .errors import Problem

Record = TypeVar("Record", bound=BaseModel)


class Source(BaseModel):
    """What predictions are made from; if any of it changes, they are made anew."""

    content: str
    model: str
    settings: str


class Part(BaseModel):
    """The predictions for one shard: its rows, those set aside, and the file of the others, if there are any."""

    source: Source
    rows: int = 0
    rejected: int = 0
    path: str = ""
    sha256: str = ""
    bytes: int = 0


class State(BaseModel):
    """All predictions for a file."""

    source: Source
    rows: int
    rejected: int
    parts: list[Part]


def read(folder: storage.Location) -> pl.DataFrame:
    """Read the predictions for a file by one version.

    Args:
        folder: The version's folder, `predictions/<file>/<version>`.

    Raises:
        Problem: If they are not complete, or not what infer wrote.
    """
    state = complete(folder)
    if state is None:
        raise Problem(f"{folder} has no complete predictions: run `make infer`, and wait for all its workers")
    found = [_read(folder, part) for part in state.parts if part.path]
    return pl.concat(found) if found else pl.DataFrame()


def _read(folder: storage.Location, part: Part) -> pl.DataFrame:
    with storage.fetched(folder / part.path) as file:
        if storage.digest(file) != part.sha256:
            raise Problem(f"{folder / part.path} is not what infer wrote: take {folder} away, and score again")
        return pl.read_parquet(file, glob=False)


def complete(folder: storage.Location) -> State | None:
    """Read the state of a folder, if all the parts that it names are there."""
    state = _record(folder / "state.json", State)
    return state if state and all(_is_there(folder, part) for part in state.parts) else None


def recorded(
    folder: storage.Location, source: Source, known: Mapping[int, Part] = MappingProxyType({})
) -> dict[int, Part]:
    """Read the records of the parts that were made from the same and are there, by number.

    Those that are known are not read again. So a large folder in a bucket takes one request, and not one for each part.
    """
    found = {}
    for file in folder.glob("part-*.json"):
        number = int(file.stem.removeprefix("part-"))
        part = known.get(number) or _record(file, Part)
        if part and part.source == source and (number in known or _is_there(folder, part)):
            found[number] = part
    return found


def _is_there(folder: storage.Location, part: Part) -> bool:
    file = folder / part.path
    return not part.path or bool(file.exists() and file.stat().st_size == part.bytes)


def _record(file: storage.Location, kind: type[Record]) -> Record | None:
    try:
        return kind.model_validate_json(file.read_text()) if file.exists() else None
    except ValidationError:  # of an older version of this project, or damaged: it is made again
        return None


def name(number: int) -> str:
    """Name a part."""
    return f"part-{number:06}"


class Scored(NamedTuple):
    """What came of a batch: predictions, the rows that were set aside, and their faults, by rows of the shard."""

    table: pl.DataFrame
    rejected: int
    faults: list[Fault]


def write(folder: storage.Location, number: int, source: Source, batches: Iterable[Scored]) -> Part:
    """Write a part as its batches come, then the faults of its shard and, behind them, its record."""
    part = Part(source=source)
    faults: list[Fault] = []
    file = folder / f"{name(number)}.parquet"
    with storage.publish(file) as draft:
        with tables.writers({"": draft}) as writers:
            for batch in batches:
                writers[""].add(batch.table)
                part.rows += len(batch.table) + batch.rejected
                part.rejected += batch.rejected
                faults += batch.faults
        if draft.exists():
            part.path, part.sha256, part.bytes = file.name, storage.digest(draft), draft.stat().st_size
    if faults:
        with storage.publish(folder / f"rejected-{number:06}.csv") as draft:
            pl.DataFrame(faults, schema=Fault._fields, orient="row").write_csv(draft)
    with storage.publish(folder / f"{name(number)}.json") as draft:
        draft.write_text(part.model_dump_json(indent=2))
    return part


def reopen(folder: storage.Location) -> None:
    """Take the state away before parts are made anew: whoever finds a state finds the parts that it names."""
    (folder / "state.json").unlink(missing_ok=True)


def finish(folder: storage.Location, source: Source, parts: list[Part]) -> State:
    """Put the faults of all parts in one file, with their rows in the whole file, and write the state."""
    rejected = sum(part.rejected for part in parts)
    (folder / "rejected.csv").unlink(missing_ok=True)
    if rejected:
        with storage.publish(folder / "rejected.csv") as draft:
            pl.concat(_faults(folder, parts)).write_csv(draft)
    names = {part.path for part in parts}
    _remove(file for file in folder.glob("part-*.parquet") if file.name not in names)
    state = State(source=source, rows=sum(part.rows for part in parts), rejected=rejected, parts=parts)
    with storage.publish(folder / "state.json") as draft:
        draft.write_text(state.model_dump_json(indent=2))
    _remove([*folder.glob("part-*.json"), *folder.glob("rejected-*.csv")])
    return state


def _remove(files: Iterable[storage.Location]) -> None:
    for file in files:
        file.unlink(missing_ok=True)


def _faults(folder: storage.Location, parts: list[Part]) -> list[pl.DataFrame]:
    tables = []
    before = 0
    for number, part in enumerate(parts):
        if part.rejected:
            with storage.fetched(folder / f"rejected-{number:06}.csv") as file:
                tables.append(pl.read_csv(file, glob=False).with_columns(pl.col("row") + before))
        before += part.rows
    return tables
