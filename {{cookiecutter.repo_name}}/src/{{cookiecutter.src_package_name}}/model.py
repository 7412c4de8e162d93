"""The pipeline: what becomes of each kind of input, and the estimator behind it."""

import inspect
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import pandas as pd
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline, make_pipeline
from threadpoolctl import threadpool_limits

from .columns import TASK, label
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
    return sorted(set(truth.tolist())) if TASK == "classification" else None


def build(config: DictConfig, seed: int) -> Pipeline:
    """Make the unfitted pipeline that conf/model/ and conf/inputs/ describe.

    Raises Problem if they name an estimator or a step that cannot be made.
    """
    settings = config.model
    if missing := [name for name in ("name", "estimator", "params") if settings.get(name) is None]:
        raise Problem(f"model={settings.get('name')}: its file in conf/model/ lacks {', '.join(missing)}; add that")
    if TASK not in settings.estimator:
        raise Problem(f"model={settings.name} cannot do {TASK}; take one whose file in conf/model/ can")
    estimator = _make(f"model={settings.name}", {"_target_": settings.estimator[TASK], **settings.params})
    pipeline = Pipeline(
        [("inputs", ColumnTransformer(list(_inputs(config)), sparse_threshold=0)), ("estimator", estimator)]
    )
    for each in pipeline.get_params().values():
        if lost := _unnoticed(each):
            raise Problem(
                f"model={settings.name}: {type(each).__name__} takes no notice of {', '.join(lost)}; "
                "correct the name, or take it out"
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


def _unnoticed(estimator: Any) -> list[str]:
    """List parameters that XGBoost and LightGBM take without a word, and make nothing of; others refuse theirs."""
    library = type(estimator).__module__.partition(".")[0]
    if library not in ("lightgbm", "xgboost"):
        return []
    more = estimator.get_params(deep=False).keys() - type(estimator)().get_params(deep=False).keys()
    if more and library == "lightgbm":
        aliases = sys.modules["lightgbm.basic"]._ConfigAliases._get_all_param_aliases()
        more -= {alias for names in aliases.values() for alias in names}
    elif more:
        more &= _unused(estimator)
    return sorted(more)


def _unused(estimator: Any) -> set[str]:
    """Ask XGBoost what it has no use for: it says so in a warning once there are rows, of which two will do."""
    xgboost = sys.modules["xgboost"]
    params = {name: value for name, value in estimator.get_xgb_params().items() if name not in ("device", "verbosity")}
    rows = xgboost.DMatrix(np.zeros((2, 1)), label=[0, 1])
    with xgboost.config_context(verbosity=1), warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with suppress(ValueError, TypeError):  # a value that it refuses, as it will at the fit
            xgboost.Booster(params, cache=[rows]).save_config()
    return {name for warning in told for name in re.findall(r'"([^"]+)"', str(warning.message))}


def has_probabilities(pipeline: Pipeline) -> bool:
    """Say whether a pipeline, fitted or not, can give probabilities."""
    final = getattr(pipeline[-1], "final_estimator", pipeline)  # of stacking, where None is a logistic regression
    return TASK == "classification" and (final is None or hasattr(pipeline, "predict_proba"))


def require(pipeline: Pipeline, settings: DictConfig, weighted: bool) -> None:
    """Refuse an estimator that takes no weights, or cannot stop early, where that is asked for."""
    estimator, rounds = pipeline[-1], settings.get("early_stopping")
    if weighted and not _takes_weights(estimator):
        raise Problem(f"{type(estimator).__name__} takes no weights of rows: unset weight.column and weight.classes")
    if rounds is None:
        return
    if not isinstance(rounds, int) or isinstance(rounds, bool) or rounds < 1:
        raise Problem(f"model.early_stopping={label(rounds)}: it is null for none, or a number of rounds from 1 on")
    if not can_stop_early(estimator):
        raise Problem(
            f"model.early_stopping={rounds}: model={settings.name} cannot stop early; "
            "set it to null, or take boosting, lightgbm or xgboost"
        )


def can_stop_early(estimator: Any) -> bool:
    """Say whether a fit can look at other rows, to end once it is no better on those."""
    return not {"X_val", "eval_set"}.isdisjoint(inspect.signature(estimator.fit).parameters)


def kept_rounds(estimator: Any) -> tuple[int, str, int]:
    """Count the rounds that a fit which could stop early answers by.

    Returns them, and the parameter that sets how many there are at most, with its value.
    """
    if hasattr(estimator, "best_iteration"):  # XGBoost, which counts from 0
        kept = estimator.best_iteration + 1
    else:  # LightGBM, and scikit-learn, which keeps the rounds after the best as well
        kept = getattr(estimator, "best_iteration_", None) or estimator.n_iter_
    params = estimator.get_params()
    limit = next(name for name in ("max_iter", "n_estimators") if name in params)
    return int(kept), limit, params[limit]


def _takes_weights(estimator: Any) -> bool:
    """Say whether a fit takes weights of rows; one that is made of others hands them on, if those take them."""
    taken = inspect.signature(estimator.fit).parameters
    if "sample_weight" in taken:
        return True
    inner = [each for each in estimator.get_params().values() if hasattr(each, "fit") and hasattr(each, "predict")]
    return "fit_params" in taken and all(map(_takes_weights, inner))


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
    with _refusals("a step of conf/inputs/", "it there"):
        prepared = transform.fit_transform(table, truth)
    more: dict[str, Any] = {}
    if sample.weights is not None:
        more["sample_weight"] = sample.weights
    if (rounds := settings.get("early_stopping")) and watch is not None:
        known = watch.take(np.isin(watch.truth, sample.truth)) if TASK == "classification" else watch
        watched = transform.transform(frame(known.inputs)), _coded(known.truth, sample.truth)
        more |= _stopping(estimator, rounds, *watched)
        report = None
    if report is not None and settings.get("steps"):
        _fit_in_stages(pipeline, prepared, truth, more, settings=settings, report=report)
    else:
        _fit(estimator, prepared, truth, more, settings)


def _fit(estimator: Any, prepared: Array, truth: Array, more: Mapping[str, Any], settings: DictConfig) -> None:
    with _refusals(f"model={settings.name}", f"conf/model/{settings.name}.yaml", settings.params):
        estimator.fit(prepared, truth, **more)


@contextmanager
def _refusals(what: str, where: str, params: Mapping[str, Any] | None = None) -> Iterator[None]:
    """Put what a library raises at a fit in a line, with the parameters that it is about, if it names any."""
    own = getattr(sys.modules.get("lightgbm.basic"), "LightGBMError", ValueError)  # the others' are ValueErrors
    try:
        yield
    except (ValueError, TypeError, own) as error:
        reason = _reason(error)
        blamed = "".join(f", model.params.{name}={value}" for name, value in _blamed(reason, params or {}).items())
        raise Problem(f"{what}{blamed} cannot be fitted: {reason}; correct {where}") from error


def _reason(error: Exception) -> str:
    """Give the first line of a message without the places in C++ that XGBoost and LightGBM put around it."""
    line = (str(error).splitlines() or [type(error).__name__])[0]
    return re.sub(r"^\[[\d:]+\] \S+: | at \S+, line \d+ ?\.$", "", line).rstrip(".")


def _blamed(reason: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """Find the parameters that a message names or, where it names none, the texts that it repeats or complains of."""
    words = set(re.findall(r"\w+", reason))
    if "lightgbm.basic" in sys.modules:  # its messages are in its own names, such as bagging_fraction for subsample
        words |= sys.modules["lightgbm.basic"]._ConfigAliases.get_by_alias(*words)
    named = {name: value for name, value in params.items() if name in words}
    texts = {name: value for name, value in params.items() if isinstance(value, str)}
    return named or {name: value for name, value in texts.items() if {value, "str"} & words}


def _fit_in_stages(
    pipeline: Pipeline, prepared: Array, truth: Array, more: Mapping[str, Any], *, settings: DictConfig, report: Report
) -> None:
    estimator = pipeline[-1]
    estimator.set_params(warm_start=True)
    for stage in _stages(estimator.get_params()[settings.steps]):
        estimator.set_params(**{settings.steps: stage})
        _fit(estimator, prepared, truth, more, settings)
        report(stage, pipeline)
    estimator.set_params(warm_start=False)


def _stages(total: Any) -> list[Any]:
    """Part a number of trees or rounds; what is none is left for the estimator to refuse."""
    if not isinstance(total, int) or total < 1:
        return [total]
    return [stage for stage in np.unique(np.linspace(0, total, STEPS + 1, dtype=int)).tolist() if stage]


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
    known = classes(learnt)
    return truth if known is None else pd.Index(np.asarray(known, learnt.dtype)).get_indexer(pd.Index(truth))


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
