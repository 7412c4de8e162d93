"""Check raw data against the schema, split it, and write it where train reads it."""

from .cli import start

if __name__ == "__main__":  # before the imports below: --help, or a wrong setting, needs none of them
    start("prepare")


import hashlib
from collections import Counter
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from omegaconf import DictConfig, OmegaConf

from . import data, engine, query, reader, review, shards, split, storage, tables
from .columns import VERSION
from .data import SPLITS
from .errors import Problem
from .rejects import Rejects
from .schema import Example
from .shards import REJECTS, SCHEMA, UNPLACED, Checked, Done, Work
from .split import Files, Hash, Rule, Time
from .tables import Manifest, Part, Pieces, Source, Split

PLACES = ("prepared", "inbox", "predictions")  # settings of where tables lie, which decide nothing about them


@dataclass(frozen=True)
class Raw:
    """A raw file, its name and its columns, and the split that it is for, if data.split.files says so."""

    name: str
    file: storage.Location
    stamp: str  # changes when the file does
    columns: list[str]
    split: str | None
    digest: str = ""  # if it is known

    def described(self, rows: int) -> Source:
        """Describe it for the manifest."""
        return Source(
            path=self.name,
            rows=rows,
            sha256=self.sha256,
            bytes=self.file.stat().st_size,
            stamp=self.stamp,
            query=query.of(self.file),
        )

    @cached_property
    def sha256(self) -> str:
        """Compute the SHA-256 of what is in it."""
        return self.digest or storage.digest(self.file)


@dataclass(frozen=True)
class Order:
    """What tables are to be made of: the settings, the raw files, the rule of the split, and the tables before."""

    config: DictConfig
    raw: list[Raw]
    rule: Rule
    before: Manifest | None
    folder: storage.Location

    @property
    def version(self) -> str:
        """Name the outcome after all that decides it, so that equal runs write equal files to the same place."""
        deciding = {name: value for name, value in self.config.data.items() if name not in PLACES}
        settings = [VERSION, str(self.config.seed), str(deciding), str(self.rule)]
        return hashlib.sha256("\n".join([*settings, *(source.sha256 for source in self.raw)]).encode()).hexdigest()[:12]

    def others(self, *rules: Rule | None) -> list[str]:
        """Name the columns beside the schema's that are of use: the id, and what rules need."""
        known = {name for source in self.raw for name in source.columns}
        names = [self.config.data.id, *(name for rule in rules if rule for name in rule.columns)]
        return [name for name in dict.fromkeys(names) if name in known and name not in SCHEMA]

    def work(self, source: Raw) -> Work:
        """Say what the shards of a raw file are checked by."""
        open_ = isinstance(self.rule, Time) and not self.rule.bounded  # then rows wait with all their columns
        was = self.was(self.rule)
        kept = self.others(self.rule, was if open_ else None)
        written, size = reader.dialect(self.config.data), self.config.shard_bytes
        return Work(
            name=source.name,
            file=storage.absolute(source.file),
            stamp=source.stamp,
            place=source.split,
            written=written,
            rule=self.rule,
            others=self.others(self.rule, was),
            kept=kept,
            before=None if open_ else was,
            root=storage.absolute(self.folder),
            folder=shards.folder(source.sha256, written, source.split or self.rule, kept, size),
        )

    def settled(self, work: Work, rule: Rule) -> Work:
        """Say what checked shards are parted by, once their rule is settled."""
        kept = self.others(rule)
        folder = shards.folder(work.folder, rule, kept)
        return replace(work, rule=rule, kept=kept, before=self.was(rule), folder=folder)

    def was(self, rule: Rule) -> Rule | None:
        """Give the rule of the tables before, if it is another."""
        return self.before.split if self.before and self.before.split != rule else None


class File(NamedTuple):
    """What came of a raw file: what its shards were checked by, and what came of each, in order."""

    work: Work
    checked: list[Checked]

    @property
    def rows(self) -> int:
        """Count its rows, good and bad."""
        return sum(checked.rows for checked in self.checked)


class Prepared(NamedTuple):
    """What prepare made, and how it came about."""

    manifest: Manifest
    lines: list[str]


def prepare(config: DictConfig) -> Manifest:
    """Turn the configured raw files into prepared tables and their manifest, as `make` does."""
    return make(config).manifest


