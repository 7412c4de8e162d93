from pathlib import Path

import numpy as np
import pytest

from {{ cookiecutter.src_package_name }} import rival
from {{ cookiecutter.src_package_name }}.columns import EXAMPLE
from {{ cookiecutter.src_package_name }}.errors import Problem
from {{ cookiecutter.src_package_name }}.predictor import Card
from {{ cookiecutter.src_package_name }}.prepare import prepare
from {{ cookiecutter.src_package_name }}.tracking import Tracker

from .conftest import POOR, configure, retrain, tracker, versions

pytestmark = pytest.mark.usefixtures("undrawn")


def loaded(version: str) -> Card:
    return versions().load(f"models:/{versions().name}/{version}").predictor.card


def test_a_final_fit_is_on_all_rows_and_keeps_the_measures_of_the_judged_one(folder: Path) -> None:
    prepare(configure("prepare"))
    outcome = retrain("final_fit=true")
    served = versions().load(f"{versions().address}").predictor
    assert outcome.verdict.promote
    assert served.card.metrics == outcome.metrics
    assert served.card.judged is not None
    judged = versions().load(served.card.judged).predictor
    assert judged.card.judged is None
    row = {name: [value] for name, value in EXAMPLE.items()}
    one, other = served.predict(row), judged.predict(row)
    numbers = [each.values if each.probabilities is None else each.probabilities for each in (one, other)]
    assert not np.allclose(numbers[0], numbers[1], rtol=1e-9, atol=1e-9)
    # The one that was judged is the one that is compared with: the other has seen the test split.
    again = retrain("final_fit=true")
    assert not again.verdict.promote
    assert "gain +0.0000" in again.verdict.reason
    assert loaded(again.version).judged is None  # nothing is fitted again for a model that is not promoted
    assert len(tracker().client.search_logged_models([tracker().experiment])) == 3


def test_what_does_not_come_back_as_it_was_recorded_is_not_registered(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Tracker.log_model

    def damage(self: Tracker, run_id: str, folder: Path) -> str:
        address = log(self, run_id, folder)
        (folder / "model.onnx").write_bytes(b"another")
        return address

    monkeypatch.setattr(Tracker, "log_model", damage)
    with pytest.raises(Problem, match=r"does not give model.onnx back as recorded"):
        retrain()
    assert versions().champion() == "1"
    assert len(tracker().client.search_model_versions(f"name='{versions().name}'")) == 1


def test_of_trainings_at_the_same_time_the_better_one_stays(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another training ends between our look at the champion and our promotion."""
    met = rival.Rival.against
    retrain(POOR, "gate.champion=none")  # the champion that both are judged against

    def meanwhile(self: rival.Rival, *more: object) -> object:
        monkeypatch.setattr(rival.Rival, "against", met)
        retrain()
        return met(self, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(rival.Rival, "against", meanwhile)
    outcome = retrain(POOR.replace("1e-6", "1e-4").replace("1e9", "1e5"))
    assert not outcome.verdict.promote
    assert f"; meanwhile version {versions().champion()} took the place" in outcome.verdict.reason
    assert versions().champion() != outcome.version
