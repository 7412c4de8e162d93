"""The prepared tables: Parquet files, a few for each split, and the manifest that names them.

The manifest is written last and in one piece, so a reader sees the tables of one run of prepare whole, or those of the
run before it.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from pyarrow import parquet
from pydantic import BaseModel, ValidationError

from . import storage
from .columns import VERSION
from .data import SPLITS
from .errors import Problem
from .split import Rule

ROW_GROUP = 100_000  # rows
RUN = 24 * 3600  # seconds that a run of prepare takes at most: parts that it made or found are as new as that


class Part(BaseModel):
    """A file: its place relative to the manifest, its length and its SHA-256."""

    path: str
    rows: int
    sha256: str
    bytes: int


class Split(BaseModel):
    """The rows of a split, in the files in which they lie, in order."""

    rows: int
    parts: list[Part]


class Source(Part):
    """A raw file, what tells without reading it whether it has changed since, and the query that it answers, if any."""

    stamp: str
    query: str | None = None


class Manifest(BaseModel):
    """What prepare made, and from what."""

    version: str
    schema_version: str
    seed: int
    raw: list[Source]
    split: Rule  # what decides where a row lies, with all that it needs
    splits: dict[str, Split]
    folders: list[str]  # of all parts, and of what they were made from
    classes: dict[str, dict[str, int]] = {}  # rows of each class, by split; none for a regression
    groups: dict[str, int] = {}  # groups of rows that stay together, by split, where columns were named
    notes: list[str] = []  # what prepare noticed
    rejected: int


def read(folder: storage.Location, rows: int | None = None) -> tuple[Manifest, dict[str, pl.DataFrame]]:
    """Read the manifest and its tables, refusing any that are not what prepare wrote for this schema.

    Of the training split only a sample of about so many rows is read, if `rows` is a number; the others are whole.
    """
    if not (folder / "manifest.json").exists():
        raise Problem(f"no prepared data in {folder}: run `make prepare` first")
    manifest = earlier(folder)
    if manifest is None:
        raise Problem(f"the manifest in {folder} is one of an older version of this project: run `make prepare` again")
    if manifest.schema_version != VERSION:
        raise Problem(f"schema.py has changed since {folder} was prepared: run `make prepare` again")
    share = 1.0 if rows is None else rows / manifest.splits["train"].rows
    found = {}
    for name in SPLITS:
        pieces = iter(Pieces(folder, manifest.splits[name].parts, proven=True))
        if name == "train" and share < 1:
            pieces = (piece.filter(manifest.split.sampled(piece.collect_schema(), share)) for piece in pieces)
        found[name] = pl.concat([piece.collect(engine="streaming") for piece in pieces])
    return manifest, found


def earlier(folder: storage.Location) -> Manifest | None:
    """Read the manifest that lies in a folder, if there is one of this form."""
    location = folder / "manifest.json"
    try:
        return Manifest.model_validate_json(location.read_text()) if location.exists() else None
    except ValidationError:
        return None


@dataclass(frozen=True)
class Pieces:
    """The rows of some parts, in order, as tables to be read one after another, each before the next is asked for.

    Parts on this disk are one table. Of parts in a bucket each is one, and is on this disk for as long as it is the
    last that was given: however many there are, they take the room of one.
    """

    folder: storage.Location
    parts: list[Part]
    proven: bool = False  # whether they must be the files that prepare wrote, or a Problem is raised

    def __iter__(self) -> Iterator[pl.LazyFrame]:
        """Give the tables, whose rows are read when they are collected."""
        for parts in [self.parts] if isinstance(self.folder, Path) else [[part] for part in self.parts]:
            with ExitStack() as stack:
                yield pl.scan_parquet([self._file(part, stack) for part in parts], glob=False)

    def gather(self, ask: Callable[[pl.LazyFrame], pl.LazyFrame]) -> pl.LazyFrame:
        """Give as one table what is asked of each; of parts in a bucket, it is in memory by then."""
        if isinstance(self.folder, Path):
            return ask(pl.concat(self))
        return pl.concat([ask(piece).collect(engine="streaming").lazy() for piece in self])

    def _file(self, part: Part, stack: ExitStack) -> Path:
        place = self.folder / part.path
        if not self.proven:
            return stack.enter_context(storage.fetched(place))
        if place.exists():
            file = stack.enter_context(storage.fetched(place))
            if storage.digest(file) == part.sha256:
                return file
        raise Problem(f"{place} is not the file that prepare wrote: take it away, and run `make prepare` again")


def describe(file: Path, path: str, rows: int) -> Part:
    """Describe a file that lies on this disk."""
    return Part(path=path, rows=rows, sha256=storage.digest(file), bytes=file.stat().st_size)


def publish(folder: storage.Location, manifest: Manifest, keep: int) -> None:
    """Write the manifest, and take away what only versions before the newest `keep` need."""
    text = manifest.model_dump_json(indent=2)
    for place in (folder / manifest.version / "manifest.json", folder / "manifest.json"):
        with storage.publish(place) as draft:
            draft.write_text(text, encoding="utf-8")
    with suppress(FileNotFoundError):  # another run tidies at once
        _tidy(folder, keep)


def _tidy(folder: storage.Location, keep: int) -> None:
    """Take away old versions, and parts that no other one is made of and no run may be about to use."""
    versions = [found.parent for found in folder.glob("*/manifest.json")]
    newest = sorted(versions, key=lambda version: -_changed(version / "manifest.json"))
    for version in newest[keep:]:
        storage.remove(version)
    kept = [earlier(folder), *(earlier(version) for version in newest[:keep])]
    named = {place for manifest in kept if manifest for place in manifest.folders}
    for parts in folder.glob("parts/*"):
        if f"parts/{parts.name}" not in named and time.time() - _changed(*parts.iterdir()) > RUN:
            storage.remove(parts)
    for draft in folder.rglob(".*") if isinstance(folder, Path) else ():  # of runs that were killed
        if time.time() - _changed(draft) > RUN:
            draft.unlink(missing_ok=True)


def _changed(*files: storage.Location) -> float:
    """Give the time of the last change, which is long ago where there are no files."""
    return max((float(file.stat().st_mtime) for file in files), default=0.0)


class Writer:
    """A Parquet file that grows by tables of one form, and is the same whatever the sizes that they come in."""

    def __init__(self, file: Path) -> None:
        """Begin with the first rows: without any, no file is made."""
        self.file = file
        self.rows = 0
        self._waiting: list[pl.DataFrame] = []
        self._writer: parquet.ParquetWriter | None = None

    def add(self, table: pl.DataFrame) -> None:
        """Add rows."""
        if not len(table):
            return
        self._waiting.append(table)
        self.rows += len(table)
        while sum(map(len, self._waiting)) >= ROW_GROUP:
            whole = pl.concat(self._waiting)
            self._write(whole[:ROW_GROUP])
            self._waiting = [whole[ROW_GROUP:]]

    def close(self) -> None:
        """Write what waits, and end the file."""
        if whole := [table for table in self._waiting if len(table)]:
            self._write(pl.concat(whole))
        self._waiting = []
        if self._writer:
            self._writer.close()

    def _write(self, table: pl.DataFrame) -> None:
        rows = table.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
        if self._writer is None:
            self.file.parent.mkdir(parents=True, exist_ok=True)  # a worker that failed may have taken it away again
            self._writer = parquet.ParquetWriter(self.file, rows.schema, compression="lz4")
        self._writer.write_table(rows)


@contextmanager
def writers(files: dict[str, Path]) -> Iterator[dict[str, Writer]]:
    """Write several files; they are whole when the block ends."""
    opened = {name: Writer(file) for name, file in files.items()}
    with ExitStack() as stack:
        for writer in opened.values():
            stack.callback(writer.close)
        yield opened
