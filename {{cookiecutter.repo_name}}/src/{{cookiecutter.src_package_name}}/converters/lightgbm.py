"""Converters of LightGBM's estimators, by onnxmltools."""

from typing import Any

import lightgbm
import numpy as np
from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm
from skl2onnx.common.shape_calculator import (
    calculate_linear_classifier_output_shapes,
    calculate_linear_regressor_output_shapes,
)

from . import OPTIONS, rounded_down, tell


def register() -> None:
    """Tell skl2onnx of the converters in this module."""
    tell(lightgbm.LGBMClassifier, calculate_linear_classifier_output_shapes, _lgbm_classifier, options=OPTIONS)
    tell(lightgbm.LGBMRegressor, calculate_linear_regressor_output_shapes, convert_lightgbm)


def single(booster: lightgbm.Booster) -> lightgbm.Booster:
    """Copy LightGBM's trees with their thresholds rounded down.

    Source: LightGBM's own text format (`Tree::ToString` of its C++), with a line of thresholds for each tree.
    `tree_sizes` counts their bytes, which are no longer the same; without it LightGBM looks where trees end.
    """
    lines = booster.model_to_string().splitlines()
    for place, line in enumerate(lines):
        key, _, values = line.partition("=")
        if key == "threshold":
            thresholds = rounded_down(np.array(values.split(), dtype=float))
            lines[place] = f"threshold={' '.join(map(repr, thresholds.tolist()))}"
    return lightgbm.Booster(model_str="\n".join(line for line in lines if not line.startswith("tree_sizes=")))


def _lgbm_classifier(scope: Any, operator: Any, container: Any) -> None:
    """Convert an LGBMClassifier; for calibration, which asks for scores as its decision_function gives them."""
    convert_lightgbm(scope, operator, container)
    if container.get_options(operator.raw_operator, {"raw_scores": False})["raw_scores"]:
        (trees,) = (node for node in container.nodes[-3:] if node.op_type == "TreeEnsembleClassifier")
        for attribute in trees.attribute:
            if attribute.name == "post_transform":
                attribute.s = b"NONE"
