import math
import os
import threading
from dataclasses import replace
from pathlib import Path
from subprocess import PIPE, Popen
from sys import executable
from time import sleep
from typing import Any

import optuna
import pytest
from omegaconf import DictConfig
from optuna.trial import TrialState

from {{ cookiecutter.src_package_name }} import plan
from {{ cookiecutter.src_package_name }} import study as shared
from {{ cookiecutter.src_package_name }} import tune as module
from {{ cookiecutter.src_package_name }}.columns import TASK
from {{ cookiecutter.src_package_name }}.errors import Problem
from {{ cookiecutter.src_package_name }}.inputs import INPUTS
from {{ cookiecutter.src_package_name }}.metrics import METRICS
from {{ cookiecutter.src_package_name }}.plan import Plan
from {{ cookiecutter.src_package_name }}.study import DONE
from {{ cookiecutter.src_package_name }}.train import Outcome
from {{ cookiecutter.src_package_name }}.tune import identity, study_name, tune

from .conftest import QUICK, ROOT, configure, tracker

# Of the quickest model, and not what it is searched by.
PARAMETER = {"logistic": "C", "ridge": "alpha"}[QUICK]
OTHER_OBJECTIVE = {"classification": "accuracy", "regression": "mae"}[TASK]
DRAW = module._draw


