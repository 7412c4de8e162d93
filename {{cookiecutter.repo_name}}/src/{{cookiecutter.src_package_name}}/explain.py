"""What a model's predictions hang on: the worth of each input, and how predictions change with it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .columns import label
from .kinds import Kind
from .measure import Metric
from .predictor import Array, Predicted, Predictor
from .samples import Sample

REPEATS = 5  # of the shuffle of an input; with many inputs fewer, so that there are no more than so many calls:
CALLS = 1500
ROWS = 1000  # looked at, at most; with many inputs fewer, so that there are no more than so many predictions:
PREDICTIONS = 500_000
CURVE_ROWS = 200
POINTS = 20


@dataclass(frozen=True)
class Worth:
    """By how much a metric gets worse when an input's values are shuffled: mean and deviation over repeats."""

    name: str
    mean: float
    deviation: float


def some(rows: Sample, most: int, seed: int) -> Sample:
    """Draw rows at random, all of them if there are no more than that."""
    return rows if len(rows) <= most else rows.take(places(len(rows), most, seed))


def places(count: int, most: int, seed: int) -> Array:
    """Draw places of rows at random, in their order, all of them if there are no more than that."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, most, replace=False))


def draws(inputs: int) -> tuple[int, int]:
    """Say how often each of so many inputs is shuffled, and in how many rows at most."""
    repeats = max(1, min(REPEATS, CALLS // inputs))
    return repeats, max(100, min(ROWS, PREDICTIONS // (repeats * inputs)))


def worths(predictor: Predictor, rows: Sample, metric: Metric, seed: int) -> list[Worth]:
    """Measure the worth of each input on a sample of rows, the greatest first.

    Source: L. Breiman, Random Forests, Machine Learning 45 (2001), section 10 (permutation importance).
    """
    names = list(predictor.card.inputs)
    repeats, most = draws(len(names))
    drawn = some(rows, most, seed)
    whole = metric.measure(drawn.truth, predictor.predict_inputs(drawn.inputs))
    random = np.random.default_rng(seed)
    found = []
    for name in names:
        losses = []
        for _ in range(repeats):
            shuffled = drawn.inputs | {name: random.permutation(drawn.inputs[name])}
            losses.append(metric.gain(whole, metric.measure(drawn.truth, predictor.predict_inputs(shuffled))))
        found.append(Worth(name, float(np.mean(losses)), float(np.std(losses))))
    return sorted(found, key=lambda worth: -worth.mean)


@dataclass(frozen=True)
class Curve:
    """What is predicted on average when an input has one value in every row: a line for each class, or one."""

    name: str
    kind: str
    values: Sequence[Any]
    lines: dict[str, Array]  # each of shape (values,)


def dependence(predictor: Predictor, rows: Sample, name: str, seed: int) -> Curve:
    """Follow the mean prediction over an input's values: quantiles of a number, the most frequent ones of others.

    Source: J. Friedman, Greedy Function Approximation, Annals of Statistics 29 (2001), section 8.2 (partial
    dependence).
    """
    drawn = some(rows, CURVE_ROWS, seed)
    kind = predictor.card.inputs[name].kind
    values = _grid(rows.inputs[name][:, 0], kind)
    means: dict[str, list[float]] = {}
    for value in values:
        fixed = np.full_like(drawn.inputs[name], value)
        predicted = predictor.predict_inputs(drawn.inputs | {name: fixed})
        for line, mean in _means(predicted).items():
            means.setdefault(line, []).append(mean)
    return Curve(name, kind, values, {line: np.array(found) for line, found in means.items()})


def _grid(values: Array, kind: str) -> list[Any]:
    if kind == Kind.NUMBER:
        known = values[~np.isnan(values)]
        found = np.unique(known)
        if len(found) > POINTS:  # with fewer, a quantile might lie between two values, such as no and yes
            found = np.unique(np.quantile(known, np.linspace(0.02, 0.98, POINTS)))
        return list(found.tolist())
    kinds, counts = np.unique(values.astype(str), return_counts=True)
    return [str(value) for value in kinds[np.argsort(-counts, kind="stable")][:8]]


def _means(predicted: Predicted) -> dict[str, float]:
    if predicted.classes is None:
        return {"mean prediction": float(np.mean(predicted.values))}
    if predicted.probabilities is None:
        return {label(each): float(np.mean(predicted.values == each)) for each in predicted.classes}
    return {label(each): float(np.mean(predicted.of(each))) for each in predicted.classes}
