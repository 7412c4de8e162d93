import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

from {{ cookiecutter.src_package_name }} import challenger, plots, tables
from {{ cookiecutter.src_package_name }} import train as module
from {{ cookiecutter.src_package_name }}.columns import COLUMNS, TARGET, TASK
from {{ cookiecutter.src_package_name }}.errors import Problem
from {{ cookiecutter.src_package_name }}.inputs import INPUTS
from {{ cookiecutter.src_package_name }}.metrics import METRICS
from {{ cookiecutter.src_package_name }}.prepare import prepare

from .conftest import POOR, QUICK, configure, retrain, tracker, versions

CLASSES = pytest.mark.skipif(TASK == "regression", reason="the target is a number")


def champion() -> Any:
    return tracker().client.get_model_version(versions().name, str(versions().champion()))


def recorded() -> tuple[int, int]:
    """Count runs and versions."""
    client = tracker().client
    return len(client.search_runs([tracker().experiment])), len(
        client.search_model_versions(f"name='{versions().name}'")
    )


def test_a_run_tells_all_of_a_model(trained: Path) -> None:
    run = tracker().client.get_run(champion().run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["model.name"] == QUICK
    assert run.data.metrics["export_difference"] < 1e-4
    measured = {f"{split}_{name}" for split in ("valid", "test") for name in METRICS[TASK]}
    settled = {"export_difference", "threshold", "rounds"}
    assert set(run.data.metrics) | settled == measured | {f"naive_{name}" for name in measured} | settled
    assert run.data.tags["promoted"] == "true"
    assert run.data.tags["verdict"].startswith(f"{configure('train').objective[TASK]} ")
    files = Path(tracker().client.download_artifacts(run.info.run_id, ""))
    assert {"quality.png", "importance.png", "dependence.png"} <= {path.name for path in (files / "plots").iterdir()}
    assert yaml.safe_load((files / "config.yaml").read_text())["model"]["name"] == QUICK
    assert json.loads((files / "data/manifest.json").read_text())["splits"]["train"]["rows"] > 0


@pytest.mark.usefixtures("undrawn")
def test_a_model_says_of_how_many_rows_it_learned(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = retrain("rows=150", "gate.champion=none", "gate.naive=true")
    run, card = tracker().client.get_run(outcome.run_id), versions().load(versions().address).predictor.card
    manifest, found = tables.read(trained / "data/prepared", 150)
    assert (card.rows, card.rows_of) == (len(found["train"]), manifest.splits["train"].rows)
    assert card.rows_of > card.rows > 0
    assert run.data.tags["rows"] == f"{card.rows} of {card.rows_of}"
    assert run.data.params["rows"] == "150"
    assert f"rows=150: a model learns from {card.rows} of the training split's {card.rows_of} rows" in (
        capsys.readouterr().out
    )


def test_a_registered_model_names_what_it_is_asked_and_what_it_sees(trained: Path) -> None:
    card = versions().load(versions().address).predictor.card
    assert set(card.columns) == set(COLUMNS)
    assert {name: seen.fingerprint for name, seen in card.inputs.items()} == {
        name: made.fingerprint for name, made in INPUTS.items()
    }
    assert card.run_id == champion().run_id
    assert set(card.metrics) == set(card.naive)


def test_the_first_model_is_promoted_and_says_why(trained: Path) -> None:
    tags = champion().tags
    assert tags["promoted_over"] == "none"
    assert {"promoted_at", "promoted_by", "promoted_because"} <= set(tags)


@pytest.mark.usefixtures("undrawn")
def test_a_poorer_model_is_kept_and_not_promoted_and_a_better_one_takes_over(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    poorer = retrain(POOR)
    assert (poorer.version, versions().champion()) == ("2", "1")
    assert not poorer.verdict.promote
    assert " better than " in poorer.verdict.reason
    module.report(poorer, configure("train"))
    told = capsys.readouterr().out
    assert "version 2: kept, not promoted to champion: " in told
    assert "95% interval -" in told
    assert f"(naive {poorer.naive['test_' + configure('train').objective[TASK]]:.4f})" in told
    assert retrain(POOR, "gate.champion=none").verdict.promote
    better = retrain("folds=2")
    assert better.verdict.promote
    assert versions().champion() == better.version == "4"
    assert champion().tags["promoted_over"] == "3"
    run = tracker().client.get_run(better.run_id)
    assert "95% interval +" in run.data.tags["verdict"]
    assert f"folds_{configure('train').objective[TASK]}" in run.data.metrics


@pytest.mark.usefixtures("undrawn")
def test_what_the_validation_split_settled_is_printed_and_recorded(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = retrain("model=boosting", "model.params.max_iter=3", "model.early_stopping=5")
    assert "early stopping kept all 3 rounds, so it never stopped" in capsys.readouterr().out
    assert tracker().client.get_run(outcome.run_id).data.metrics["rounds"] == 3


@pytest.mark.usefixtures("undrawn")
def test_a_model_that_is_no_better_than_the_naive_answer_is_promoted_only_if_asked(folder: Path) -> None:
    prepare(configure("prepare"))
    naive = [f"objective.{TASK}={'accuracy' if TASK == 'classification' else 'r2'}", POOR]
    outcome = retrain(*naive)
    assert not outcome.verdict.promote
    assert "no better than the naive answer's" in outcome.verdict.reason
    assert versions().champion() is None
    assert retrain(*naive, "gate.naive=true").verdict.promote
    assert versions().champion() == "2"


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ([f"objective.{TASK}=nope"], "=nope: it is one of"),
        (["weight.classes=heavy"], "weight.classes=heavy"),
        (["threshold.at=2"], "threshold.at=2"),
    ],
)
def test_what_cannot_lead_to_a_verdict_is_refused_before_anything_is_fitted_or_recorded(
    trained: Path, overrides: list[str], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = recorded()
    monkeypatch.setattr(challenger, "fit", lambda *_: pytest.fail("fitted"))
    with pytest.raises(Problem, match=says):
        retrain(*overrides)
    assert recorded() == before


@CLASSES
def test_an_undefined_measure_is_a_sentence_before_anything_is_recorded(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A class has no row in the test split."""
    read, before = tables.read, recorded()

    def fewer(folder: object, *rows: object) -> tuple[tables.Manifest, dict[str, pl.DataFrame]]:
        manifest, found = read(folder, *rows)  # type: ignore[arg-type]
        absent = np.unique(found["train"][TARGET].to_numpy())[1]
        return manifest, {**found, "test": found["test"].filter(pl.col(TARGET) != absent)}

    monkeypatch.setattr(tables, "read", fewer)
    with pytest.raises(Problem, match="auc is not defined on the test split: no row of class"):
        retrain("objective.classification=auc")
    assert recorded() == before
    monkeypatch.setattr(plots, "draw", lambda *_: [])
    outcome = retrain()
    assert capsys.readouterr().out.startswith("auc is not defined on the test split: no row of class")
    assert "test_auc" not in outcome.metrics
    assert "test_auc" not in tracker().client.get_run(outcome.run_id).data.metrics


def test_the_log_of_a_training_that_fails_leads_to_its_run(
    trained: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def differ(*_: object) -> None:
        raise Problem("differs from the fitted one")

    monkeypatch.setattr(challenger, "prove_equal", differ)
    runs, registered = recorded()
    with pytest.raises(Problem, match="differs"):
        retrain()
    run = tracker().client.search_runs([tracker().experiment])[0].info
    assert run.status == "FAILED"
    assert recorded() == (runs + 1, registered)
    assert capsys.readouterr().out == f"run {tracker().address(run.run_id)}\n"


def test_a_training_closes_the_run_of_one_that_was_killed(trained: Path, undrawn: None) -> None:
    here = tracker()
    killed = here.create("killed")
    here.client.set_tag(killed, "alive", "0")
    retrain()
    assert here.client.get_run(killed).info.status == "KILLED"
