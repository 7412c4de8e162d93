import numpy as np
import pytest
from sklearn.pipeline import Pipeline

from {{ cookiecutter.src_package_name }} import model
from {{ cookiecutter.src_package_name }}.columns import TASK
from {{ cookiecutter.src_package_name }}.errors import Problem
from {{ cookiecutter.src_package_name }}.inputs import INPUTS
from {{ cookiecutter.src_package_name }}.plan import Plan
from {{ cookiecutter.src_package_name }}.predictor import Array
from {{ cookiecutter.src_package_name }}.samples import Sample

from .conftest import MODELS, QUICK, configure, grows, small

STAGED = [name for name in MODELS if configure("train", f"model={name}").model.get("steps")]
EARLY = [name for name in MODELS if model.can_stop_early(model.build(configure("train", f"model={name}"), 0)[-1])]


def answers(pipeline: Pipeline, planned: Plan) -> Array:
    values, probabilities = model.outputs(pipeline, planned.samples["test"].inputs)
    return values if probabilities is None else probabilities


def fitted(planned: Plan, *overrides: str) -> Pipeline:
    config = configure("train", *overrides)
    pipeline = model.build(config, config.seed)
    model.fit(pipeline, planned.samples["train"], config.model, planned.samples["valid"])
    return pipeline


@pytest.mark.parametrize("name", STAGED)
def test_fitting_in_stages_comes_to_the_same(name: str, planned: Plan) -> None:
    steps = configure("train", f"model={name}").model.steps
    config = configure("train", f"model={name}", f"model.params.{steps}=25")
    once, staged = model.build(config, seed=0), model.build(config, seed=0)
    stages: list[int] = []
    model.fit(once, planned.samples["train"], config.model)
    model.fit(staged, planned.samples["train"], config.model, report=lambda stage, _: stages.append(stage))
    assert stages[-1] == 25
    assert len(stages) == model.STEPS
    assert np.allclose(answers(once, planned), answers(staged, planned))


@pytest.mark.parametrize("name", EARLY)
def test_a_fit_stops_once_the_validation_split_gains_nothing_more(name: str, planned: Plan) -> None:
    [steps] = grows(name)
    many = [f"model={name}", f"model.params.{steps}=400", "model.params.learning_rate=0.5"]
    stopped = fitted(planned, *many, "model.early_stopping=3")[-1]
    assert rounds(stopped) < 400
    kept, limit, most = model.kept_rounds(stopped)
    assert 1 <= kept <= rounds(stopped)
    assert (limit, most) == (steps, 400)
    assert rounds(fitted(planned, f"model={name}", f"model.params.{steps}=30", "model.early_stopping=null")[-1]) == 30


def rounds(estimator: object) -> int:
    """Count the rounds of boosting, in each family's own words."""
    if hasattr(estimator, "n_iter_"):
        return int(estimator.n_iter_)
    booster = getattr(estimator, "booster_", None) or estimator.get_booster()  # type: ignore[attr-defined]
    return int(booster.num_boosted_rounds() if hasattr(booster, "num_boosted_rounds") else booster.current_iteration())


def test_a_models_file_needs_no_more_than_name_estimator_and_params(planned: Plan) -> None:
    """As the files have it that the guide shows."""
    config = configure("train", f"model={QUICK}")
    config.model = {key: config.model[key] for key in ("name", "estimator", "params")}
    pipeline = model.build(config, 0)
    model.require(pipeline, config.model, weighted=False)
    model.fit(pipeline, planned.samples["train"], config.model, planned.samples["valid"], lambda *_: None)
    config.model.params = None
    with pytest.raises(Problem, match=rf"model={QUICK}: its file in conf/model/ lacks params; add that"):
        model.build(config, 0)


