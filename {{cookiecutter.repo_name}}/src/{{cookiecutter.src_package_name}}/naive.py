"""The naive answer, which a model has to beat: what the training split says when nobody looks at the inputs."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .columns import label
from .errors import Problem
from .measure import Metric
from .predictor import Array, Predicted, array

CLASSES = 10  # the most frequent ones, that are tried as the answer for every row


def answers(truth: Array, classes: Sequence[Any] | None, last: float | None = None) -> list[Predicted]:
    """Give the naive answers that a training target stands for, each as a prediction for one row.

    For classes: always the same one, whichever of the most frequent that is, with the shares of all as probabilities.
    For numbers: mean and median, and the last value where rows follow one another in time.
    """
    if classes is None:
        values = [np.mean(truth), np.median(truth), *([] if last is None else [last])]
        return [Predicted(np.array([value])) for value in values]
    shares = np.array([np.mean(truth == each) for each in classes])
    likely = np.argsort(-shares, kind="stable")[:CLASSES]
    return [Predicted(array(classes)[[place]], shares[None, :], classes) for place in likely]


def evaluate(metrics: Mapping[str, Metric], truth: Array, given: Sequence[Predicted]) -> dict[str, float]:
    """Measure the naive answers on some rows: by each metric the one that is hardest to beat.

    NaN where none of them has a value.
    """
    rows = np.zeros(len(truth), dtype=np.int64)
    answers = [one.take(rows) for one in given]
    return {name: _best(metric, [metric.measure(truth, one) for one in answers]) for name, metric in metrics.items()}


def _best(metric: Metric, values: list[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return (max if metric.best == "high" else min)(known, default=np.nan)


def perfect(truth: Array, classes: Sequence[Any] | None) -> Predicted:
    """Give the truth as a prediction: what has no value even for it is not defined on these rows."""
    if classes is None:
        return Predicted(truth)
    return Predicted(truth, np.array([truth == each for each in classes], np.float64).T, classes)


def undefined(name: str, split: str, truth: Array, classes: Sequence[Any] | None) -> str:
    """Say that a metric has no value on a split and, if a class is absent from it, which."""
    absent = [label(each) for each in classes or () if not (truth == each).any()]
    more = f" and {len(absent) - CLASSES} more" if len(absent) > CLASSES else ""
    reason = f": no row of class {', '.join(absent[:CLASSES])}{more} is in it" if absent else ""
    return f"{name} is not defined on the {split} split{reason}"


def require(metric: Metric, defined: Iterable[str], split: str, truth: Array, classes: Sequence[Any] | None) -> None:
    """Refuse to let a metric decide that is not among those that are defined on a split."""
    if metric.name not in defined:
        reason = undefined(metric.name, split, truth, classes)
        raise Problem(f"{reason}; take another objective, or another split (docs/guide/split.md)")
