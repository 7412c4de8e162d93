import random
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn import datasets

from {{ cookiecutter.src_package_name }}.prepare import prepare

from .conftest import configure
from .other import declare


def notes(folder: Path, table: pl.DataFrame, row: str, example: str, patch: pytest.MonkeyPatch, *settings: str) -> str:
    """Prepare a table under another schema, and give what is said of it."""
    other = declare(folder, row, example, patch)
    table.write_csv(folder / "raw.csv")
    return "\n".join(other.prepare.prepare(other.config(*settings)).notes)


def fields(table: pl.DataFrame) -> str:
    return "\n".join(f"{name}: Annotated[float, Field(examples=[1])]" for name in table.columns)


def numbers(values: Any) -> pl.DataFrame:
    return pl.DataFrame({f"x{number}": column for number, column in enumerate(np.asarray(values).T)})


def like_california(rows: int = 4000) -> tuple[Any, Any]:
    """Two crowded regions with rounded coordinates, long tails, and a target that is cut off."""
    rng = np.random.default_rng(0)
    north = rng.random(rows) < 0.5
    latitude = np.round(np.where(north, 37.7, 34) + rng.normal(size=rows) * 0.3, 2)
    longitude = np.round(-118 - (latitude - 34) * 1.1 + rng.normal(size=rows) * 0.3, 2)
    income, people = rng.lognormal(1.2, 0.5, rows), np.round(rng.lognormal(7, 0.7, rows))
    columns = [
        np.round(income, 4),
        rng.integers(1, 53, rows),
        rng.lognormal(1.6, 0.3, rows),
        people,
        latitude,
        longitude,
    ]
    return np.stack(columns, axis=1), np.minimum(income * 0.4 + rng.normal(size=rows) * 0.3, 5)


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer", "diabetes", "like_california"])
def test_nothing_is_said_of_sound_tables(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "like_california":
        values, target = like_california()
    else:
        values, target = getattr(datasets, f"load_{name}")(return_X_y=True)
    kind = "Literal[0, 1, 2]" if len(set(target)) <= 3 else "float"
    table = numbers(values)
    said = notes(tmp_path, table.with_columns(y=pl.Series(target)), fields(table), f"y: {kind}", monkeypatch)
    assert [line for line in said.splitlines() if not line.startswith("class")] == []


def test_nothing_is_said_of_the_sample(folder: Path) -> None:
    assert prepare(configure("prepare")).notes == []


def patients() -> pl.DataFrame:
    """150 patients with ten nearly equal rows each, and a coin for each patient."""
    rng = np.random.default_rng(0)
    people = rng.normal(size=(150, 1, 5))
    table = numbers((people + 0.03 * rng.normal(size=(150, 10, 5))).reshape(-1, 5))
    ill = np.repeat(rng.random(150) < 0.5, 10)
    return table.with_columns(patient=pl.Series(np.repeat(np.arange(150), 10)), ill=pl.Series(ill))


@pytest.mark.parametrize(("by", "told"), [("content", True), ("[patient]", False)])
def test_rows_of_one_patient_in_two_splits_are_told(
    by: str, told: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = fields(patients().select(pl.selectors.starts_with("x")))
    said = notes(tmp_path, patients(), row, "ill: bool", monkeypatch, f"data.split.by={by}")
    assert ("as if they were of one person" in said) == told


def noise(rows: int = 1000) -> pl.DataFrame:
    rng = np.random.default_rng(1)
    return pl.DataFrame({"x": rng.normal(size=rows), "y": rng.integers(0, 2, rows).astype(bool)})


X = "x: Annotated[float, Field(examples=[1])]"


@pytest.mark.parametrize(
    ("leak", "kind"),
    [
        (pl.col("y").cast(pl.Int8) * 7, "int"),
        (pl.when("y").then(pl.lit("a")).otherwise(pl.lit("b")), "str"),
        (pl.col("y").cast(pl.Int8) + pl.col("x").rank() / 1001, "float"),
        (pl.when(pl.int_range(pl.len()) % 5 > 0).then(pl.col("y")), "bool | None"),
    ],
)
def test_a_column_that_answers_the_target_is_told(
    leak: pl.Expr, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = f"{X}\nleak: Annotated[{kind}, Field(examples=[1])]".replace("examples=[1])]", "examples=['1'])]")
    said = notes(tmp_path, noise().with_columns(leak=leak), row, "y: bool", monkeypatch)
    assert ("leak alone gives y away" in said) == (kind != "bool | None")
    assert "x alone" not in said


def test_a_number_that_answers_a_number_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = noise().with_columns(z=pl.col("x").exp() * 3).with_columns(noise=pl.col("x").shuffle(1))
    row = f"{X}\nnoise: Annotated[float, Field(examples=[1])]"
    said = notes(tmp_path, table, row, "z: float", monkeypatch)
    assert "x alone gives z away (it explains 100.0% of what varies)" in said
    assert "noise alone" not in said


def test_equal_rows_with_different_targets_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = noise()
    twice = pl.concat([table, table.head(7).with_columns(~pl.col("y")), table.slice(20, 5)])
    said = notes(tmp_path, twice, X, "y: bool", monkeypatch)
    assert "14 of 1012 rows are equal to another in every column of Row, and not in y" in said


def test_equal_rows_that_ids_part_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    twice = pl.concat([noise(), noise()]).with_row_index("id")
    said = notes(tmp_path, twice, X, "y: bool", monkeypatch)
    assert "are equal in every column to a row of another split, because rows are split by id" in said
    said = notes(tmp_path / "b", twice, X, "y: bool", monkeypatch, "data.split.by=content")
    assert "of another split" not in said


def test_a_constant_column_and_an_id_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = noise().with_columns(number=pl.int_range(pl.len()), unit=pl.lit("mm"), gone=pl.lit(None, pl.String))
    row = f"""
    {X}
    number: Annotated[int, Field(examples=[1])]
    unit: Annotated[str, Field(examples=["mm"])]
    gone: Annotated[str | None, Field(examples=["a"])] = None
    """
    said = notes(tmp_path, table, row.replace("    ", ""), "y: bool", monkeypatch)
    assert "number is a whole number that is different in each of 1000 rows" in said
    assert "unit is 'mm' in all of 1000 rows" in said
    assert "gone is empty in all of 1000 rows" in said


@pytest.mark.parametrize(("mark", "told"), [("Field()", True), ("Kind.TEXT", False), ("ASIDE", False)])
def test_texts_that_are_no_categories_are_told(
    mark: str, told: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["good", "bad", "fine", "awful", "great", "poor", "lovely", "sad", "nice", "grim"]
    texts = [" ".join(random.Random(number).choices(words, k=6)) for number in range(1000)]
    row = f"{X}\ntext: Annotated[str, {mark}, Field(examples=['good'])]"
    said = notes(tmp_path, noise().with_columns(text=pl.Series(texts)), row, "y: bool", monkeypatch)
    assert ("different texts in 1000 rows" in said) == told


def test_classes_that_are_missing_or_rare_in_a_split_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = noise().with_columns(
        c=pl.when(pl.int_range(pl.len()) < 2).then(pl.lit("rare")).otherwise(pl.lit("usual")),
        part=pl.Series(["train", "test"] + ["train"] * 500 + ["valid"] * 300 + ["test"] * 198),
    )
    said = notes(tmp_path, table, X, 'c: Literal["rare", "usual"]', monkeypatch, "data.split.given=part")
    assert "class rare is missing from valid: measures that need every class are undefined there" in said
    assert "class rare (1) has fewer than 5 rows in test: measures on so few say little" in said


def test_a_large_table_is_looked_at_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = declare(tmp_path, f"{X}\nunit: Annotated[str, Field(examples=['mm'])]", "y: bool", monkeypatch)
    monkeypatch.setattr(other.review, "LOOKED_AT", 500)
    noise(3000).with_columns(unit=pl.lit("mm")).write_csv(tmp_path / "raw.csv")
    one, again = (other.prepare.prepare(other.config(f"shard_bytes={size}")).notes for size in (10**6, 3000))
    assert one == again
    assert "rows looked at" in one[0]
    assert 400 < int(one[0].split("all of ")[1].split()[0]) < 600
