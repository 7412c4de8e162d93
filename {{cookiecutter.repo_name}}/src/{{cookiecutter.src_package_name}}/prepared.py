"""The prepared tables: three Parquet files and the manifest that names them.

The manifest is written last and in one piece, so a reader sees the tables of one run of prepare whole, or those of the
run before it.
"""

from pathlib import Path

import polars as pl
from pydantic import BaseModel

from . import storage
from .data import SPLITS
from .errors import Problem
from .schema import VERSION


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
    splits: dict[str, Part]
    rejected: int


def read(folder: storage.Location) -> tuple[Manifest, dict[str, pl.DataFrame]]:
    """Read the manifest and its tables, refusing any that are not what prepare wrote for this schema."""
    location = folder / "manifest.json"
    if not location.exists():
        raise Problem(f"no prepared data in {folder}: run `make prepare` first")
    manifest = Manifest.model_validate_json(location.read_text())
    if manifest.schema_version != VERSION:
        raise Problem(f"schema.py has changed since {folder} was prepared: run `make prepare` again")
    return manifest, {name: _table(folder, manifest.splits[name]) for name in SPLITS}


def _table(folder: storage.Location, part: Part) -> pl.DataFrame:
    file = storage.fetch(folder / part.path)
    if storage.digest(file) != part.sha256:
        raise Problem(f"{folder / part.path} is not the file that prepare wrote: run `make prepare` again")
    return pl.read_parquet(file)


def describe(file: Path, path: str, rows: int) -> Part:
    """Describe a file that lies on this disk."""
    return Part(path=path, rows=rows, sha256=storage.digest(file))
