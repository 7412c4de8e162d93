"""A fitted pipeline becomes an ONNX graph that answers as the pipeline does, or is refused in a line.

skl2onnx does the work. Here stands what it lacks: converters of our own, those of other packages, and a copy of the
pipeline in which every number that single precision would round the wrong way is rounded the right way first.
"""

from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from traceback import walk_tb
from typing import Any, Literal

import lightgbm
import numpy as np
import onnx
import skl2onnx
import xgboost
from numpy.typing import NDArray
from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm
from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost
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
from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, StringTensorType, guess_numpy_type
from skl2onnx.common.shape_calculator import (
    calculate_linear_classifier_output_shapes,
    calculate_linear_regressor_output_shapes,
)
from skl2onnx.operator_converters.one_hot_encoder import convert_sklearn_one_hot_encoder
from skl2onnx.proto import get_latest_tested_opset_version
from sklearn.base import BaseEstimator
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import VotingClassifier
from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, TargetEncoder
from sklearn.svm import LinearSVC

from .errors import Problem

Kind = Literal["number", "category", "text"]
Array = NDArray[Any]

TYPES = {"number": DoubleTensorType, "category": StringTensorType, "text": StringTensorType}

# skl2onnx and onnxmltools write trees of this version at most, and say so when a converter asks for a newer one.
OPSET = {"": get_latest_tested_opset_version(), "ai.onnx.ml": 3}

# What skl2onnx and the converters raise for what they cannot convert, or have not foreseen.
FAILURES = (RuntimeError, ValueError, TypeError, AttributeError, LookupError, NameError, AssertionError)

# Words as Python's `re` finds them, and as ONNX Runtime does, whose RE2 knows ASCII alone in \w and \b. All characters
# of Unicode 14 were compared.
WORDS = {
    r"(?u)\b\w\w+\b": r"[\p{L}\p{N}_]{2,}",
    r"(?u)\b\w+\b": r"[\p{L}\p{N}_]+",
    r"\w+": r"[\p{L}\p{N}_]+",
}


def to_onnx(pipeline: Pipeline, kinds: Mapping[str, Kind], classes: int | None) -> onnx.ModelProto:
    """Convert a fitted pipeline to an ONNX model.

    Args:
        pipeline: Fitted on a table of the columns in `kinds`; a classifier on codes from 0 to `classes` - 1.
        kinds: The columns, in order. Each is an input of its name and of shape (rows, 1): double for a number, string
            for a category or text.
        classes: How many classes the target has; None for a regression.

    Returns:
        A model whose outputs, by their order, are the class (int64, shape (rows,)) and, if the estimator gives
        probabilities, those (float or double, shape (rows, classes)); or the value (shape (rows, 1) or (rows,)).

    Raises:
        Problem: A step has no ONNX form, or one that is known to answer otherwise.
    """
    twin = _twin(pipeline)
    texts = {id(part): _tokens(part) for part in _parts(twin) if isinstance(part, CountVectorizer)}
    # LinearSVC never has its probabilities in a dictionary, as others have by default.
    plain = {} if classes is None or isinstance(twin[-1], LinearSVC) else {id(twin): {"zipmap": False}}
    try:
        model = skl2onnx.to_onnx(
            twin,
            initial_types=[(name, TYPES[kind]([None, 1])) for name, kind in kinds.items()],
            options=plain | texts,
            target_opset=OPSET,
            naming=_prefix(kinds),
        )
    except FAILURES as error:
        raise _refusal(_culprit(error, twin), f"{error}".strip().splitlines()[0]) from error
    if classes is not None and not hasattr(pipeline, "predict_proba"):
        del model.graph.output[1:]  # scores of a decision function, which are no probabilities
    return _named(model, list(kinds))


def _refusal(part: object, reason: str) -> Problem:
    return Problem(f"{type(part).__name__} has no ONNX form ({reason[:200]}); keep it with export.format=skops")


def _culprit(error: Exception, pipeline: Pipeline) -> object:
    """Find the step that a conversion stopped at: its converter is the innermost, and few of their texts name it."""
    steps: list[object] = [pipeline]
    for frame, _ in walk_tb(error.__traceback__):
        step = frame.f_locals.get("operator", frame.f_locals.get("model"))
        step = getattr(step, "raw_operator", step)
        if isinstance(step, BaseEstimator):
            steps.append(step)
    return steps[-1]


def _prefix(names: Mapping[str, Kind]) -> str:
    """Choose how the names inside the graph begin, such that no column has the name of one of them."""
    prefix = "of_"
    while any(name.startswith(prefix) for name in names):
        prefix += "_"
    return prefix


def _named(model: onnx.ModelProto, names: list[str]) -> onnx.ModelProto:
    """Give the inputs the columns' own names, of which skl2onnx keeps only letters and digits."""
    given = {value.name: name for value, name in zip(model.graph.input, names, strict=True)}
    for value in model.graph.input:
        value.name = given[value.name]
    for node in model.graph.node:
        node.input[:] = [given.get(name, name) for name in node.input]
    return model


