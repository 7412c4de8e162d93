import numpy as np
import polars as pl
import pytest

from {{ cookiecutter.src_package_name }} import data, model
from {{ cookiecutter.src_package_name }}.errors import Problem
from {{ cookiecutter.src_package_name }}.features import tensors
from {{ cookiecutter.src_package_name }}.schema import TASK

from .conftest import QUICK, configure

STAGED = ["boosting", "forest"]


@pytest.mark.parametrize("name", STAGED)
def test_fitting_in_stages_comes_to_the_same(name: str, tables: dict[str, pl.DataFrame]) -> None:
    config = configure("train", f"model={name}").model
    inputs, target = tensors(data.columns(tables["train"])), data.target(tables["train"])
    once, staged = model.build(config, seed=0), model.build(config, seed=0)
    stages: list[int] = []
    model.fit(once, inputs, target)
    model.fit(staged, inputs, target, config.steps, lambda stage, _: stages.append(stage))
    assert stages[-1] == config.params[config.steps]
    assert len(stages) == model.STEPS
    one, other = model.predict(once, inputs), model.predict(staged, inputs)
    assert np.allclose(*((said.values if TASK == "regression" else said.probabilities) for said in (one, other)))


def test_a_better_model_measures_better(tables: dict[str, pl.DataFrame]) -> None:
    truth = data.target(tables["valid"])
    inputs = tensors(data.columns(tables["valid"]))
    fitted = model.build(configure("train", f"model={QUICK}").model, seed=0)
    model.fit(fitted, tensors(data.columns(tables["train"])), data.target(tables["train"]))
    good = model.evaluate(truth, model.predict(fitted, inputs))
    poor = model.evaluate(np.roll(truth, 7), model.predict(fitted, inputs))
    for name, metric in model.METRICS[TASK].items():
        assert (good[name] > poor[name]) is metric.more_is_better, name


def test_a_model_for_another_task_is_a_problem() -> None:
    other = {"classification": "ridge", "regression": "logistic"}[TASK]
    with pytest.raises(Problem, match=f"model={other} cannot do {TASK}"):
        model.build(configure("train", f"model={other}").model, seed=0)


def test_an_unknown_objective_is_a_problem() -> None:
    with pytest.raises(Problem, match="it is one of"):
        model.objective({TASK: "beauty"})
