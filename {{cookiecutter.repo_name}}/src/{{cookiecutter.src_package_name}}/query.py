"""What a database answers to data.query, kept as a raw file that never changes.

An answer is kept whole or not at all, under a name made of its content, so the same rows make no second file. Values
are kept exactly or refused: Polars' own reader of databases guesses types from some rows, a batch at a time, and turns
a column of numbers and texts into texts. What a query changes is not committed.
"""

import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from types import NoneType
from typing import Any, NamedTuple
from uuid import UUID

import polars as pl
from omegaconf import DictConfig
from pyarrow import parquet
from pydantic import BaseModel, ValidationError
from tqdm import tqdm

from . import reader, servers, storage
from .errors import Problem
from .storage import Location

NEWEST = "_newest.json"  # names the newest answer; passed over where a folder's files are read
NAMED = re.compile(r"[0-9a-f]{12}\.parquet")
QUERY = b"data.query"  # under which a file keeps what it answers
BATCH = 50_000  # rows that are fetched at a time

# Polars' types for the values that drivers give. Texts keep every digit, and the schema reads numbers in them.
KEPT: dict[type, Any] = {
    bool: pl.Boolean(),
    int: pl.Int64(),
    float: pl.Float64(),
    str: pl.String(),
    date: pl.Date(),
    Decimal: pl.String(),
    UUID: pl.String(),
}
TIME, MOMENT = pl.Datetime("us"), pl.Datetime("us", "UTC")  # without and with a zone

# What else drivers give, and what the query may give in its place.
INSTEAD: dict[type, str] = {
    bytes: "encode it as text, or leave it out",
    dict: "name the parts of it that are columns",
    list: "name the parts of it that are columns",
    time: "cast it to text",
    timedelta: "make it a number, of seconds for instance",
}


class Answer(BaseModel):
    """An answer that is kept: its file, and who was asked for what."""

    file: str
    rows: int
    sha256: str
    query: str
    database: str  # its address, without the login


class Draft(NamedTuple):
    """An answer as it was fetched, in pieces of some rows each."""

    pieces: list[Path]
    types: dict[str, Any]  # Polars' type of each column; Null if all pieces are without a value there
    rows: int


def places(config: DictConfig) -> dict[str | None, Location]:
    """Find what the raw files are, by the split that they are for: an answer, or what data.raw or data.split.files say.

    With data.query the database is asked, unless ask=false: then the newest answer that is kept is taken again.

    Raises:
        Problem: If the settings contradict each other, or there is no answer.
    """
    if config.data.query is None:
        return _given(config)
    folder = _folder(config)
    if config.ask:
        return {None: folder / _ask(config, folder).file}
    answer = _newest(config, folder)
    _require_kept(folder / answer.file, answer.sha256)
    return {None: folder / answer.file}


def known(config: DictConfig) -> dict[str | None, Location]:
    """Find what the raw files are as `places` does, without asking the database or reading an answer."""
    if config.data.query is None:
        return _given(config)
    folder = _folder(config)
    return {None: folder / _newest(config, folder).file}


def _given(config: DictConfig) -> dict[str | None, Location]:
    places: dict[str | None, str] = dict(config.data.split.files or {None: config.data.raw})
    return {split: storage.locate(config.storage.root, place) for split, place in places.items()}


def require_one(location: Location, files: Iterable[Location]) -> None:
    """Refuse a folder in which answers are kept: several of them are the same rows at different times."""
    for folder in {file.parent for file in files if file != location}:
        if (folder / NEWEST).exists():
            raise Problem(f"{folder} holds answers to a query: set data.query, or name one of the files in data.raw")


def names(config: DictConfig) -> list[str]:
    """Ask the database for the names of the columns, and for no rows."""
    _folder(config)
    with _answered(config) as result:
        return _columns(result)


def of(file: Location) -> str | None:
    """Give the query that a raw file answers; None if it is no answer."""
    if file.suffix.lower() != ".parquet":
        return None
    with storage.stream(file) as stream:
        kept = parquet.read_metadata(stream).metadata or {}
    return kept[QUERY].decode() if QUERY in kept else None