def _twin(pipeline: Pipeline) -> Pipeline:
    """Copy a pipeline with its trees' thresholds in single precision, such that every row still goes the same way.

    Trees send a row left where value <= threshold. A threshold is halfway between two values, and ONNX would round it
    to the nearest float32, which may be the very value that lies just above it. Rounded down it parts float32 values
    exactly as before. XGBoost's thresholds are in single precision.
    """
    twin = deepcopy(pipeline)
    for part in _parts(twin):
        if isinstance(part, TreePredictor):  # of histogram gradient boosting
            part.nodes["num_threshold"] = rounded_down(part.nodes["num_threshold"])
        elif hasattr(part, "tree_"):
            part.tree_.threshold[:] = rounded_down(part.tree_.threshold)
        elif isinstance(part, lightgbm.LGBMModel) and part.__sklearn_is_fitted__():
            part._Booster = _single(part)
        elif isinstance(part, VotingClassifier):
            part.flatten_transform = False  # is for transform, and skl2onnx refuses it for predict as well
        elif isinstance(part, CalibratedClassifierCV) and part.method == "isotonic":
            raise _refusal(part, "method=isotonic is converted without its interpolation; method=sigmoid has one")
    return twin


def _parts(thing: object) -> Iterator[Any]:
    """Find what a fitted estimator consists of, itself included: steps, members of ensembles, a log target's own."""
    if isinstance(thing, Mapping):
        thing = list(thing.values())
    if isinstance(thing, np.ndarray) and thing.dtype == object:
        thing = thing.ravel().tolist()
    if isinstance(thing, list | tuple):
        for part in thing:
            yield from _parts(part)
    elif isinstance(thing, BaseEstimator) or type(thing).__module__.startswith("sklearn."):
        yield thing
        yield from _parts(getattr(thing, "__dict__", {}))


def rounded_down(values: Array) -> Array:
    """Round doubles to float32 that are no larger; the shape stays, and the type is float64 again."""
    with np.errstate(over="ignore"):  # infinity is then rounded down to the largest float32
        near = values.astype(np.float32)
    return np.where(near > values, np.nextafter(near, np.float32(-np.inf)), near).astype(np.float64)


def _single(model: lightgbm.LGBMModel) -> lightgbm.Booster:
    """Copy LightGBM's trees up to the best round, with thresholds rounded down.

    Where a column had no missing numbers in training, LightGBM takes a missing one for 0, which ONNX cannot: there the
    copy sends missing numbers where 0 goes. Source: LightGBM's text format (`Tree::ToString` and
    `Tree::NumericalDecision` of its C++), with a line for each property of all nodes of a tree. In `decision_type`,
    bit 0 stands for categories, bit 1 for "missing goes left", and the next two for what is missing: nothing, 0 or NaN.
    """
    lines = model.booster_.model_to_string(num_iteration=model.best_iteration_).splitlines()
    thresholds = np.empty(0)
    for place, line in enumerate(lines):
        key, _, values = line.partition("=")
        if key == "tree_sizes":  # in bytes, and no longer true; without them LightGBM looks for the trees' ends
            lines[place] = ""
        elif key == "threshold":
            thresholds = rounded_down(np.array(values.split(), dtype=float))
            lines[place] = f"threshold={' '.join(map(repr, thresholds.tolist()))}"
        elif key == "decision_type":
            types = np.array(values.split(), dtype=int)
            as_zero = np.where(thresholds >= 0, 0b1010, 0b1000)
            types = np.where(types & 0b1101 == 0, as_zero, types)
            lines[place] = f"decision_type={' '.join(map(str, types.tolist()))}"
    return lightgbm.Booster(model_str="\n".join(lines))


def _tokens(vectorizer: CountVectorizer) -> dict[str, str]:
    """Tell skl2onnx how ONNX Runtime finds the words that a vectorizer finds; raises Problem if it cannot."""
    pattern = vectorizer.token_pattern
    if vectorizer.lowercase:
        raise _refusal(vectorizer, "lowercase=True needs a locale that images lack: lower the text in features.py")
    if vectorizer.analyzer != "word":
        raise _refusal(vectorizer, f"analyzer={vectorizer.analyzer} is converted otherwise; analyzer=word is not")
    if vectorizer.stop_words and vectorizer.ngram_range[1] > 1:
        raise _refusal(vectorizer, "stop_words beside ngram_range: leave out one of them")
    if getattr(vectorizer, "sublinear_tf", False):
        raise _refusal(vectorizer, "sublinear_tf=True is converted otherwise")
    if pattern not in WORDS and "\\" in pattern:
        raise _refusal(vectorizer, f"token_pattern={pattern}: take one of {' '.join(WORDS)} or a class, as [a-zäöüß]+")
    return {"tokenexp": WORDS.get(pattern, pattern)}


