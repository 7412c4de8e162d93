from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from {{ cookiecutter.src_package_name }}.columns import COLUMNS, EXAMPLE_ROW, TARGET, TASK, of_rows
from {{ cookiecutter.src_package_name }}.errors import Problem
from {{ cookiecutter.src_package_name }}.inputs import INPUTS, Tensors, tensors
from {{ cookiecutter.src_package_name }}.kinds import Kind
from {{ cookiecutter.src_package_name }}.predictor import (
    Card,
    Outputs,
    Predicted,
    Predictor,
    Seen,
    decide,
    require_inputs,
)

PROBABILITIES = np.array([[0.9, 0.1], [0.6, 0.4], [0.5, 0.5], [0.2, 0.8]])
PLACES = np.array([0, 0, 0, 1])


def card(**changes: object) -> Card:
    inputs = {name: Seen(kind=made.kind, fingerprint=made.fingerprint) for name, made in INPUTS.items()}
    whole = {
        "format": "onnx",
        "task": TASK,
        "target": TARGET,
        "columns": {name: column.kind for name, column in COLUMNS.items()},
        "inputs": inputs,
        "classes": ["no", "yes"],
        "data": "",
        "split": {},
        "schema_version": "",
        "run_id": "",
    }
    return Card.model_validate(whole | changes)


def answering(outputs: Outputs) -> Callable[[Tensors], Outputs]:
    return lambda _: outputs


def test_the_more_probable_class_is_predicted() -> None:
    predicted = decide(["no", "yes"], PLACES, PROBABILITIES)
    assert predicted.values.tolist() == ["no", "no", "no", "yes"]


@pytest.mark.parametrize(
    ("threshold", "positive", "expected"),
    [
        (0.4, "yes", ["no", "yes", "yes", "yes"]),
        (0.45, "yes", ["no", "no", "yes", "yes"]),
        (0.9, "yes", ["no", "no", "no", "no"]),
        (0.6, "no", ["no", "no", "yes", "yes"]),
    ],
)
def test_a_threshold_is_the_probability_from_which_on_a_class_is_predicted(
    threshold: float, positive: str, expected: list[str]
) -> None:
    assert decide(["no", "yes"], PLACES, PROBABILITIES, threshold, positive).values.tolist() == expected
    served = Predictor(card(threshold=threshold, positive=positive), answering((PLACES, PROBABILITIES)))
    assert served.predict_inputs(tensors(of_rows([EXAMPLE_ROW] * 4))).values.tolist() == expected


def test_the_threshold_can_be_changed_without_another_model() -> None:
    predictor = Predictor(card(), answering((PLACES, PROBABILITIES)))
    changed = predictor.with_card({"threshold": 0.4, "positive": "yes"})
    assert predictor.predict(of_rows([EXAMPLE_ROW] * 4)).values.tolist() == ["no", "no", "no", "yes"]
    assert changed.predict(of_rows([EXAMPLE_ROW] * 4)).values.tolist() == ["no", "yes", "yes", "yes"]


@pytest.mark.parametrize("classes", [["no", "yes"], [False, True], [1, 2]])
def test_classes_keep_their_type_and_need_no_probabilities(classes: list[object]) -> None:
    predicted = decide(classes, PLACES.reshape(-1, 1), None)
    assert predicted.values.tolist() == [classes[0]] * 3 + [classes[1]]
    assert [type(value) for value in predicted.values.tolist()] == [type(classes[0])] * 4
    assert predicted.probabilities is None


def test_numbers_have_one_axis() -> None:
    assert decide(None, np.array([[1.5], [2.5]]), None).values.tolist() == [1.5, 2.5]


def test_some_rows_of_predictions_stay_together() -> None:
    part = decide(["no", "yes"], PLACES, PROBABILITIES).take(slice(2, 4))
    assert part.values.tolist() == ["no", "yes"]
    assert part.of("yes").tolist() == [0.5, 0.8]
    assert Predicted(np.array([1.0, 2.0])).take(np.array([1])).values.tolist() == [2.0]


def test_a_class_that_the_model_never_saw_is_a_problem() -> None:
    with pytest.raises(Problem, match="knows no class 'maybe'; its classes are 'no', 'yes'"):
        decide(["no", "yes"], PLACES, PROBABILITIES).of("maybe")


def test_a_model_is_asked_with_its_own_inputs_only() -> None:
    asked: list[list[str]] = []

    def outputs(inputs: Tensors) -> Outputs:
        asked.append(list(inputs))
        return PLACES, None

    known = card()
    fewer = dict(list(known.inputs.items())[1:])
    predictor, rows = Predictor(card(inputs=fewer), outputs), of_rows([EXAMPLE_ROW] * 4)
    predictor.predict(rows)
    predictor.predict_inputs(tensors(rows))  # as train does, which makes the inputs once for champion and challenger
    assert asked == [list(fewer)] * 2


def test_a_model_whose_inputs_are_made_as_then_is_taken() -> None:
    require_inputs(card())
    require_inputs(card(inputs=dict(list(card().inputs.items())[1:])))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda name, seen: {name: seen.model_copy(update={"fingerprint": "another"})}, "{}: made in another way"),
        (lambda name, seen: {name: seen.model_copy(update={"kind": Kind.TEXT})}, "{}: made in another way"),
        (lambda _, seen: {"gone": seen}, "gone: not made any more"),
    ],
)
def test_a_model_whose_inputs_are_made_otherwise_is_refused(
    change: Callable[[str, Seen], dict[str, Seen]], says: str
) -> None:
    name, seen = next(iter(card().inputs.items()))
    with pytest.raises(Problem) as raised:
        require_inputs(card(inputs=card().inputs | change(name, seen)))
    assert says.format(name) in str(raised.value)
    assert "Take the code that trained it, or train a new model" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_another_function_behind_an_input_is_another_input(monkeypatch: pytest.MonkeyPatch) -> None:
    before = card()
    name = next(iter(INPUTS))
    monkeypatch.setitem(INPUTS, name, replace(INPUTS[name], fingerprint="another"))
    with pytest.raises(Problem, match=f"{name}: made in another way"):
        require_inputs(before)
