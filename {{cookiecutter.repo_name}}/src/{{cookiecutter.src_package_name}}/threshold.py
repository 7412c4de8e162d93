"""From which probability on one of two classes is predicted, where that is not simply the more probable one."""

from typing import Any

import numpy as np
from omegaconf import DictConfig

from .columns import TASK, label
from .errors import Problem
from .measure import Metric
from .metrics import METRICS
from .predictor import Array, Card, Predicted, decide

TRIED = np.linspace(0.01, 0.99, 99)


def require(settings: DictConfig, classes: list[Any] | None, probabilities: bool) -> None:
    """Refuse settings, those under `threshold`, that a model of these classes cannot follow."""
    at, positive = settings.at, settings.positive
    if at is None:
        return
    if classes is None or len(classes) != 2 or not probabilities:
        raise Problem(f"threshold.at={at}: a threshold takes two classes and their probabilities; set it to null")
    names = [label(value) for value in classes]
    if positive is not None and label(positive) not in names:
        raise Problem(f"threshold.positive={label(positive)}: it is one of {', '.join(names)}")
    if isinstance(at, str):
        decided = [name for name, metric in METRICS[TASK].items() if not metric.probabilities]
        if at not in decided:
            raise Problem(f"threshold.at={at}: it is a probability, or one of {', '.join(decided)}")
    elif not 0 < at < 1:
        raise Problem(f"threshold.at={at}: a probability lies between 0 and 1")


def choose(truth: Array, known: Predicted, settings: DictConfig) -> dict[str, object]:
    """Give the threshold and the class that it is for, as a card keeps them; nothing where none is asked for.

    `truth` and what is `known`, predicted without a threshold, are of the validation split.
    """
    if settings.at is None:
        return {}
    classes = list(known.classes or ())
    names = {label(value): value for value in classes}
    positive = classes[1] if settings.positive is None else names[label(settings.positive)]
    at = _best(METRICS[TASK][settings.at], truth, known, positive) if isinstance(settings.at, str) else settings.at
    return {"threshold": float(at), "positive": positive}


def applied(card: Card, known: Predicted) -> Predicted:
    """Predict by a card's threshold, if it has one, from what was predicted without."""
    if card.threshold is None:
        return known
    return decide(known.classes, known.values, known.probabilities, card.threshold, card.positive)


def describe(card: Card, settings: DictConfig) -> str:
    """Say in a line which threshold a card has, and why that one."""
    why = f"where {settings.at} is best on the validation split" if isinstance(settings.at, str) else "as set"
    return f"threshold {card.threshold:g} for {label(card.positive)}: {why}"


def _best(metric: Metric, truth: Array, known: Predicted, positive: object) -> float:
    def gain(threshold: float) -> float:
        decided = decide(known.classes, known.values, known.probabilities, threshold, positive)
        return float(metric.gain(metric.measure(truth, decided), 0))

    gains = np.array([gain(threshold) for threshold in TRIED])
    if np.isnan(gains).all():
        raise Problem(f"threshold.at={metric.name}: it has no value on the validation split, whatever the threshold")
    best = TRIED[gains == np.nanmax(gains)]
    return float(best[len(best) // 2])  # of equals the one in the middle
