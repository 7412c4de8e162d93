import pytest
from omegaconf import OmegaConf

from {{ cookiecutter.src_package_name }} import space
from {{ cookiecutter.src_package_name }}.errors import Problem

from .conftest import MODELS, configure


@pytest.mark.parametrize("name", MODELS)
def test_every_space_can_be_searched(name: str) -> None:
    model = configure("tune", f"model={name}").model
    if "space" in model:
        space.require(model)


@pytest.mark.parametrize(
    "limits",
    [
        "{type: float, low: 0, high: 1, step: 0.1}",
        "{type: float, low: 0.1, high: 1, log: true}",
        "{type: int, low: 1, high: 1}",
        "{type: categorical, choices: [a, 2]}",
    ],
)
def test_a_space_in_any_form_can_be_searched(limits: str) -> None:
    space.require(OmegaConf.create(f"name: mine\nspace:\n  x: {limits}"))


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        ("{type: integer, low: 1, high: 2}", "type=integer is none of float, int, categorical"),
        ("3", "type=3 is none of float, int, categorical"),
        ("{low: 1, high: 2}", "type=None is none of"),
        ("{type: int, low: 5, high: 2}", r"low <= high must hold, but got \(low=5, high=2\)"),
        ("{type: int, low: 1, high: 5, step: 0}", "step > 0 must hold, but got step=0"),
        ("{type: float, low: 0, high: 5, log: true}", "low > 0 must hold"),
        ("{type: int, low: 1.5, high: 5}", "low=1.5 is no whole number"),
        ("{type: float, low: few, high: 5}", "low=few is no number"),
        ("{type: float, low: 1, high: .inf}", "high=inf is no number"),
        ("{type: int, low: 1}", "int takes low, high, step, log, and it has low"),
        ("{type: int, low: 1, hihg: 2, high: 3}", "int takes low, high, step, log, and it has low, hihg, high"),
        ("{type: categorical}", "categorical takes choices, and it has none of them"),
        ("{type: categorical, choices: abc}", "choices=abc is no list of values"),
        ("{type: categorical, choices: []}", r"choices=\[\] is no list of values"),
    ],
)
def test_a_space_that_nothing_can_be_drawn_from_is_named(limits: str, says: str) -> None:
    model = OmegaConf.create(f"name: mine\nspace:\n  x: {limits}")
    with pytest.raises(Problem, match=rf"^model.space.x: {says}.*; correct conf/model/mine.yaml$") as caught:
        space.require(model)
    assert len(str(caught.value).splitlines()) == 1


def test_a_model_without_a_space_cannot_be_searched() -> None:
    for model in ({"name": "mine", "space": None}, {"name": "mine"}):
        config = OmegaConf.create(model)
        OmegaConf.set_struct(config, True)  # as Hydra does
        with pytest.raises(Problem, match="model=mine has no space to search"):
            space.require(config)
