"""A model on its way to the gate: fitted, kept, proven equal to what was fitted, and measured as it will be served."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Any

from omegaconf import DictConfig
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import Pipeline
from tqdm import tqdm

from . import formats, measure, model, threshold
from .columns import COLUMNS, TARGET, TASK, VERSION
from .errors import Problem
from .inputs import INPUTS
from .plan import Plan
from .predictor import Card, Predicted, Predictor, Seen
from .proof import awkward, prove_equal
from .samples import Sample, balanced

PROVEN = 20_000  # rows, at most, on which what is kept is proven to answer as what was fitted


@dataclass(frozen=True)
class Challenger:
    """A model that is kept in a folder, loaded from there, and measured."""

    predictor: Predictor
    folder: Path
    test: Predicted  # for the test split
    metrics: dict[str, float]  # by split and metric, such as test_accuracy
    objective: str
    difference: float  # between what is kept and what was fitted
    settled: dict[str, float]  # by the validation split: the threshold, and how many rounds early stopping kept
    remarks: list[str]  # on what was settled

    @property
    def card(self) -> Card:
        """The card as it is delivered, with the measures."""
        return self.predictor.card

    @property
    def score(self) -> float:
        """What it is worth by the objective on the test split."""
        return self.metrics[f"test_{self.objective}"]


def make(planned: Plan, config: DictConfig, run_id: str, folder: Path) -> Challenger:
    """Fit the configured model, keep it in a folder, choose its threshold, and measure what was kept.

    Raises Problem if it cannot be kept, answers otherwise than it was fitted, or has no value by the objective.
    """
    pipeline, samples = model.build(config, config.seed), planned.samples
    fit(pipeline, samples["train"], config, samples["valid"])
    card = describe(planned, config, run_id, model.has_probabilities(pipeline))
    predictor, difference = keep(pipeline, card, samples["valid"], folder, config)
    known = {name: predictor.predict_inputs(samples[name].inputs) for name in ("valid", "test")}
    predictor = predictor.with_card(threshold.choose(samples["valid"].truth, known["valid"], config.threshold))
    predicted = {name: threshold.applied(predictor.card, each) for name, each in known.items()}
    metrics = {
        f"{name}_{metric}": value
        for name, found in predicted.items()
        for metric, value in measure.evaluate(planned.metrics, samples[name].truth, found).items()
    }
    objective = planned.objective.name
    for name in predicted:
        if f"{name}_{objective}" not in metrics:
            raise Problem(
                f"{objective} is no number for what this model predicts on the {name} split: nothing to judge by"
            )
    predictor = predictor.with_card({"metrics": metrics, "naive": planned.naive})
    formats.describe(folder, predictor.card)
    settled, remarks = _settled(pipeline, predictor.card, config)
    return Challenger(predictor, folder, predicted["test"], metrics, objective, difference, settled, remarks)


def _settled(pipeline: Pipeline, card: Card, config: DictConfig) -> tuple[dict[str, float], list[str]]:
    """Give what the validation split settled for a model, as measures and in sentences."""
    settled: dict[str, float] = {}
    remarks = []
    if config.model.get("early_stopping"):
        kept, limit, most = model.kept_rounds(pipeline[-1])
        settled["rounds"] = kept
        all_of_them = f"all {most} rounds, so it never stopped: raise model.params.{limit}"
        remarks.append(f"early stopping kept {f'{kept} of {most} rounds' if kept < most else all_of_them}")
    if card.threshold is not None:
        settled["threshold"] = card.threshold
        remarks.append(threshold.describe(card, config.threshold))
    return settled, remarks


def fit(pipeline: Pipeline, rows: Sample, config: DictConfig, watch: Sample | None = None) -> None:
    """Fit in place, with a sign of how far it is, and a line if the fit did not converge."""
    weighted = balanced(rows, config.weight.classes)
    with (
        tqdm(desc=f"fitting {config.model.name}", unit=" steps", disable=None, delay=1) as bar,
        _ticking(bar),
        warnings.catch_warnings(record=True) as caught,
    ):
        warnings.simplefilter("always")

        def report(stage: int, _: Pipeline) -> None:
            bar.total = config.model.params[config.model.steps]
            bar.update(stage - bar.n)

        model.fit(pipeline, weighted, config.model, watch, None if bar.disable else report)
    if any(issubclass(warning.category, ConvergenceWarning) for warning in caught):
        print("the fit stopped before it converged: raise the estimator's number of iterations in model.params")


@contextmanager
def _ticking(bar: "tqdm[Any]") -> Iterator[None]:
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


def describe(planned: Plan, config: DictConfig, run_id: str, probabilities: bool) -> Card:
    """Write the card of a model that was trained as planned."""
    return Card(
        format=config.export.format,
        task=TASK,
        target=TARGET,
        columns={name: column.kind.value for name, column in COLUMNS.items()},
        inputs={name: Seen(kind=made.kind.value, fingerprint=made.fingerprint) for name, made in INPUTS.items()},
        classes=planned.learnt,
        probabilities=probabilities,
        data=planned.manifest.version,
        rows=len(planned.samples["train"]),
        rows_of=planned.manifest.splits["train"].rows,
        split=planned.manifest.split.model_dump(mode="json"),
        schema_version=VERSION,
        run_id=run_id,
    )


def keep(pipeline: Pipeline, card: Card, rows: Sample, folder: Path, config: DictConfig) -> tuple[Predictor, float]:
    """Keep a fitted pipeline in a folder and load it from there.

    Returns what was loaded, and the largest difference between its answers and the pipeline's. Raises Problem if the
    format cannot keep the pipeline, or keeps something that answers otherwise.
    """
    trusted = list(config.export.trusted)
    formats.save(pipeline, card, folder, rows.take(slice(0, 1)).inputs, trusted)
    read = formats.find(card.format).read(folder, 1, trusted)
    some = rows.take(slice(0, PROVEN)).inputs
    difference = max(prove_equal(read(inputs), model.outputs(pipeline, inputs)) for inputs in (some, awkward(some)))
    return Predictor(card, read), difference