def _folder(config: DictConfig) -> Location:
    """Find the folder that answers are kept in, which may hold nothing else: that would be passed over."""
    if config.data.split.files:
        raise Problem("data.query and data.split.files: only one of them can say where rows come from")
    place = config.data.raw
    folder = storage.locate(config.storage.root, place)
    if place.lower().endswith(reader.SUFFIXES) or folder.is_file():
        raise Problem(f"data.raw={place}: with data.query it is a folder to keep answers in, such as raw/answers")
    for item in folder.iterdir() if folder.is_dir() else ():
        if not item.name.startswith((".", "_")) and not NAMED.fullmatch(item.name):
            raise Problem(f"{item} is no answer to a query: name another folder in data.raw")
    return folder


def _newest(config: DictConfig, folder: Location) -> Answer:
    """Look up the newest answer."""
    record = folder / NEWEST
    try:
        answer = Answer.model_validate_json(record.read_text()) if record.exists() else None
    except ValidationError as error:
        raise Problem(f"{record} is not what prepare wrote: prepare with ask=true") from error
    if answer is None:
        raise Problem(f"no answer to data.query in {folder}: prepare with ask=true first")
    if answer.query != config.data.query:
        raise Problem(f"the newest answer in {folder} is one to another query: prepare with ask=true")
    return answer


def _require_kept(file: Location, sha256: str) -> None:
    if not file.exists() or storage.digest(file) != sha256:
        raise Problem(f"{file} is gone or was changed since prepare wrote it: take it away, and prepare with ask=true")


def _ask(config: DictConfig, folder: Location) -> Answer:
    """Fetch an answer and keep it; the record is written last."""
    with TemporaryDirectory() as scratch:
        with _answered(config) as result:
            draft = _fetched(result, Path(scratch))
        if not draft.rows:
            raise Problem("data.query gives no rows, and nothing is kept: correct it, or fill the table")
        file = Path(scratch, "answer.parquet")
        _write(draft, config.data.query, file)
        answer = Answer(
            file="",
            rows=draft.rows,
            sha256=storage.digest(file),
            query=config.data.query,
            database=servers.bare(servers.address(str(config.data.database))),
        )
        answer.file = f"{answer.sha256[:12]}.parquet"
        if (folder / answer.file).exists():
            _require_kept(folder / answer.file, answer.sha256)
        else:
            with storage.publish(folder / answer.file) as place:
                shutil.move(file, place)
    with storage.publish(folder / NEWEST) as place:
        place.write_text(answer.model_dump_json(indent=2))
    return answer


@contextmanager
def _answered(config: DictConfig) -> Iterator[Any]:
    """Give SQLAlchemy's result of the query, whose rows stay with the database until they are fetched."""
    from sqlalchemy.exc import DBAPIError, SQLAlchemyError  # takes a third of a second, and few need it

    with _connected(str(config.data.database)) as connection:
        try:
            # As it is written: a colon or a percent sign in it is no parameter's.
            options = connection.execution_options(yield_per=BATCH, no_parameters=True)
            with options.exec_driver_sql(config.data.query) as result:
                yield result
        except SQLAlchemyError as error:
            fix = "correct it, or ask for the right to read"
            if isinstance(error, DBAPIError) and error.connection_invalidated:
                fix = "the database stopped answering; run this again"
            raise Problem(f"data.query cannot be answered: {fix} ({_reason(error)})") from error


@contextmanager
def _connected(variable: str) -> Iterator[Any]:
    """Connect to the database whose address an environment variable holds; what is not committed is undone."""
    from sqlalchemy import create_engine, make_url, pool
    from sqlalchemy.exc import SQLAlchemyError

    address = servers.address(variable)
    try:
        url = make_url(address)
        if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():  # which it would make
            raise Problem(f"{variable}: there is no file {url.database}; correct the address")
        connection = create_engine(url, poolclass=pool.NullPool).connect()
    except (ImportError, SQLAlchemyError, TypeError, ValueError) as error:
        reason = _reason(error)
        raise Problem(f"{variable} cannot be used: {servers.remedy(reason)} ({reason})") from error
    with connection:
        yield connection


