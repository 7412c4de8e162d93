"""Converters to ONNX that skl2onnx lacks, each told to it by `register`: for encoders and log targets.

A converter is given a fitted step by `operator.raw_operator`, and adds nodes between the operator's inputs and outputs.
A shape says what type and shape the outputs have. Packages that not every machine can load have modules of their own.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import skl2onnx
from numpy.typing import NDArray
from skl2onnx._supported_operators import sklearn_operator_name_map
from skl2onnx.algebra.onnx_ops import (
    OnnxConcat,
    OnnxExp,
    OnnxFlatten,
    OnnxGather,
    OnnxLabelEncoder_2,
    OnnxOneHot,
    OnnxSub,
)
from skl2onnx.common.data_types import FloatTensorType, StringTensorType, guess_numpy_type
from skl2onnx.common.shape_calculator import calculate_linear_regressor_output_shapes
from skl2onnx.operator_converters.one_hot_encoder import convert_sklearn_one_hot_encoder
from skl2onnx.operator_converters.random_forest import convert_sklearn_random_forest_regressor_converter
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.preprocessing import OneHotEncoder, TargetEncoder

Array = NDArray[Any]

# What skl2onnx passes to the converters of classifiers.
OPTIONS = {"nocl": [True, False], "zipmap": [True, False, "columns"], "raw_scores": [True, False]}


def register() -> None:
    """Tell skl2onnx of all converters in this module; doing so again changes nothing."""
    for kind, convert in (
        (HistGradientBoostingRegressor, _boosting_regressor),
        (TransformedTargetRegressor, _log_target),
    ):
        tell(kind, calculate_linear_regressor_output_shapes, convert)
    tell(OneHotEncoder, _one_hot_shape, _one_hot)
    tell(TargetEncoder, _target_encoder_shape, _target_encoder)


def tell(kind: type, shape: Any, convert: Any, **options: Any) -> None:
    """Tell skl2onnx of one converter."""
    skl2onnx.update_registered_converter(kind, f"Own{kind.__name__}", shape, convert, **options)


def rounded_down(values: Array) -> Array:
    """Round doubles to float32 that are no larger; the shape stays, and the type is float64 again."""
    with np.errstate(over="ignore"):  # infinity is then rounded down to the largest float32
        near = values.astype(np.float32)
    return np.where(near > values, np.nextafter(near, np.float32(-np.inf)), near).astype(np.float64)


def _codes(operator: Any, codes: Iterable[Array], unseen: Iterable[int], version: int) -> list[Any]:
    """Turn each column of texts into int64 codes of shape (rows, 1): one for each category, `unseen` for all others."""
    columns = [
        OnnxGather(values, np.array([column]), axis=1, op_version=version)
        for values in operator.inputs
        for column in range(values.type.shape[1])
    ]
    return [
        OnnxLabelEncoder_2(
            column, keys_strings=categories.tolist(), values_int64s=numbers.tolist(), default_int64=other
        )
        for column, categories, numbers, other in zip(
            columns, operator.raw_operator.categories_, codes, unseen, strict=True
        )
    ]


def _one_hot_shape(operator: Any) -> None:
    width = len(operator.raw_operator.get_feature_names_out())
    operator.outputs[0].type = FloatTensorType([operator.inputs[0].get_first_dimension(), width])


def _one_hot(scope: Any, operator: Any, container: Any) -> None:
    """Convert a OneHotEncoder of texts; skl2onnx knows no column for the infrequent, and no unseen values beside it.

    Source: scikit-learn's handle_unknown. A value never seen counts as infrequent if that is asked for and the column
    has such, and otherwise as nothing: ONNX's OneHot makes a row of zeros of a code beyond the last.
    """
    encoder = operator.raw_operator
    texts = all(isinstance(values.type, StringTensorType) for values in operator.inputs)
    if not texts or encoder.handle_unknown == "error" or encoder.drop is not None:
        convert_sklearn_one_hot_encoder(scope, operator, container)
        return
    version = container.target_opset
    bounded = encoder.min_frequency is not None or encoder.max_categories is not None
    infrequent = encoder.infrequent_categories_ if bounded else [None] * len(encoder.categories_)
    codes, widths, unseen = [], [], []
    for categories, rare in zip(encoder.categories_, infrequent, strict=True):
        frequent = ~np.isin(categories, [] if rare is None else rare)
        codes.append(np.where(frequent, np.cumsum(frequent) - 1, frequent.sum()))
        widths.append(int(codes[-1].max()) + 1)
        unseen.append(widths[-1] - (rare is not None and encoder.handle_unknown != "ignore"))
    zero_one = np.array([0, 1], np.float32)
    hot = [
        OnnxFlatten(OnnxOneHot(code, np.array([width]), zero_one, op_version=version), op_version=version)
        for code, width in zip(_codes(operator, codes, unseen, version), widths, strict=True)
    ]
    OnnxConcat(*hot, axis=1, op_version=version, output_names=operator.outputs[:1]).add_to(scope, container)


def _target_encoder_shape(operator: Any) -> None:
    width = len(operator.raw_operator.encodings_)
    operator.outputs[0].type = FloatTensorType([operator.inputs[0].get_first_dimension(), width])


def _target_encoder(scope: Any, operator: Any, container: Any) -> None:
    """Convert a TargetEncoder of texts for any number of classes; skl2onnx does so for two.

    Source: scikit-learn's `TargetEncoder._transform_X_ordinal`: a column becomes one number for each class (one in all
    for two classes or a regression), and a value never seen the mean of the whole target.
    """
    encoder = operator.raw_operator
    version = container.target_opset
    mean = np.atleast_1d(encoder.target_mean_)
    codes = [np.arange(len(categories)) for categories in encoder.categories_]
    unseen = [len(categories) for categories in encoder.categories_]
    numbers = []
    for place, code in enumerate(_codes(operator, codes, unseen, version)):
        known = np.column_stack(encoder.encodings_[place * len(mean) : (place + 1) * len(mean)])
        table = np.vstack([known, mean]).astype(np.float32)
        numbers.append(OnnxFlatten(OnnxGather(table, code, op_version=version), op_version=version))
    OnnxConcat(*numbers, axis=1, op_version=version, output_names=operator.outputs[:1]).add_to(scope, container)


def _log_target(scope: Any, operator: Any, container: Any) -> None:
    """Convert a regressor of a logarithm: the inner regressor, then exp(x), or exp(x) - 1 for log1p."""
    model = operator.raw_operator
    if model.inverse_func not in {np.exp, np.expm1}:
        raise NotImplementedError("func and inverse_func can be np.log and np.exp, or np.log1p and np.expm1")
    alias = sklearn_operator_name_map[type(model.regressor_)]
    _exponential(scope, operator, container, alias, model.regressor_, less=float(model.inverse_func is np.expm1))


def _boosting_regressor(scope: Any, operator: Any, container: Any) -> None:
    """Convert histogram gradient boosting, of whose losses with a log link skl2onnx leaves out the exponential."""
    model = operator.raw_operator
    if model.loss in {"poisson", "gamma"}:
        _exponential(scope, operator, container, "SklearnHistGradientBoostingRegressor", model, less=0)
    else:
        convert_sklearn_random_forest_regressor_converter(scope, operator, container)


def _exponential(scope: Any, operator: Any, container: Any, alias: str, model: Any, *, less: float) -> None:
    """Convert what `model` predicts, by the converter of that alias, and put exp(x) - `less` behind it."""
    version = container.target_opset
    kind = operator.outputs[0].type
    inner = scope.declare_local_operator(alias, model)
    inner.inputs = operator.inputs
    inner.outputs.append(scope.declare_local_variable("logarithm", kind.__class__()))
    value = OnnxExp(inner.outputs[0], op_version=version)
    less_of_kind = np.array([less], guess_numpy_type(kind))
    OnnxSub(value, less_of_kind, op_version=version, output_names=operator.outputs[:1]).add_to(scope, container)
