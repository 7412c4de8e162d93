"""Check raw data against the schema, split it, and write it where train reads it."""

from .cli import start

if __name__ == "__main__":  # before the imports below: --help, or a wrong setting, needs none of them
    start("prepare")


import hashlib
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import polars as pl
from omegaconf import DictConfig, OmegaConf
from pyarrow import parquet
from tqdm import tqdm

from . import data, reader, review, split, storage, tables
from .columns import COLUMNS, EXTRA, VERSION
from .data import SPLITS, Fault
from .errors import Problem
from .rejects import Rejects
from .schema import Example
from .split import Files, Hash, Rule, Time
from .tables import Manifest, Part, describe

SCHEMA = (*COLUMNS, *EXTRA)
Good = Iterator[tuple[str | None, pl.DataFrame]]  # rows, and the split that they are for, if their file decides that


@dataclass(frozen=True)
class Raw:
    """A raw file, its name and its columns, and the split that it is for, if data.split.files says so."""

    name: str
    file: storage.Location
    stamp: str  # changes when the file does
    columns: list[str]
    split: str | None

    @cached_property
    def sha256(self) -> str:
        """Compute the SHA-256 of what is in it."""
        return storage.digest(self.file)


@dataclass(frozen=True)
class Order:
    """What tables are to be made of: the settings, the raw files, the rule of the split, and the tables before."""

    config: DictConfig
    raw: list[Raw]
    rule: Rule
    before: Manifest | None
    scratch: Path

    @property
    def version(self) -> str:
        """Name the outcome after all that decides it, so that equal runs write equal files to the same place."""
        settings = [VERSION, str(self.config.seed), str(self.config.data), str(self.rule)]
        return hashlib.sha256("\n".join([*settings, *(source.sha256 for source in self.raw)]).encode()).hexdigest()[:12]

    @property
    def others(self) -> list[str]:
        """Name the columns beside the schema's that are of use: the id, and what rows are split by, or were before."""
        known = {name for source in self.raw for name in source.columns}
        names = [self.config.data.id, *self.rule.columns, *(self.before.split.columns if self.before else [])]
        return [name for name in dict.fromkeys(names) if name in known and name not in SCHEMA]


@dataclass
class Made:
    """What came of the raw files: the rule, settled, and rows read, written and moved from where they were before."""

    rule: Rule
    read: dict[str, int] = field(default_factory=dict)
    rows: Counter[str] = field(default_factory=Counter)
    moved: Counter[tuple[str, str]] | None = field(default_factory=Counter)


def prepare(config: DictConfig) -> Manifest:
    """Turn the configured raw files into prepared tables and their manifest.

    Nothing is written if a file lacks a column or, with bad_rows=fail, if a row breaks a rule.

    Raises:
        Problem: If so, if a setting cannot be followed, or if a split would be without rows.
    """
    if config.bad_rows not in ("fail", "quarantine"):
        raise Problem(f"bad_rows={config.bad_rows}: it is either fail or quarantine")
    raw = sources(config)
    folder = storage.locate(config.storage.root, config.data.prepared)
    before = tables.earlier(folder)
    rule, notes = _kept(rule_for(config, raw), before)
    with ExitStack() as stack:
        order = Order(config, raw, rule, before, Path(stack.enter_context(tempfile.TemporaryDirectory())))
        names = {name: f"{order.version}/{name}.parquet" for name in SPLITS}
        drafts = {name: stack.enter_context(storage.publish(folder / place)) for name, place in names.items()}
        rejects = Rejects(order.scratch / "quarantine.csv" if config.bad_rows == "quarantine" else None)
        made = _make(order, drafts, rejects)
        if rejects.rows and config.bad_rows == "fail":
            raise Problem(_refusal(rejects))
        _require_rows(made)
        if rejects.quarantine and rejects.rows:
            draft = stack.enter_context(storage.publish(folder / order.version / "quarantine.csv"))
            shutil.copyfile(rejects.quarantine, draft)
        parts = {name: pl.scan_parquet(draft, glob=False) for name, draft in drafts.items()}
        splits = {name: describe(drafts[name], place, made.rows[name]) for name, place in names.items()}
        classes = review.classes(parts)
        groups = review.groups(made.rule, config.data.id, parts)
        notes += _slow()
        if before:
            notes += review.moves(before.split, made.rule, made.moved)
        if config.review:
            notes += review.review(parts, made.rows, classes, made.rule)
    manifest = Manifest(
        version=order.version,
        schema_version=VERSION,
        seed=config.seed,
        raw=[Part(path=source.name, rows=made.read[source.name], sha256=source.sha256) for source in raw],
        split=made.rule,
        splits=splits,
        classes=classes,
        groups=groups,
        notes=notes,
        rejected=rejects.rows,
    )
    with storage.publish(folder / "manifest.json") as draft:
        draft.write_text(manifest.model_dump_json(indent=2))
    return manifest


def sources(config: DictConfig) -> list[Raw]:
    """Find the raw files, and read the names of their columns."""
    written = reader.dialect(config.data)
    places: dict[str | None, str] = dict(config.data.split.files or {None: config.data.raw})
    found = []
    for split_name, place in places.items():
        for name, item in storage.files(storage.locate(config.storage.root, place)).items():
            stamp = storage.stamp(item)
            columns = reader.names(item, written, SCHEMA)
            if not columns:
                raise Problem(f"{name} is empty: not even a header is in it; take it away, or write it again")
            found.append(Raw(name, item, stamp, columns, split_name))
    return found


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


