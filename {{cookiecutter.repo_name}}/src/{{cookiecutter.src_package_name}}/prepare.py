"""Check raw data against the schema, split it, and write it where train reads it."""

from .cli import start

if __name__ == "__main__":  # before the imports below: --help, or a wrong setting, needs none of them
    start("prepare")


import hashlib
import json
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
from omegaconf import DictConfig, OmegaConf
from tqdm import tqdm

from . import data, review, split, storage, tables
from .columns import COLUMNS, EXTRA, VERSION
from .data import SPLITS, Fault
from .errors import Problem
from .review import Parts
from .schema import Example
from .split import Files, Hash, Rule, Time
from .tables import Manifest, Part, describe

SHOWN = 100  # faults printed at most; the quarantine file has them all
SCHEMA = (*COLUMNS, *EXTRA)


@dataclass(frozen=True)
class Raw:
    """A raw file on this disk, its columns, and the split that it is for, where data.split.files says so."""

    file: Path
    columns: list[str]
    split: str | None


def prepare(config: DictConfig) -> Manifest:
    """Turn the configured raw files into prepared tables and their manifest.

    Nothing is written if a file lacks a column or, with bad_rows=fail, if a row breaks a rule.

    Raises:
        Problem: If so, if a setting cannot be followed, or if a split would be without rows.
    """
    if config.bad_rows not in ("fail", "quarantine"):
        raise Problem(f"bad_rows={config.bad_rows}: it is either fail or quarantine")
    raw = sources(config)
    before = tables.earlier(storage.locate(config.storage.root, config.data.prepared))
    rule, notes = _kept(rule_for(config, raw), before)
    with tempfile.TemporaryDirectory() as scratch:
        others = [config.data.id, *rule.columns, *(before.split.columns if before else [])]
        checked = _check(raw, config, rule, list(dict.fromkeys(others)), Path(scratch))
        if checked.faults and config.bad_rows == "fail":
            raise Problem(_report(checked.faults))
        rule, parts = _parts(rule, checked, raw, config)
        _require_rows(rule, parts)
        if before:
            notes += review.moves(before.split, rule, parts)
        return _write(checked, config, rule, parts, notes)


def sources(config: DictConfig) -> list[Raw]:
    """Find the raw files, and read the names of their columns."""
    places: dict[str | None, str] = dict(config.data.split.files or {None: config.data.raw})
    found = []
    for name, place in places.items():
        for item in storage.files(storage.locate(config.storage.root, place), data.SUFFIXES):
            file = storage.fetch(item)
            found.append(Raw(file, data.scan(file, config.data.missing).collect_schema().names(), name))
    return found


def rule_for(config: DictConfig, raw: list[Raw]) -> Rule:
    """Work out what the rows of some files are split by.

    Raises:
        Problem: If the settings contradict each other, or a file lacks a column of the schema or of the rule.
    """
    for source in raw:
        data.require(SCHEMA, source.file, config.data.missing)
    unique = config.data.id if any(config.data.id in source.columns for source in raw) else None
    settings = OmegaConf.to_container(config.data.split, resolve=True)
    assert isinstance(settings, dict)
    rule = split.rule({str(name): value for name, value in settings.items()}, config.seed, unique)
    for source in raw:
        data.require(rule.columns, source.file, config.data.missing, "data.split in conf/data/table.yaml")
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


@dataclass(frozen=True)
class Checked:
    """What came of the check: the files, every fault, the rows with faults as they came, and files of good rows.

    These are by split, or under "" as long as it is not known.
    """

    sources: list[Part] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    rejects: list[pl.DataFrame] = field(default_factory=list)
    good: dict[str, list[Path]] = field(default_factory=dict)


def _check(raw: list[Raw], config: DictConfig, rule: Rule, others: list[str], scratch: Path) -> Checked:
    """Check every row; the good ones go to scratch, split as far as can be, with some columns beside the schema's."""
    checked = Checked()
    known = {name for source in raw for name in source.columns}
    others = [name for name in others if name in known and name not in SCHEMA]
    for source in raw:
        start = 0
        file = source.file.name
        with tqdm(desc=f"checking {file}", unit=" rows", unit_scale=True, disable=None) as bar:
            for batch in data.batches(source.file, config.data.missing, config.batch_rows):
                good, bad, found = data.check(batch, Example, file, start)
                good = good.select(*_texts(others, good), *SCHEMA)
                _require_place(good, rule, found, file, start)
                for place, rows in _by_split(good, rule, source.split).items():
                    files = checked.good.setdefault(place, [])
                    files.append(scratch / f"{place}-{len(files):06}.parquet")
                    rows.write_parquet(files[-1])
                checked.faults.extend(found)
                checked.rejects.append(bad)
                start += len(batch)
                bar.update(len(batch))
        checked.sources.append(describe(source.file, file, start))
    return checked


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


