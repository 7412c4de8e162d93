import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from {{ cookiecutter.src_package_name }} import CONF, engine, predictions, scoring
from {{ cookiecutter.src_package_name }} import infer as module
from {{ cookiecutter.src_package_name }}.cli import start
from {{ cookiecutter.src_package_name }}.columns import EXAMPLE, TASK
from {{ cookiecutter.src_package_name }}.errors import Problem
from {{ cookiecutter.src_package_name }}.infer import Outcome, infer
from {{ cookiecutter.src_package_name }}.predictions import Part, Source
from {{ cookiecutter.src_package_name }}.predictor import Loaded
from {{ cookiecutter.src_package_name }}.scoring import Champion, Done

from .conftest import a_number, configure

NO_SOURCE = {"content": "", "model": "", "settings": ""}
ID = str(configure("infer").data.id)


@pytest.fixture(autouse=True)
def _loaded(champion: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let any version be the champion that the tests share."""
    monkeypatch.setattr(scoring, "load", lambda _: champion)


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


SMALL = "shard_bytes=100"  # two or three rows of the inbox


def score(*overrides: str, version: str = "1") -> list[Outcome]:
    return list(infer(configure("infer", *overrides), Champion("", "name", version, 1)))


def scored(folder: Path, name: str = "ten.csv", version: str = "1") -> pl.DataFrame:
    return predictions.read(folder / "data/predictions" / name / version)


def test_every_row_is_scored_and_keeps_its_name(folder: Path, inbox: Path) -> None:
    score(SMALL)
    table = scored(folder)
    assert table[ID].to_list() == [f"row {number}" for number in range(10)]
    assert table["model"].unique().to_list() == ["name/1"]
    assert table["prediction"].null_count() == 0
    assert any(name.startswith("probability_") for name in table.columns) is (TASK == "classification")


def test_the_size_of_shards_changes_nothing(folder: Path, inbox: Path) -> None:
    score()
    whole = scored(folder)
    score(SMALL)
    assert_frame_equal(scored(folder), whole)
    assert len(list((folder / "data/predictions/ten.csv/1").glob("part-*.parquet"))) > 2


def spoil(inbox: Path, row: int) -> None:
    """Put a text where a number belongs."""
    lines = (inbox / "ten.csv").read_text().splitlines()
    cells = lines[row].split(",")
    cells[lines[0].split(",").index(a_number())] = "much"
    (inbox / "ten.csv").write_text("\n".join([*lines[:row], ",".join(cells), *lines[row + 1 :]]))


def test_bad_rows_are_set_aside_with_reasons(folder: Path, inbox: Path) -> None:
    spoil(inbox, 7)
    [outcome] = score(SMALL)
    rejected = pl.read_csv(folder / "data/predictions/ten.csv/1/rejected.csv")
    assert outcome.state
    assert (outcome.state.rows, outcome.state.rejected, len(scored(folder))) == (10, 1, 9)
    assert rejected.select("row", "column").rows() == [(7, a_number())]


def test_rows_without_an_id_are_set_aside(folder: Path, inbox: Path) -> None:
    spoil(inbox, 5)
    rows = pl.read_csv(inbox / "ten.csv", infer_schema=False)
    named = ~pl.col(ID).is_in(["row 2", "row 7"])
    rows.with_columns(pl.when(named).then(pl.col(ID)).alias(ID)).write_csv(inbox / "ten.csv")
    score(SMALL)
    rejected = pl.read_csv(folder / "data/predictions/ten.csv/1/rejected.csv")
    assert rejected.select("row", "column").rows() == [(3, ID), (5, a_number()), (8, ID)]
    assert rejected["rule"][0] == "the id is missing; fill it in, or set data.id=null"
    assert scored(folder)[ID].to_list() == [f"row {number}" for number in range(10) if number not in (2, 4, 7)]


def test_a_stopped_run_goes_on_where_it_stopped(folder: Path, inbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, real = [], scoring._predict

    def count(*args: object) -> pl.DataFrame:
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(scoring, "_predict", count)
    with pytest.raises(KeyboardInterrupt):
        score(SMALL)
    with pytest.raises(Problem, match="no complete predictions"):
        scored(folder)
    [outcome] = score(SMALL)
    assert outcome.state
    assert len(calls) == sum(part.rows > 0 for part in outcome.state.parts) + 1  # the one that was stopped
    assert len(scored(folder)) == 10


def worked(outcomes: list[Outcome]) -> list[bool]:
    return [outcome.worked for outcome in outcomes]


def test_what_is_done_is_not_done_again_unless_something_changed(folder: Path, inbox: Path) -> None:
    assert worked(score()) == [True]
    assert worked(score()) == [False]
    assert worked(score(version="2")) == [True]
    pl.DataFrame([EXAMPLE]).write_csv(inbox / "ten.csv")
    assert worked(score(version="2")) == [True]
    assert (len(scored(folder, version="1")), len(scored(folder, version="2"))) == (10, 1)


def test_parts_that_are_gone_are_made_again(folder: Path, inbox: Path) -> None:
    score(SMALL)
    parts = folder / "data/predictions/ten.csv/1"
    (parts / "part-000001.parquet").unlink()
    (parts / "part-000002.parquet").write_bytes(b"PAR1")
    assert worked(score(SMALL)) == [True]
    assert len(scored(folder)) == 10


def test_predictions_that_were_changed_are_refused(folder: Path, inbox: Path) -> None:
    score()
    file = folder / "data/predictions/ten.csv/1/part-000000.parquet"
    file.write_bytes(file.read_bytes()[:-9] + bytes(9))
    with pytest.raises(Problem, match="is not what infer wrote"):
        scored(folder)


def test_a_file_that_changes_while_it_is_scored_is_not_done(
    folder: Path, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = scoring._predict

    def replaced(*args: object) -> pl.DataFrame:
        (inbox / "ten.csv").write_text((inbox / "ten.csv").read_text() + "\n")
        return real(*args)

    monkeypatch.setattr(scoring, "_predict", replaced)
    [outcome] = score()
    assert "was changed while it was read" in outcome.refused
    with pytest.raises(Problem, match="no complete predictions"):
        scored(folder)


def test_csv_and_parquet_score_alike(folder: Path, inbox: Path) -> None:
    rows = pl.DataFrame([EXAMPLE] * 3)
    rows.write_csv(inbox / "a.csv")
    rows.write_parquet(inbox / "b.parquet")
    score()
    assert scored(folder, "a.csv").equals(scored(folder, "b.parquet"))


@pytest.mark.parametrize("stopped", [False, True])
def test_workers_share_the_shards_of_a_file(stopped: bool, folder: Path, inbox: Path) -> None:
    spoil(inbox, 10)
    score(SMALL, version="whole")
    [first] = score(SMALL, "worker.count=2", "worker.index=0")
    assert (first.state, first.worked) == (None, True)
    with pytest.raises(Problem, match="no complete predictions"):
        scored(folder)
    if stopped:  # and is started again
        [first] = score(SMALL, "worker.count=2", "worker.index=0")
        assert (first.state, first.worked) == (None, False)
    [second] = score(SMALL, "worker.count=2", "worker.index=1")
    assert second.state
    assert (second.state.rows, second.state.rejected) == (10, 1)
    assert_frame_equal(scored(folder).drop("model"), scored(folder, version="whole").drop("model"))
    rejected = pl.read_csv(folder / "data/predictions/ten.csv/1/rejected.csv")
    assert rejected["row"].to_list() == [10]


@pytest.mark.parametrize(("count", "index"), [("2", "2"), ("2", "-1"), ("0", "0"), ("2", "one"), ("1.5", "0")])
def test_a_worker_that_does_not_exist_is_a_problem(folder: Path, inbox: Path, count: str, index: str) -> None:
    with pytest.raises(Problem, match=rf"worker.count={count} worker.index={index}"):
        score(f"worker.count={count}", f"worker.index={index}")


ADDRESS = "tcp://127.0.0.1:8786"
UNSEEN = [Done("ten.csv", 0, refusal="gone", absent=True), Done("ten.csv", 0, Part(source=Source(**NO_SOURCE)))]


@pytest.mark.parametrize("done", UNSEEN, ids=["has no such file", "writes elsewhere"])
def test_a_worker_that_does_not_share_the_storage_is_a_problem(
    done: Done, folder: Path, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "results", lambda *_: (each for each in [done]))
    with pytest.raises(Problem, match=f"compute={ADDRESS}: its workers do not see .*ten.csv"):
        score(f"compute={ADDRESS}")


def test_workers_elsewhere_need_a_server(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    with pytest.raises(Problem, match=r"its workers cannot ask sqlite:///mlflow\.db"):
        module.main(configure("infer", f"compute={ADDRESS}"))


def test_a_file_that_one_shard_spoils_is_not_read_on(
    folder: Path, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = (inbox / "ten.csv").read_bytes().splitlines(keepends=True)
    (inbox / "ten.csv").write_bytes(b"".join([*lines[:4], b"\xe9" + lines[4], *lines[5:]]))
    [outcome] = score(SMALL)
    assert "is not UTF-8 at row 4" in outcome.refused
    assert len(list((folder / "data/predictions/ten.csv/1").glob("part-*.json"))) == 1
    fill(inbox)
    assert worked(score(SMALL)) == [True]
    assert not (folder / "data/predictions/ten.csv/refused.txt").exists()


def test_two_processes_score_as_one_does(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(trained / "data/inbox")
    one, two = ([SMALL, f"compute={compute}", f"data.predictions=by-{compute}"] for compute in (1, 2))
    monkeypatch.setattr("sys.argv", ["infer", *one])
    with pytest.raises(SystemExit, match=r"^$"):
        start("infer")
    environment = {**os.environ, "PYTHONPATH": str(CONF.parent / "src")}
    subprocess.run([sys.executable, "-m", module.__name__, *two], cwd=trained, env=environment, check=True)
    by_one, by_two = (sorted((trained / f"data/by-{compute}/ten.csv/1").iterdir()) for compute in (1, 2))
    assert by_one
    assert [(file.name, file.read_bytes()) for file in by_one] == [(file.name, file.read_bytes()) for file in by_two]


def test_a_missing_column_is_named(folder: Path, inbox: Path) -> None:
    pl.DataFrame([EXAMPLE]).drop(a_number()).write_csv(inbox / "ten.csv")
    [outcome] = score()
    assert f"no column '{a_number()}'" in outcome.refused


def test_a_file_that_cannot_be_read_does_not_stop_the_others(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    inbox = fill(trained / "data/inbox")
    (inbox / "cut.parquet").write_bytes(b"PAR1 and no end")
    (inbox / "empty.csv").touch()
    monkeypatch.setattr("sys.argv", ["infer"])
    with pytest.raises(SystemExit, match=r"1 of 3 files could not be scored: cut\.parquet; the others are scored"):
        start("infer")
    told = capsys.readouterr().out.splitlines()
    assert [line.split(" by ")[0] for line in told] == [
        "cut.parquet: not scored: cut.parquet is cut: it has no end as Parquet files have it; copy it again",
        "empty.csv: 0 rows scored",
        "ten.csv: 10 rows scored",
    ]
    assert "is cut" in (trained / "data/predictions/cut.parquet/refused.txt").read_text()
