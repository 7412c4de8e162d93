"""The naive answer, which a model has to beat: what the training split says when nobody looks at the inputs."""

from collections.abc import Mapping

import numpy as np

from .measure import Metric
from .predictor import Array, Predicted


def answers(truth: Array, classes: list[object] | None, last: float | None = None) -> list[Predicted]:
    """Give the naive answers that a training target stands for, each as a prediction for one row.

    For classes: the most frequent one, with the shares of all as probabilities. For numbers: mean and median, and the
    last value where rows follow one another in time.
    """
    if classes is None:
        values = [np.mean(truth), np.median(truth), *([] if last is None else [last])]
        return [Predicted(np.array([value])) for value in values]
    shares = np.array([np.mean(truth == label) for label in classes])
    return [Predicted(np.asarray(classes)[[shares.argmax()]], shares[None, :], classes)]


def evaluate(metrics: Mapping[str, Metric], truth: Array, given: list[Predicted]) -> dict[str, float]:
    """Measure the naive answers on some rows: by each metric the one that is hardest to beat.

    NaN where the metric is not defined on these rows.
    """
    rows = np.zeros(len(truth), dtype=np.int64)
    return {name: _best(metric, [metric.measure(truth, one.take(rows)) for one in given]) for name, metric in metrics.items()}


def _best(metric: Metric, values: list[float]) -> float:
    return max(values) if metric.best == "high" else min(values)
