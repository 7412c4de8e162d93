"""The prepared tables: three Parquet files and the manifest that names them.

The manifest is written last and in one piece, so a reader sees the tables of one run of prepare whole, or those of the
run before it.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
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


class Part(BaseModel):
    """A file: its place relative to the manifest, its length and its SHA-256."""

    path: str
    rows: int
    sha256: str


class Manifest(BaseModel):
    """What prepare made, and from what."""

    version: str
    schema_version: str
    seed: int
    raw: list[Part]
    split: Rule  # what decides where a row lies, with all that it needs
    splits: dict[str, Part]
    classes: dict[str, dict[str, int]] = {}  # rows of each class, by split; none for a regression
    groups: dict[str, int] = {}  # groups of rows that stay together, by split, where columns were named
    notes: list[str] = []  # what prepare noticed
    rejected: int


def read(folder: storage.Location) -> tuple[Manifest, dict[str, pl.DataFrame]]:
    """Read the manifest and its tables, refusing any that are not what prepare wrote for this schema."""
    if not (folder / "manifest.json").exists():
        raise Problem(f"no prepared data in {folder}: run `make prepare` first")
    manifest = earlier(folder)
    if manifest is None:
        raise Problem(f"the manifest in {folder} is one of an older version of this project: run `make prepare` again")
    if manifest.schema_version != VERSION:
        raise Problem(f"schema.py has changed since {folder} was prepared: run `make prepare` again")
    return manifest, {name: _table(folder, manifest.splits[name]) for name in SPLITS}


def earlier(folder: storage.Location) -> Manifest | None:
    """Read the manifest that lies in a folder, if there is one of this form."""
    location = folder / "manifest.json"
    try:
        return Manifest.model_validate_json(location.read_text()) if location.exists() else None
    except ValidationError:
        return None


def _table(folder: storage.Location, part: Part) -> pl.DataFrame:
    file = storage.fetch(folder / part.path)
    if storage.digest(file) != part.sha256:
        raise Problem(f"{folder / part.path} is not the file that prepare wrote: run `make prepare` again")
    return pl.read_parquet(file)


def describe(file: Path, path: str, rows: int) -> Part:
    """Describe a file that lies on this disk."""
    return Part(path=path, rows=rows, sha256=storage.digest(file))


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