def test_what_cannot_stop_early_is_a_problem() -> None:
    config = configure("train", f"model={QUICK}", "model.early_stopping=3")
    with pytest.raises(Problem, match=rf"model.early_stopping=3: model={QUICK} cannot stop early; set it to null"):
        model.require(model.build(config, 0), config.model, weighted=False)


@pytest.mark.parametrize(
    ("name", "parameter", "value"),
    [
        ("xgboost", "max_depth", "-5"),
        ("xgboost", "learning_rate", "abc"),
        ("lightgbm", "num_leaves", "-5"),
        ("lightgbm", "subsample", "7"),  # bagging_fraction in its own words
        ("lightgbm", "learning_rate", "abc"),  # which it does not name
        ("lightgbm", "n_estimators", "many"),
        ("boosting", "max_leaf_nodes", "-5"),
        ("boosting", "max_iter", "many"),
        ("forest", "max_depth", "-5"),
    ],
)
def test_a_parameter_that_an_estimator_refuses_is_named_with_its_value(
    name: str, parameter: str, value: str, planned: Plan
) -> None:
    config = configure("train", f"model={name}", f"model.params.{parameter}={value}")
    says = rf"model={name}, model.params.{parameter}={value} cannot be fitted: .*; correct conf/model/{name}.yaml$"
    for report in (None, lambda *_: None):
        with pytest.raises(Problem, match=says) as caught:
            model.fit(model.build(config, 0), planned.samples["train"], config.model, report=report)
        assert len(str(caught.value).splitlines()) == 1
        assert "line" not in str(caught.value)  # of a file in C++


@pytest.mark.parametrize(
    ("name", "given", "lost"),
    [
        ("lightgbm", {"num_leafs": 3, "min_data": 2, "verbosity": -1}, "num_leafs"),
        ("xgboost", {"max_detph": 3, "eta": 0.1, "n_estimator": 3}, "max_detph, n_estimator"),
        ("xgboost", {"booster": "dart", "rate_drop": 0.1, "beauty": 1}, "beauty"),
        ("xgboost", {"tweedie_variance_power": 1.3}, "tweedie_variance_power"),  # of another objective
    ],
)
def test_a_parameter_that_would_do_nothing_is_refused_by_its_name(
    name: str, given: dict[str, object], lost: str, capfd: pytest.CaptureFixture[str]
) -> None:
    config = configure("train", f"model={name}", *(f"+model.params.{key}={value}" for key, value in given.items()))
    says = rf"model={name}: \w+ takes no notice of {lost}; correct the name, or take it out"
    with pytest.raises(Problem, match=says):
        model.build(config, 0)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("lightgbm", {"min_data_in_leaf": 3, "path_smooth": 1, "device_type": "cpu"}),
        ("xgboost", {"alpha": 1, "booster": "dart", "skip_drop": 0.1}),
        ("xgboost", {"booster": "gblinear"}),  # which has no depth, as the file gives it
        ("xgboost", {"max_cached_hist_node": 3, "device": "cuda"}),
    ],
)
def test_what_a_library_knows_by_another_name_or_for_another_booster_is_taken(
    name: str, given: dict[str, object]
) -> None:
    config = configure("train", f"model={name}", *(f"++model.params.{key}={value}" for key, value in given.items()))
    assert {f"estimator__{key}" for key in given} <= model.build(config, 0).get_params().keys()


def test_a_step_that_cannot_be_fitted_is_one_line(planned: Plan) -> None:
    config = configure("train", f"model={QUICK}", "inputs.number.impute.strategy=nonsense")
    with pytest.raises(Problem, match=r"a step of conf/inputs/ cannot be fitted: .*strategy.*; correct it there"):
        model.fit(model.build(config, 0), planned.samples["train"], config.model)


def test_what_a_report_raises_is_not_taken_for_the_estimators(planned: Plan) -> None:
    """Such as a mistake in metrics.py."""

    def fail(*_: object) -> None:
        raise ValueError("of the metric")

    config = configure("train", *small("boosting"))
    with pytest.raises(ValueError, match="of the metric") as caught:
        model.fit(model.build(config, 0), planned.samples["train"], config.model, report=fail)
    assert not isinstance(caught.value, Problem)


