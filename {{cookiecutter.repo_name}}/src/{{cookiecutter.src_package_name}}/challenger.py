"""A model on its way to the gate: fitted, kept, proven to answer as it was fitted, and measured as it will be served."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

import numpy as np
from omegaconf import DictConfig
from sklearn.pipeline import Pipeline
from tqdm import tqdm

from . import formats, measure, model
from .columns import COLUMNS, TARGET, TASK, VERSION, label
from .errors import Problem
from .inputs import INPUTS
from .measure import METRICS, Metric
from .predictor import Card, Predicted, Predictor, Seen
from .proof import awkward, prove_equal
from .samples import Sample
from .tables import Manifest

THRESHOLDS = np.linspace(0.01, 0.99, 99)


@dataclass(frozen=True)
class Challenger:
    """A model that is kept in a folder, loaded from there, and measured."""

    predictor: Predictor
    folder: Path
    test: Predicted  # for the test split
    metrics: dict[str, float]  # by split and metric, such as test_accuracy
    difference: float  # between what is kept and what was fitted


def describe(config: DictConfig, manifest: Manifest, train: Sample, run_id: str) -> Card:
    """Write the card of a model that is to be trained."""
    return Card(
        format=config.export.format,
        task=TASK,
        target=TARGET,
        columns={name: column.kind.value for name, column in COLUMNS.items()},
        inputs={name: Seen(kind=made.kind.value, fingerprint=made.fingerprint) for name, made in INPUTS.items()},
        classes=model.classes(train.truth),
        data=manifest.version,
        split=manifest.split.model_dump(mode="json"),
        schema_version=VERSION,
        run_id=run_id,
    )


def fit(pipeline: Pipeline, rows: Sample, config: DictConfig, watch: Sample | None = None) -> None:
    """Fit in place, with a sign of how far it is."""
    with tqdm(desc=f"fitting {config.model.name}", unit=" steps", disable=None, delay=1) as bar, _ticking(bar):

        def report(stage: int, _: Pipeline) -> None:
            bar.total = config.model.params[config.model.steps]
            bar.update(stage - bar.n)

        model.fit(pipeline, rows, config.model, watch, None if bar.disable else report)


@contextmanager
def _ticking(bar: "tqdm[None]") -> Iterator[None]:
    """Let a bar show the time while nobody reports to it."""
    ended = Event()

    def tick() -> None:
        while not ended.wait(1):
            bar.refresh()

    thread = Thread(target=tick, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def keep(pipeline: Pipeline, card: Card, rows: Sample, folder: Path, config: DictConfig) -> tuple[Predictor, float]:
    """Keep a fitted pipeline in a folder and load it from there.

    Returns what was loaded, and the largest difference between its answers and the pipeline's. Raises Problem if the
    format cannot keep the pipeline, or keeps something that answers otherwise.
    """
    trusted = list(config.export.trusted)
    formats.save(pipeline, card, folder, rows.take(slice(0, 1)).inputs, trusted)
    read = formats.find(card.format).read(folder, 1, trusted)
    difference = 0.0
    for inputs in (rows.inputs, awkward(rows.inputs)):
        difference = max(difference, prove_equal(read(inputs), model.outputs(pipeline, inputs)))
    return Predictor(card, read), difference


def challenge(
    pipeline: Pipeline, card: Card, samples: Mapping[str, Sample], folder: Path, config: DictConfig
) -> Challenger:
    """Keep a fitted pipeline, choose its threshold on the validation split, and measure what was kept."""
    predictor, difference = keep(pipeline, card, samples["valid"], folder, config)
    predictor = predictor.deciding(_threshold(predictor, samples["valid"], config))
    metrics: dict[str, float] = {}
    for name in ("valid", "test"):
        predicted = predictor.predict_inputs(samples[name].inputs)
        usable = measure.usable(TASK, predicted.probabilities is not None)
        measured = measure.evaluate(usable, samples[name].truth, predicted)
        metrics |= {f"{name}_{metric}": value for metric, value in measured.items()}
    return Challenger(predictor, folder, predicted, metrics, difference)


def _threshold(predictor: Predictor, valid: Sample, config: DictConfig) -> dict[str, object]:
    """Say from which probability on which class is predicted, as the card keeps it."""
    at, positive = config.threshold.at, config.threshold.positive
    if at is None:
        return {}
    classes = predictor.card.classes or []
    predicted = predictor.predict_inputs(valid.inputs)
    if len(classes) != 2 or predicted.probabilities is None:
        raise Problem(f"threshold.at={at}: a threshold takes two classes and their probabilities; set it to null")
    names = {label(value): value for value in classes}
    if positive is not None and label(positive) not in names:
        raise Problem(f"threshold.positive={label(positive)}: it is one of {', '.join(names)}")
    chosen = classes[1] if positive is None else names[label(positive)]
    if isinstance(at, str):
        if at not in METRICS[TASK]:
            raise Problem(f"threshold.at={at}: it is a probability, or one of {', '.join(METRICS[TASK])}")
        at = _best_threshold(predictor, METRICS[TASK][at], valid, chosen)
    if not 0 < at < 1:
        raise Problem(f"threshold.at={at}: a probability lies between 0 and 1")
    return {"threshold": float(at), "positive": chosen}


def _best_threshold(predictor: Predictor, metric: Metric, valid: Sample, positive: object) -> float:
    def value(threshold: float) -> float:
        deciding = predictor.deciding({"threshold": threshold, "positive": positive})
        return float(metric.gain(metric.measure(valid.truth, deciding.predict_inputs(valid.inputs)), 0))

    return float(max(THRESHOLDS, key=value))
