from collections import Counter
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from {{ cookiecutter.src_package_name }} import infer as module
from {{ cookiecutter.src_package_name }}.cli import start
from {{ cookiecutter.src_package_name }}.columns import EXAMPLE, TASK
from {{ cookiecutter.src_package_name }}.errors import Problem
from {{ cookiecutter.src_package_name }}.infer import State, infer
from {{ cookiecutter.src_package_name }}.predictor import Loaded, Predictor

from .conftest import a_number, configure

ID = str(configure("infer").data.id)


@pytest.fixture
def predictor(champion: Loaded) -> Predictor:
    return champion.predictor


def fill(inbox: Path) -> Path:
    """Leave one file of ten rows."""
    for file in inbox.iterdir():
        file.unlink()
    pl.DataFrame([EXAMPLE | {ID: f"row {number}"} for number in range(10)]).write_csv(inbox / "ten.csv")
    return inbox


@pytest.fixture
def inbox(folder: Path) -> Path:
    """An inbox with one file of ten rows."""
    return fill(folder / "data/inbox")


def score(predictor: Predictor, *overrides: str, model: str = "name/1") -> list[tuple[str, State, bool]]:
    return list(infer(configure("infer", *overrides), predictor, model))


def predictions(folder: Path, name: str = "ten.csv") -> pl.DataFrame:
    return pl.read_parquet(folder / "data/predictions" / name / "part-*.parquet")


def test_every_row_is_scored_and_keeps_its_name(folder: Path, inbox: Path, predictor: Predictor) -> None:
    score(predictor, "batch_rows=4")
    scored = predictions(folder)
    assert scored[ID].to_list() == [f"row {number}" for number in range(10)]
    assert scored["model"].unique().to_list() == ["name/1"]
    assert scored["prediction"].null_count() == 0
    assert any(name.startswith("probability_") for name in scored.columns) is (TASK == "classification")


def test_the_size_of_batches_changes_nothing(folder: Path, inbox: Path, predictor: Predictor) -> None:
    score(predictor)
    whole = predictions(folder)
    score(predictor, "batch_rows=3")
    assert_frame_equal(predictions(folder), whole)


def test_bad_rows_are_set_aside_with_reasons(folder: Path, inbox: Path, predictor: Predictor) -> None:
    text = (inbox / "ten.csv").read_text().splitlines()
    column = text[0].split(",").index(a_number())
    cells = text[7].split(",")
    cells[column] = "much"
    (inbox / "ten.csv").write_text("\n".join([*text[:7], ",".join(cells), *text[8:]]))
    [(_, state, _)] = score(predictor, "batch_rows=3")
    rejected = pl.read_csv(folder / "data/predictions/ten.csv/rejected-000002.csv")
    assert (state.rows, state.rejected, len(predictions(folder))) == (10, 1, 9)
    assert rejected.select("row", "column").rows() == [(7, a_number())]


def test_a_stopped_run_goes_on_where_it_stopped(
    folder: Path, inbox: Path, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, real = [], module._predict

    def count(*args: object) -> pl.DataFrame:
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(module, "_predict", count)
    with pytest.raises(KeyboardInterrupt):
        score(predictor, "batch_rows=2")
    score(predictor, "batch_rows=2")
    assert len(calls) == 6  # two, the one that was stopped, and the three that were left
    assert len(predictions(folder)) == 10


def test_what_is_done_is_not_done_again_unless_something_changed(
    folder: Path, inbox: Path, predictor: Predictor
) -> None:
    assert [worked for _, _, worked in score(predictor)] == [True]
    assert [worked for _, _, worked in score(predictor)] == [False]
    assert [worked for _, _, worked in score(predictor, model="name/2")] == [True]
    pl.DataFrame([EXAMPLE]).write_csv(inbox / "ten.csv")
    assert [worked for _, _, worked in score(predictor, model="name/2")] == [True]
    assert len(predictions(folder)) == 1


def test_csv_and_parquet_score_alike(folder: Path, inbox: Path, predictor: Predictor) -> None:
    rows = pl.DataFrame([EXAMPLE] * 3)
    rows.write_csv(inbox / "a.csv")
    rows.write_parquet(inbox / "b.parquet")
    score(predictor)
    assert predictions(folder, "a.csv").equals(predictions(folder, "b.parquet"))


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_every_file_falls_to_one_shard(count: int) -> None:
    names = [f"part-{number}.csv" for number in range(1000)]
    sizes = Counter(module._shard(name, count) for name in names)
    assert sorted(sizes) == list(range(count))
    assert min(sizes.values()) > 0.8 * len(names) / count


def test_shards_share_the_inbox(folder: Path, inbox: Path, predictor: Predictor) -> None:
    for number in range(8):
        (inbox / f"{number}.csv").write_text((inbox / "ten.csv").read_text())
    first = score(predictor, "shard.count=2", "shard.index=0")
    pl.DataFrame([EXAMPLE]).write_csv(inbox / "late.csv")
    second = score(predictor, "shard.count=2", "shard.index=1")
    assert 0 < len(first) < 9
    again = score(predictor, "shard.count=2", "shard.index=0")
    assert {name for name, _, worked in first + second + again if worked} == {file.name for file in inbox.iterdir()}
    assert sum(worked for _, _, worked in first + second + again) == 10


@pytest.mark.parametrize(("count", "index"), [("2", "2"), ("2", "-1"), ("0", "0"), ("2", "one"), ("1.5", "0")])
def test_a_shard_that_does_not_exist_is_a_problem(
    folder: Path, inbox: Path, predictor: Predictor, count: str, index: str
) -> None:
    with pytest.raises(Problem, match=rf"shard.count={count} shard.index={index}"):
        score(predictor, f"shard.count={count}", f"shard.index={index}")


def test_a_shard_without_files_says_so(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(trained / "data/inbox")
    idle = 1 - module._shard("ten.csv", 2)
    monkeypatch.setattr("sys.argv", ["infer", "shard.count=2", f"shard.index={idle}"])
    with pytest.raises(SystemExit):
        start("infer")
    assert f"nothing to do: no file of the inbox falls to shard {idle} of 2" in capsys.readouterr().out


def test_a_missing_column_is_named(folder: Path, inbox: Path, predictor: Predictor) -> None:
    pl.DataFrame([EXAMPLE]).drop(a_number()).write_csv(inbox / "ten.csv")
    with pytest.raises(Problem, match=rf"no column '{a_number()}'"):
        score(predictor)
