"""Check raw data against the schema, split it, and write it where train reads it."""

import hashlib
import json
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import polars as pl
from omegaconf import DictConfig
from tqdm import tqdm

from . import data, storage
from .cli import command
from .data import SPLITS, Fault
from .errors import Problem
from .prepared import Manifest, Part, describe
from .schema import TARGET, VERSION, Example

SHOWN = 100  # faults printed at most; the quarantine file has them all


def prepare(config: DictConfig) -> Manifest:
    """Turn the configured raw files into prepared tables and their manifest.

    Nothing is written if a file lacks a column or, with bad_rows=fail, if a row breaks a rule.
    """
    if config.bad_rows not in ("fail", "quarantine"):
        raise Problem(f"bad_rows={config.bad_rows}: it is either fail or quarantine")
    locate = partial(storage.locate, config.storage.root)
    raw = [storage.fetch(item) for item in storage.files(locate(config.data.raw), data.SUFFIXES)]
    for file in raw:
        data.require(Example.model_fields, file, config.data.missing)
    with tempfile.TemporaryDirectory() as scratch:
        checked = _check(raw, config, Path(scratch))
        if checked.faults and config.bad_rows == "fail":
            raise Problem(_report(checked.faults))
        return _write(checked, config, Path(scratch), locate(config.data.prepared))


@dataclass(frozen=True)
class Checked:
    """What came of the check: the files, every fault, and the rows with faults as they came."""

    sources: list[Part] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    rejects: list[pl.DataFrame] = field(default_factory=list)


def _check(raw: list[Path], config: DictConfig, scratch: Path) -> Checked:
    """Check every row; the good ones go to scratch, a file for each batch."""
    checked = Checked()
    for file in raw:
        start = 0
        with tqdm(desc=f"checking {file.name}", unit=" rows", unit_scale=True, disable=None) as bar:
            for batch in data.batches(file, config.data.missing, config.batch_rows):
                good, bad, found = data.check(batch, Example, file.name, start)
                kept = [config.data.id] if config.data.id in good.columns else []
                part = scratch / f"{len(checked.sources):06}-{start:012}.parquet"
                good.select(*kept, *Example.model_fields).write_parquet(part)
                checked.faults.extend(found)
                checked.rejects.append(bad)
                start += len(batch)
                bar.update(len(batch))
        checked.sources.append(describe(file, file.name, start))
    return checked


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


def _write(checked: Checked, config: DictConfig, scratch: Path, folder: storage.Location) -> Manifest:
    """Write the three tables, the quarantine and, last, the manifest."""
    table = pl.scan_parquet(sorted(scratch.iterdir()))
    target = table.select(TARGET).collect()[TARGET]
    split = data.split(target, config.data.split.valid, config.data.split.test, config.seed)
    if missing := [name for name in SPLITS if name not in set(split)]:
        raise Problem(f"{len(target)} good row(s) are too few: none left for {', '.join(missing)}")
    version = _version(config, checked.sources)
    with ExitStack() as stack:
        drafts = {name: stack.enter_context(storage.publish(folder / version / f"{name}.parquet")) for name in SPLITS}
        labelled = table.with_columns(split)
        sinks = [
            labelled.filter(pl.col("split") == name).drop("split").sink_parquet(draft, lazy=True)
            for name, draft in drafts.items()
        ]
        pl.collect_all(sinks, engine="streaming")
        if checked.faults:
            _quarantine(stack.enter_context(storage.publish(folder / version / "quarantine.csv")), checked)
        counts = {name: int((split == name).sum()) for name in SPLITS}
        splits = {name: describe(drafts[name], f"{version}/{name}.parquet", counts[name]) for name in SPLITS}
    manifest = Manifest(
        version=version,
        schema_version=VERSION,
        seed=config.seed,
        raw=checked.sources,
        splits=splits,
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


def _version(config: DictConfig, sources: list[Part]) -> str:
    """Name the outcome after all that decides it, so that equal runs write equal files to the same place."""
    parts = [VERSION, str(config.seed), str(config.data), *(part.sha256 for part in sources)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


@command("prepare")
def main(config: DictConfig) -> None:
    """Prepare, and say what came of it."""
    manifest = prepare(config)
    folder = storage.locate(config.storage.root, config.data.prepared)
    for name, part in manifest.splits.items():
        print(f"{name:6} {part.rows:>8} rows  {folder / part.path}")
    if manifest.rejected:
        print(f"{manifest.rejected} bad row(s) set aside: {folder / manifest.version / 'quarantine.csv'}")


if __name__ == "__main__":
    main()
