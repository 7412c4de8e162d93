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

STAGED = [name for name in MODELS if configure("train", f"model={name}").model.steps]
EARLY = [name for name in MODELS if "early_stopping" in configure("train", f"model={name}").model]


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
    assert rounds(fitted(planned, f"model={name}", f"model.params.{steps}=30", "model.early_stopping=null")[-1]) == 30


def rounds(estimator: object) -> int:
    """Count the rounds of boosting, in each family's own words."""
    if hasattr(estimator, "n_iter_"):
        return int(estimator.n_iter_)
    booster = getattr(estimator, "booster_", None) or estimator.get_booster()  # type: ignore[attr-defined]
    return int(booster.num_boosted_rounds() if hasattr(booster, "num_boosted_rounds") else booster.current_iteration())


def test_what_cannot_stop_early_is_a_problem() -> None:
    config = configure("train", f"model={QUICK}", "+model.early_stopping=3")
    with pytest.raises(Problem, match=r"cannot stop early: set model.early_stopping=null"):
        model.require(model.build(config, 0), config.model, weighted=False)


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
