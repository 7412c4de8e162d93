from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from {{ cookiecutter.src_package_name }}.columns import COLUMNS, EXAMPLE
from {{ cookiecutter.src_package_name }}.inputs import INPUTS, kinds, tensors
from {{ cookiecutter.src_package_name }}.kinds import Kind

from .other import Other, declare

ROW = """
length: Annotated[float, Field(examples=[1.0])] | None = None
width: Annotated[int, Field(examples=[2])]
colour: Annotated[str, Field(examples=["red"])] | None = None
grade: Annotated[Literal[1, 2], Field(examples=[1])]
ripe: Annotated[bool, Field(examples=[True])] | None = None
day: Annotated[date, Field(examples=["2024-02-29"])] | None = None
moment: Annotated[datetime, Field(examples=["2024-02-29T12:00:00"])] | None = None
remark: Annotated[str, Kind.TEXT, Field(examples=["Fell from the tree"])] | None = None
plot: Annotated[str, ASIDE, Field(examples=["A"])]
"""
VALUES: dict[str, list[Any]] = {
    "length": [0.1, None],
    "width": [2**53, 3],
    "colour": ["red", None],
    "grade": [1, 2],
    "ripe": [True, None],
    "day": [date(1970, 1, 11), None],
    "moment": [datetime(1970, 1, 1, 0, 0, 1, 500_000), None],
    "remark": ["Fell FROM the tree", None],
    "plot": ["A", "B"],
}


@pytest.fixture
def fruit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Other:
    return declare(tmp_path, ROW, "weight: float", monkeypatch)


