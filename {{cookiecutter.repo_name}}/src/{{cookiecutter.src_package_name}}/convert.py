"""A fitted pipeline becomes an ONNX graph that answers as the pipeline does, or is refused in a line.

skl2onnx does the work. Here stands what it lacks: converters of our own, those of other packages, and a copy of the
pipeline in which every number that single precision would round the wrong way is rounded the right way first.
"""

import warnings
from collections.abc import Iterator, Mapping
from copy import deepcopy
from importlib import import_module
from traceback import walk_tb
from typing import Any

import numpy as np
import onnx
import onnxruntime
import skl2onnx
from numpy.typing import NDArray
from skl2onnx.common.data_types import DoubleTensorType, StringTensorType
from skl2onnx.proto import get_latest_tested_opset_version
from sklearn.base import BaseEstimator
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import VotingClassifier
from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.impute import KNNImputer
from sklearn.pipeline import Pipeline
from sklearn.svm import LinearSVC

from . import converters
from .errors import Problem
from .formats.onnx import FAILURES as RUNTIME_FAILURES

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

# Packages with a module of converters each, which is imported where a pipeline holds one of their estimators.
PACKAGES = ("lightgbm", "xgboost")


def to_onnx(pipeline: Pipeline, kinds: Mapping[str, str], classes: int | None) -> onnx.ModelProto:
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
    _register(twin)
    options = {id(part): _tokens(part) for part in _parts(twin) if isinstance(part, CountVectorizer)}
    if classes is not None:  # probabilities as an array, not a dictionary; LinearSVC has none, and no such option
        options[id(twin[-1])] = {} if isinstance(twin[-1], LinearSVC) else {"zipmap": False}
    try:
        with warnings.catch_warnings(action="ignore"):  # of converters about themselves
            model = skl2onnx.to_onnx(
                twin,
                initial_types=[(name, TYPES[kind]([None, 1])) for name, kind in kinds.items()],
                options=options,
                target_opset=OPSET,
            )
    except FAILURES as error:
        raise _refusal(_culprit(error, twin), str(error)) from error
    if classes is not None and not hasattr(pipeline, "predict_proba"):
        del model.graph.output[1:]  # scores of a decision function, which are no probabilities
    return _loadable(_named(model, list(kinds)), twin)


def _register(pipeline: Pipeline) -> None:
    """Tell skl2onnx of the converters that a pipeline may need."""
    converters.register()
    for name in {_package(part) for part in _parts(pipeline)}.intersection(PACKAGES):
        _converters(name).register()


def _package(part: object) -> str:
    return type(part).__module__.partition(".")[0]


def _converters(package: str) -> Any:
    return import_module(f".converters.{package}", __package__)


def _loadable(model: onnx.ModelProto, pipeline: Pipeline) -> onnx.ModelProto:
    """Pass a model on that ONNX Runtime can load: what was converted may lack an implementation for its types."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # it would print what it raises, too
    try:
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except RUNTIME_FAILURES as error:
        reason = f"ONNX Runtime: {str(error).rsplit(' : ', 1)[-1]}"
        raise _refusal(pipeline, reason) from error
    return model


def _refusal(part: object, reason: str) -> Problem:
    line = " ".join(reason.split()).split(". ")[0][:200]
    return Problem(f"{type(part).__name__} has no ONNX form ({line}); keep it with export.format=skops")


def _culprit(error: Exception, pipeline: Pipeline) -> object:
    """Find the step that a conversion stopped at: its converter is the innermost, and few of their texts name it."""
    steps: list[object] = [pipeline]
    for frame, _ in walk_tb(error.__traceback__):
        step = frame.f_locals.get("operator", frame.f_locals.get("model"))
        step = getattr(step, "raw_operator", step)
        if isinstance(step, BaseEstimator):
            steps.append(step)
    return steps[-1]


def _named(model: onnx.ModelProto, names: list[str]) -> onnx.ModelProto:
    """Give the inputs the columns' own names, of which skl2onnx keeps letters and digits, and the outputs others."""
    graph = model.graph
    given = {value.name: name for value, name in zip(graph.input, names, strict=True)}
    for value in graph.output:
        given[value.name] = value.name
        while given[value.name] in names:
            given[value.name] += "_"
    for value in (*graph.input, *graph.output):
        value.name = given[value.name]
    for node in graph.node:
        node.input[:] = [given.get(name, name) for name in node.input]
        node.output[:] = [given.get(name, name) for name in node.output]
    return model


def _twin(pipeline: Pipeline) -> Pipeline:
    """Copy a pipeline with thresholds of boosting in single precision, such that every row still goes the same way.

    Trees send a row left where value <= threshold. A threshold is halfway between two values, and ONNX would round it
    to the nearest float32, which may be the very value that lies just above it. Rounded down it parts float32 values
    exactly as before. skl2onnx does so for plain trees and forests, and XGBoost's thresholds are single.
    """
    twin = deepcopy(pipeline)
    for part in _parts(twin):
        if isinstance(part, TreePredictor):  # of histogram gradient boosting
            part.nodes["num_threshold"] = converters.rounded_down(part.nodes["num_threshold"])
        elif _package(part) == "lightgbm" and part.__sklearn_is_fitted__():
            part._Booster = _converters("lightgbm").single(part.booster_)
        elif isinstance(part, VotingClassifier):
            part.flatten_transform = False  # is for transform, and skl2onnx refuses it for predict as well
        elif isinstance(part, CalibratedClassifierCV) and part.method == "isotonic":
            raise _refusal(part, "isotonic is converted without its interpolation; method=sigmoid has one")
        elif isinstance(part, KNNImputer):
            raise _refusal(part, "it is converted otherwise; SimpleImputer has one")
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


def _tokens(vectorizer: CountVectorizer) -> dict[str, Any]:
    """Tell skl2onnx how ONNX Runtime finds the words that a vectorizer finds; raises Problem if it cannot."""
    pattern = vectorizer.token_pattern
    if vectorizer.lowercase:
        raise _refusal(vectorizer, "lowercase=True needs a locale that images lack: lower the text in features.py")
    if vectorizer.analyzer != "word":
        raise _refusal(vectorizer, f"analyzer={vectorizer.analyzer} is converted otherwise; analyzer=word has one")
    if vectorizer.stop_words and vectorizer.ngram_range[1] > 1:
        raise _refusal(vectorizer, "stop_words beside ngram_range: leave out one of them")
    if getattr(vectorizer, "sublinear_tf", False):
        raise _refusal(vectorizer, "sublinear_tf=True is converted otherwise")
    if pattern not in WORDS and "\\" in pattern:
        raise _refusal(vectorizer, f"token_pattern={pattern}: take one of {' '.join(WORDS)} or a class, as [a-zäöüß]+")
    return {"tokenexp": WORDS.get(pattern, pattern)}
