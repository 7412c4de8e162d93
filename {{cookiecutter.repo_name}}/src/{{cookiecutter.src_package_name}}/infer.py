"""Score the inbox with the champion: files in, predictions out, with memory for one batch at a time.

Predictions lie in a folder for each file, in parts of one batch each. A part appears whole, so a run that was
interrupted goes on with the first part that is missing. Where the inbox is large, workers share its files out by name.
"""

from .cli import start

if __name__ == "__main__":  # before the imports below: --help, or a wrong setting, needs none of them
    start("infer")


import hashlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
from joblib import cpu_count
from omegaconf import DictConfig
from pydantic import BaseModel
from tqdm import tqdm

from . import data, storage
from .columns import COLUMNS, label
from .data import Fault
from .errors import Problem
from .predictor import Predictor, require_inputs
from .schema import Row
from .tracking import Tracker
from .versions import Versions


class Source(BaseModel):
    """What predictions are made from; if any of it changes, they are made anew."""

    sha256: str
    model: str
    batch_rows: int


class State(BaseModel):
    """How far the predictions for one file have come."""

    source: Source
    rows: int = 0
    rejected: int = 0
    done: bool = False


def infer(config: DictConfig, predictor: Predictor, model: str) -> Iterator[tuple[str, State, bool]]:
    """Score this worker's files of the inbox; yields each one's name, state, and whether there was anything left to do.

    Raises Problem if the shard is not one of those that there are.
    """
    count, index = config.shard.count, config.shard.index
    if not (isinstance(count, int) and isinstance(index, int) and 0 <= index < count):
        raise Problem(f"shard.count={count} shard.index={index}: whole numbers, with an index from 0 to count - 1")
    locate = partial(storage.locate, config.storage.root)
    for item in storage.files(locate(config.data.inbox), data.SUFFIXES):
        if _shard(item.name, count) != index:
            continue
        file = storage.fetch(item)
        data.require(COLUMNS, file, config.data.missing)
        folder = locate(config.data.predictions) / item.name
        state = _resume(folder, Source(sha256=storage.digest(file), model=model, batch_rows=config.batch_rows))
        if state.done:
            yield item.name, state, False
        else:
            yield item.name, _score(file, folder, state, predictor, config), True


def _shard(name: str, count: int) -> int:
    """Deal a file to a worker by nothing but its name, so that it stays there whatever else the inbox holds."""
    return int(hashlib.sha256(name.encode()).hexdigest(), 16) % count


def _resume(folder: storage.Location, source: Source) -> State:
    """Read how far an earlier run came; start over if it was made from something else."""
    file = folder / "state.json"
    if file.exists():
        state = State.model_validate_json(file.read_text())
        if state.source == source:
            return state
        for old in [*folder.glob("part-*.parquet"), *folder.glob("rejected-*.csv")]:
            old.unlink()
    return _save(folder, State(source=source))


def _save(folder: storage.Location, state: State) -> State:
    with storage.publish(folder / "state.json") as draft:
        draft.write_text(state.model_dump_json(indent=2))
    return state


def _score(file: Path, folder: storage.Location, state: State, predictor: Predictor, config: DictConfig) -> State:
    """Score one file from the first batch that has no part yet."""
    total = data.scan(file, config.data.missing).select(pl.len()).collect().item()
    with tqdm(total=total, initial=state.rows, desc=file.name, unit=" rows", unit_scale=True, disable=None) as bar:
        for batch in data.batches(file, config.data.missing, config.batch_rows, state.rows):
            number = f"{state.rows // config.batch_rows:06}"
            good, bad, faults = data.check(batch, Row, file.name, state.rows)
            with storage.publish(folder / f"part-{number}.parquet") as draft:
                _predict(good, predictor, state.source.model, config.data.id).write_parquet(draft)
            if faults:
                with storage.publish(folder / f"rejected-{number}.csv") as draft:
                    pl.DataFrame(faults, schema=Fault._fields, orient="row").write_csv(draft)
            state.rows += len(batch)
            state.rejected += len(bad)
            _save(folder, state)
            bar.update(len(batch))
    state.done = True
    return _save(folder, state)


def _predict(table: pl.DataFrame, predictor: Predictor, model: str, id_column: str) -> pl.DataFrame:
    """Put predictions, probabilities and the model's name beside the rows' ids."""
    predicted = predictor.predict(data.columns(table.select(list(COLUMNS))))  # a target in the inbox was not checked
    ids = [table[id_column]] if id_column in table.columns else []
    scored = pl.DataFrame([*ids, pl.Series("prediction", predicted.values.tolist())])
    if predicted.probabilities is not None:
        names = [f"probability_{label(each)}" for each in predicted.classes or ()]
        scored = scored.hstack(pl.DataFrame(np.asarray(predicted.probabilities, np.float32), schema=names))
    return scored.with_columns(pl.lit(model).alias("model"))


def main(config: DictConfig) -> None:
    """Score with the champion, and print what came of it."""
    tracker = Tracker(config.tracking.uri, config.tracking.experiment)
    versions = Versions(tracker, config.tracking.model, config.tracking.alias)
    champion = versions.load(versions.address, config.threads or cpu_count(), list(config.export.trusted))
    require_inputs(champion.predictor.card, champion.image)
    file = None
    for file, state, worked in infer(config, champion.predictor, f"{champion.name}/{champion.version}"):
        done = "scored" if worked else "already scored"
        scored = state.rows - state.rejected
        print(f"{file}: {scored} rows {done} by {state.source.model}, {state.rejected} set aside")
    if file is None:
        print(f"nothing to do: no file of the inbox falls to shard {config.shard.index} of {config.shard.count}")