def _codes(operator: Any, codes: Iterable[Array], unseen: Iterable[int], version: int) -> list[Any]:
    """Turn each column of categories into int64 codes of shape (rows, 1): one for each category, one for all others."""
    columns = [
        OnnxGather(values, np.array([column]), axis=1, op_version=version)
        for values in operator.inputs
        for column in range(values.type.shape[1])
    ]
    return [
        OnnxLabelEncoder_2(
            column,
            keys_strings=categories.tolist(),
            values_int64s=numbers.tolist(),
            default_int64=default,
            op_version=version,
        )
        for column, categories, numbers, default in zip(
            columns, operator.raw_operator.categories_, codes, unseen, strict=True
        )
    ]


def _shape_one_hot(operator: Any) -> None:
    width = len(operator.raw_operator.get_feature_names_out())
    operator.outputs[0].type = FloatTensorType([operator.inputs[0].get_first_dimension(), width])


def _convert_one_hot(scope: Any, operator: Any, container: Any) -> None:
    """Convert a OneHotEncoder of texts; skl2onnx knows no column for the infrequent, and no unseen values beside it.

    Source: scikit-learn's handle_unknown. A value never seen counts as infrequent if that is asked for and the column
    has such, and otherwise as nothing: a code beyond the last makes a row of zeros in ONNX's OneHot.
    """
    encoder = operator.raw_operator
    strings = all(isinstance(values.type, StringTensorType) for values in operator.inputs)
    if not strings or encoder.handle_unknown == "error" or encoder.drop is not None:
        convert_sklearn_one_hot_encoder(scope, operator, container)
        return
    version = container.target_opset
    bounded = encoder.min_frequency is not None or encoder.max_categories is not None
    rare = encoder.infrequent_categories_ if bounded else [None] * len(encoder.categories_)
    frequent = [
        np.isin(categories, [] if few is None else few, invert=True)
        for categories, few in zip(encoder.categories_, rare, strict=True)
    ]
    widths = [int(kept.sum()) + (few is not None) for kept, few in zip(frequent, rare, strict=True)]
    codes = [np.where(kept, np.cumsum(kept) - 1, kept.sum()) for kept in frequent]
    gathers = encoder.handle_unknown != "ignore"
    unseen = [width - 1 if gathers and few is not None else width for width, few in zip(widths, rare, strict=True)]
    hot = [
        OnnxFlatten(
            OnnxOneHot(code, np.array([width]), np.array([0, 1], np.float32), op_version=version), op_version=version
        )
        for code, width in zip(_codes(operator, codes, unseen, version), widths, strict=True)
    ]
    OnnxConcat(*hot, axis=1, op_version=version, output_names=operator.outputs[:1]).add_to(scope, container)


def _shape_target_encoder(operator: Any) -> None:
    width = len(operator.raw_operator.encodings_)
    operator.outputs[0].type = FloatTensorType([operator.inputs[0].get_first_dimension(), width])


def _convert_target_encoder(scope: Any, operator: Any, container: Any) -> None:
    """Convert a TargetEncoder of texts for any number of classes; skl2onnx does so for two.

    Source: scikit-learn's `TargetEncoder._transform_X_ordinal`: a column becomes one number for each class, and a value
    never seen the mean of the whole target.
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


def _convert_log_target(scope: Any, operator: Any, container: Any) -> None:
    """Convert a regressor of a logarithm: the inner regressor, then exp(x), or exp(x) - 1 for log1p."""
    model = operator.raw_operator
    if model.inverse_func not in {np.exp, np.expm1}:
        raise NotImplementedError("func and inverse_func are np.log and np.exp, or np.log1p and np.expm1")
    inner = scope.declare_local_operator(sklearn_operator_name_map[type(model.regressor_)], model.regressor_)
    inner.inputs = operator.inputs
    inner.outputs.append(scope.declare_local_variable("logarithm", operator.outputs[0].type.__class__()))
    version = container.target_opset
    shift = np.array([model.inverse_func is np.expm1], guess_numpy_type(operator.outputs[0].type))
    value = OnnxExp(inner.outputs[0], op_version=version)
    OnnxSub(value, shift, op_version=version, output_names=operator.outputs[:1]).add_to(scope, container)


_CLASSIFIER = {"options": {"nocl": [True, False], "zipmap": [True, False, "columns"]}}
for _kind, _shape, _convert, _more in [
    (OneHotEncoder, _shape_one_hot, _convert_one_hot, {}),
    (TargetEncoder, _shape_target_encoder, _convert_target_encoder, {}),
    (TransformedTargetRegressor, calculate_linear_regressor_output_shapes, _convert_log_target, {}),
    (xgboost.XGBRegressor, calculate_linear_regressor_output_shapes, convert_xgboost, {}),
    (lightgbm.LGBMRegressor, calculate_linear_regressor_output_shapes, convert_lightgbm, {}),
    (xgboost.XGBClassifier, calculate_linear_classifier_output_shapes, convert_xgboost, _CLASSIFIER),
    (lightgbm.LGBMClassifier, calculate_linear_classifier_output_shapes, convert_lightgbm, _CLASSIFIER),
]:
    skl2onnx.update_registered_converter(_kind, f"Own{_kind.__name__}", _shape, _convert, **_more)
