"""Search a model's settings with Optuna, then train the best the way train does.

Any number of workers may run this on one study: they share its trials, and the one that ends the last trial trains the
best. A study that was interrupted goes on where it stopped.
"""

import time
import warnings
from functools import partial
from typing import Any

import optuna
import polars as pl
from omegaconf import DictConfig, OmegaConf
from optuna.trial import TrialState
from sklearn.pipeline import Pipeline
from tqdm import tqdm

from . import data, model, prepared, storage
from .cli import command, resolved
from .errors import Problem
from .features import tensors
from .study import DONE, meet, work
from .tracking import Run, Tracker
from .train import Outcome, fit, report, train

PATIENCE = 60  # seconds for another worker to create the study's run


def tune(config: DictConfig, tracker: Tracker) -> Outcome | None:
    """Take part in the study until it has all its trials; returns the outcome if this worker trained the best."""
    _, tables = prepared.read(storage.locate(config.storage.root, config.data.prepared))
    study = _join(config, tracker)
    print(f"search {tracker.address(study.user_attrs['run_id'])}", flush=True)  # leads from the log to all trials
    done = len(study.get_trials(deepcopy=False, states=DONE))
    with tqdm(total=config.study.trials, initial=done, desc=study.study_name, unit=" trials", disable=None) as bar:
        mine = work(study, partial(_try, config, tracker, study, tables), config.study, tracker, bar)
    return _conclude(study, config, tracker) if _is_last(study, mine, config.study.trials) else None


def _join(config: DictConfig, tracker: Tracker) -> optuna.Study:
    """Create the study and the run that stands for it or, where another worker has, join that one."""
    _, metric = model.objective(config.objective)
    options: dict[str, Any] = {
        "direction": "maximize" if metric.more_is_better else "minimize",
        "study_name": config.study.name,
        "storage": meet(config.study.storage),
        "pruner": optuna.pruners.MedianPruner(n_startup_trials=config.study.startup_trials),
    }
    try:
        study = optuna.create_study(**options)
        study.set_user_attr("run_id", tracker.create(f"tune {config.model.name}", tags={"study": study.study_name}))
    except optuna.exceptions.DuplicatedStudyError:
        study = optuna.create_study(**options, load_if_exists=True)
        _await_run(study)
    study.sampler = optuna.samplers.TPESampler(
        n_startup_trials=config.study.startup_trials,
        seed=config.seed + 1000 * config.study.worker + len(study.trials),
    )
    return study


def _await_run(study: optuna.Study) -> None:
    """Wait until the worker that created the study has created the run that stands for it."""
    deadline = time.monotonic() + PATIENCE
    while "run_id" not in study.user_attrs:
        if time.monotonic() > deadline:
            raise Problem(f"study {study.study_name} has no run: the worker that made it died; take another study.name")
        time.sleep(0.2)


def _try(
    config: DictConfig, tracker: Tracker, study: optuna.Study, tables: dict[str, pl.DataFrame], trial: optuna.Trial
) -> float:
    """Fit one candidate on the training split and measure it on the validation split, in a run of its own."""
    candidate = _candidate(config, {name: _suggest(trial, name, space) for name, space in config.model.space.items()})
    pipeline = model.build(candidate.model, candidate.seed)
    name, metric = model.objective(config.objective)
    inputs, truth = tensors(data.columns(tables["valid"])), data.target(tables["valid"])

    def report_step(step: int, fitted: Pipeline) -> None:
        value = metric.measure(truth, model.predict(fitted, inputs))
        run.metrics({f"valid_{name}": value}, step)
        trial.report(value, step)
        if trial.should_prune():
            raise optuna.TrialPruned(f"{name} {value:.4f} at step {step}")

    run_id = tracker.create(f"trial {trial.number}", parent=study.user_attrs["run_id"])
    trial.set_user_attr("run_id", run_id)
    trial.set_user_attr("worker", config.study.worker)
    with tracker.record(run_id) as run:
        run.configuration(resolved(candidate))
        try:
            fit(pipeline, tables["train"], candidate.model.steps, report_step)
        except optuna.TrialPruned as pruned:
            run.tag(pruned=str(pruned))
            stopped = pruned
        else:
            measured = model.evaluate(truth, model.predict(pipeline, inputs))
            run.metrics({f"valid_{name}": value for name, value in measured.items()})
            return measured[name]
    raise stopped  # only now, so that the run ends as finished


def _suggest(trial: optuna.Trial, name: str, space: DictConfig) -> Any:
    options = {str(key): value for key, value in space.items()}
    return getattr(trial, f"suggest_{options.pop('type')}")(name, **options)


def _candidate(config: DictConfig, params: dict[str, Any]) -> DictConfig:
    candidate = config.copy()
    OmegaConf.update(candidate, "model.params", params, merge=True, force_add=True)
    return candidate


def _is_last(study: optuna.Study, mine: set[int], trials: int) -> bool:
    """Whether it falls to this worker to conclude: it ended the last trial, or found them all done and nothing more."""
    done = study.get_trials(deepcopy=False, states=DONE)
    if len(done) < trials:
        return False
    last = max(done, key=lambda trial: (trial.datetime_complete, trial.number))
    return last.number in mine or (not mine and study.user_attrs.get("concluded") != len(done))


def _conclude(study: optuna.Study, config: DictConfig, tracker: Tracker) -> Outcome:
    """Draw the study and train its best candidate."""
    run_id = study.user_attrs["run_id"]
    best = _candidate(config, study.best_params)
    with tracker.record(run_id) as run:
        _draw(study, run)
        run.metrics({"best": study.best_value, "trials": len(study.get_trials(deepcopy=False, states=DONE))})
        outcome = train(best, tracker, parent=run_id)
    study.set_user_attr("concluded", len(study.get_trials(deepcopy=False, states=DONE)))
    return outcome


def _draw(study: optuna.Study, run: Run) -> None:
    plots = optuna.visualization.matplotlib
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    run.figure(plots.plot_optimization_history(study).figure, "history")
    completed = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len({trial.value for trial in completed}) > 1:  # with equal values nothing mattered
        run.figure(plots.plot_param_importances(study).figure, "importance")


@command("tune")
def main(config: DictConfig) -> None:
    """Tune, and say what came of it."""
    if not config.model.space:
        raise Problem(f"model={config.model.name} has no space to search; add one to its conf/model/*.yaml")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    outcome = tune(config, Tracker(config.tracking.uri, config.tracking.experiment))
    if outcome is None:
        print(f"{config.study.name}: nothing left to do for this worker; study.trials={config.study.trials} in all")
        return
    report(outcome, config)


if __name__ == "__main__":
    main()
