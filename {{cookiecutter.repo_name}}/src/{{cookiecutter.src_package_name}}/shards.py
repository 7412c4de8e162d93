"""One shard of a raw file: checked, parted by split, and written as files of its own with a record behind them.

The folder of these files is named after all that decides what is in them. So whoever finds a record need not check the
shard again, a run that was stopped goes on where it was, and runs beside one another write the same.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import polars as pl
import pydantic
from pyarrow import parquet
from pydantic import BaseModel, ValidationError

from . import data, engine, reader, rejects, split, storage, tables
from .columns import COLUMNS, EXTRA, TARGET, TASK, VERSION, label
from .data import SPLITS, Fault
from .errors import Problem
from .reader import Dialect, Shard
from .rejects import Kind, Rejects
from .schema import Example
from .split import Rule, Time
from .tables import Part, Writer

SCHEMA = (*COLUMNS, *EXTRA)
UNPLACED = "unplaced"  # good rows that wait for the rule to be settled
REJECTS = "rejects"  # a line for each fault
Moved = Counter[tuple[str, str]] | None
Classes = dict[str, Counter[str]]


@dataclass(frozen=True)
class Work:
    """What all shards of a raw file are checked by, and where what comes of them is written."""

    name: str  # of the file, for messages
    file: storage.Location
    stamp: str  # of the file when its hash was computed
    place: str | None  # the split that all its rows are for, if data.split.files says so
    written: Dialect
    rule: Rule
    others: list[str]  # columns that are read beside the schema's
    kept: list[str]  # those of them that are written
    before: Rule | None  # another rule that rows were split by before
    root: storage.Location  # of prepared tables
    folder: str  # below it

    @property
    def splits(self) -> tuple[str, ...]:
        """Name the files that rows go to."""
        return (UNPLACED,) if isinstance(self.rule, Time) and not self.rule.bounded else SPLITS


class Checked(BaseModel):
    """What came of a shard: the rows in it, its files by split, its faults, and rows that moved from another split."""

    rows: int
    parts: dict[str, Part]
    rejected: int
    kinds: list[Kind]
    others: int
    before: Rule | None
    moved: list[tuple[str, str, int]] | None
    classes: dict[str, dict[str, int]]  # rows of each class, by the names of files; none for a regression


class Done(NamedTuple):
    """The end of a call: what came of its shard, whether an earlier run had checked it, or why the shard is refused."""

    call: int
    checked: Checked | None = None
    known: bool = False
    row: int = 0  # of the shard, which is refused; 0 if it is not about a row
    refusal: str = ""


class Misplaced(Problem):
    """A row on which the rule does not decide."""

    def __init__(self, row: int, reason: str) -> None:
        """Name the row by its number in the shard."""
        super().__init__(reason)
        self.row = row


def folder(*decide: object) -> str:
    """Name the folder of what is made from these things, by this code."""
    code = (VERSION, engine.code(), pl.__version__, pydantic.VERSION)
    return f"parts/{hashlib.sha256(repr((*decide, *code)).encode()).hexdigest()[:16]}"


def identify(call: int, file: storage.Location) -> tuple[int, str]:
    """Hash a raw file; gives nothing for one that is not there where the call is made."""
    return call, storage.digest(file) if file.exists() else ""


def check(call: int, work: Work, number: int, shard: Shard) -> Done:
    """Check a shard and write what comes of it, unless that is there already."""
    if checked := _recorded(work, number):
        return Done(call, checked, known=True)
    try:
        return Done(call, _record(work, number, _checked(work, number, shard)))
    except Misplaced as problem:
        return Done(call, row=problem.row, refusal=str(problem))
    except Problem as problem:
        return Done(call, refusal=str(problem))


def place(call: int, work: Work, number: int, unplaced: Checked) -> Done:
    """Part the rows of a checked shard by the rule, which all rows together have settled, as `check` does."""
    if checked := _recorded(work, number):
        return Done(call, checked, known=True)
    moved: Moved = Counter()
    classes: Classes = {name: Counter() for name in SPLITS}
    with _parts(work, number, SPLITS) as (writers, parts):
        for table in _read(work, unplaced.parts.get(UNPLACED)):
            moved = _add(table, work, writers, moved, classes)
    update = {"parts": parts, "before": work.before, "moved": _listed(moved), "classes": _sorted(classes)}
    if REJECTS in unplaced.parts:
        parts[REJECTS] = unplaced.parts[REJECTS]
    return Done(call, _record(work, number, unplaced.model_copy(update=update)))


def _listed(moved: Moved) -> list[tuple[str, str, int]] | None:
    return None if moved is None else sorted((*places, count) for places, count in moved.items())


def _sorted(classes: Classes) -> dict[str, dict[str, int]]:
    return {name: dict(sorted(counts.items())) for name, counts in classes.items()}


def _recorded(work: Work, number: int) -> Checked | None:
    """Read the record of a shard, if the files that it names are there, and mark it as still of use."""
    file = work.root / work.folder / f"{number:06}.json"
    try:
        checked = Checked.model_validate_json(file.read_text()) if file.exists() else None
    except ValidationError:  # damaged: it is made again
        return None
    if checked is None or work.before not in (None, checked.before):
        return None
    if not all(_is_there(work.root / part.path, part) for part in checked.parts.values()):
        return None
    return _record(work, number, checked)


def _is_there(file: storage.Location, part: Part) -> bool:
    return bool(file.exists() and file.stat().st_size == part.bytes)


def _record(work: Work, number: int, checked: Checked) -> Checked:
    with storage.publish(work.root / work.folder / f"{number:06}.json") as draft:
        draft.write_text(checked.model_dump_json(), encoding="utf-8")
    return checked


@contextmanager
def _parts(work: Work, number: int, names: tuple[str, ...]) -> Iterator[tuple[dict[str, Writer], dict[str, Part]]]:
    """Write files; when the block ends, each appears whole, and is described. Without rows there is none."""
    parts: dict[str, Part] = {}
    paths = {name: f"{work.folder}/{name}-{number:06}.parquet" for name in names}
    with ExitStack() as stack:
        drafts = {name: stack.enter_context(storage.publish(work.root / path)) for name, path in paths.items()}
        with tables.writers(drafts) as writers:
            yield writers, parts
        for name, writer in writers.items():
            if writer.rows:
                parts[name] = tables.describe(drafts[name], paths[name], writer.rows)


def _checked(work: Work, number: int, shard: Shard) -> Checked:
    """Check every row, and write the good ones, each to the file of its split, and the faults of the others."""
    rows = 0
    found = Rejects()
    moved: Moved = Counter()
    classes: Classes = {name: Counter() for name in work.splits}
    with _parts(work, number, (*work.splits, REJECTS)) as (writers, parts):
        for batch in reader.batches(work.file, work.written, shard):
            good, bad, faults = data.check(batch, Example, work.name, rows)
            found.add(len(bad), faults)
            if faults:
                writers[REJECTS].add(rejects.lines(bad, faults))
            good = good.select(*_texts(work.others, good), *SCHEMA)
            _require_place(good, work.rule, faults, rows)
            moved = _add(good, work, writers, moved, classes)
            rows += len(batch)
        if storage.stamp(work.file) != work.stamp:
            raise Problem(f"{work.name} was changed while it was read: run `make prepare` again")
    return Checked(
        rows=rows,
        parts=parts,
        rejected=found.rows,
        kinds=list(found.kinds.values()),
        others=found.others,
        before=work.before,
        moved=_listed(moved),
        classes=_sorted(classes),
    )


def _add(good: pl.DataFrame, work: Work, writers: dict[str, Writer], moved: Moved, classes: Classes) -> Moved:
    """Write rows to the files of their splits, and count their classes and those that lay elsewhere before."""
    for name, rows in _by_split(good, work).items():
        writers[name].add(rows.select(*work.kept, *SCHEMA))
        if TASK != "regression" and name != UNPLACED:
            classes[name].update({label(value): count for value, count in rows[TARGET].value_counts().iter_rows()})
        if work.before:
            moved = split.moved(work.before, rows, name, moved)
    return moved


def _by_split(good: pl.DataFrame, work: Work) -> dict[str, pl.DataFrame]:
    """Part rows by their splits; those of a file that is for one split lie there as a whole."""
    if work.place or work.splits == (UNPLACED,):
        return {work.place or UNPLACED: good}
    labels = good.select(work.rule.labels(good.schema)).to_series()
    return {name: good.filter(labels == name) for name in SPLITS}


def _read(work: Work, part: Part | None) -> Iterator[pl.DataFrame]:
    if part is None:
        return
    with storage.stream(work.root / part.path) as stream, parquet.ParquetFile(stream) as file:
        for batch in file.iter_batches():
            yield pl.DataFrame(pl.from_arrow(batch))


def _texts(names: list[str], table: pl.DataFrame) -> list[pl.Expr]:
    """Give columns that the schema does not know as text, as which a CSV file has them."""
    return [
        (split.text(name, table.schema[name]) if name in table.columns else pl.lit(None, pl.String)).alias(name)
        for name in names
    ]


def _require_place(good: pl.DataFrame, rule: Rule, faults: list[Fault], start: int) -> None:
    """Refuse a row that the rule does not decide on."""
    for place in good.select(~rule.placed(good.schema)).to_series().arg_true()[:1]:
        bad = {fault.row for fault in faults}
        rows = [row for row in range(start + 1, start + len(good) + len(bad) + 1) if row not in bad]
        raise Misplaced(rows[place], rule.refusal(good.row(place, named=True)))
