import re

import numpy as np
import polars as pl
import pytest

from {{ cookiecutter.src_package_name }} import columns, inputs
from {{ cookiecutter.src_package_name }}.columns import TASK
from {{ cookiecutter.src_package_name }}.errors import Problem
from {{ cookiecutter.src_package_name }}.inputs import Input
from {{ cookiecutter.src_package_name }}.kinds import Kind
from {{ cookiecutter.src_package_name }}.plan import Plan
from {{ cookiecutter.src_package_name }}.samples import Sample, balanced, folds, joined, sample


def counted(rows: int) -> Sample:
    number = np.arange(rows)
    return Sample({"x": number[:, None].astype(np.float64)}, number, number / rows)


def test_rows_are_taken_with_all_that_belongs_to_them() -> None:
    some = counted(10).take(np.array([7, 2]))
    assert some.truth.tolist() == [7, 2]
    assert some.inputs["x"].tolist() == [[7], [2]]
    assert some.weights is not None
    assert some.weights.tolist() == [0.7, 0.2]
    assert len(some) == 2


def test_parts_are_joined_with_all_that_belongs_to_them() -> None:
    whole = counted(10)
    again = joined([whole.take(slice(0, 4)), whole.take(slice(4, 10))])
    assert again.truth.tolist() == whole.truth.tolist()
    assert again.inputs["x"].tolist() == whole.inputs["x"].tolist()
    assert again.weights is not None
    assert again.weights.tolist() == counted(10).weights.tolist()  # type: ignore[union-attr]


@pytest.mark.parametrize("bad", [[1.0, -1.0], [1.0, None], [1.0, float("inf")], [0.0, 0.0]])
def test_a_weight_that_makes_no_sense_is_a_problem(
    tables: dict[str, pl.DataFrame], monkeypatch: pytest.MonkeyPatch, bad: list[float]
) -> None:
    monkeypatch.setitem(columns.EXTRA, "times", next(iter(columns.EXTRA.values())))
    table = tables["train"].head(2)
    good = sample(table.with_columns(times=pl.Series([2.0, 0.5])), "times").weights
    assert good is not None
    assert good.tolist() == [2, 0.5]
    with pytest.raises(Problem, match=r"weight\.column=times: a weight is missing, below 0 or infinite"):
        sample(table.with_columns(times=pl.Series(bad)), "times")


@pytest.mark.skipif(TASK == "regression", reason="the target is a number")
def test_balanced_classes_weigh_the_same_in_all() -> None:
    truth = np.array(["a"] * 6 + ["b"] * 2, dtype=object)
    rows = balanced(Sample({}, truth), "balanced")
    assert rows.weights is not None
    assert rows.weights[truth == "a"].sum() == pytest.approx(rows.weights[truth == "b"].sum())
    twice = balanced(Sample({}, truth, np.arange(8.0)), "balanced")
    assert twice.weights is not None
    assert twice.weights == pytest.approx(rows.weights * np.arange(8.0))


def test_class_weights_are_balanced_or_none(planned: Plan) -> None:
    rows = planned.samples["train"]
    assert balanced(rows, None) is rows
    with pytest.raises(Problem, match=r"weight\.classes=heavy"):
        balanced(rows, "heavy")


def test_each_row_is_measured_by_models_that_never_saw_it() -> None:
    places = np.array([2, 0, 1, 0, 2, 1])
    parts = list(folds(counted(6), places, 3, ordered=False))
    assert [sorted(measured.truth.tolist()) for _, measured in parts] == [[1, 3], [2, 5], [0, 4]]
    assert all(sorted([*learnt.truth, *measured.truth]) == list(range(6)) for learnt, measured in parts)


def test_in_the_order_of_time_nothing_is_learnt_from_what_comes_later() -> None:
    places = np.array([0, 0, 1, 1, 2, 2])
    parts = [
        (learnt.truth.tolist(), measured.truth.tolist()) for learnt, measured in folds(counted(6), places, 3, True)
    ]
    assert parts == [([0, 1], [2, 3]), ([0, 1, 2, 3], [4, 5])]


def test_an_input_that_looks_across_rows_is_a_problem(
    tables: dict[str, pl.DataFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    name, column = next((name, column) for name, column in columns.COLUMNS.items() if column.kind == Kind.NUMBER)
    made = inputs.INPUTS[name]
    across = Input(made.kind, (column,), lambda values: values - np.nanmean(values), made.fingerprint)
    monkeypatch.setitem(inputs.INPUTS, name, across)
    with pytest.raises(Problem, match=f"features.py: {re.escape(name)} of a row depends on the other rows"):
        sample(tables["train"])
