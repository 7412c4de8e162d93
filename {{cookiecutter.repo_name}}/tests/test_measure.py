from collections.abc import Callable

import numpy as np
import pytest

from {{ cookiecutter.src_package_name }} import measure
from {{ cookiecutter.src_package_name }}.errors import Problem
from {{ cookiecutter.src_package_name }}.measure import Metric, compare, metric
from {{ cookiecutter.src_package_name }}.metrics import METRICS
from {{ cookiecutter.src_package_name }}.predictor import Array, Predicted

CLASSES = ["a", "b"]
Models = tuple[Array, Predicted, Predicted]


def model(truth: Array, right: float, random: np.random.Generator) -> Predicted:
    """Predict a share of the rows rightly, and be more or less sure of it."""
    values = np.where(random.random(len(truth)) < right, truth, np.where(truth == "a", "b", "a")).astype(object)
    sure = random.uniform(0.5, 1, len(truth))
    first = np.where(values == "a", sure, 1 - sure)
    return Predicted(values, np.column_stack([first, 1 - first]), CLASSES)


@pytest.fixture
def models() -> Models:
    random = np.random.default_rng(1)
    truth = np.where(random.random(300) < 0.3, "a", "b").astype(object)
    return truth, model(truth, 0.85, random), model(truth, 0.8, random)


def obvious(metric: Metric, truth: Array, new: Predicted, old: Predicted, draws: int = 1500) -> tuple[float, float]:
    """The paired bootstrap as books have it: draw rows, measure both on them, take the middle 95 % of the gains."""
    random = np.random.default_rng(2)
    gains = []
    for _ in range(draws):
        rows = random.choice(len(truth), len(truth))
        gains.append(
            metric.gain(metric.measure(truth[rows], new.take(rows)), metric.measure(truth[rows], old.take(rows)))
        )
    low, high = np.percentile(gains, [2.5, 97.5])
    return float(low), float(high)


@pytest.mark.parametrize("name", ["accuracy", "log_loss", "recall"])  # the last is no mean of rows
def test_an_interval_is_the_obvious_bootstraps(name: str, models: Models) -> None:
    metric = METRICS["classification"][name]
    found, (low, high) = compare(metric, *models), obvious(metric, *models)
    width = high - low
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.12 * width)


@pytest.mark.parametrize("rows", [400, 30_000, 39_999, 250_000])
@pytest.mark.parametrize("mean", [np.asarray, np.mean])  # the losses of rows, or a number worked out from them
def test_an_interval_is_what_the_central_limit_says(rows: int, mean: Callable[[Array], Array]) -> None:
    """The standard error of the mean of `rows` losses with a deviation of 2 is 2 / sqrt(rows)."""
    metric = Metric("loss", lambda truth, predicted: mean(predicted.values - truth), "low", probabilities=False)
    random = np.random.default_rng(3)
    old, new = random.normal(1, 2, rows), np.zeros(rows)
    found = compare(metric, np.zeros(rows), Predicted(new), Predicted(old))
    error = 2 / np.sqrt(rows)
    assert found.gain == pytest.approx(old.mean())
    assert (found.low, found.high) == pytest.approx(
        (found.gain - 1.96 * error, found.gain + 1.96 * error), abs=0.5 * error
    )
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.15)


def test_both_models_are_measured_on_the_same_rows_of_each_draw() -> None:
    """Rows differ much more than the models do; a gain of the same size on every row is certain all the same."""
    losses = np.random.default_rng(4).normal(0, 10, 200)
    truth, old, new = np.zeros(200), Predicted(losses + 100), Predicted(losses + 99)
    for compute in (lambda truth, said: said.values, lambda truth, said: said.values.mean()):
        found = compare(Metric("loss", compute, "low", probabilities=False), truth, new, old)
        assert (found.gain, found.low, found.high) == pytest.approx((1, 1, 1))
        assert found.share == 1


def test_the_same_model_gains_nothing(models: Models) -> None:
    truth, model, _ = models
    for name in ("log_loss", "recall"):
        found = compare(METRICS["classification"][name], truth, model, model)
        assert (found.gain, found.low, found.high, found.share) == (0, 0, 0, 0), name


def test_a_gain_is_positive_where_a_model_is_better_whichever_end_is_good(models: Models) -> None:
    truth, better, worse = models
    for name in ("accuracy", "log_loss"):
        assert compare(METRICS["classification"][name], truth, better, worse).gain > 0
        assert compare(METRICS["classification"][name], truth, worse, better).gain < 0


def test_a_share_counts_the_draws_with_more_than_is_asked_for() -> None:
    truth, old = np.zeros(500), Predicted(np.random.default_rng(5).normal(1, 1, 500))
    metric = Metric("loss", lambda truth, said: said.values - truth, "low", probabilities=False)
    shares = [compare(metric, truth, Predicted(np.zeros(500)), old, min_gain=asked).share for asked in (0, 1, 2)]
    assert shares[0] == 1
    assert 0.1 < shares[1] < 0.9
    assert shares[2] == 0


def test_draws_in_which_a_metric_is_not_defined_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "RECOUNTS", 20)
    truth = np.array(["a", *["b"] * 20], dtype=object)  # a third of all draws are without the one row of a
    random = np.random.default_rng(6)
    found = compare(METRICS["classification"]["auc"], truth, model(truth, 1.0, random), model(truth, 0.5, random))
    assert np.isfinite([found.gain, found.low, found.high]).all()


def test_where_no_draw_has_a_value_nothing_is_sure() -> None:
    metric = Metric("none", lambda truth, said: float("nan"), "low", probabilities=False)
    found = compare(metric, np.zeros(5), Predicted(np.zeros(5)), Predicted(np.ones(5)))
    assert found.share == 0
    assert np.isnan([found.gain, found.low, found.high]).all()


def test_a_comparison_comes_out_the_same_again(models: Models) -> None:
    for name in ("accuracy", "recall"):
        metric = METRICS["classification"][name]
        assert compare(metric, *models, seed=7) == compare(metric, *models, seed=7) != compare(metric, *models, seed=8)


def test_an_undefined_measure_is_none(models: Models) -> None:
    truth, predicted, _ = models
    values = measure.evaluate(METRICS["classification"], np.full(len(truth), "a", dtype=object), predicted)
    assert "auc" not in values
    assert set(values) == set(METRICS["classification"]) - {"auc"}


@pytest.mark.parametrize(("task", "best"), [("classification", "highest"), ("clasification", "high")])
def test_a_metric_of_no_task_or_no_good_end_is_a_problem(task: str, best: str) -> None:
    with pytest.raises(Problem, match=f"metrics.py: @metric.'{task}', best='{best}'.: the task is one of"):
        metric(task, best=best)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["much", None, np.zeros(2)])
def test_a_metric_gives_a_number_or_one_for_each_row(value: object) -> None:
    measured = Metric("mine", lambda truth, predicted: value, "high", probabilities=False)
    with pytest.raises(Problem, match=r"metrics\.py: mine gives .*; return a number, or one for each row"):
        measured.measure(np.zeros(3), Predicted(np.zeros(3)))