@pytest.fixture(autouse=True)
def quickly(undrawn: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the pictures, which test_plots.py looks at."""
    monkeypatch.setattr(module, "_draw", lambda *_: None)


def run_study(*overrides: str) -> tuple[Outcome | None, optuna.Study]:
    config = configure("tune", f"model={QUICK}", *overrides)
    outcome = tune(config, tracker())
    return outcome, load(config)


def load(config: DictConfig) -> optuna.Study:
    name = study_name(config, plan.make(config))
    return optuna.load_study(study_name=name, storage=shared.meet(config.study.storage))


def children(study: optuna.Study) -> list[str]:
    wanted = f"tags.`mlflow.parentRunId` = '{study.user_attrs['run_id']}'"
    found = tracker().client.search_runs([tracker().experiment], wanted)
    return sorted(run.info.run_name for run in found)


def test_every_trial_is_a_run_inside_the_study(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
    outcome, study = run_study("study.trials=3")
    assert outcome is not None
    assert children(study) == [QUICK, "trial 0", "trial 1", "trial 2"]
    parent = tracker().client.get_run(study.user_attrs["run_id"])
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics["best"] == study.best_value
    objective = configure("tune").objective[TASK]
    assert outcome.metrics[f"valid_{objective}"] == pytest.approx(study.best_value)


def test_a_study_goes_on_where_it_stopped(trained: Path) -> None:
    run_study("study.trials=2")
    _, study = run_study("study.trials=3")
    assert [trial.number for trial in study.get_trials(states=DONE)] == [0, 1, 2]
    assert children(study).count(QUICK) == 2


def test_a_finished_study_is_not_concluded_twice_and_says_so(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_study("study.trials=2")
    outcome, study = run_study("study.trials=2")
    assert outcome is None
    assert len(study.trials) == 2
    assert "nothing left to do for this worker: study.trials=2 are done" in capsys.readouterr().out


def test_a_worker_whose_time_is_over_says_so(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outcome, _ = run_study("study.trials=2", "study.timeout=1e-9")
    assert outcome is None
    assert "study.timeout=1e-09 is over with 0 of 2 trials" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("override", "says"),
    [
        (f"model.space.{PARAMETER}.type=integer", f"model.space.{PARAMETER}: type=integer is none of"),
        ("study.trials=0", "study.trials=0: it is a whole number from 1 on"),
        ("study.trials=many", "study.trials=many: it is a whole number from 1 on"),
        ("study.startup_trials=-1", "study.startup_trials=-1: it is a whole number from 0 on"),
        ("study.worker=true", "study.worker=True: it is a whole number from 0 on"),
        ("study.patience=null", "study.patience=None: it is a number of seconds above 0"),
        ("study.timeout=-5", "study.timeout=-5: it is a number of seconds above 0"),
    ],
)
def test_a_search_that_cannot_be_is_refused_before_a_trial(trained: Path, override: str, says: str) -> None:
    runs = len(tracker().client.search_runs([tracker().experiment]))
    with pytest.raises(Problem, match=says):
        run_study(override)
    assert len(tracker().client.search_runs([tracker().experiment])) == runs
    assert not (trained / "journal.log").exists()


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        ([f"objective.{TASK}={OTHER_OBJECTIVE}"], ["objective"]),
        ([f"++model.params.{PARAMETER}=0.5"], ["model"]),
        ([f"++model.space.{PARAMETER}.high=50"], ["space"]),
        (["inputs.number.impute.strategy=mean"], ["steps"]),
        (["folds=2"], ["folds"]),
        (["study.trials=7", "gate.min_gain=1", "study.patience=1"], []),
    ],
)
def test_a_study_is_another_one_if_its_trials_cannot_be_compared(
    planned: Plan, change: list[str], differs: list[str]
) -> None:
    config = configure("tune", f"model={QUICK}", *change)
    chosen = replace(planned, objective=METRICS[TASK][config.objective[TASK]])
    one, other = identity(configure("tune", f"model={QUICK}"), planned), identity(config, chosen)
    assert [name for name in one if one[name] != other[name]] == differs
    assert (study_name(configure("tune", f"model={QUICK}"), planned) == study_name(config, chosen)) is not bool(differs)


def test_a_study_is_another_one_on_other_data_or_features(planned: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    config = configure("tune", f"model={QUICK}")
    before = study_name(config, planned)
    newer = replace(planned, manifest=planned.manifest.model_copy(update={"version": "another"}))
    assert study_name(config, newer) != before
    name = next(iter(INPUTS))
    monkeypatch.setitem(INPUTS, name, replace(INPUTS[name], fingerprint="another"))
    assert study_name(config, planned) != before


def test_another_study_is_said_in_a_line(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, first = run_study("study.trials=1")
    assert "another study" not in capsys.readouterr().out
    _, second = run_study("study.trials=1", f"objective.{TASK}={OTHER_OBJECTIVE}")
    assert (
        f"{second.study_name} is another study than {first.study_name}: changed objective\n" in capsys.readouterr().out
    )
    assert first.direction == (optuna.study.StudyDirection.MINIMIZE)
    assert len(second.trials) == 1


def test_a_trial_without_a_value_fails_and_the_search_goes_on(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured, calls = module._measured, []

    def undefined_at_first(*values: Any) -> dict[str, float]:
        calls.append(values)
        return {} if len(calls) == 1 else measured(*values)

    monkeypatch.setattr(module, "_measured", undefined_at_first)
    _, study = run_study("study.trials=2")
    assert [trial.state for trial in study.trials] == [TrialState.FAIL, TrialState.COMPLETE, TrialState.COMPLETE]
    failed = tracker().client.get_run(study.trials[0].user_attrs["run_id"])
    assert failed.info.status == "FAILED"
    assert failed.data.tags["failed"] == f"{configure('tune').objective[TASK]} is no number"


def test_a_search_that_only_fails_ends_with_the_reason(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_measured", lambda *_: {f"valid_{name}": math.nan for name in METRICS[TASK]})
    with pytest.raises(Problem, match=r"3 trials of \S+ failed, and 0 succeeded: \w+ is no number for what trial 2"):
        run_study("study.trials=3")


def test_poor_trials_are_stopped_early(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optuna.Trial, "should_prune", lambda trial: trial.number == 1)
    _, study = run_study("model=forest", "model.params.n_estimators=10", "study.trials=2")
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE, TrialState.PRUNED]
    recorded = tracker().client.search_runs([tracker().experiment])
    pruned = next(run for run in recorded if run.info.run_name == "trial 1")
    assert pruned.info.status == "FINISHED"
    assert "at step 1" in pruned.data.tags["pruned"]


def test_a_search_closes_the_run_of_a_command_that_was_killed_and_lives_itself(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tracker()
    killed = here.create("killed")
    here.client.set_tag(killed, "alive", "0")
    signs: list[str] = []

    def look(study: optuna.Study, *_: Any) -> float:
        run = here.client.get_run(study.user_attrs["run_id"])
        signs.extend([run.info.status, here.client.get_run(killed).info.status])
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "work", look)
    with pytest.raises(KeyboardInterrupt):
        run_study("study.trials=1")
    assert signs == ["RUNNING", "KILLED"]


def test_a_lost_trial_is_made_again(trained: Path) -> None:
    _, study = run_study("study.trials=1")
    lost = study.ask(study.trials[0].distributions)  # by a worker that took a trial, and died
    _, study = run_study("study.trials=3", "study.patience=1")
    assert [trial.state for trial in study.trials].count(TrialState.FAIL) == 1
    assert len(study.get_trials(states=DONE)) == 3
    assert len(study.get_trials(states=(TrialState.RUNNING, TrialState.WAITING))) == 0
    assert lost.params in [trial.params for trial in study.get_trials(states=DONE)]


def test_a_lost_trial_keeps_its_place_until_it_is_enqueued(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another worker that looks between the two steps must not take the place for something new."""
    study = optuna.create_study()
    space = {"x": optuna.distributions.FloatDistribution(0, 1)}
    lost = study.ask(space)
    lost.set_user_attr("alive", 0)
    enqueue, places = study.enqueue_trial, []

    def look_and_enqueue(*values: object, **more: object) -> None:
        places.append(shared._taken(study, 60))
        enqueue(*values, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(study, "enqueue_trial", look_and_enqueue)
    shared.release(study, 60, tracker())
    assert places == [[0]]
    assert shared._taken(study, 60) == []
    assert study.ask(space).params == lost.params
    with pytest.raises(ZeroDivisionError):
        shared._run(study, lambda trial: 1 / 0, study.ask(space))
    assert shared._taken(study, 60) == [1]  # whoever fails by its own fault has no place, nor is tried again


def test_a_trial_that_is_worked_on_is_not_lost(trained: Path) -> None:
    _, study = run_study("study.trials=1")
    slow = study.ask()
    with shared.alive(slow, 0.1):
        sleep(2)
        shared.release(study, 1, tracker())
    assert study.trials[slow.number].state == TrialState.RUNNING


def test_a_worker_that_was_taken_for_lost_gives_way(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, study = run_study("study.trials=1")
    raised: list[object] = []
    monkeypatch.setattr(threading, "excepthook", raised.append)

    def objective(trial: optuna.Trial) -> float:
        study.tell(trial.number, state=TrialState.FAIL)  # by another worker
        with shared.alive(trial, 0.1):
            sleep(0.5)
        trial.set_user_attr("run_id", "late")
        raise AssertionError("the trial is not this worker's any more")

    trial = study.ask()
    shared._run(study, objective, trial)
    assert study.trials[trial.number].state == TrialState.FAIL
    assert raised == []


def test_workers_share_the_trials(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One is a process, as people and jobs start it; one is here, and takes part once the other has begun."""
    monkeypatch.setattr(module, "_draw", DRAW)
    settings = [f"model={QUICK}", "study.trials=6"]
    config = configure("tune", *settings, "study.worker=1")
    name, storage = study_name(config, plan.make(config)), shared.meet(config.study.storage)
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    with Popen([executable, "-m", module.__name__, *settings], stdout=PIPE, text=True, env=environment) as process:
        while not begun(name, storage):
            assert process.poll() is None, "the other worker has ended"
            sleep(0.1)
        outcome = tune(config, tracker())
        said, _ = process.communicate()
    assert process.returncode == 0
    study = load(config)
    assert len(study.get_trials(states=DONE)) == 6
    assert {trial.user_attrs["worker"] for trial in study.trials} == {0, 1}
    assert [outcome is not None, "version 2" in said].count(True) == 1
    assert [file.name for file in trained.glob("*.log")] == ["journal.log"]
    assert tracker().client.list_artifacts(study.user_attrs["run_id"], "plots")


def begun(name: str, storage: optuna.storages.BaseStorage) -> bool:
    """Tell whether a study has a trial."""
    if name not in optuna.get_all_study_names(storage):
        return False
    return bool(optuna.load_study(study_name=name, storage=storage).trials)
