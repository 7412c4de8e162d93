import pytest
from pydantic import ValidationError

from {{ cookiecutter.src_package_name }}.schema import EXAMPLE, FEATURES, TARGET, Example, Prediction, Row


def test_the_example_is_a_row() -> None:
    assert set(Row(**EXAMPLE).model_dump()) == set(FEATURES)


def test_the_target_is_no_feature() -> None:
    assert TARGET in Example.model_fields
    assert TARGET not in FEATURES


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        Row(**EXAMPLE, colour="blue")


def test_infinity_is_no_number() -> None:
    number = next(name for name, kind in FEATURES.items() if kind == "number")
    with pytest.raises(ValidationError, match="finite"):
        Row(**(EXAMPLE | {number: float("inf")}))


def test_an_answer_holds_a_prediction() -> None:
    assert "prediction" in Prediction.model_fields