def _reason(error: Exception) -> str:
    """Give the first line of what a client says, without SQLAlchemy's own words around it."""
    return str(getattr(error, "orig", None) or error).splitlines()[0]


def _columns(result: Any) -> list[str]:
    if not result.returns_rows:
        raise Problem("data.query gives no table: write a SELECT")
    found = [str(name) for name in result.keys()]  # noqa: SIM118  it is no dictionary
    if twice := sorted({name for name in found if found.count(name) > 1}):
        raise Problem(f"data.query has the column {', '.join(map(repr, twice))} twice: rename or drop one of them")
    return found


def _fetched(result: Any, folder: Path) -> Draft:
    """Fetch all rows, some at a time, into files of a folder."""
    columns = _columns(result)
    types: dict[str, Any] = dict.fromkeys(columns, pl.Null())
    pieces: list[Path] = []
    rows = 0
    with tqdm(desc="asking the database", unit=" rows", disable=None) as bar:
        for batch in result.partitions(BATCH):
            table = pl.DataFrame(map(_series, columns, zip(*batch, strict=True)))
            types = {name: _joined(name, [kind, table.schema[name]]) for name, kind in types.items()}
            pieces.append(folder / f"{len(pieces)}.parquet")
            table.write_parquet(pieces[-1], compression="lz4")
            rows += len(table)
            bar.update(len(table))
    return Draft(pieces, types, rows)


def _series(name: str, values: Sequence[Any]) -> pl.Series:
    """Keep the values of a column exactly.

    Raises:
        Problem: If no table can hold them, or if they are of several types.
    """
    kind = _joined(name, _types(name, values))
    if kind == pl.String:
        values = [_text(value) for value in values]
    try:
        return pl.Series(name, values, kind)
    except (OverflowError, TypeError, ValueError) as error:  # beyond 64 bits or the years 1 to 9999, or no Unicode
        fix = f"cast it to text ({_reason(error)})"
        raise Problem(f"data.query: column {name!r} has a value that no raw file holds: {fix}") from error


def _types(name: str, values: Sequence[Any]) -> set[Any]:
    """Give the types of values; none of those that are missing."""
    kinds = {type(value) for value in values} - {NoneType}
    if unknown := sorted(kinds - {*KEPT, datetime}, key=lambda kind: kind.__name__):
        what = INSTEAD.get(unknown[0], "cast it to text")
        raise Problem(f"data.query: column {name!r} is of type {unknown[0].__name__}, which no raw file holds: {what}")
    found = {KEPT[kind] for kind in kinds - {datetime}}
    if datetime in kinds:
        found |= {MOMENT if value.tzinfo else TIME for value in values if isinstance(value, datetime)}
    return found


def _text(value: Any) -> str | None:
    return format(value, "f") if isinstance(value, Decimal) else value if value is None else str(value)


def _joined(name: str, kinds: Iterable[Any]) -> Any:
    """Give the one type that a column has, apart from missing values."""
    found = {kind for kind in kinds if kind != pl.Null}
    if len(found) > 1:
        what = " and ".join(sorted(map(str, found)))
        raise Problem(f"data.query: column {name!r} holds values of different types ({what}): cast it to one type")
    return found.pop() if found else pl.Null()


def _write(draft: Draft, query: str, file: Path) -> None:
    """Write an answer in one file; a column without any value is one of texts, as in a CSV file."""
    types = pl.Schema({name: pl.String() if kind == pl.Null else kind for name, kind in draft.types.items()})
    level = pl.CompatLevel.oldest()
    schema = pl.DataFrame(schema=types).to_arrow(compat_level=level).schema.with_metadata({QUERY: query})
    with parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        for piece in draft.pieces:
            writer.write_table(pl.read_parquet(piece, glob=False).cast(types).to_arrow(compat_level=level))
            piece.unlink()
