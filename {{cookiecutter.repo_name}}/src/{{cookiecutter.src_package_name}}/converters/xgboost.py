"""Converters of XGBoost's estimators, by onnxmltools."""

from typing import Any

import numpy as np
import xgboost
from onnxmltools.convert.xgboost.common import get_xgb_params
from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost
from skl2onnx.common.shape_calculator import (
    calculate_linear_classifier_output_shapes,
    calculate_linear_regressor_output_shapes,
)

from . import OPTIONS, tell


def register() -> None:
    """Tell skl2onnx of the converters in this module."""
    tell(xgboost.XGBClassifier, calculate_linear_classifier_output_shapes, _xgb_classifier, options=OPTIONS)
    tell(xgboost.XGBRegressor, calculate_linear_regressor_output_shapes, convert_xgboost)


def _xgb_classifier(scope: Any, operator: Any, container: Any) -> None:
    """Convert an XGBClassifier; where its first round found no split, onnxmltools takes the base score for a logit."""
    model = operator.raw_operator
    if (model.num_parallel_tree or 1) > 1:
        raise NotImplementedError("num_parallel_tree is taken for classes")
    convert_xgboost(scope, operator, container)
    if model.n_classes_ == 2:
        score = get_xgb_params(model)["base_score"][0]
        for attribute in container.nodes[-1].attribute:
            if attribute.name == "base_values":
                attribute.floats[:] = [np.log(score / (1 - score))]
