"""Figures that say more than the numbers in them, and can be read with many classes and many inputs."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from sklearn.calibration import calibration_curve
from sklearn.metrics import precision_recall_curve, roc_curve

from . import explain
from .challenger import Challenger
from .columns import COLUMNS, TARGET, TASK, label
from .explain import Curve, Worth
from .inputs import UNITS
from .kinds import Kind
from .plan import Plan
from .predictor import Array, Predicted
from .samples import Sample

STRONGEST = 3  # inputs whose effect is drawn
FEW = 12  # classes whose counts can be written into a square each
SHOWN = 20  # inputs, or confusions, at most
LINES = 6  # classes in one plot of curves, at most
DOTS = 5000  # rows that are drawn as dots; more would hide one another
ROWS = 20_000  # that curves are drawn from, at most
BESIDE = 0.08  # how far apart the points of two classes are, of the way from one name to the next
ACROSS = 30  # letters of names that fit side by side below a matrix; longer ones are tilted
TILTED = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}


def draw(made: Challenger, planned: Plan, seed: int) -> Iterator[tuple[str, Figure]]:
    """Draw a challenger, figure by figure, each with its name."""
    test, metric = planned.samples["test"], planned.objective
    whole = planned.samples["valid"]
    valid = explain.some(whole, ROWS, seed)
    name = f"test_{metric.name}"
    measured = f"{metric.name} {made.metrics.get(name, np.nan):.4f}, naive answer {planned.naive[name]:.4f}"
    yield "quality", quality(test.truth, made.test, measured)
    found = explain.worths(made.predictor, valid, metric, seed)
    looked_at = min(len(valid), explain.draws(len(found))[1])
    yield "importance", importance(found, metric.name, _of(looked_at, whole))
    classes, card = made.card.classes, made.card
    positive = None
    if classes is not None and len(classes) == 2:
        positive = classes[1] if card.threshold is None else card.positive
    strongest = [worth.name for worth in found if card.inputs[worth.name].kind != Kind.TEXT][:STRONGEST]
    followed = [explain.dependence(made.predictor, valid, name, seed) for name in strongest]
    if drawn := [curve for curve in followed if len(curve.values)]:
        rows = _of(min(len(valid), explain.CURVE_ROWS), whole)
        yield "dependence", dependence(drawn, None if positive is None else label(positive), rows)
    if positive is None or made.test.probabilities is None:
        return
    places = explain.places(len(test), ROWS, seed)
    if 0 < np.mean(test.truth[places] == positive) < 1:
        rows = _of(len(places), test)
        yield "curves", curves(test.truth[places], made.test.take(places), positive, card.threshold, rows)


def _of(count: int, rows: Sample) -> str:
    """Say that a figure is of so many rows of a split, if these are not all."""
    return f"{count} of {len(rows)} rows of " if count < len(rows) else ""


def quality(truth: Array, predicted: Predicted, measured: str) -> Figure:
    """Draw predictions against the truth: confusions for classes, a scatter for numbers. `measured` goes on top."""
    if TASK == "regression":
        figure = _scatter(truth, predicted)
    else:
        labels = sorted({*truth.tolist(), *predicted.values.tolist()})
        true, taken = (pd.Index(labels).get_indexer(pd.Index(values)) for values in (truth, predicted.values))
        counts = np.bincount(true * len(labels) + taken, minlength=len(labels) ** 2).reshape(len(labels), -1)
        names = [label(value) for value in labels]
        figure = _matrix(counts, names) if len(names) <= FEW else _worst(counts, names)
    figure.suptitle(f"{TARGET} on the test split\n{measured}", fontsize=10)
    return figure


def _scatter(truth: Array, predicted: Predicted) -> Figure:
    figure, axes = _canvas()
    if len(truth) > DOTS:
        axes.hexbin(predicted.values, truth, gridsize=60, bins="log", mincnt=1, cmap="Blues")
    else:
        axes.scatter(predicted.values, truth, s=8, alpha=0.5, linewidths=0)
    ends = [min(truth.min(), predicted.values.min()), max(truth.max(), predicted.values.max())]
    axes.plot(ends, ends, color="black", linewidth=0.8)
    axes.set(**_titles())
    return figure


def _matrix(counts: Array, names: Sequence[str]) -> Figure:
    """Draw how many rows of each class (downwards) were taken for which (across)."""
    side = max(5.5, 2.5 + 0.45 * len(names))
    figure, axes = _canvas(side + 1, side)
    axes.imshow(_rates(counts), cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        if count:
            dark = _rates(counts)[row, column] > 0.5
            words = str(count) if count < 10_000 else f"{count / 1000:.0f}k"
            axes.text(column, row, words, ha="center", va="center", fontsize=8, color="white" if dark else "black")
    short = [_short(name) for name in names]
    axes.set_xticks(range(len(names)), short, **(TILTED if len(names) * max(map(len, short)) > ACROSS else {}))
    axes.set_yticks(range(len(names)), short)
    axes.set(**_titles())
    return figure


def _worst(counts: Array, names: Sequence[str]) -> Figure:
    """Draw the share of each class's rows that is found, and the confusions that cost most rows."""
    figure = Figure(figsize=(11, 6), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.imshow(_rates(counts), cmap="Blues", vmin=0, vmax=1)
    left.set(**_titles(), xticks=[], yticks=[], title=f"{len(names)} classes, as shares of each")
    wrong = counts - np.diag(np.diag(counts))
    order = [place for place in np.argsort(-wrong, axis=None, kind="stable")[:SHOWN] if wrong.flat[place]]
    pairs = [np.unravel_index(place, wrong.shape) for place in order]
    words = [f"{_short(names[true])} → {_short(names[taken])}" for true, taken in pairs]
    right.barh(range(len(pairs)), [wrong[pair] for pair in pairs])
    right.set_yticks(range(len(pairs)), words, fontsize=8)
    right.invert_yaxis()
    right.set(title="worst confusions: actual → predicted", xlabel="rows")
    right.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def _titles() -> dict[str, str]:
    """Title the axes of predictions against the truth; "true" alone might be a class."""
    return {"xlabel": f"predicted {_short(TARGET)}", "ylabel": f"actual {_short(TARGET)}"}


def _rates(counts: Array) -> Array:
    return np.asarray(counts / np.maximum(1, counts.sum(axis=1, keepdims=True)))


def importance(found: Sequence[Worth], metric: str, rows: str = "") -> Figure:
    """Draw how much worse a metric gets when an input's values are shuffled, for the strongest inputs.

    `rows` says of how many rows, if not of all.
    """
    strongest = list(found)[:SHOWN]
    figure, axes = _canvas(6.5, 1.5 + 0.25 * len(strongest))
    axes.barh(range(len(strongest)), [worth.mean for worth in strongest], xerr=[worth.deviation for worth in strongest])
    axes.set_yticks(range(len(strongest)), [_short(worth.name) for worth in strongest])
    axes.invert_yaxis()
    axes.set_xlabel(f"how much worse {metric} gets\nwhen an input is shuffled")
    more = f"\nthe strongest {SHOWN} of {len(found)} inputs" if len(found) > SHOWN else ""
    figure.suptitle(f"Importance of the inputs on {rows}the validation split{more}", fontsize=10)
    return figure


def dependence(curves: Sequence[Curve], positive: str | None = None, rows: str = "") -> Figure:
    """Draw what is predicted on average when one input is set to a value in every row.

    Of two classes, `positive` names the one to draw: the other's line would be its mirror image. `rows` says in how
    many rows, if not in all.
    """
    figure = Figure(figsize=(max(6.5, 4 * len(curves)), 4.5), layout="constrained")
    shown = _most_moved(curves) if positive is None else [positive]
    for axes, curve in zip(figure.subplots(1, len(curves), sharey=True, squeeze=False)[0], curves, strict=True):
        names = _names(curve)
        for number, name in enumerate(shown):
            if names is None:
                axes.plot(_places(curve), curve.lines[name], label=_short(name))
            else:  # there is nothing between two names, so no line joins them
                beside = np.arange(len(names)) + BESIDE * (number - (len(shown) - 1) / 2)
                axes.plot(beside, curve.lines[name], marker="o", linestyle="", label=_short(name))
        if names is not None:
            axes.set_xticks(range(len(names)), names, **TILTED)
            axes.set_xlim(-0.5, len(names) - 0.5)
        elif _unit(curve):
            axes.tick_params(axis="x", labelrotation=45)
        axes.set_xlabel(_short(curve.name))
    share = "share" if positive is None else f"share of\n{_short(TARGET)} = {_short(positive)}"
    figure.axes[0].set_ylabel(f"predicted {share if TASK == 'classification' else _short(TARGET)}")
    if len(shown) > 1:
        handles, words = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, words, title=_short(TARGET), loc="outside lower center", ncols=3, fontsize=8)
    known = len(curves[0].lines)
    more = f"\nthe {LINES} classes of {known} that change most" if known > LINES else ""
    where = f"\nin {rows}the validation split" if rows else " in every row"
    figure.suptitle(f"Mean prediction when one input is set to a value{where}{more}", fontsize=10)
    return figure


