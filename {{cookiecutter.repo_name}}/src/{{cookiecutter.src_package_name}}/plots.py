"""Figures that say more than the numbers in them."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from sklearn.inspection import permutation_importance
from sklearn.metrics import ConfusionMatrixDisplay, PredictionErrorDisplay
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from .features import Tensors
from .model import frame
from .predictor import Array, Predicted
from .schema import FEATURES, TARGET, TASK


def quality(truth: Array, said: Predicted) -> Figure:
    """Draw predictions against the truth: a confusion matrix for classes, a scatter for numbers."""
    figure, axes = _canvas()
    if TASK == "classification":
        ConfusionMatrixDisplay.from_predictions(truth, said.values, ax=axes, cmap="Blues", colorbar=False)
    else:
        PredictionErrorDisplay.from_predictions(truth, said.values, kind="actual_vs_predicted", ax=axes)
    axes.set_title(f"{TARGET} on the test split")
    return figure


def importance(pipeline: Pipeline, inputs: Tensors, truth: Array, seed: int) -> Figure:
    """Draw how much worse the model gets when a feature's values are shuffled."""
    with threadpool_limits(1):  # see model.predict
        found = permutation_importance(pipeline, frame(inputs), truth, n_repeats=5, random_state=seed)
    order = np.argsort(found.importances_mean)
    figure, axes = _canvas()
    axes.barh(np.array(list(FEATURES))[order], found.importances_mean[order], xerr=found.importances_std[order])
    axes.set_title("Loss of score when a feature is shuffled")
    return figure


def _canvas() -> tuple[Figure, Any]:
    figure = Figure(figsize=(6, 5), layout="constrained")
    return figure, figure.subplots()