def make(config: DictConfig) -> Prepared:
    """Turn the configured raw files into prepared tables and their manifest.

    The tables stay as they are if a file lacks a column or, with bad_rows=fail, if a row breaks a rule.

    Raises:
        Problem: If so, if a setting cannot be followed, or if a split would be without rows.
    """
    if config.bad_rows not in ("fail", "quarantine"):
        raise Problem(f"bad_rows={config.bad_rows}: it is either fail or quarantine")
    if not (isinstance(config.keep, int) and config.keep > 0):
        raise Problem(f"keep={config.keep}: a whole number from 1, of the versions of the tables that stay")
    raw = _identified(sources(config), config.compute)
    folder = storage.locate(config.storage.root, config.data.prepared)
    before = tables.earlier(folder)
    rule, notes = _kept(rule_for(config, raw), before)
    if isinstance(rule, Files):
        rule = Files(test=sorted(source.sha256 for source in raw if source.split == "test"))
    order = Order(config, raw, rule, before, folder)
    rejects = Rejects()
    checked, lines = _check(order, rejects)
    _require_shared(folder, checked, config.compute)
    if rejects.rows and config.bad_rows == "fail":
        raise Problem(_refusal(rejects))
    rule, files = _settled(order, checked)
    splits = {name: _split(files, name) for name in SPLITS}
    _require_rows(splits, rule)
    parts = {name: Pieces(folder, rows.parts) for name, rows in splits.items()}
    classes = review.classes(checked.classes for file in files for checked in file.checked)
    notes += _slow()
    if before:
        notes += review.moves(before.split, rule, _moved(files))
    if config.review:
        notes += review.review(parts, {name: rows.rows for name, rows in splits.items()}, classes, rule)
    manifest = Manifest(
        version=order.version,
        schema_version=VERSION,
        seed=config.seed,
        raw=[source.described(file.rows) for source, file in zip(raw, files, strict=True)],
        split=rule,
        splits=splits,
        folders=sorted({file.work.folder for file in (*checked, *files)}),
        classes=classes,
        groups=review.groups(rule, config.data.id, parts),
        notes=notes,
        rejected=rejects.rows,
    )
    if rejects.rows:
        _set_aside(files, folder / manifest.version / "quarantine.csv")
    tables.publish(folder, manifest, config.keep)
    return Prepared(manifest, lines)


def sources(config: DictConfig) -> list[Raw]:
    """Find the raw files, and read the names of their columns; with data.query, a database is asked first."""
    written = reader.dialect(config.data)
    found = []
    for split_name, place in query.places(config).items():
        files = storage.files(place)
        query.require_one(place, files.values())
        for name, item in files.items():
            stamp = storage.stamp(item)
            columns = reader.names(item, written, SCHEMA)
            if not columns:
                raise Problem(f"{name} is empty: not even a header is in it; take it away, or write it again")
            found.append(Raw(name, item, stamp, columns, split_name))
    return found


def _identified(raw: list[Raw], compute: int | str) -> list[Raw]:
    """Have workers on other machines hash the files, of which one machine has its fill."""
    if not isinstance(compute, str):
        return raw
    calls = [(number, storage.absolute(source.file)) for number, source in enumerate(raw)]
    found = dict(engine.results(shards.identify, calls, compute, "hashing"))
    if missing := [source.file for number, source in enumerate(raw) if not found[number]]:
        engine.refuse_unshared(compute, missing[0])
    return [replace(source, digest=found[number]) for number, source in enumerate(raw)]


def rule_for(config: DictConfig, raw: list[Raw]) -> Rule:
    """Work out what the rows of some files are split by.

    Raises:
        Problem: If the settings contradict each other, or a file lacks a column of the schema or of the rule.
    """
    for source in raw:
        data.require(SCHEMA, source.columns, source.name)
    unique = config.data.id if any(config.data.id in source.columns for source in raw) else None
    settings = OmegaConf.to_container(config.data.split, resolve=True)
    assert isinstance(settings, dict)
    rule = split.rule({str(name): value for name, value in settings.items()}, config.seed, unique)
    for source in raw:
        data.require(rule.columns, source.columns, source.name, "data.split in conf/data/table.yaml")
    return rule


