from collections.abc import Iterator

import numpy as np
import pytest

from {{ cookiecutter.src_package_name }} import challenger, model, plan
from {{ cookiecutter.src_package_name }}.columns import TASK
from {{ cookiecutter.src_package_name }}.measure import METRICS as TABLE
from {{ cookiecutter.src_package_name }}.measure import metric, usable
from {{ cookiecutter.src_package_name }}.metrics import METRICS
from {{ cookiecutter.src_package_name }}.plan import Plan
from {{ cookiecutter.src_package_name }}.predictor import Array, Predicted

from .conftest import QUICK, configure

TRUTH = np.array(["a", "a", "a", "b"], dtype=object)
VALUES = np.array(["a", "a", "b", "b"], dtype=object)
PROBABILITIES = np.array([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6], [0.5, 0.5]])
CLASSES = ["a", "b"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("accuracy", 3 / 4),
        ("recall", (2 / 3 + 1) / 2),
        ("f1", (4 / 5 + 2 / 3) / 2),  # of a: precision 1, recall 2/3; of b: precision 1/2, recall 1
        ("auc", 2 / 3),  # b's row is above two of a's three
        ("log_loss", -np.log([0.9, 0.8, 0.4, 0.5]).mean()),
    ],
)
def test_metrics_of_classes_are_what_they_say(name: str, value: float) -> None:
    found = METRICS["classification"][name].measure(TRUTH, Predicted(VALUES, PROBABILITIES, CLASSES))
    assert found == pytest.approx(value)


@pytest.mark.parametrize(("name", "value"), [("mae", 1.0), ("rmse", np.sqrt(2.0)), ("r2", 1 - 8 / 20)])
def test_metrics_of_numbers_are_what_they_say(name: str, value: float) -> None:
    truth, predicted = np.array([0.0, 2.0, 4.0, 6.0]), np.array([0.0, 4.0, 2.0, 6.0])
    assert METRICS["regression"][name].measure(truth, Predicted(predicted)) == pytest.approx(value)


@pytest.mark.filterwarnings("error")  # scikit-learn would warn
@pytest.mark.parametrize("truth", [["a", "a"], ["b", "b"]])
def test_an_area_under_a_curve_of_one_class_is_not_defined(truth: list[str]) -> None:
    predicted = Predicted(VALUES[:2], PROBABILITIES[:2], CLASSES)
    assert np.isnan(METRICS["classification"]["auc"].measure(np.array(truth, dtype=object), predicted))


def test_an_area_of_many_classes_asks_for_each_of_them() -> None:
    probabilities = np.full((4, 3), 1 / 3)
    predicted = Predicted(VALUES, probabilities, ["a", "b", "c"])
    assert np.isnan(METRICS["classification"]["auc"].measure(TRUTH, predicted))


def test_the_share_of_a_constant_targets_variance_is_not_defined() -> None:
    assert np.isnan(METRICS["regression"]["r2"].measure(np.ones(3), Predicted(np.arange(3.0))))


def test_a_class_that_was_never_learnt_costs_much_and_not_without_end() -> None:
    truth = np.array(["a", "c", "c", "b"], dtype=object)
    loss = METRICS["classification"]["log_loss"].measure(truth, Predicted(VALUES, PROBABILITIES, CLASSES))
    assert 5 < loss < 20


def test_a_model_without_probabilities_is_measured_by_what_asks_for_none() -> None:
    without = usable(METRICS["classification"], probabilities=False)
    assert {"auc", "log_loss"} <= set(METRICS["classification"]) - set(without)
    assert {"accuracy", "recall", "f1"} <= set(without)


def test_a_better_model_measures_better(planned: Plan) -> None:
    config = configure("train", f"model={QUICK}")
    pipeline, test = model.build(config, 0), planned.samples["test"]
    model.fit(pipeline, planned.samples["train"], config.model)
    good = model.predict(pipeline, test.inputs, planned.learnt)
    poor = good.take(np.roll(np.arange(len(test)), 7))
    for name, each in METRICS[TASK].items():
        assert each.gain(each.measure(test.truth, good), each.measure(test.truth, poor)) > 0, name


def missed(truth: Array, predicted: Predicted) -> float:
    """Count the classes that are wrong, or add up by how much the numbers are."""
    wrong = truth != predicted.values if TASK == "classification" else np.abs(truth - predicted.values)
    return float(np.sum(wrong))


@pytest.fixture
def own() -> Iterator[str]:
    """A team's metric: a decorator and a function in metrics.py."""

    @metric(TASK, best="low")
    def misses(truth: Array, predicted: Predicted) -> float:
        return missed(truth, predicted)

    yield "misses"
    del TABLE[TASK]["misses"]


def test_a_metric_of_ones_own_is_measured_and_decides(
    own: str, planned: Plan, finished: object, tmp_path_factory: pytest.TempPathFactory
) -> None:
    settings = [f"objective.{TASK}={own}", f"storage.root={finished}/data", "threshold.at=null"]
    config = configure("train", f"model={QUICK}", *settings)
    looked = plan.make(config)
    made = challenger.make(looked, config, "", tmp_path_factory.mktemp("own"))
    predicted = made.predictor.predict_inputs(looked.samples["test"].inputs)
    assert made.objective == own
    assert made.score == made.card.metrics["test_misses"] == missed(looked.samples["test"].truth, predicted)
    assert looked.score > made.score