def _report(faults: list[Fault]) -> str:
    rows = len({(fault.file, fault.row) for fault in faults})
    table = pl.DataFrame(faults[:SHOWN], schema=Fault._fields, orient="row")
    with pl.Config(tbl_rows=-1, fmt_str_lengths=80, tbl_hide_dataframe_shape=True, tbl_hide_column_data_types=True):
        text = str(table)
    more = f"\nand {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
    return (
        f"{rows} bad row(s), nothing written\n{text}{more}\nCorrect the file or the rules in schema.py, "
        "or set such rows aside with bad_rows=quarantine."
    )


def _by_split(good: pl.DataFrame, rule: Rule, place: str | None) -> dict[str, pl.DataFrame]:
    """Part the rows of a batch; those of a file that is for one split as a whole, or whose split is not known, stay."""
    if place or (isinstance(rule, Time) and not rule.bounded):
        return {place or "": good}
    labels = good.select(rule.labels(good.schema)).to_series()
    return {name: good.filter(labels == name) for name in SPLITS}


def _parts(rule: Rule, checked: Checked, raw: list[Raw], config: DictConfig) -> tuple[Rule, Parts]:
    """Give the rows of each split; what shares of time come to, and which files are for testing, goes into the rule."""
    parts = {name: pl.scan_parquet(files) for name, files in checked.good.items()}
    if isinstance(rule, Files):
        tested = [part.sha256 for source, part in zip(raw, checked.sources, strict=True) if source.split == "test"]
        return Files(test=sorted(tested)), parts
    if isinstance(rule, Time) and "" in parts:
        table = parts[""]
        times = table.select(rule.column).collect().to_series()
        if times.is_empty():
            return rule, {}
        rule = rule.settled(times, config.data.split.valid, config.data.split.test)
        labels = rule.labels(table.collect_schema())
        return rule, {name: table.filter(labels == name) for name in SPLITS}
    return rule, parts


def _count(part: pl.LazyFrame) -> int:
    return int(part.select(pl.len()).collect().item())


def _require_rows(rule: Rule, parts: Parts) -> None:
    rows = {name: _count(parts[name]) if name in parts else 0 for name in SPLITS}
    if missing := [name for name in SPLITS if not rows[name]]:
        raise Problem(
            f"{sum(rows.values())} good row(s) are too few: none left for {', '.join(missing)} by {rule}; "
            "add rows, or change data.split"
        )


def _write(checked: Checked, config: DictConfig, rule: Rule, parts: Parts, notes: list[str]) -> Manifest:
    """Write the three tables, the quarantine and, last, the manifest."""
    folder = storage.locate(config.storage.root, config.data.prepared)
    version = _version(config, rule, checked.sources)
    columns = [name for name in parts["train"].collect_schema() if name in (config.data.id, *rule.columns, *SCHEMA)]
    with ExitStack() as stack:
        drafts = {name: stack.enter_context(storage.publish(folder / version / f"{name}.parquet")) for name in SPLITS}
        sinks = [parts[name].select(columns).sink_parquet(draft, lazy=True) for name, draft in drafts.items()]
        pl.collect_all(sinks, engine="streaming")
        if checked.faults:
            _quarantine(stack.enter_context(storage.publish(folder / version / "quarantine.csv")), checked)
        written = {name: pl.scan_parquet(draft) for name, draft in drafts.items()}
        rows = {name: _count(part) for name, part in written.items()}
        splits = {name: describe(drafts[name], f"{version}/{name}.parquet", rows[name]) for name in SPLITS}
        classes = review.classes(written)
        groups = review.groups(rule, config.data.id, written)
        notes = [*notes, *review.review(written, rows, classes, rule)]
    manifest = Manifest(
        version=version,
        schema_version=VERSION,
        seed=config.seed,
        raw=checked.sources,
        split=rule,
        splits=splits,
        classes=classes,
        groups=groups,
        notes=notes,
        rejected=sum(map(len, checked.rejects)),
    )
    with storage.publish(folder / "manifest.json") as draft:
        draft.write_text(manifest.model_dump_json(indent=2))
    return manifest


def _quarantine(file: Path, checked: Checked) -> None:
    """Write a line for each fault, with the whole row that it is in."""
    rows = iter(row for table in checked.rejects for row in table.iter_rows(named=True))
    places = dict.fromkeys((fault.file, fault.row) for fault in checked.faults)
    records = {place: json.dumps(next(rows), default=str) for place in places}
    lines = [(*fault, records[fault.file, fault.row]) for fault in checked.faults]
    pl.DataFrame(lines, schema=[*Fault._fields, "record"], orient="row").write_csv(file)


def _version(config: DictConfig, rule: Rule, sources: list[Part]) -> str:
    """Name the outcome after all that decides it, so that equal runs write equal files to the same place."""
    parts = [VERSION, str(config.seed), str(config.data), str(rule), *(part.sha256 for part in sources)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


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