def _kept(rule: Rule, before: Manifest | None) -> tuple[Rule, list[str]]:
    """Go on hashing the columns of the earlier tables if the schema has only grown: no row is to move for that."""
    if not (before and isinstance(rule, Hash) and isinstance(before.split, Hash)):
        return rule, []
    if not (rule.content and before.split.content and set(before.split.by) < set(rule.by)):
        return rule, []
    new = ", ".join(name for name in rule.by if name not in before.split.by)
    note = (
        f"rows are split by the columns that the tables had before, without {new}, so that none moves: "
        "to split by others, name them in data.split.by"
    )
    return rule.model_copy(update={"by": before.split.by}), [note]


def _check(order: Order, rejects: Rejects) -> tuple[list[File], list[str]]:
    """Have the shards of all files checked, and add up what comes of them, in order: whoever checked them, it is equal.

    Returns:
        What came of the files, and what to say of how they were checked.
    """
    works = [order.work(source) for source in order.raw]
    dealt = [reader.shards(work.file, work.written, order.config.shard_bytes) for work in works]
    calls = [(work, *numbered) for work, found in zip(works, dealt, strict=True) for numbered in enumerate(found)]
    files, known = [], []
    with closing(_done(shards.check, calls, order, "checking")) as done:
        for work, found in zip(works, dealt, strict=True):
            file = File(work, [])
            ends = [_accepted(next(done), file, rejects) for _ in found]
            _require_rows_in(file)
            files.append(file)
            known.append(sum(end.known for end in ends))
    return files, [*_taken_over(files, known), *_undivided(files, order.config)]


def _done(task: Any, calls: list[tuple[Any, ...]], order: Order, label: str) -> Generator[Done, None, None]:
    """Have calls done wherever `compute` says, and give their ends in the order of the calls."""
    numbered = [(number, *call) for number, call in enumerate(calls)]
    waiting: dict[int, Done] = {}
    with closing(engine.results(task, numbered, order.config.compute, label)) as ends:
        for number in range(len(calls)):
            while number not in waiting:
                end = next(ends)
                waiting[end.call] = end
            yield waiting.pop(number)


def _accepted(done: Done, file: File, rejects: Rejects) -> Done:
    """Take note of what came of a file's next shard."""
    before = file.rows
    if done.checked is None:
        place = f"{file.work.name}, row {before + done.row}: " if done.row else ""
        raise Problem(f"{place}{done.refusal}")
    rejects.follow(file.work.name, before, done.checked)
    file.checked.append(done.checked)
    return done


def _require_rows_in(file: File) -> None:
    if not file.rows:
        raise Problem(f"{file.work.name} has no rows below its header: take it away, or write it again")


def _require_shared(folder: storage.Location, files: list[File], compute: int | str) -> None:
    """See that what workers on other machines have written is here, by their first shards."""
    parts = [part for file in files for checked in file.checked[:1] for part in checked.parts.values()]
    if not all((folder / part.path).exists() for part in parts):
        engine.refuse_unshared(compute, folder)


def _taken_over(files: list[File], known: list[int]) -> list[str]:
    """Say what was checked by an earlier run."""
    whole = [file for file, count in zip(files, known, strict=True) if count == len(file.checked)]
    lines = [f"{len(whole)} of {len(files)} file(s) had been checked before, and were taken over"] if whole else []
    return lines + [
        f"{file.work.name}: {count} of {len(file.checked)} shards had been checked before, and were taken over"
        for file, count in zip(files, known, strict=True)
        if 0 < count < len(file.checked)
    ]


def _undivided(files: list[File], config: DictConfig) -> list[str]:
    """Say which large files could not be shared among several workers, and why."""
    if config.compute == 1:
        return []
    return [
        f"{file.work.name} was checked by one worker as a whole, because {reason}"
        for file in files
        if (reason := reader.undivided(file.work.file, file.work.written))
        and file.work.file.stat().st_size > config.shard_bytes
    ]


