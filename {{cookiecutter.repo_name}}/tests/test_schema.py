import pytest
from pydantic import ValidationError

from {{ cookiecutter.src_package_name }}.columns import COLUMNS, EXAMPLE, EXAMPLE_ROW, TARGET, Prediction
from {{ cookiecutter.src_package_name }}.kinds import Kind
from {{ cookiecutter.src_package_name }}.schema import Example, Row


def test_the_example_is_a_row() -> None:
    assert Row.model_validate(EXAMPLE) == EXAMPLE_ROW
    assert set(EXAMPLE) == set(COLUMNS)


def test_the_target_is_not_asked_for() -> None:
    assert TARGET in {info.alias or field for field, info in Example.model_fields.items()}
    assert TARGET not in COLUMNS


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        Row.model_validate(EXAMPLE | {"colour": "blue"})


def test_infinity_is_no_number() -> None:
    number = next(name for name, column in COLUMNS.items() if column.kind == Kind.NUMBER)
    with pytest.raises(ValidationError, match="finite"):
        Row.model_validate(EXAMPLE | {number: float("inf")})


def test_an_answer_holds_a_prediction() -> None:
    assert "prediction" in Prediction.model_fields