@pytest.mark.parametrize("whole", ["Stacking", "Voting"])
@pytest.mark.parametrize("inner", ["tree.DecisionTree", "neighbors.KNeighbors"])
def test_weights_are_for_estimators_made_of_others_if_those_take_them(whole: str, inner: str) -> None:
    kind = {"classification": "Classifier", "regression": "Regressor"}[TASK]
    config = configure("train", f"model={QUICK}")
    config.model = {
        "name": "many",
        "estimator": {TASK: f"sklearn.ensemble.{whole}{kind}"},
        "params": {"estimators": [["inner", {"_target_": f"sklearn.{inner}{kind}"}]]},
    }
    pipeline = model.build(config, 0)
    if "Tree" in inner:
        model.require(pipeline, config.model, weighted=True)
    else:
        with pytest.raises(Problem, match=rf"{whole}{kind} takes no weights of rows"):
            model.require(pipeline, config.model, weighted=True)


def test_what_takes_no_weights_is_a_problem() -> None:
    kind = {"classification": "Classifier", "regression": "Regressor"}[TASK]
    config = configure("train", f"model={QUICK}")
    config.model = {"name": "near", "estimator": {TASK: f"sklearn.neighbors.KNeighbors{kind}"}, "params": {}}
    model.require(model.build(config, 0), config.model, weighted=False)
    with pytest.raises(Problem, match=rf"KNeighbors{kind} takes no weights of rows: unset weight.column"):
        model.require(model.build(config, 0), config.model, weighted=True)


def test_weights_change_the_fit(planned: Plan) -> None:
    config = configure("train", f"model={QUICK}")
    rows = planned.samples["train"]
    weights = np.where(rows.truth == rows.truth[0], 100.0, 1.0)
    plain, weighted = model.build(config, 0), model.build(config, 0)
    model.fit(plain, rows, config.model)
    model.fit(weighted, Sample(rows.inputs, rows.truth, weights), config.model)
    assert not np.allclose(answers(plain, planned), answers(weighted, planned))


@pytest.mark.parametrize("name", MODELS)
def test_the_same_seed_makes_the_same_model(name: str, planned: Plan) -> None:
    one, other = (answers(fitted(planned, *small(name)), planned) for _ in range(2))
    assert np.array_equal(one, other)


def test_the_seed_reaches_what_is_nested(planned: Plan) -> None:
    config = configure("train", f"model={QUICK}")
    kind = {"classification": "Classifier", "regression": "Regressor"}[TASK]
    inner = {"_target_": f"sklearn.tree.DecisionTree{kind}"}
    config.model = {
        "name": "bag",
        "estimator": {TASK: f"sklearn.ensemble.Bagging{kind}"},
        "params": {"estimator": inner},
    }
    seeds = {name: seed for name, seed in model.build(config, 7).get_params().items() if name.endswith("random_state")}
    assert {"estimator__random_state", "estimator__estimator__random_state"} <= set(seeds)
    assert set(seeds.values()) == {7}


def test_a_models_file_leaves_steps_out() -> None:
    config = configure("train", "model=boosting")
    number = {name: part for name, part, _ in model.build(config, 0)[0].transformers}["number"]
    assert not any("impute" in step for step, _ in number.steps)
    whole = configure("train", "model=boosting", "model.without=[]")
    number = {name: part for name, part, _ in model.build(whole, 0)[0].transformers}["number"]
    assert any("impute" in step for step, _ in number.steps)


def test_every_input_reaches_the_estimator(planned: Plan) -> None:
    columns = [names for _, _, names in model.build(configure("train"), 0)[0].transformers]
    assert sorted(name for names in columns for name in ([names] if isinstance(names, str) else names)) == sorted(
        INPUTS
    )
