"""What predictions are measured by. For another metric, write another function; `objective` can name it at once.

A function gets the truth, shape (rows,), and the predictions: their `values`, shape (rows,), and for classes
`probabilities`, shape (rows, classes), `classes`, and `of(class)`, one class's probabilities. It returns a number, or
one for each row if the measure is their mean.
"""

import numpy as np
from scipy.stats import rankdata
from sklearn import metrics as sklearn

from .measure import METRICS, metric
from .predictor import Array, Predicted

SURE = 1e-7  # single precision tells no probability from 0 or 1 that is closer to it


@metric("classification", best="high")
def accuracy(truth: Array, predicted: Predicted) -> Array:
    """Share of rows whose class is predicted."""
    return np.asarray(truth == predicted.values, np.float64)


@metric("classification", best="high")
def recall(truth: Array, predicted: Predicted) -> float:
    """Share of each class's rows that are predicted to be of it, averaged over classes."""
    return float(np.mean([np.mean(predicted.values[truth == label] == label) for label in sorted(set(truth.tolist()))]))


@metric("classification", best="high")
def f1(truth: Array, predicted: Predicted) -> float:
    """Harmonic mean of precision and recall, averaged over classes."""
    classes = sorted({*truth.tolist(), *predicted.values.tolist()})
    found = [(truth == label, predicted.values == label) for label in classes]
    return float(np.mean([2 * np.sum(true & said) / (np.sum(true) + np.sum(said)) for true, said in found]))


@metric("classification", best="high", probabilities=True)
def auc(truth: Array, predicted: Predicted) -> float:
    """Area under the ROC curve; of one class against the rest, averaged, where there are more than two."""
    classes = list(predicted.classes or ())
    asked = classes[1:] if len(classes) == 2 else classes
    if any((truth == label).all() or not (truth == label).any() for label in asked):
        return float("nan")  # a class that is absent, or alone, has no such area
    return float(np.mean([_area(truth == label, predicted.of(label)) for label in asked]))


def _area(positive: Array, score: Array) -> float:
    """Give the share of pairs, a positive row and another, in which the positive one scores higher; ties are halves.

    Source: J. Hanley, B. McNeil, The meaning and use of the area under a ROC curve, Radiology 143 (1982).
    """
    count = positive.sum()
    above = rankdata(score)[positive].sum() - count * (count + 1) / 2
    return float(above / (count * (len(positive) - count)))


@metric("classification", best="low", probabilities=True)
def log_loss(truth: Array, predicted: Predicted) -> Array:
    """Negative logarithm of the probability of the true class."""
    probability = np.zeros(len(truth))
    for label in predicted.classes or ():
        probability = np.where(truth == label, predicted.of(label), probability)
    return -np.log(np.clip(probability, SURE, 1))


@metric("regression", best="high")
def r2(truth: Array, predicted: Predicted) -> float:
    """Share of the target's variance that is explained."""
    return float(sklearn.r2_score(truth, predicted.values)) if np.ptp(truth) > 0 else float("nan")


@metric("regression", best="low")
def mae(truth: Array, predicted: Predicted) -> Array:
    """Mean of the absolute errors."""
    return np.asarray(np.abs(truth - predicted.values))


@metric("regression", best="low")
def rmse(truth: Array, predicted: Predicted) -> float:
    """Root of the mean of the squared errors."""
    return float(np.sqrt(np.mean((truth - predicted.values) ** 2)))


__all__ = ["METRICS"]