def derive(folder: Path, code: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make the module `inputs` of a package whose features.py has this code."""
    return declare(folder, ROW, "weight: float", monkeypatch, features=code).inputs


def refused(folder: Path, code: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Say what the package says of this code in its features.py when it is imported, or asked for the inputs."""
    with pytest.raises(Exception, match=r"^features\.py: ") as raised:
        derive(folder, code, monkeypatch).tensors(VALUES)
    assert raised.typename == "Problem"
    return str(raised.value)


def column(inputs: dict[str, Any], name: str) -> list[Any]:
    assert inputs[name].shape == (2, 1)
    values: list[Any] = inputs[name][:, 0].tolist()
    return values


def test_a_missing_value_of_the_sample_is_nan_or_empty_text() -> None:
    inputs = tensors({name: [EXAMPLE[name], None] for name in COLUMNS})
    assert list(inputs) == list(INPUTS)
    for name, kind in kinds().items():
        assert inputs[name].shape == (2, 1)
        if kind == Kind.NUMBER:
            assert inputs[name].dtype == np.float64
            assert np.isnan(inputs[name][1, 0])
        else:
            assert inputs[name][1, 0] == ""


def test_each_kind_of_column_becomes_an_input_of_its_own_kind(fruit: Other) -> None:
    inputs = fruit.inputs.tensors(VALUES)
    numbers = ["length", "width", "ripe", "day", "moment"]
    assert [inputs[name].dtype for name in numbers] == [np.float64] * 5
    assert column(inputs, "length") == [0.1, pytest.approx(np.nan, nan_ok=True)]
    assert column(inputs, "width") == [2**53, 3]
    assert column(inputs, "colour") == ["red", ""]
    assert column(inputs, "grade") == ["1", "2"]
    assert column(inputs, "ripe") == [1, pytest.approx(np.nan, nan_ok=True)]
    assert column(inputs, "day") == [10, pytest.approx(np.nan, nan_ok=True)]
    assert column(inputs, "moment") == [1.5, pytest.approx(np.nan, nan_ok=True)]
    assert column(inputs, "remark") == ["fell from the tree", ""]


def test_what_is_asked_is_not_what_is_seen(fruit: Other) -> None:
    assert set(fruit.columns.COLUMNS) - set(fruit.inputs.INPUTS) == {"plot"}
    assert "plot" not in fruit.inputs.tensors(VALUES)


def test_a_time_with_a_zone_is_the_same_moment_in_utc(fruit: Other) -> None:
    moments = [
        datetime(2024, 1, 1, 12, tzinfo=UTC),
        datetime(2024, 1, 1, 14, tzinfo=timezone(timedelta(hours=2))),
        datetime(2024, 1, 1, 12),
    ]
    seconds = fruit.inputs.tensors({"moment": moments}, ["moment"])["moment"]
    assert seconds[:, 0].tolist() == [1704110400] * 3


def test_an_array_and_a_list_come_to_the_same(fruit: Other) -> None:
    """Tables give arrays, and requests give lists."""
    arrays = {
        "length": np.array([0.1, np.nan]),
        "ripe": np.array([1, np.nan]),
        "day": np.array(["1970-01-11", "NaT"], "datetime64[D]"),
        "moment": np.array(["1970-01-01T00:00:01.5", "NaT"], "datetime64[us]"),
    }
    tabled, requested = fruit.inputs.tensors(arrays, arrays), fruit.inputs.tensors(VALUES, arrays)
    for name in arrays:
        np.testing.assert_array_equal(tabled[name], requested[name])


def test_only_the_inputs_that_are_named_are_made(fruit: Other) -> None:
    assert list(fruit.inputs.tensors({"width": [1]}, ["width"])) == ["width"]


def test_no_rows_are_no_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "def twice(width: Numbers) -> Numbers:\n    return width * 2\n\nDERIVED = [twice]"
    found = derive(tmp_path, code, monkeypatch).tensors({name: [] for name in VALUES})
    assert "twice" in found
    assert all(array.shape == (0, 1) for array in found.values())


DERIVED = """
def ratio(length: Numbers, width: Numbers) -> Numbers:
    return length / (width - 3)

def weekday(day: Dates) -> Categories:
    return np.where(np.isnat(day), "", (day.astype(int) % 7).astype(str))

def age(day: Dates, moment: Dates) -> Numbers:
    return (moment - day) / np.timedelta64(1, "D")

def both(ripe: Numbers, plot: Categories) -> Numbers:
    return (ripe == 1) & (plot == "A")

def words(remark: Texts, colour: Categories) -> Texts:
    return remark + " " + colour

DERIVED = [ratio, weekday, age, both, words]
"""


def test_functions_of_features_get_whole_columns_by_their_fields(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = derive(tmp_path, DERIVED, monkeypatch)
    inputs = module.tensors(VALUES)
    nan = pytest.approx(np.nan, nan_ok=True)
    assert column(inputs, "ratio") == [pytest.approx(0.1 / 2**53), nan]
    assert column(inputs, "weekday") == ["3", ""]
    assert column(inputs, "age") == [pytest.approx(1.5 / 86_400 - 10), nan]
    assert column(inputs, "both") == [1, 0]
    assert column(inputs, "words") == ["Fell FROM the tree red", " "]
    assert module.kinds(["ratio", "weekday", "words"]) == {"ratio": "number", "weekday": "category", "words": "text"}


def test_what_is_infinite_or_undefined_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    code = """
    def inverse(width: Numbers) -> Numbers:
        return 1 / width

    def logarithm(width: Numbers) -> Numbers:
        return np.log(width)

    DERIVED = [inverse, logarithm]
    """
    found = derive(tmp_path, code, monkeypatch).tensors({"width": [0, -1]}, ["inverse", "logarithm"])
    np.testing.assert_array_equal(found["inverse"][:, 0], [np.nan, -1])
    np.testing.assert_array_equal(found["logarithm"][:, 0], [np.nan, np.nan])
    assert not recwarn.list


@pytest.mark.parametrize(
    ("signature", "result", "says"),
    [
        (
            "size(length: Numbers) -> Numbers",
            "length.sum()",
            "size gives an array of shape () for columns of shape (2,)",
        ),
        ("size(length: Numbers) -> Numbers", "length[:1]", "shape (1,) for columns of shape (2,)"),
        ("size(length: Numbers) -> Numbers", "np.stack([length, length], 1)", "shape (2, 2)"),
        ("size(colour: Categories) -> Numbers", "colour", "size gives an array of object, not of numbers"),
        ("size(day: Dates) -> Numbers", "day - day[0]", "size gives an array of timedelta64[D], not of numbers"),
        ("size(day: Dates) -> Numbers", "day", "size gives an array of datetime64[D], not of numbers"),
        (
            "size(colour: Categories) -> Categories",
            "np.where(colour == '', None, colour)",
            "gives None, which is no text",
        ),
        ("size(width: Numbers) -> Categories", "width", "size gives 9007199254740992.0, which is no text"),
        ("size(length: Numbers)", "length", "size must take columns and say what it makes: -> Numbers"),
        ("size(length: Numbers) -> float", "length", "size must take columns and say what it makes"),
        ("size() -> Numbers", "np.zeros(2)", "size must take columns"),
        ("size(height: Numbers) -> Numbers", "height", "size takes height; the fields of Row are length, width"),
        ("size(weight: Numbers) -> Numbers", "weight", "size takes weight; the fields of Row are"),
        ("width(length: Numbers) -> Numbers", "length", "width is the name of a column already"),
    ],
)
def test_a_function_that_makes_no_input_is_told_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signature: str, result: str, says: str
) -> None:
    name = signature.split("(", maxsplit=1)[0]
    said = refused(tmp_path, f"def {signature}:\n    return {result}\n\nDERIVED = [{name}]", monkeypatch)
    assert says in said
    assert "\n" not in said


def test_a_model_without_inputs_is_told_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = declare(tmp_path, 'plot: Annotated[str, ASIDE, Field(examples=["A"])]', "weight: float", monkeypatch)
    with pytest.raises(Exception, match="the model has no input; take ASIDE off a column") as raised:
        _ = other.inputs
    assert type(raised.value).__name__ == "Problem"


def test_a_fingerprint_is_of_the_function_and_not_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = DERIVED.replace("width - 3", "width - 4")
    one, other = (derive(tmp_path, code, monkeypatch).INPUTS for code in (DERIVED, changed))
    assert [name for name in one if one[name].fingerprint != other[name].fingerprint] == ["ratio"]


def test_a_fingerprint_is_of_the_columns_that_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same code makes something else of a column that holds something else."""
    code = "def same(width) -> Numbers:\n    return width\n\nDERIVED = [same]"
    one = derive(tmp_path, code, monkeypatch).INPUTS
    row = ROW.replace(
        "width: Annotated[int, Field(examples=[2])]", "width: Annotated[date, Field(examples=['2024-01-01'])]"
    )
    other = declare(tmp_path, row, "weight: float", monkeypatch, features=code).inputs.INPUTS
    assert [name for name in one if one[name].fingerprint != other[name].fingerprint] == ["width", "same"]
