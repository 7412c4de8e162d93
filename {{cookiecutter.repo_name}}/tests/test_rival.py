from collections.abc import Callable
from pathlib import Path
from shutil import rmtree

import numpy as np
import polars as pl
import pytest

from {{ cookiecutter.src_package_name }} import challenger as module
from {{ cookiecutter.src_package_name }} import formats, gate, plan, rival, tables
from {{ cookiecutter.src_package_name }}.challenger import Challenger
from {{ cookiecutter.src_package_name }}.columns import TARGET, TASK
from {{ cookiecutter.src_package_name }}.errors import Problem
from {{ cookiecutter.src_package_name }}.inputs import INPUTS
from {{ cookiecutter.src_package_name }}.plan import Plan
from {{ cookiecutter.src_package_name }}.prepare import prepare
from {{ cookiecutter.src_package_name }}.rival import OTHERWISE, Rival

from .conftest import BY_ROW, MODELS, POOR, QUICK, configure, retrain, small, tracker, versions

pytestmark = pytest.mark.usefixtures("undrawn")


def call(*overrides: str) -> Rival | None:
    config = configure("train", f"model={QUICK}", *overrides)
    return rival.call(versions(), versions().champion(), plan.make(config), config)


def recorded() -> tuple[int, int]:
    """Count runs and versions."""
    client = tracker().client
    return len(client.search_runs([tracker().experiment])), len(
        client.search_model_versions(f"name='{versions().name}'")
    )


def changed(name: str) -> Callable[[pytest.MonkeyPatch], None]:
    """Let features.py make an input otherwise than it was when the champion was trained."""

    def change(monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(INPUTS, name, INPUTS[name].__class__(**{**vars(INPUTS[name]), "fingerprint": "another"}))

    return change


def all_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let today's test rows be what the champion was trained on."""
    read = tables.read

    def swapped(folder: object, *rows: object) -> tuple[tables.Manifest, dict[str, pl.DataFrame]]:
        manifest, found = read(folder, *rows)  # type: ignore[arg-type]
        return manifest, {"train": found["test"], "valid": found["valid"], "test": found["train"]}

    monkeypatch.setattr(tables, "read", swapped)


def of_another_target(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rival, "TARGET", "something else")


FIRST = next(iter(INPUTS))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (changed(FIRST), f"{FIRST}: made in another way"),
        (all_seen, "no row of today's test split is known to be new to it"),
        (of_another_target, f"it predicts {TARGET} \\({TASK}\\), and schema.py's target is something else"),
    ],
)
def test_a_champion_that_cannot_be_compared_is_named_before_anything_is_fitted(
    spoil: Callable[[pytest.MonkeyPatch], None], says: str, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch)
    before = recorded()
    monkeypatch.setattr(module, "make", lambda *_: pytest.fail("fitted"))
    with pytest.raises(
        Problem, match=rf"the champion models:/{versions().name}/1 cannot be compared: .*{says}"
    ) as caught:
        retrain()
    assert str(caught.value).endswith(OTHERWISE)
    assert len(str(caught.value).splitlines()) == 1
    assert recorded() == before
    monkeypatch.undo()


def test_a_champion_without_files_is_named_before_anything_is_fitted_and_can_be_passed_over(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(configure("prepare"))
    retrain()
    client = tracker().client
    source = str(client.get_model_version(versions().name, "1").source)
    rmtree(client.get_logged_model(source.rpartition("/")[2]).artifact_location)
    before = recorded()
    with monkeypatch.context() as patched:
        patched.setattr(module, "make", lambda *_: pytest.fail("fitted"))
        with pytest.raises(Problem, match=rf"the champion models:/{versions().name}/1 cannot be compared: ") as caught:
            retrain()
    assert str(caught.value).endswith(OTHERWISE)
    assert len(str(caught.value).splitlines()) == 1
    assert recorded() == before
    outcome = retrain(POOR, "gate.champion=none")
    assert outcome.verdict.promote
    assert "not compared: gate.champion=none" in outcome.verdict.reason
    assert versions().champion() == outcome.version == "2"


def test_a_champion_is_asked_for_or_not(trained: Path) -> None:
    assert call("gate.champion=none") is None
    assert call() is not None
    with pytest.raises(Problem, match=r"gate.champion=maybe: it is either current or none"):
        call("gate.champion=maybe")


def test_where_there_is_no_champion_there_is_no_rival(trained: Path) -> None:
    config = configure("train", f"model={QUICK}")
    assert rival.call(versions(), None, plan.make(config), config) is None


@pytest.fixture
def twin(trained: Path, planned: Plan, tmp_path_factory: pytest.TempPathFactory) -> Challenger:
    """The champion, trained again."""
    return module.make(planned, configure("train", f"model={QUICK}"), "", tmp_path_factory.mktemp("twin"))


def test_both_sides_are_measured_through_their_file(
    twin: Challenger, planned: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the last digit, so that a model never gains anything over itself."""
    champion, config = call(), configure("train")
    assert champion is not None
    test = planned.samples["test"].inputs
    one, other = twin.test, champion.predictor.predict_inputs(test)
    assert np.array_equal(one.values, other.values)
    against = champion.against(twin, planned, config)
    assert against.score == twin.score
    assert (against.comparison.gain, against.comparison.low, against.comparison.high) == (0, 0, 0)


def test_only_rows_that_are_new_to_both_count(twin: Challenger, planned: Plan, finished: Path) -> None:
    champion, config = call(), configure("train")
    assert champion is not None
    assert champion.rows.all()
    half = Rival("1", champion.predictor, np.arange(len(champion.rows)) % 2 == 0)
    against = half.against(twin, planned, config)
    assert against.rows == half.rows.sum() < len(champion.rows)
    rows = planned.samples["test"].take(half.rows)
    assert against.score == planned.objective.measure(rows.truth, champion.predictor.predict_inputs(rows.inputs))


def test_a_champion_of_another_split_is_compared_on_the_rows_that_both_kept_for_testing(folder: Path) -> None:
    prepare(configure("prepare", *BY_ROW))
    retrain()
    prepare(configure("prepare", *BY_ROW, "seed=7"))
    config = configure("train", f"model={QUICK}")
    planned = plan.make(config)
    champion = rival.call(versions(), "1", planned, config)
    assert champion is not None
    assert champion.predictor.card.split != planned.manifest.split.model_dump(mode="json")
    shared = champion.rows.sum()
    assert 0 < shared < len(planned.samples["test"])
    config.gate.min_rows = int(shared)
    assert rival.call(versions(), "1", planned, config) is not None
    config.gate.min_rows += 1
    says = rf"{shared} rows of today's test split are new to it, and gate.min_rows={shared + 1} asks for more; or set"
    with pytest.raises(Problem, match=says):
        rival.call(versions(), "1", planned, config)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_that_is_trained_again_is_never_promoted_over_itself(name: str, planned: Plan, tmp_path: Path) -> None:
    config = configure("train", *small(name))
    module.make(planned, config, "", tmp_path / "first")
    champion = Rival("1", formats.load(tmp_path / "first"), np.ones(len(planned.samples["test"]), bool))
    for number in range(3):
        again = module.make(planned, config, "", tmp_path / str(number))
        against = champion.against(again, planned, config)
        verdict = gate.judge(planned.objective, again.score, planned.score, against, config.gate)
        assert not verdict.promote
        assert "gain +0.0000, 95% interval +0.0000 to +0.0000" in verdict.reason