def _settled(order: Order, files: list[File]) -> tuple[Rule, list[File]]:
    """Find the bounds of the splits where the shares of all rows decide them, and part the rows, which waited."""
    rule = order.rule
    waiting = [checked.parts[UNPLACED] for file in files for checked in file.checked if UNPLACED in checked.parts]
    if not isinstance(rule, Time) or not waiting:
        return rule, files
    shares = order.config.data.split
    rule = rule.settled(*_times(order.folder, waiting, rule.column), shares.valid, shares.test)
    files = [file._replace(work=order.settled(file.work, rule)) for file in files]
    calls = [(file.work, *numbered) for file in files for numbered in enumerate(file.checked)]
    with closing(_done(shards.place, calls, order, "splitting")) as done:
        return rule, [File(file.work, [_whole(next(done)) for _ in file.checked]) for file in files]


def _times(folder: storage.Location, parts: list[Part], column: str) -> tuple[np.ndarray[Any, Any], pl.DataType]:
    """Read the column of time of all rows, in the memory that its numbers take; gives its type, too."""
    columns = (piece.select(column).collect().to_series() for part in parts for piece in Pieces(folder, [part]))
    first = next(columns)
    times = np.empty(sum(part.rows for part in parts), first.to_physical().to_numpy().dtype)
    at = 0
    for found in chain([first], columns):
        times[at : at + len(found)] = found.to_physical().to_numpy()
        at += len(found)
    return times, first.dtype


def _whole(done: Done) -> Checked:
    assert done.checked, "shards that were checked are not refused"
    return done.checked


def _split(files: list[File], name: str) -> Split:
    """List the files of a split."""
    parts = [checked.parts[name] for file in files for checked in file.checked if name in checked.parts]
    return Split(rows=sum(part.rows for part in parts), parts=parts)


def _moved(files: list[File]) -> Counter[tuple[str, str]] | None:
    """Add up the rows that moved, by the splits that they were and are in; None if they cannot be counted."""
    total: Counter[tuple[str, str]] = Counter()
    for checked in (checked for file in files for checked in file.checked):
        if checked.moved is None:
            return None
        for was, place, count in checked.moved:
            total[was, place] += count
    return total


def _set_aside(files: list[File], quarantine: storage.Location) -> None:
    """Put the faults of all shards in one file, with their rows in the whole files."""
    with storage.publish(quarantine) as draft, draft.open("wb") as stream:
        for file in files:
            before = 0
            for checked in file.checked:
                if part := checked.parts.get(REJECTS):
                    with storage.fetched(file.work.root / part.path) as place:
                        lines = pl.read_parquet(place, glob=False)
                    lines = lines.with_columns(pl.lit(file.work.name).alias("file"), pl.col("row") + before)
                    lines.write_csv(stream, include_header=not stream.tell())
                before += checked.rows


def _refusal(rejects: Rejects) -> str:
    return (
        f"{rejects.rows} bad row(s), so the prepared tables stay as they were\n{rejects}\nCorrect the file or the "
        "rules in schema.py, or set such rows aside with bad_rows=quarantine."
    )


def _require_rows(splits: dict[str, Split], rule: Rule) -> None:
    if missing := [name for name in SPLITS if not splits[name].rows]:
        raise Problem(
            f"{sum(rows.rows for rows in splits.values())} good row(s) are too few: none left for {', '.join(missing)} "
            f"by {rule}; add rows, or change data.split"
        )


def _slow() -> list[str]:
    """Say which columns take long to check, and why."""
    names = data.by_value(Example)
    if not names:
        return []
    return [f"{', '.join(names)} is checked value by value, since a rule of schema.py has no form for whole columns"]


def main(config: DictConfig) -> None:
    """Prepare, and say what came of it."""
    manifest, lines = make(config)
    folder = storage.locate(config.storage.root, config.data.prepared)
    for source in manifest.raw:
        if source.query:
            print(f"raw    {source.rows:>8} rows  {source.path}, the answer to a query")
    for name, rows in manifest.splits.items():
        print(f"{name:6} {rows.rows:>8} rows  {_place(folder, rows)}")
    print(f"split by {manifest.split}")
    for line in (*review.proportions(manifest.classes, manifest.groups), *manifest.notes, *lines):
        print(line)
    if manifest.rejected:
        print(f"{manifest.rejected} bad row(s) set aside: {folder / manifest.version / 'quarantine.csv'}")


def _place(folder: storage.Location, rows: Split) -> str:
    first, *others = rows.parts
    return f"{folder / first.path}{f' and {len(others)} more' if others else ''}"
