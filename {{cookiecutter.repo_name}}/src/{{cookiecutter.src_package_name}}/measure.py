"""What a metric is, and what two models' measures on the same rows say of them."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from .errors import Problem
from .predictor import Array, Predicted

Task = Literal["classification", "regression"]
Compute = Callable[[Array, Predicted], Any]

RESAMPLES = 1000  # of rows' own losses, which are cheap
RECOUNTS = 200  # of metrics that have to be worked out anew for each resample
ROWS = 20_000  # that a metric is worked out anew for, at most; blocks of rows that losses are gathered in
INTERVAL = 0.95


@dataclass(frozen=True)
class Metric:
    """A measure of predictions, which end of it is good, and whether it asks for probabilities."""

    name: str
    compute: Compute
    best: Literal["high", "low"]
    probabilities: bool

    def measure(self, truth: Array, predicted: Predicted) -> float:
        """Measure predictions; NaN where the metric is not defined."""
        value = np.asarray(self.compute(truth, predicted))
        if value.shape not in ((), truth.shape) or value.dtype.kind not in "fiub":
            raise Problem(f"metrics.py: {self.name} gives {str(value)[:60]!r}; return a number, or one for each row")
        return float(np.mean(value)) if value.size else math.nan

    def gain(self, new: Any, old: Any) -> Any:
        """Say by how much one value is better than another; below 0 it is worse."""
        return new - old if self.best == "high" else old - new


METRICS: dict[Task, dict[str, Metric]] = {"classification": {}, "regression": {}}


def metric(task: Task, *, best: Literal["high", "low"], probabilities: bool = False) -> Callable[[Compute], Compute]:
    """Make a function of truth and predictions a metric of its own name.

    The function gets the true values, shape (rows,), and a Predicted, and returns a number; or, where the measure is
    the mean of what each row loses or wins, an array of shape (rows,), from which intervals are found faster.
    """
    if task not in METRICS or best not in ("high", "low"):
        tasks = ", ".join(METRICS)
        raise Problem(f"metrics.py: @metric({task!r}, best={best!r}): the task is one of {tasks}, best is high or low")

    def keep(compute: Compute) -> Compute:
        name = compute.__name__
        METRICS[task][name] = Metric(name, compute, best, probabilities)
        return compute

    return keep


def usable(metrics: Mapping[str, Metric], probabilities: bool) -> dict[str, Metric]:
    """Give the metrics that a model can be measured by, with probabilities or without."""
    return {name: metric for name, metric in metrics.items() if probabilities or not metric.probabilities}


def evaluate(metrics: Mapping[str, Metric], truth: Array, predicted: Predicted) -> dict[str, float]:
    """Measure predictions by every metric that is defined for them."""
    values = {name: metric.measure(truth, predicted) for name, metric in metrics.items()}
    return {name: value for name, value in values.items() if np.isfinite(value)}


@dataclass(frozen=True)
class Comparison:
    """By how much one model is better than another on the same rows, and how sure that is.

    `low` and `high` enclose the gain in 95 of 100 resamples of the rows; `share` is in how many of them it is above
    what was asked for.
    """

    gain: float
    low: float
    high: float
    share: float


def compare(
    metric: Metric, truth: Array, new: Predicted, old: Predicted, *, min_gain: float = 0, seed: int = 0
) -> Comparison:
    """Compare two models by a paired bootstrap: rows are drawn with replacement, the same ones for both.

    Source: B. Efron, R. Tibshirani, An Introduction to the Bootstrap (1993), chapters 12 and 13 (percentile interval).
    """
    random = np.random.default_rng(seed)
    one, other = metric.compute(truth, new), metric.compute(truth, old)
    gain = float(metric.gain(np.mean(one), np.mean(other)))
    if np.shape(one) == truth.shape:
        gains = _resampled_means(np.asarray(metric.gain(one, other), np.float64), random)
    else:
        gains = _resampled_metric(metric, truth, (new, old), gain, random)
    gains = gains[np.isfinite(gains)]
    if not len(gains):
        return Comparison(gain, float("nan"), float("nan"), 0.0)
    low, high = np.quantile(gains, [(1 - INTERVAL) / 2, (1 + INTERVAL) / 2])
    return Comparison(gain, float(low), float(high), float(np.mean(gains > min_gain)))


def _resampled_means(gains: Array, random: np.random.Generator) -> Array:
    """Draw rows anew and average what they gain; many rows are gathered in blocks, whose means vary as they do."""
    if len(gains) > ROWS:
        size = -(-len(gains) // ROWS)  # rounded up, so that hardly a row is left over
        gains = random.permutation(gains)[: len(gains) // size * size].reshape(-1, size).mean(axis=1)
    return np.array([gains[random.integers(0, len(gains), len(gains))].mean() for _ in range(RESAMPLES)])


def _resampled_metric(
    metric: Metric, truth: Array, models: tuple[Predicted, Predicted], gain: float, random: np.random.Generator
) -> Array:
    """Work the metric out for rows drawn anew; of very many rows fewer are drawn, and their spread scaled down."""
    size = min(len(truth), ROWS)
    gains = []
    for _ in range(RECOUNTS):
        rows = random.integers(0, len(truth), size)
        new, old = (metric.measure(truth[rows], model.take(rows)) for model in models)
        gains.append(metric.gain(new, old))
    return np.asarray(gain + (np.array(gains) - gain) * np.sqrt(size / len(truth)))
