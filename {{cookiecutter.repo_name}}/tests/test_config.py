import pytest
from omegaconf import OmegaConf

from {{ cookiecutter.src_package_name }} import CONF
from {{ cookiecutter.src_package_name }}.columns import TASK
from {{ cookiecutter.src_package_name }}.metrics import METRICS
from {{ cookiecutter.src_package_name }}.model import build
from {{ cookiecutter.src_package_name }}.settings import Settings

from .conftest import configure

MODELS = [path.stem for path in sorted((CONF / "model").glob("*.yaml"))]
EXPERIMENTS = [path.stem for path in sorted((CONF / "experiment").glob("*.yaml"))]


@pytest.mark.parametrize("verb", ["prepare", "train", "tune", "infer", "doctor"])
def test_every_command_has_a_configuration(verb: str) -> None:
    assert configure(verb).storage.root == "data"


@pytest.mark.parametrize("model", MODELS)
def test_every_model_can_be_built(model: str) -> None:
    config = configure("train", f"model={model}")
    assert config.model.name == model
    if TASK in config.model.estimator:
        params = build(config, seed=0)[-1].get_params()
        given = {name: value for name, value in config.model.params.items() if not OmegaConf.is_config(value)}
        assert params.items() >= given.items()


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_composes(experiment: str) -> None:
    assert configure("train", f"experiment={experiment}") != configure("train")


@pytest.mark.parametrize("model", MODELS)
def test_a_search_space_names_parameters_of_its_model(model: str) -> None:
    config = configure("tune", f"model={model}").model
    assert set(config.get("space") or ()) <= set(config.params)


def test_the_objective_is_known() -> None:
    objective = configure("train").objective
    assert all(objective[task] in METRICS[task] for task in METRICS)


def test_the_service_reads_its_file_and_the_environment_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings().model.startswith("models:/")
    monkeypatch.setenv("SERVE_MODEL", "somewhere/else")
    assert Settings().model == "somewhere/else"