def _most_moved(curves: Sequence[Curve]) -> list[str]:
    """Choose the lines that change most over any of the inputs, the same ones for all."""
    spread = {name: max(float(np.ptp(curve.lines[name])) for curve in curves) for name in curves[0].lines}
    strongest = sorted(spread, key=lambda name: -spread[name])[:LINES]
    return [name for name in spread if name in strongest]


def _names(curve: Curve) -> list[str] | None:
    """Give the names of an input's values, if it has names and no numbers."""
    if curve.kind != Kind.NUMBER:
        return [_short(str(value)) or "(missing)" for value in curve.values]
    if curve.name in COLUMNS and COLUMNS[curve.name].kind == Kind.BOOLEAN:
        return [label(bool(value)) for value in curve.values]
    return None


def _unit(curve: Curve) -> str | None:
    """Give the unit of an input that is a column of dates or times, such as D; None for others."""
    return UNITS.get(COLUMNS[curve.name].kind) if curve.name in COLUMNS else None


def _places(curve: Curve) -> Any:
    """Say where numbers and moments lie on the axis."""
    unit = _unit(curve)
    factor = 1e6 if unit == "us" else 1  # inputs.py makes seconds of times
    return curve.values if unit is None else (np.array(curve.values) * factor).astype(f"datetime64[{unit}]")


