"""Score the inbox with the champion: files in, predictions out, with memory for one shard at a time.

Workers share out the shards of every file. A file that cannot be read is named, with the reason, and the others are
scored.
"""

from .cli import start

if __name__ == "__main__":  # before the imports below: --help, or a wrong setting, needs none of them
    start("infer")


import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from joblib import cpu_count
from omegaconf import DictConfig
from tqdm import tqdm

from . import data, predictions, reader, storage
from .columns import COLUMNS, label
from .errors import Problem
from .predictions import Scored, Source, State
from .predictor import Predictor, require_inputs
from .reader import Dialect
from .schema import Row
from .tracking import Tracker
from .versions import Versions


@dataclass(frozen=True)
class Worker:
    """One of those that share the inbox, and what it scores with."""

    config: DictConfig
    predictor: Predictor
    model: str
    version: str

    def takes(self, number: int) -> bool:
        """Say whether a shard falls to this worker."""
        return number % int(self.config.worker.count) == int(self.config.worker.index)


@dataclass(frozen=True)
class Outcome:
    """What came of one file: its state once all workers are through with it, or why it cannot be scored."""

    file: str
    state: State | None = None
    worked: bool = False  # whether there was anything left to do
    refused: str = ""


def infer(worker: Worker) -> Iterator[Outcome]:
    """Score this worker's share of each file of the inbox.

    Raises:
        Problem: If the worker is not one of those that there are.
    """
    config = worker.config
    count, index = config.worker.count, config.worker.index
    if not (isinstance(count, int) and isinstance(index, int) and 0 <= index < count):
        raise Problem(f"worker.count={count} worker.index={index}: whole numbers, with an index from 0 to count - 1")
    written = reader.dialect(config.data)
    for name, item in storage.files(storage.locate(config.storage.root, config.data.inbox)).items():
        folder = storage.locate(config.storage.root, config.data.predictions) / name
        refusal = folder / "refused.txt"
        try:
            outcome = _file(name, item, folder / worker.version, worker, written)
        except Problem as problem:
            outcome = Outcome(name, refused=str(problem))
            with storage.publish(refusal) as draft:
                draft.write_text(f"{problem}\n", encoding="utf-8")
        else:
            refusal.unlink(missing_ok=True)
        yield outcome


def _file(name: str, file: storage.Location, folder: storage.Location, worker: Worker, written: Dialect) -> Outcome:
    """Score a worker's share of a file; whoever sees that all shards are done writes the state."""
    found = reader.names(file, written, COLUMNS)
    if found:  # a file without a header has no rows, either
        data.require(COLUMNS, found, name)
    size = worker.config.shard_bytes
    shards = reader.shards(file, written, size) if found else []
    stamp = storage.stamp(file)
    settings = hashlib.sha256(f"{written} {worker.config.data.id} {size}".encode()).hexdigest()[:12]
    source = Source(content=storage.identity(file), model=worker.model, settings=settings)
    state = predictions.complete(folder)
    if state and state.source == source:
        return Outcome(name, state)
    mine = [number for number in range(len(shards)) if worker.takes(number)]
    left = [number for number in mine if predictions.recorded(folder, number, source) is None]
    for number in tqdm(left, desc=name, unit=" shards", disable=None):
        scored = _score(name, reader.batches(file, written, shards[number]), worker)
        predictions.write(folder, number, source, scored)
    if storage.stamp(file) != stamp:
        raise Problem(f"{name} was changed while it was read: run this again")
    parts = [predictions.recorded(folder, number, source) for number in range(len(shards))]
    done = [part for part in parts if part]
    if len(done) == len(shards):
        return Outcome(name, predictions.finish(folder, source, done), worked=True)
    state = predictions.complete(folder)  # another run of the same may have finished meanwhile
    return Outcome(name, state if state and state.source == source else None, worked=bool(left))


def _score(name: str, batches: Iterable[pl.DataFrame], worker: Worker) -> Iterator[Scored]:
    rows = 0
    for batch in batches:
        good, bad, faults = data.check(batch, Row, name, rows)
        rows += len(batch)
        yield Scored(_predict(good, worker) if len(good) else pl.DataFrame(), len(bad), faults)


def _predict(table: pl.DataFrame, worker: Worker) -> pl.DataFrame:
    """Put predictions, probabilities and the model's name beside the rows' ids."""
    unique = worker.config.data.id
    predicted = worker.predictor.predict(data.columns(table.select(list(COLUMNS))))  # a target here was not checked
    ids = [table[unique]] if unique in table.columns else []
    scored = pl.DataFrame([*ids, pl.Series("prediction", predicted.values.tolist())])
    if predicted.probabilities is not None:
        names = [f"probability_{label(each)}" for each in predicted.classes or ()]
        scored = scored.hstack(pl.DataFrame(np.asarray(predicted.probabilities, np.float32), schema=names))
    return scored.with_columns(pl.lit(worker.model).alias("model"))


def told(outcome: Outcome, config: DictConfig) -> str:
    """Say in a line what came of a file."""
    if outcome.refused:
        return f"{outcome.file}: not scored: {outcome.refused}"
    if outcome.state is None:
        share = f"worker {config.worker.index} of {config.worker.count}"
        return f"{outcome.file}: the share of {share} is scored; other workers are not through with theirs"
    done = "scored" if outcome.worked else "already scored"
    scored = outcome.state.rows - outcome.state.rejected
    return f"{outcome.file}: {scored} rows {done} by {outcome.state.source.model}, {outcome.state.rejected} set aside"


def main(config: DictConfig) -> None:
    """Score with the champion, and print what came of it."""
    tracker = Tracker(config.tracking.uri, config.tracking.experiment)
    versions = Versions(tracker, config.tracking.model, config.tracking.alias)
    champion = versions.load(versions.address, config.threads or cpu_count(), list(config.export.trusted))
    require_inputs(champion.predictor.card, champion.image)
    version = str(champion.version)
    worker = Worker(config, champion.predictor, f"{champion.name}/{version}", version)
    refused, files = [], 0
    for outcome in infer(worker):
        print(told(outcome, config))
        files += 1
        if outcome.refused:
            refused.append(outcome.file)
    if refused:
        names = ", ".join(refused)
        raise Problem(f"{len(refused)} of {files} files could not be scored: {names}; the others are scored")
