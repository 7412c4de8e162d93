"""A fitted pipeline written down in a form that is proven to answer as the pipeline does."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import skl2onnx
import skops.io
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.pipeline import Pipeline

from .errors import Problem
from .predictor import Array, Predicted
from .schema import FEATURES, TASK

TOLERANCE = 1e-4


def to_onnx(pipeline: Pipeline) -> Any:
    """Convert a fitted pipeline to an ONNX model with one input of shape (rows, 1) for each feature.

    Raises Problem if the pipeline has a step without an ONNX form.
    """
    kinds = {"number": FloatTensorType, "category": StringTensorType}
    inputs = [(name, kinds[kind]([None, 1])) for name, kind in FEATURES.items()]
    twin = _single(pipeline)
    options = {id(twin): {"zipmap": False}} if TASK == "classification" else None
    try:
        return skl2onnx.to_onnx(twin, initial_types=inputs, options=options)
    except (skl2onnx.common.exceptions.MissingShapeCalculator, NotImplementedError, RuntimeError) as error:
        raise Problem(f"this pipeline has no ONNX form ({error}); keep it with export.format=skops") from error


def _single(pipeline: Pipeline) -> Pipeline:
    """Copy a pipeline with its trees' thresholds in single precision, such that every row still goes the same way.

    Trees send a row left where value <= threshold. A threshold is halfway between two values, and ONNX would round it
    to the nearest float32, which may be the very value that lies just above it. Rounded down it parts float32 values
    exactly as before.
    """
    twin = deepcopy(pipeline)
    for tree in np.ravel(getattr(twin[-1], "_predictors", [])):  # histogram gradient boosting
        tree.nodes["num_threshold"] = _rounded_down(tree.nodes["num_threshold"])
    for tree in np.ravel(getattr(twin[-1], "estimators_", [])):  # forests
        tree.tree_.threshold[:] = _rounded_down(tree.tree_.threshold)
    return twin


def _rounded_down(values: Array) -> Array:
    near = values.astype(np.float32)
    return np.where(near > values, np.nextafter(near, np.float32(-np.inf)), near).astype(np.float64)


def audit(pipeline: Pipeline, trusted: Sequence[str]) -> Pipeline:
    """Pass a pipeline on that skops can keep; raises Problem if it holds types that are not trusted."""
    strangers = sorted(set(skops.io.get_untrusted_types(data=skops.io.dumps(pipeline))) - set(trusted))
    if strangers:
        raise Problem(f"export.trusted lacks {', '.join(strangers)}; add what you know to be safe to conf/export.yaml")
    return pipeline


def prove_equal(saved: Predicted, fitted: Predicted) -> float:
    """Compare the saved model's answers with the fitted pipeline's; returns the largest difference, relative to 1.

    Raises Problem if they differ by more than the tolerance, or in a class that is not a tie.
    """
    if fitted.probabilities is None or saved.probabilities is None:
        gap = _gap(saved.values, fitted.values)
    else:
        gap = _gap(saved.probabilities, fitted.probabilities)
        best = np.sort(fitted.probabilities, axis=1)
        clear = best[:, -1] - best[:, -2] > TOLERANCE
        if (saved.values[clear] != fitted.values[clear]).any():
            gap = float("inf")
    if gap > TOLERANCE:
        raise Problem(f"the saved model differs from the fitted one by {gap:.2g}; keep it with export.format=skops")
    return gap


def _gap(saved: Array, fitted: Array) -> float:
    return float(np.max(np.abs(saved - fitted) / np.maximum(1, np.abs(fitted)), initial=0))
