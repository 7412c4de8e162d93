"""The model: features and estimator in one pipeline, and the measures of what it is worth."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from hydra.utils import get_class
from sklearn import metrics
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from threadpoolctl import threadpool_limits

from .errors import Problem
from .features import Tensors
from .predictor import Array, Predicted
from .schema import FEATURES, TASK

Report = Callable[[int, Pipeline], None]
STEPS = 10  # how often a fit reports on its way


def frame(inputs: Tensors) -> pd.DataFrame:
    """Put the inputs side by side, as scikit-learn takes them."""
    return pd.DataFrame({name: column[:, 0] for name, column in inputs.items()})


def build(config: Mapping[str, Any], seed: int) -> Pipeline:
    """Make the unfitted pipeline that a conf/model/*.yaml describes."""
    if TASK not in config["estimator"]:
        raise Problem(f"model={config['name']} cannot do {TASK}; take one whose file in conf/model/ can")
    kind = get_class(config["estimator"][TASK])
    params = dict(config["params"])
    if "random_state" in kind().get_params():
        params["random_state"] = seed
    numbers = [name for name, kind in FEATURES.items() if kind == "number"]
    categories = [name for name, kind in FEATURES.items() if kind == "category"]
    columns = ColumnTransformer(
        [
            ("numbers", SimpleImputer(strategy="median", keep_empty_features=True), numbers),
            ("categories", OneHotEncoder(handle_unknown="ignore", sparse_output=False), categories),
        ]
    )
    scaler = [("scaler", StandardScaler())] if config["scale"] else []
    return Pipeline([("columns", columns), *scaler, ("estimator", kind(**params))])


def fit(
    pipeline: Pipeline, inputs: Tensors, target: Array, steps: str | None = None, report: Report | None = None
) -> None:
    """Fit in place.

    With `report`, a model that grows by `steps` (a parameter that counts trees or rounds) is fitted in stages, and
    report(stage, pipeline) is called after each; it may raise to stop. The outcome is the same as of fitting at once.
    """
    table = frame(inputs)
    if report is None or steps is None:
        pipeline.fit(table, target)
        return
    transform, estimator = pipeline[:-1], pipeline[-1]
    prepared = transform.fit_transform(table, target)
    total = estimator.get_params()[steps]
    estimator.set_params(warm_start=True)
    for stage in np.unique(np.linspace(0, total, STEPS + 1, dtype=int)[1:]):
        if stage:
            estimator.set_params(**{steps: int(stage)}).fit(prepared, target)
            report(int(stage), pipeline)
    estimator.set_params(warm_start=False)


def predict(pipeline: Pipeline, inputs: Tensors) -> Predicted:
    """Predict with a fitted pipeline."""
    table = frame(inputs)
    with threadpool_limits(1):  # OpenMP's threads mostly wait for one another where others use the machine too
        if TASK == "regression":
            return Predicted(pipeline.predict(table))
        probabilities = pipeline.predict_proba(table)
    classes = pipeline.classes_
    return Predicted(classes[probabilities.argmax(axis=1)], probabilities, tuple(classes.tolist()))


def _log_loss(truth: Array, said: Predicted) -> float:
    assert said.probabilities is not None
    # In single precision a sure prediction may come out a hair above 1.
    probabilities = np.clip(said.probabilities, 0, 1)
    return float(metrics.log_loss(truth, probabilities, labels=list(said.classes or ())))


def _auc(truth: Array, said: Predicted) -> float:
    """Area under the ROC curve; of one class against the rest, averaged, where there are more than two."""
    assert said.probabilities is not None
    assert said.classes is not None
    if len(said.classes) == 2:
        return float(metrics.roc_auc_score(truth == said.classes[1], said.probabilities[:, 1]))
    return float(metrics.roc_auc_score(truth, said.probabilities, labels=list(said.classes), multi_class="ovr"))


@dataclass(frozen=True)
class Metric:
    """A measure, and whether more of it is better."""

    measure: Callable[[Array, Predicted], float]
    more_is_better: bool


METRICS: dict[str, dict[str, Metric]] = {
    "classification": {
        "accuracy": Metric(lambda truth, said: float(metrics.accuracy_score(truth, said.values)), True),
        "recall": Metric(lambda truth, said: float(metrics.recall_score(truth, said.values, average="macro")), True),
        "f1": Metric(lambda truth, said: float(metrics.f1_score(truth, said.values, average="macro")), True),
        "auc": Metric(_auc, True),
        "log_loss": Metric(_log_loss, False),
    },
    "regression": {
        "r2": Metric(lambda truth, said: float(metrics.r2_score(truth, said.values)), True),
        "mae": Metric(lambda truth, said: float(metrics.mean_absolute_error(truth, said.values)), False),
        "rmse": Metric(lambda truth, said: float(metrics.root_mean_squared_error(truth, said.values)), False),
    },
}


def evaluate(truth: Array, said: Predicted) -> dict[str, float]:
    """Measure predictions by every metric of the task."""
    return {name: metric.measure(truth, said) for name, metric in METRICS[TASK].items()}


def objective(names: Mapping[str, str]) -> tuple[str, Metric]:
    """Look up the metric that decides."""
    name = names[TASK]
    if name not in METRICS[TASK]:
        raise Problem(f"objective.{TASK}={name}: it is one of {', '.join(METRICS[TASK])}")
    return name, METRICS[TASK][name]
