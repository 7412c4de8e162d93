"""Figures that say more than the numbers in them, and can be read with many classes and many inputs."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from sklearn.calibration import calibration_curve
from sklearn.metrics import confusion_matrix, precision_recall_curve, roc_curve

from . import explain
from .challenger import Challenger
from .columns import TARGET, TASK, label
from .explain import Curve, Worth
from .kinds import Kind
from .plan import Plan
from .predictor import Array, Predicted

STRONGEST = 3  # inputs whose effect is drawn
FEW = 12  # classes whose counts can be written into a square each
SHOWN = 20  # inputs, or confusions, at most
LINES = 6  # classes in one plot of curves, at most


def draw(made: Challenger, planned: Plan, seed: int) -> Iterator[tuple[str, Figure]]:
    """Draw a challenger, figure by figure, each with its name."""
    test, valid, metric = planned.samples["test"], planned.samples["valid"], planned.objective
    name = f"test_{metric.name}"
    measured = f"{metric.name} {made.metrics.get(name, np.nan):.4f}, naive answer {planned.naive[name]:.4f}"
    yield "quality", quality(test.truth, made.test, measured)
    found = explain.worths(made.predictor, valid, metric, seed)
    yield "importance", importance(found, metric.name)
    followed = [explain.dependence(made.predictor, valid, worth.name, seed) for worth in found[:STRONGEST]]
    if drawn := [curve for curve in followed if len(curve.values)]:
        yield "dependence", dependence(drawn)
    classes, card = made.card.classes, made.card
    if classes is not None and len(classes) == 2 and made.test.probabilities is not None:
        positive = classes[1] if card.threshold is None else card.positive
        if 0 < np.mean(test.truth == positive) < 1:
            yield "curves", curves(test.truth, made.test, positive, card.threshold)


def quality(truth: Array, predicted: Predicted, measured: str) -> Figure:
    """Draw predictions against the truth: confusions for classes, a scatter for numbers. `measured` goes on top."""
    if TASK == "regression":
        figure = _scatter(truth, predicted)
    else:
        labels = np.unique(np.concatenate([truth, predicted.values]))
        counts = confusion_matrix(truth, predicted.values, labels=labels)
        names = [label(value) for value in labels.tolist()]
        figure = _matrix(counts, names) if len(names) <= FEW else _worst(counts, names)
    figure.suptitle(f"{TARGET} on the test split\n{measured}", fontsize=10)
    return figure


def _scatter(truth: Array, predicted: Predicted) -> Figure:
    figure, axes = _canvas()
    axes.scatter(predicted.values, truth, s=8, alpha=0.5, linewidths=0)
    ends = [min(truth.min(), predicted.values.min()), max(truth.max(), predicted.values.max())]
    axes.plot(ends, ends, color="black", linewidth=0.8)
    axes.set(xlabel="predicted", ylabel="true")
    return figure


def _matrix(counts: Array, names: Sequence[str]) -> Figure:
    """Draw how many rows of each class (downwards) were taken for which (across)."""
    figure, axes = _canvas()
    axes.imshow(_rates(counts), cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        if count:
            dark = _rates(counts)[row, column] > 0.5
            axes.text(column, row, count, ha="center", va="center", color="white" if dark else "black")
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="predicted", ylabel="true")
    return figure


def _worst(counts: Array, names: Sequence[str]) -> Figure:
    """Draw the share of each class's rows that is found, and the confusions that cost most rows."""
    figure = Figure(figsize=(11, 6), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.imshow(_rates(counts), cmap="Blues", vmin=0, vmax=1)
    left.set(xlabel="predicted", ylabel="true", xticks=[], yticks=[], title=f"{len(names)} classes, as shares of each")
    wrong = counts - np.diag(np.diag(counts))
    order = [place for place in np.argsort(-wrong, axis=None, kind="stable")[:SHOWN] if wrong.flat[place]]
    pairs = [np.unravel_index(place, wrong.shape) for place in order]
    words = [f"{_short(names[true])} → {_short(names[taken])}" for true, taken in pairs]
    right.barh(range(len(pairs)), [wrong[pair] for pair in pairs])
    right.set_yticks(range(len(pairs)), words, fontsize=8)
    right.invert_yaxis()
    right.set(title="worst confusions: true → predicted", xlabel="rows")
    return figure


def _rates(counts: Array) -> Array:
    return np.asarray(counts / np.maximum(1, counts.sum(axis=1, keepdims=True)))


def importance(found: Sequence[Worth], metric: str) -> Figure:
    """Draw how much worse a metric gets when an input's values are shuffled, for the strongest inputs."""
    strongest = list(found)[:SHOWN]
    figure, axes = _canvas()
    axes.barh(range(len(strongest)), [worth.mean for worth in strongest], xerr=[worth.deviation for worth in strongest])
    axes.set_yticks(range(len(strongest)), [_short(worth.name) for worth in strongest])
    axes.invert_yaxis()
    more = f", the strongest {SHOWN} of {len(found)}" if len(found) > SHOWN else ""
    axes.set(title=f"Loss of {metric} when an input is shuffled{more}", xlabel=f"loss of {metric}")
    return figure


def dependence(curves: Sequence[Curve]) -> Figure:
    """Draw what is predicted on average when one input is set to a value in every row."""
    figure = Figure(figsize=(4.5 * len(curves), 4.2), layout="constrained")
    for axes, curve in zip(np.atleast_1d(figure.subplots(1, len(curves))), curves, strict=True):
        spread = sorted(curve.lines, key=lambda name: -float(np.ptp(curve.lines[name])))[:LINES]
        for name in sorted(spread):
            numbers = curve.kind == Kind.NUMBER
            places = curve.values if numbers else range(len(curve.values))
            axes.plot(places, curve.lines[name], marker="" if numbers else "o", label=_short(name))
        if curve.kind != Kind.NUMBER:
            names = [_short(str(value)) or "(missing)" for value in curve.values]
            axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
        axes.set(xlabel=_short(curve.name), ylabel="probability" if TASK == "classification" else "prediction")
        axes.legend(fontsize=8)
    figure.suptitle("Mean prediction when one input is set to a value in every row", fontsize=10)
    return figure


def curves(truth: Array, predicted: Predicted, positive: Any, threshold: float | None) -> Figure:
    """Draw, for two classes, what each threshold buys, and whether probabilities come true."""
    figure = Figure(figsize=(13, 4.2), layout="constrained")
    roc, precision_recall, calibration = figure.subplots(1, 3)
    is_positive, probability = truth == positive, predicted.of(positive)
    false_rate, true_rate, _ = roc_curve(is_positive, probability)
    roc.plot(false_rate, true_rate)
    roc.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
    roc.set(title="ROC", xlabel="false positive rate", ylabel="true positive rate")
    precision, recall, thresholds = precision_recall_curve(is_positive, probability)
    precision_recall.plot(thresholds, precision[:-1], label="precision")
    precision_recall.plot(thresholds, recall[:-1], label="recall")
    precision_recall.axvline(0.5 if threshold is None else threshold, color="grey", linewidth=0.8, label="threshold")
    precision_recall.set(title="Thresholds", xlabel=f"predicted {_short(label(positive))} from this probability on")
    precision_recall.legend(fontsize=8)
    true_share, mean = calibration_curve(is_positive, probability, n_bins=10, strategy="quantile")
    calibration.plot(mean, true_share, marker="o")
    calibration.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
    calibration.set(title="Calibration", xlabel="mean probability", ylabel=f"share of {_short(label(positive))}")
    return figure


def _short(name: str, most: int = 24) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"


def _canvas() -> tuple[Figure, Any]:
    figure = Figure(figsize=(6.5, 5.5), layout="constrained")
    return figure, figure.subplots()
