"""One shard of a file of the inbox, scored by a pinned version of the model, in whatever process that is.

What a call needs travels with it, and the model does not: each process loads it once, from the model registry.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import numpy as np
import polars as pl

from . import data, predictions, reader, storage
from .columns import COLUMNS, label
from .data import Fault
from .errors import Problem
from .predictions import Part, Scored, Source
from .predictor import Loaded, Predictor
from .reader import Dialect, Shard
from .schema import Row
from .tracking import Tracker
from .versions import Versions

REFUSED = "refused.txt"  # beside the folders of versions: why a file cannot be scored
NAMELESS = "the id is missing; fill it in, or set data.id=null"
LOADING = Lock()  # the threads of one worker share a model


class Champion(NamedTuple):
    """Where a process finds the version that scores, and the threads that the model takes in each."""

    uri: str
    name: str
    version: str
    threads: int
    trusted: tuple[str, ...] = ()


@dataclass(frozen=True)
class Work:
    """A file of the inbox, and all that its shards are scored by."""

    name: str
    file: storage.Location
    stamp: str  # of the file, when its content was identified
    written: Dialect
    id: str  # the column that predictions keep
    folder: storage.Location  # of the predictions by this version
    source: Source
    champion: Champion


class Done(NamedTuple):
    """The end of a call: the part that a shard became, or why its file is refused."""

    name: str
    number: int
    part: Part | None = None
    refusal: str = ""
    absent: bool = False  # whether there is no such file where the call is made


def load(champion: Champion) -> Loaded:
    """Load the model, or give the one that this process has.

    Raises:
        Problem: If there is no such version, or its files are gone.
    """
    with LOADING:
        return _loaded(champion)


@cache
def _loaded(champion: Champion) -> Loaded:
    versions = Versions(Tracker(champion.uri), champion.name)
    address = f"models:/{champion.name}/{champion.version}"
    return versions.load(address, champion.threads, champion.trusted)


def score(work: Work, number: int, shard: Shard) -> Done:
    """Write the part of a shard; of a file that is refused meanwhile, no more parts are written."""
    predictor = load(work.champion).predictor
    refused = work.folder.parent / REFUSED
    if refused.exists():
        return Done(work.name, number, refusal=refused.read_text(encoding="utf-8").strip())
    if isinstance(work.file, Path) and not work.file.exists():
        return Done(work.name, number, refusal=f"{work.name} was taken away: run this again", absent=True)
    try:
        part = predictions.write(work.folder, number, work.source, _scored(work, shard, predictor))
    except Problem as problem:
        return Done(work.name, number, refusal=str(problem))
    return Done(work.name, number, part)


def _scored(work: Work, shard: Shard, predictor: Predictor) -> Iterator[Scored]:
    """Score a shard by batches; raises Problem if the file is another one by then."""
    rows = 0
    for batch in reader.batches(work.file, work.written, shard):
        good, bad, faults = data.check(batch, Row, work.name, rows)
        good, nameless = _named(good, work, faults, rows)
        rows += len(batch)
        predicted = _predict(good, work, predictor) if len(good) else pl.DataFrame()
        yield Scored(predicted, len(bad) + len(nameless), sorted([*faults, *nameless], key=lambda fault: fault.row))
    require_same(work.name, work.file, work.stamp)


def _named(good: pl.DataFrame, work: Work, faults: list[Fault], start: int) -> tuple[pl.DataFrame, list[Fault]]:
    """Part good rows from those without an id: nobody could tell what their prediction is for."""
    if work.id not in good.columns or not (missing := good[work.id].is_null()).any():
        return good, []
    bad = {fault.row for fault in faults}
    rows = [row for row in range(start + 1, start + len(good) + len(bad) + 1) if row not in bad]
    places = missing.arg_true().to_list()
    return good.filter(~missing), [Fault(work.name, rows[place], work.id, "None", NAMELESS) for place in places]


def require_same(name: str, file: storage.Location, stamp: str) -> None:
    """Refuse a file that has changed since it had a stamp."""
    if storage.stamp(file) != stamp:
        raise Problem(f"{name} was changed while it was read: run this again")


def _predict(table: pl.DataFrame, work: Work, predictor: Predictor) -> pl.DataFrame:
    """Put predictions, probabilities and the model's name beside the rows' ids."""
    predicted = predictor.predict(data.columns(table.select(list(COLUMNS))))  # a target here was not checked
    ids = [table[work.id]] if work.id in table.columns else []
    scored = pl.DataFrame([*ids, pl.Series("prediction", predicted.values.tolist())])
    if predicted.probabilities is not None:
        names = [f"probability_{label(each)}" for each in predicted.classes or ()]
        scored = scored.hstack(pl.DataFrame(np.asarray(predicted.probabilities, np.float32), schema=names))
    return scored.with_columns(pl.lit(work.source.model).alias("model"))
