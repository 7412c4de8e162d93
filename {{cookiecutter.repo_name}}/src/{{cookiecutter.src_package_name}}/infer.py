"""Score the inbox with the champion: files in, predictions out, with memory for one shard at a time.

The shards of all files are shared out, to this process or to others. A file that cannot be read is named, with the
reason, and the others are scored.
"""

from .cli import start

if __name__ == "__main__":  # before the imports below: --help, or a wrong setting, needs none of them
    start("infer")


import hashlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

from omegaconf import DictConfig
from tqdm import tqdm

from . import data, engine, predictions, reader, scoring, storage
from .columns import COLUMNS
from .errors import Problem
from .predictions import Part, Source, State
from .predictor import require_inputs
from .reader import Dialect, Shard
from .scoring import REFUSED, Champion, Work
from .tracking import Tracker
from .versions import Versions


@dataclass(frozen=True)
class Waiting:
    """A file with its shards: the parts of those that are done, and those that this worker has to score, by number."""

    work: Work
    shards: list[Shard]
    done: dict[int, Part]
    left: set[int]


@dataclass(frozen=True)
class Outcome:
    """What came of one file: its state once all workers are through with it, or why it cannot be scored."""

    file: str
    state: State | None = None
    worked: bool = False  # whether there was anything left to do
    refused: str = ""


def infer(config: DictConfig, champion: Champion) -> Iterator[Outcome]:
    """Score this worker's share of each file of the inbox; gives files as they are through.

    Raises:
        Problem: If the worker is not one of those that there are, or if other machines do not see this one's files.
    """
    count, index = config.worker.count, config.worker.index
    if not (isinstance(count, int) and isinstance(index, int) and 0 <= index < count):
        raise Problem(f"worker.count={count} worker.index={index}: whole numbers, with an index from 0 to count - 1")
    written = reader.dialect(config.data)
    waiting: dict[str, Waiting] = {}
    for name, item in storage.files(storage.locate(config.storage.root, config.data.inbox)).items():
        place = storage.locate(config.storage.root, config.data.predictions) / name
        try:
            found = _look(name, item, written, config, champion)
        except Problem as problem:
            yield _refuse(name, place, str(problem))
            continue
        (place / REFUSED).unlink(missing_ok=True)
        if isinstance(found, Waiting) and found.left:
            waiting[name] = found
        else:
            yield found if isinstance(found, Outcome) else _finish(found, config.compute, worked=False)
    yield from _score(waiting, config.compute)


def _look(
    name: str, file: storage.Location, written: Dialect, config: DictConfig, champion: Champion
) -> Waiting | Outcome:
    """Find out what there is to do for a file; raises Problem if it cannot be scored."""
    found = reader.names(file, written, COLUMNS)
    if found:  # a file without a header has no rows, either
        data.require(COLUMNS, found, name)
    size, unique = config.shard_bytes, config.data.id
    stamp = storage.stamp(file)
    shards = reader.shards(file, written, size) if found else []
    settings = hashlib.sha256(f"{written} {unique} {size}".encode()).hexdigest()[:12]
    model = f"{champion.name}/{champion.version}"
    source = Source(content=storage.identity(file), model=model, settings=settings)
    scoring.require_same(name, file, stamp)
    folder = storage.locate(config.storage.root, config.data.predictions) / name / champion.version
    state = predictions.complete(folder)
    if state and state.source == source:
        return Outcome(name, state)
    predictions.reopen(folder)
    work = Work(name, storage.absolute(file), stamp, written, unique, storage.absolute(folder), source, champion)
    done = predictions.recorded(folder, source)
    count, index = config.worker.count, config.worker.index
    return Waiting(work, shards, done, {number for number in range(index, len(shards), count) if number not in done})


def _refuse(name: str, place: storage.Location, reason: str) -> Outcome:
    """Keep the reason why a file is not scored beside the folders of versions."""
    with storage.publish(place / REFUSED) as draft:
        draft.write_text(f"{reason}\n", encoding="utf-8")
    return Outcome(name, refused=reason)


def _score(waiting: dict[str, Waiting], compute: int | str) -> Iterator[Outcome]:
    """Have the shards of all files scored, and end each file with its last one."""
    calls = [(file.work, number, file.shards[number]) for file in waiting.values() for number in sorted(file.left)]
    with closing(engine.results(scoring.score, calls, compute, "scoring")) as results:
        for done in results:
            if done.name not in waiting:  # it is refused, for another of its shards
                continue
            file = waiting[done.name]
            if done.absent and file.work.file.exists():
                engine.refuse_unshared(compute, file.work.file)
            if done.part is None:
                del waiting[done.name]
                yield _refuse(done.name, file.work.folder.parent, done.refusal)
                continue
            file.done[done.number] = done.part
            file.left.remove(done.number)
            if not file.left:
                yield _finish(waiting.pop(done.name), compute, worked=True)


def _finish(file: Waiting, compute: int | str, worked: bool) -> Outcome:
    """End this worker's share of a file; whoever sees that all parts are there writes the state."""
    name, folder, source = file.work.name, file.work.folder, file.work.source
    there = predictions.recorded(folder, source, file.done)
    if len(there) == len(file.shards):
        parts = [there[number] for number in range(len(file.shards))]
        return Outcome(name, predictions.finish(folder, source, parts), worked=True)
    state = predictions.complete(folder)  # another run of the same may have finished meanwhile
    if state and state.source == source:
        return Outcome(name, state, worked)
    if file.done.keys() - there.keys():
        engine.refuse_unshared(compute, folder)
    return Outcome(name, None, worked)


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


def _champion(config: DictConfig) -> Champion:
    """Pin the champion of this moment, and see that this code can ask it."""
    remote, uri = isinstance(config.compute, str), config.tracking.uri
    if remote and uri.startswith("sqlite:///") and not uri.startswith("sqlite:////"):  # of the folder of each
        raise Problem(f"compute={config.compute}: its workers cannot ask {uri}: set MLFLOW_TRACKING_URI to a server")
    tracker = Tracker(uri, config.tracking.experiment)
    versions = Versions(tracker, config.tracking.model, config.tracking.alias)
    name, version = versions.resolve(versions.address)
    champion = Champion(uri, name, version, config.threads, tuple(config.export.trusted))
    loaded = scoring.load(champion)
    require_inputs(loaded.predictor.card, loaded.image)
    return champion


def main(config: DictConfig) -> None:
    """Score with the champion, and print what came of it."""
    refused, files = [], 0
    for outcome in infer(config, _champion(config)):
        tqdm.write(told(outcome, config))  # above the bar, if there is one
        files += 1
        if outcome.refused:
            refused.append(outcome.file)
    if refused:
        names = ", ".join(refused)
        raise Problem(f"{len(refused)} of {files} files could not be scored: {names}; the others are scored")