def curves(truth: Array, predicted: Predicted, positive: Any, threshold: float | None, rows: str = "") -> Figure:
    """Draw, for two classes, what each threshold buys, and whether probabilities come true.

    `rows` says of how many rows, if not of all.
    """
    figure = Figure(figsize=(13, 4.5), layout="constrained")
    roc, precision_recall, calibration = figure.subplots(1, 3)
    is_positive, probability = truth == positive, predicted.of(positive)
    named = f"{_short(TARGET)} = {_short(label(positive))}"
    figure.suptitle(f"{named} on {rows}the test split", fontsize=10)
    false_rate, true_rate, _ = roc_curve(is_positive, probability)
    roc.plot(false_rate, true_rate)
    roc.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
    roc.set(title="ROC", xlabel="false positive rate", ylabel="true positive rate")
    precision, recall, thresholds = precision_recall_curve(is_positive, probability)
    precision_recall.plot(thresholds, precision[:-1], label="precision")
    precision_recall.plot(thresholds, recall[:-1], label="recall")
    at = 0.5 if threshold is None else threshold
    precision_recall.axvline(at, color="grey", linewidth=0.8, label=f"threshold {at:g}")
    precision_recall.set(title="Thresholds", xlabel="predicted from this probability on")
    precision_recall.legend(fontsize=8)
    true_share, mean = calibration_curve(is_positive, probability, n_bins=10, strategy="quantile")
    calibration.plot(mean, true_share, marker="o")
    calibration.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
    calibration.set(title="Calibration", xlabel="mean probability", ylabel=f"share of {named}")
    return figure


def _short(name: str, most: int = 24) -> str:
    """Shorten a name in its middle, since names that begin alike often end differently; $ is no formula's begin."""
    half = most // 2
    return (name if len(name) <= most else f"{name[:half]}…{name[1 - half :]}").replace("$", r"\$")


def _canvas(width: float = 6.5, height: float = 5.5) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()
