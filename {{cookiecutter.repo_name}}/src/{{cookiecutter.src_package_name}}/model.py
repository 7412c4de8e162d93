"""The pipeline: what becomes of each kind of input, and the estimator behind it."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils._param_validation import InvalidParameterError
from threadpoolctl import threadpool_limits

from .columns import TASK
from .errors import Problem
from .inputs import Tensors, kinds
from .kinds import Kind
from .predictor import Array, Outputs, Predicted, decide
from .samples import Sample

Report = Callable[[int, Pipeline], None]
STEPS = 10  # how often a fit reports on its way


def frame(inputs: Tensors) -> pd.DataFrame:
    """Put the inputs side by side, as scikit-learn takes them."""
    return pd.DataFrame({name: column[:, 0] for name, column in inputs.items()})


def classes(truth: Array) -> list[Any] | None:
    """List the classes of a training target in their order; None for a regression."""
    return np.unique(truth).tolist() if TASK == "classification" else None


def build(config: DictConfig, seed: int) -> Pipeline:
    """Make the unfitted pipeline that conf/model/ and conf/inputs/ describe.

    Raises Problem if they name an estimator or a step that cannot be made.
    """
    settings = config.model
    if TASK not in settings.estimator:
        raise Problem(f"model={settings.name} cannot do {TASK}; take one whose file in conf/model/ can")
    estimator = _make(f"model={settings.name}", {"_target_": settings.estimator[TASK], **settings.params})
    pipeline = Pipeline(
        [("inputs", ColumnTransformer(list(_inputs(config)), sparse_threshold=0)), ("estimator", estimator)]
    )
    unset = {
        name: seed for name, value in pipeline.get_params().items() if name.endswith("random_state") and value is None
    }
    return pipeline.set_params(**unset)


def _inputs(config: DictConfig) -> Iterator[tuple[str, Any, Any]]:
    """Give each kind of input its steps; a text has its own, since words are counted column by column."""
    seen = kinds()
    for kind in (Kind.NUMBER, Kind.CATEGORY):
        if names := [name for name in seen if seen[name] == kind]:
            yield kind.value, _steps(config, kind), names
    for number, name in enumerate(name for name in seen if seen[name] == Kind.TEXT):
        yield f"text{number}", _steps(config, Kind.TEXT), name


def _steps(config: DictConfig, kind: Kind) -> Pipeline:
    left_out = config.model.get("without", [])
    steps = {name: step for name, step in config.inputs[kind].items() if step and name not in left_out}
    return make_pipeline(*(_make(f"inputs.{kind}.{name}", step) for name, step in steps.items()))


def _make(place: str, settings: Mapping[str, Any]) -> Any:
    """Make an object and those inside of it, as Hydra does; raises Problem with what its maker says."""
    try:
        return instantiate(OmegaConf.create({**settings, "_convert_": "all"}))
    except InstantiationException as error:
        reason = " ".join(str(error.__cause__ or error).split())
        raise Problem(f"{place} cannot be made: {reason[:400]}") from error


def has_probabilities(pipeline: Pipeline) -> bool:
    """Say whether a pipeline, fitted or not, can give probabilities."""
    final = getattr(pipeline[-1], "final_estimator", pipeline)  # of stacking, where None is a logistic regression
    return TASK == "classification" and (final is None or hasattr(pipeline, "predict_proba"))


def require(pipeline: Pipeline, settings: DictConfig, weighted: bool) -> None:
    """Refuse an estimator that takes no weights, or cannot stop early, where that is asked for."""
    taken, name = inspect.signature(pipeline[-1].fit).parameters, type(pipeline[-1]).__name__
    if weighted and "sample_weight" not in taken:
        raise Problem(f"{name} takes no weights of rows: unset weight.column and weight.classes")
    if settings.get("early_stopping") and not {"X_val", "eval_set"} & set(taken):
        raise Problem(f"{name} cannot stop early: set model.early_stopping=null")


def fit(
    pipeline: Pipeline,
    sample: Sample,
    settings: DictConfig,
    watch: Sample | None = None,
    report: Report | None = None,
) -> None:
    """Fit in place, to the places of classes in their list, or to numbers.

    With settings.early_stopping, the fit stops after so many rounds without gain on `watch`. With `report`, a model
    that grows by settings.steps (a parameter that counts trees or rounds) is fitted in stages, and
    report(stage, pipeline) is called after each; it may raise to stop. The outcome is the same as of fitting at once.
    What `require` refuses is not looked at again.
    """
    table, truth = frame(sample.inputs), _coded(sample.truth, sample.truth)
    transform, estimator = pipeline[:-1], pipeline[-1]
    prepared = transform.fit_transform(table, truth)
    more: dict[str, Any] = {}
    if sample.weights is not None:
        more["sample_weight"] = sample.weights
    if (rounds := settings.get("early_stopping")) and watch is not None:
        known = watch.take(np.isin(watch.truth, sample.truth)) if TASK == "classification" else watch
        watched = transform.transform(frame(known.inputs)), _coded(known.truth, sample.truth)
        more |= _stopping(estimator, rounds, *watched)
        report = None
    try:
        if report is not None and settings.get("steps"):
            _fit_in_stages(pipeline, prepared, truth, more, steps=settings.steps, report=report)
        else:
            estimator.fit(prepared, truth, **more)
    except InvalidParameterError as error:
        raise Problem(f"model={settings.name}: {str(error).splitlines()[0]}") from error


def _fit_in_stages(
    pipeline: Pipeline, prepared: Array, truth: Array, more: Mapping[str, Any], *, steps: str, report: Report
) -> None:
    estimator = pipeline[-1]
    total = estimator.get_params()[steps]
    estimator.set_params(warm_start=True)
    for stage in np.unique(np.linspace(0, total, STEPS + 1, dtype=int)[1:]):
        if stage:
            estimator.set_params(**{steps: int(stage)}).fit(prepared, truth, **more)
            report(int(stage), pipeline)
    estimator.set_params(warm_start=False)


def _stopping(estimator: Any, rounds: int, inputs: Array, truth: Array) -> dict[str, Any]:
    """Set an estimator up to stop early; returns what its fit takes for that, which is each family's own."""
    taken = inspect.signature(estimator.fit).parameters
    if "X_val" in taken:  # scikit-learn's histogram gradient boosting
        estimator.set_params(early_stopping=True, n_iter_no_change=rounds)
        return {"X_val": inputs, "y_val": truth}
    estimator.set_params(early_stopping_rounds=rounds)
    if "eval_X" in taken:  # LightGBM
        return {"eval_X": inputs, "eval_y": truth}
    return {"eval_set": [(inputs, truth)]}  # XGBoost


def _coded(truth: Array, learnt: Array) -> Array:
    """Give classes as their places among those that are learnt, which is what every estimator takes."""
    return np.searchsorted(np.unique(learnt), truth) if TASK == "classification" else truth


def outputs(pipeline: Pipeline, inputs: Tensors) -> Outputs:
    """Ask a fitted pipeline; see predictor.Outputs."""
    table = frame(inputs)
    with threadpool_limits(1):  # OpenMP's threads mostly wait for one another where others use the machine too
        if has_probabilities(pipeline):
            probabilities = pipeline.predict_proba(table)
            return probabilities.argmax(axis=1), probabilities
        return pipeline.predict(table), None


def predict(pipeline: Pipeline, inputs: Tensors, learnt: list[Any] | None) -> Predicted:
    """Predict with a pipeline that was fitted to these classes, or to numbers."""
    return decide(learnt, *outputs(pipeline, inputs))
