import re
import subprocess
import sys
from pathlib import Path

import pytest

from .other import declare

X = "x: Annotated[float, Field(examples=[1])]"
Y = "y: float"


@pytest.mark.parametrize(
    ("row", "example", "words"),
    [
        ("x: float", Y, "Row.x has no example; write Field(examples=[…])"),
        (X, "", "Example adds no field to Row; write the target as its field"),
        (
            X,
            "y: float\nz: float\nw: str",
            "Example adds y, z, w to Row; only one can be the target: write Annotated[…, ASIDE]",
        ),
        (X, "y: Annotated[float, ASIDE]", "Example adds no field to Row; write the target as its field"),
        (X, "y: float | None = None", "Example.y may be None; take that out, a target is always known"),
        (
            "x: Annotated[list[float], Field(examples=[[1]])]",
            Y,
            "Row.x is of type list[float]; write float, int, bool, str",
        ),
        ("x: Annotated[bytes, Field(examples=['a'])]", Y, "Row.x is of type bytes; write float, int, bool, str, date"),
        ("x: Annotated[float | str, Field(examples=[1])]", Y, "Row.x is of type float, str; write float, int"),
        ("x: Annotated[None, Field(examples=[1])]", Y, "Row.x is of type nothing; write float, int"),
        (
            "date: Annotated[date, Field(examples=['2024-05-01'])] | None = None",
            Y,
            "Row.date hides the type date, whose name it has; write from datetime import date as Date, and take Date",
        ),
        (
            "float: Annotated[float, Field(examples=[1])] | None = None",
            Y,
            "Row.float hides the type float, whose name it has; write from builtins import float as Float, and take",
        ),
        (X, "y: list[int]", "Example.y is of type list[int]; write float, int, bool, str, date, datetime or a Literal"),
        (
            f"{X}\nother: Annotated[float, Field(alias='x', examples=[1])]",
            Y,
            "Row.other and Row.x are both 'x'",
        ),
        ("x: Annotated[float, Field(gt=0, examples=[-1])]", Y, "the example of x breaks its own rule; correct it ("),
        (
            "x: Annotated[float, Field(alias='größe', gt=0, examples=[-1])]",
            Y,
            "the example of größe breaks its own rule; correct it (",
        ),
        (
            "x: Annotated[float, Field(alias='größe', examples=[1])] | None = None",
            Y,
            "Row.x has its alias within `| None`, where it is not looked for; write Annotated[float | None, Field(",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:The 'alias' attribute")
def test_a_mistake_in_the_schema_is_one_line(
    row: str, example: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = declare(tmp_path, row, example, monkeypatch)
    with pytest.raises(other.errors.Problem) as caught:
        _ = other.columns
    assert str(caught.value).startswith(f"schema.py: {words}")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "target", ["class_: Annotated[bool, Field(alias='class')]", "y: Annotated[str, Kind.CATEGORY]"]
)
def test_a_target_by_any_name_is_found(target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = declare(tmp_path, X, f"{target}\ngroup: Annotated[str, ASIDE]", monkeypatch).columns
    assert columns.TARGET in ("class", "y")
    assert list(columns.EXTRA) == [columns.TARGET, "group"]


@pytest.mark.parametrize(
    ("row", "line", "words"),
    [
        ("x: Annotated[float, Field(examples=[1])]\ny = 3", 9, "A non-annotated attribute was detected: `y = 3`"),
        ("x: Annotated[float, Field(examples=[1])]\nz: flaot", 12, "name 'flaot' is not defined"),
    ],
)
def test_what_python_and_pydantic_refuse_is_one_line_from_every_command(
    row: str, line: int, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = declare(tmp_path, row, "y: float", monkeypatch)
    command = [sys.executable, "-m", f"{other.name}.columns"]
    done = subprocess.run(command, cwd=tmp_path / "src", capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"schema.py, line {line}: ")
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_schema_that_is_no_python_is_told_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = declare(tmp_path, "x: Annotated[float, Field(examples=[1])", "y: float", monkeypatch)
    with pytest.raises(SyntaxError) as caught:
        _ = other.columns
    assert other.errors.mistake(caught.value).startswith("schema.py, line 11: '[' was never closed")


def test_a_mistake_elsewhere_is_none_of_the_schema(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = declare(tmp_path, X, Y, monkeypatch)
    with pytest.raises(ZeroDivisionError) as caught:
        _ = 1 / 0
    assert other.errors.mistake(caught.value) is None


def test_a_rule_that_fails_for_a_row_is_no_mistake_of_the_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = """
    x: Annotated[float, Field(examples=[1])]

    @property
    def share(self):
        return 1 / self.x
    """
    other = declare(tmp_path, row, Y, monkeypatch)
    with pytest.raises(ZeroDivisionError) as caught:
        _ = other.schema.Row(x=0).share
    assert other.errors.mistake(caught.value) is None


def test_a_mistake_in_a_feature_is_told_by_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    features = """
    def twice(x: Numbers) -> Numbers:
        return y * 2

    DERIVED = [twice]
    """
    other = declare(tmp_path, X, Y, monkeypatch, features=features)
    with pytest.raises(NameError) as caught:
        other.inputs.tensors({"x": [1.0]})
    assert re.fullmatch(
        r"features\.py, line \d+: name 'y' is not defined; correct it", other.errors.mistake(caught.value)
    )


def test_what_the_schema_says_of_a_row_is_no_mistake_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rule = """
    x: Annotated[float, Field(examples=[1])]

    def model_post_init(self, context: object) -> None:
        if self.x > 1:
            raise RuntimeError("too much")
    """
    other = declare(tmp_path, rule, Y, monkeypatch)
    with pytest.raises(RuntimeError) as caught:
        other.schema.Row(x=2)
    assert other.errors.mistake(caught.value) is None
