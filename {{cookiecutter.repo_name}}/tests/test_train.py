import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from {{ cookiecutter.src_package_name }} import export
from {{ cookiecutter.src_package_name }} import train as module
from {{ cookiecutter.src_package_name }}.errors import Problem
from {{ cookiecutter.src_package_name }}.predictor import load
from {{ cookiecutter.src_package_name }}.schema import FEATURES
from {{ cookiecutter.src_package_name }}.train import Outcome, train

from .conftest import QUICK, configure, tracker, versions

# A model that has learned next to nothing.
POOR = {"logistic": "model.params.C=1e-6", "ridge": "model.params.alpha=1e9"}[QUICK]


def run_training(*overrides: str) -> Outcome:
    return train(configure("train", f"model={QUICK}", *overrides), tracker())


def champion() -> Any:
    return tracker().client.get_model_version(versions().name, versions().champion())


def number_of_versions() -> int:
    return len(tracker().client.search_model_versions(f"name='{versions().name}'"))


def test_a_run_tells_all_of_a_model(trained: Path) -> None:
    run = tracker().client.get_run(champion().run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["model.name"] == QUICK
    assert run.data.metrics["export_difference"] < 1e-4
    assert {name.split("_")[0] for name in run.data.metrics} == {"valid", "test", "export"}
    files = Path(tracker().client.download_artifacts(run.info.run_id, ""))
    assert {path.name for path in (files / "plots").iterdir()} == {"quality.png", "importance.png"}
    assert yaml.safe_load((files / "config.yaml").read_text())["model"]["name"] == QUICK
    assert json.loads((files / "data/manifest.json").read_text())["splits"]["train"]["rows"] > 0


def test_the_first_model_is_promoted_and_says_why(trained: Path) -> None:
    tags = champion().tags
    assert tags["promoted_over"] == "none"
    assert {"promoted_at", "promoted_by", "promoted_because"} <= set(tags)


def test_a_poorer_model_is_kept_but_not_promoted(trained: Path) -> None:
    outcome = run_training(POOR)
    assert (outcome.version, versions().champion()) == ("2", "1")
    assert not outcome.verdict.promote
    assert "not better than the champion's" in outcome.verdict.reason


def test_a_measure_that_there_is_not_is_refused_before_anything_is_recorded(trained: Path) -> None:
    with pytest.raises(Problem, match="=nope: it is one of"):
        run_training("objective.classification=nope", "objective.regression=nope")
    assert number_of_versions() == 1
    assert len(tracker().client.search_runs([tracker().experiment])) == 1


def test_a_better_model_takes_over(folder: Path) -> None:
    from {{ cookiecutter.src_package_name }}.prepare import prepare

    prepare(configure("prepare"))
    run_training(POOR)
    outcome = run_training()
    assert outcome.verdict.promote
    assert versions().champion() == "2"
    assert champion().tags["promoted_over"] == "1"


def test_a_champion_of_another_schema_is_no_rival(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise Problem("trained on other features")

    monkeypatch.setattr(module, "require_features", refuse)
    outcome = run_training(POOR)
    assert outcome.verdict.promote
    assert "no champion that can be compared" in outcome.verdict.reason


def test_a_model_can_be_kept_by_skops(trained: Path, tmp_path: Path) -> None:
    outcome = run_training("export.format=skops")
    folder = versions().fetch(f"models:/{versions().name}/{outcome.version}", tmp_path / "download")
    predictor = load(folder, trusted=list(configure("train").export.trusted))
    assert predictor.card.format == "skops"
    assert predictor.card.features == FEATURES


def test_a_model_that_answers_otherwise_is_not_registered(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def differ(*_: object) -> None:
        raise Problem("differs from the fitted one")

    monkeypatch.setattr(export, "prove_equal", differ)
    with pytest.raises(Problem, match="differs"):
        run_training()
    assert number_of_versions() == 1
    assert tracker().client.search_runs([tracker().experiment])[0].info.status == "FAILED"


def test_the_log_of_a_training_that_fails_leads_to_its_run(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Problem, match="either onnx or skops"):
        run_training("export.format=pickle")
    run = tracker().client.search_runs([tracker().experiment])[0].info
    assert run.status == "FAILED"
    assert capsys.readouterr().out == f"run {tracker().address(run.run_id)}\n"


def test_equal_settings_make_equal_models(trained: Path) -> None:
    one = run_training()
    other = run_training()
    assert one.metrics == other.metrics