def _make(order: Order, drafts: dict[str, Path], rejects: Rejects) -> Made:
    """Check every row, and write the good ones to the drafts, each to the one of its split."""
    made = Made(order.rule)
    good = _good(order, rejects, made.read)
    with tables.writers(drafts) as writers:
        if isinstance(order.rule, Time) and not order.rule.bounded:
            made.rule, good = _settled(order.rule, good, order)
        if isinstance(order.rule, Files):
            made.rule = Files(test=sorted(source.sha256 for source in order.raw if source.split == "test"))
        was = order.before.split if order.before and order.before.split != made.rule else None
        kept = {order.config.data.id, *made.rule.columns, *SCHEMA}
        for place, table in good:
            for name, rows in _by_split(table, made.rule, place).items():
                writers[name].add(rows.select([column for column in rows.columns if column in kept]))
                made.rows[name] += len(rows)
                if was:
                    made.moved = split.moved(was, rows, name, made.moved)
    return made


def _good(order: Order, rejects: Rejects, read: dict[str, int]) -> Good:
    """Give the rows that keep every rule, in batches, each with the split that its file is for; note the others."""
    written = reader.dialect(order.config.data)
    others = order.others
    for source in order.raw:
        rows = 0
        shards = reader.shards(source.file, written, order.config.shard_bytes)
        for shard in tqdm(shards, desc=f"checking {source.name}", unit=" shards", disable=None):
            for batch in reader.batches(source.file, written, shard):
                good, bad, faults = data.check(batch, Example, source.name, rows)
                rejects.add(bad, faults)
                good = good.select(*_texts(others, good), *SCHEMA)
                _require_place(good, order.rule, faults, source.name, rows)
                yield source.split, good
                rows += len(batch)
        read[source.name] = rows
        _require_whole(source, rows)


def _require_whole(source: Raw, rows: int) -> None:
    """Refuse a file without rows, and one that was replaced while it was read."""
    if not rows:
        raise Problem(f"{source.name} has no rows below its header: take it away, or write it again")
    if storage.stamp(source.file) != source.stamp:
        raise Problem(f"{source.name} was changed while it was read: run `make prepare` again")


def _settled(rule: Time, good: Good, order: Order) -> tuple[Time, Good]:
    """Find the bounds of the splits, which the shares of all rows decide; the rows wait in a file meanwhile."""
    file = order.scratch / "rows.parquet"
    with tables.writers({"": file}) as waiting:
        for _, table in good:
            waiting[""].add(table)
    if not file.exists():
        return rule, iter(())
    times = pl.scan_parquet(file).select(rule.column).collect().to_series()
    rule = rule.settled(times, order.config.data.split.valid, order.config.data.split.test)
    again = (pl.DataFrame(pl.from_arrow(batch)) for batch in parquet.ParquetFile(file).iter_batches())
    return rule, ((None, table) for table in again)


def _texts(names: list[str], table: pl.DataFrame) -> list[pl.Expr]:
    """Give columns that the schema does not know as text, as which a CSV file has them."""
    return [
        (split.text(name, table.schema[name]) if name in table.columns else pl.lit(None, pl.String)).alias(name)
        for name in names
    ]


def _require_place(good: pl.DataFrame, rule: Rule, faults: list[Fault], file: str, start: int) -> None:
    """Refuse a row that the rule does not decide on."""
    for place in good.select(~rule.placed(good.schema)).to_series().arg_true()[:1]:
        bad = {fault.row for fault in faults}
        rows = [row for row in range(start + 1, start + len(good) + len(bad) + 1) if row not in bad]
        raise Problem(f"{file}, row {rows[place]}: {rule.refusal(good.row(place, named=True))}")


def _refusal(rejects: Rejects) -> str:
    return (
        f"{rejects.rows} bad row(s), nothing written\n{rejects}\nCorrect the file or the rules in schema.py, "
        "or set such rows aside with bad_rows=quarantine."
    )


def _by_split(good: pl.DataFrame, rule: Rule, place: str | None) -> dict[str, pl.DataFrame]:
    """Part the rows of a batch by their splits; those of a file that is for one split lie there as a whole."""
    if place:
        return {place: good}
    labels = good.select(rule.labels(good.schema)).to_series()
    return {name: good.filter(labels == name) for name in SPLITS}


def _require_rows(made: Made) -> None:
    if missing := [name for name in SPLITS if not made.rows[name]]:
        raise Problem(
            f"{made.rows.total()} good row(s) are too few: none left for {', '.join(missing)} by {made.rule}; "
            "add rows, or change data.split"
        )


def _slow() -> list[str]:
    """Say which columns take long to check, and why."""
    names = data.by_value(Example)
    if not names:
        return []
    return [f"{', '.join(names)} is checked value by value, since a rule of schema.py has no form for whole columns"]


def main(config: DictConfig) -> None:
    """Prepare, and say what came of it."""
    manifest = prepare(config)
    folder = storage.locate(config.storage.root, config.data.prepared)
    for name, part in manifest.splits.items():
        print(f"{name:6} {part.rows:>8} rows  {folder / part.path}")
    print(f"split by {manifest.split}")
    for line in (*review.proportions(manifest.classes, manifest.groups), *manifest.notes):
        print(line)
    if manifest.rejected:
        print(f"{manifest.rejected} bad row(s) set aside: {folder / manifest.version / 'quarantine.csv'}")
