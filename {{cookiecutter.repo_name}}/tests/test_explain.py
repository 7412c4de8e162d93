from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from {{ cookiecutter.src_package_name }} import explain
from {{ cookiecutter.src_package_name }}.inputs import Tensors
from {{ cookiecutter.src_package_name }}.kinds import Kind
from {{ cookiecutter.src_package_name }}.measure import Metric
from {{ cookiecutter.src_package_name }}.predictor import Card, Outputs, Predicted, Predictor, Seen
from {{ cookiecutter.src_package_name }}.samples import Sample

ERROR = Metric("error", lambda truth, predicted: np.abs(truth - predicted.values), "low", probabilities=False)


class Counting:
    """Predicts the input `a` and a tenth of `b`; counts the rows that it is asked for."""

    def __init__(self) -> None:
        self.calls = self.rows = 0

    def __call__(self, inputs: Tensors) -> Outputs:
        self.calls += 1
        self.rows += len(inputs["a"])
        return inputs["a"][:, 0] + 0.1 * np.nan_to_num(inputs["b"][:, 0]), None


class Naming:
    """Says with what probability a name is "x"."""

    def __call__(self, inputs: Tensors) -> Outputs:
        is_x = (inputs["name"][:, 0] == "x") * 0.8 + 0.1
        return is_x > 0.5, np.column_stack([1 - is_x, is_x])


def model(outputs: Any, kinds: Mapping[str, str], classes: list[Any] | None = None) -> Predictor:
    return Predictor(
        Card(
            format="onnx",
            task="regression" if classes is None else "classification",
            target="target",
            columns={},
            inputs={name: Seen(kind=kind, fingerprint="") for name, kind in kinds.items()},
            classes=classes,
            data="",
            split={},
            schema_version="",
            run_id="",
        ),
        outputs,
    )


def numbers(count: int, rows: int) -> tuple[dict[str, str], Sample]:
    random = np.random.default_rng(0)
    names = ["a", "b", *(f"input {number}" for number in range(count - 2))]
    inputs = {name: random.normal(size=(rows, 1)) for name in names}
    return dict.fromkeys(names, Kind.NUMBER.value), Sample(inputs, inputs["a"][:, 0] + 0.1 * inputs["b"][:, 0])


def test_the_worth_of_an_input_is_what_is_lost_without_it() -> None:
    kinds, rows = numbers(4, 500)
    found = explain.worths(model(Counting(), kinds), rows, ERROR, seed=0)
    assert [worth.name for worth in found[:2]] == ["a", "b"]
    assert found[0].mean == pytest.approx(10 * found[1].mean, rel=0.2)
    assert [worth.mean for worth in found[2:]] == [0, 0]


@pytest.mark.parametrize(("inputs", "rows"), [(3, 10), (3, 100_000), (300, 20_000), (2000, 300)])
def test_the_number_of_predictions_is_bounded_at_any_size(inputs: int, rows: int) -> None:
    counting = Counting()
    kinds, sample = numbers(inputs, rows)
    explain.worths(model(counting, kinds), sample, ERROR, seed=0)
    assert counting.calls <= max(explain.CALLS, inputs) + 1
    assert counting.rows <= explain.PREDICTIONS + explain.ROWS


def test_the_same_seed_draws_the_same_rows() -> None:
    kinds, rows = numbers(3, 5000)
    one, other = (explain.worths(model(Counting(), kinds), rows, ERROR, seed=1) for _ in range(2))
    assert one == other


def test_dependence_follows_a_number_over_its_quantiles() -> None:
    kinds, rows = numbers(2, 5000)
    rows.inputs["a"][0] = np.nan
    counting = Counting()
    curve = explain.dependence(model(counting, kinds), rows, "a", seed=0)
    assert curve.lines["mean prediction"] == pytest.approx(np.array(curve.values), abs=0.05)
    assert len(curve.values) == explain.POINTS
    assert counting.rows <= explain.POINTS * explain.CURVE_ROWS


def test_dependence_follows_a_name_over_its_most_frequent_values() -> None:
    names = np.array([*["x"] * 50, *["y"] * 30, *[f"rare {number}" for number in range(20)]], dtype=object)
    rows = Sample({"name": names.reshape(-1, 1)}, names == "x")
    curve = explain.dependence(model(Naming(), {"name": Kind.CATEGORY}, [False, True]), rows, "name", seed=0)
    assert list(curve.values[:2]) == ["x", "y"]
    assert len(curve.values) == 8
    assert curve.lines["true"][:2] == pytest.approx([0.9, 0.1])
    assert curve.lines["false"][:2] == pytest.approx([0.1, 0.9])


def test_a_curve_goes_through_values_that_there_are() -> None:
    """Between no and yes, 0 and 1, there is nothing to ask a model for."""
    kinds, rows = numbers(2, 10)
    rows.inputs["a"][:, 0] = np.arange(10) % 2
    assert list(explain.dependence(model(Counting(), kinds), rows, "a", seed=0).values) == [0, 1]


def test_an_input_without_any_value_has_no_curve() -> None:
    kinds, rows = numbers(2, 50)
    rows.inputs["a"][:] = np.nan
    assert not explain.dependence(model(Counting(), kinds), rows, "a", seed=0).values


def test_without_probabilities_a_line_is_the_share_of_rows() -> None:
    predicted = Predicted(np.array(["x", "y", "y", "y"]), None, ["x", "y"])
    assert explain._means(predicted) == {"x": 0.25, "y": 0.75}
