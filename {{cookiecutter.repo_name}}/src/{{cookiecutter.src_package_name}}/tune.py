"""Search a model's settings with Optuna, then train the best the way train does.

Any number of workers may run this on one study: they share its trials, and the one that ends the last trial trains the
best. A study that was interrupted goes on where it stopped.
"""

from .cli import resolved, start

if __name__ == "__main__":  # before the imports below: --help, or a wrong setting, needs none of them
    start("tune")


import hashlib
import json
import math
import time
import warnings
from functools import partial
from typing import Any

import matplotlib
import optuna
from omegaconf import DictConfig, OmegaConf
from optuna.trial import TrialState
from sklearn.pipeline import Pipeline
from tqdm import tqdm

from . import measure, model, plan, space
from .errors import Problem
from .fingerprint import source_of
from .folds import cross_validated
from .inputs import INPUTS, digest
from .plan import Plan
from .samples import balanced
from .study import DONE, Undefined, meet, require, work
from .tracking import Run, Tracker
from .train import Outcome, connect, report, train

PATIENCE = 60  # seconds for another worker to create the study's run


def tune(config: DictConfig, tracker: Tracker) -> Outcome | None:
    """Take part in the study until it has all its trials; returns the outcome if this worker trained the best."""
    space.require(config.model)
    require(config.study)
    planned = plan.make(config)
    for remark in planned.remarks:
        print(remark)
    study = _join(config, planned, tracker)
    tracker.release()
    search = study.user_attrs["run_id"]
    print(f"search {tracker.address(search)}", flush=True)  # leads from the log to all trials
    done = len(study.get_trials(deepcopy=False, states=DONE))
    tracker.revive(search)
    bar = tqdm(total=config.study.trials, initial=done, desc=study.study_name, unit=" trials", disable=None)
    with tracker.alive(search), bar:
        try:
            mine = work(study, partial(_try, config, planned, tracker, study), config.study, tracker, bar)
        except Problem as problem:
            tracker.abandon(search, str(problem))
            raise
    if _is_last(study, mine, config.study):
        return _conclude(study, config, tracker)
    print(_idle(study, config))
    return None


def identity(config: DictConfig, planned: Plan) -> dict[str, Any]:
    """Say what a study is: its trials can be compared with those of another only if all of this is equal."""
    settings = resolved(config)
    model_settings = dict(settings["model"])
    return {
        "objective": [planned.objective.name, digest(source_of(planned.objective.compute))],
        "data": planned.manifest.version,
        "features": {name: made.fingerprint for name, made in INPUTS.items()},
        "steps": settings["inputs"],
        "space": model_settings.pop("space", None),
        "model": model_settings,
        "weights": settings["weight"],
        "folds": settings["folds"],
        "rows": settings["rows"],
    }


def study_name(config: DictConfig, planned: Plan) -> str:
    """Name the study after study.name and what it is."""
    text = json.dumps(identity(config, planned), sort_keys=True)
    return f"{config.study.name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _join(config: DictConfig, planned: Plan, tracker: Tracker) -> optuna.Study:
    """Create the study and the run that stands for it or, where another worker has, join that one."""
    storage = meet(config.study.storage)
    options: dict[str, Any] = {
        "direction": "maximize" if planned.objective.best == "high" else "minimize",
        "study_name": study_name(config, planned),
        "storage": storage,
        "pruner": optuna.pruners.MedianPruner(n_startup_trials=config.study.startup_trials),
    }
    earlier = [name for name in optuna.get_all_study_names(storage) if name.startswith(f"{config.study.name}-")]
    try:
        study = optuna.create_study(**options)
        study.set_user_attr("identity", identity(config, planned))
        study.set_user_attr("run_id", tracker.create(f"tune {config.model.name}", tags={"study": study.study_name}))
        if earlier:
            print(_news(study, optuna.load_study(study_name=earlier[-1], storage=storage)))
    except optuna.exceptions.DuplicatedStudyError:
        study = optuna.create_study(**options, load_if_exists=True)
        _await_run(study)
    study.sampler = optuna.samplers.TPESampler(
        n_startup_trials=config.study.startup_trials,
        seed=config.seed + 1000 * config.study.worker + len(study.trials),
    )
    return study


def _news(study: optuna.Study, earlier: optuna.Study) -> str:
    was, now = (one.user_attrs.get("identity", {}) for one in (earlier, study))
    changed = [name for name in now if was.get(name) != now[name]]
    return f"{study.study_name} is another study than {earlier.study_name}: changed {', '.join(changed)}"


def _await_run(study: optuna.Study) -> None:
    """Wait until the worker that created the study has created the run that stands for it."""
    deadline = time.monotonic() + PATIENCE
    while "run_id" not in study.user_attrs:
        if time.monotonic() > deadline:
            raise Problem(f"study {study.study_name} has no run: the worker that made it died; take another study.name")
        time.sleep(0.2)


def _try(config: DictConfig, planned: Plan, tracker: Tracker, study: optuna.Study, trial: optuna.Trial) -> float:
    """Fit one candidate on the training split and measure it on the validation split, in a run of its own."""
    candidate = _candidate(config, {name: _suggest(trial, name, limits) for name, limits in config.model.space.items()})
    run_id = tracker.create(f"trial {trial.number}", parent=study.user_attrs["run_id"])
    trial.set_user_attr("run_id", run_id)
    trial.set_user_attr("worker", config.study.worker)
    name = planned.objective.name
    with tracker.record(run_id) as run:
        run.configuration(resolved(candidate))
        try:
            measured = (
                cross_validated(planned, candidate) if config.folds else _measured(candidate, planned, run, trial)
            )
        except optuna.TrialPruned as pruned:
            run.tag(pruned=str(pruned))
            stopped = pruned
        else:
            run.metrics(measured)
            value = measured.get(f"folds_{name}" if config.folds else f"valid_{name}", math.nan)
            if math.isnan(value):
                run.tag(failed=f"{name} is no number")
                raise Undefined(f"{name} is no number for what trial {trial.number} predicts on the validation split")
            return value
    raise stopped  # only now, so that the run ends as finished


def _measured(candidate: DictConfig, planned: Plan, run: Run, trial: optuna.Trial) -> dict[str, float]:
    """Fit a candidate, which may be stopped on its way, and measure it on the validation split."""
    pipeline, valid, metric = model.build(candidate, candidate.seed), planned.samples["valid"], planned.objective

    def report_step(step: int, fitted: Pipeline) -> None:
        value = metric.measure(valid.truth, model.predict(fitted, valid.inputs, planned.learnt))
        run.metrics({f"valid_{metric.name}": value}, step)
        trial.report(value, step)
        if trial.should_prune():
            raise optuna.TrialPruned(f"{metric.name} {value:.4f} at step {step}")

    rows = balanced(planned.samples["train"], candidate.weight.classes)
    model.fit(pipeline, rows, candidate.model, valid, report_step)
    predicted = model.predict(pipeline, valid.inputs, planned.learnt)
    measured = measure.evaluate(planned.metrics, valid.truth, predicted)
    return {f"valid_{name}": value for name, value in measured.items()}


def _suggest(trial: optuna.Trial, name: str, limits: DictConfig) -> Any:
    options = {str(key): value for key, value in limits.items()}
    return getattr(trial, f"suggest_{options.pop('type')}")(name, **options)


def _candidate(config: DictConfig, params: dict[str, Any]) -> DictConfig:
    candidate = config.copy()
    OmegaConf.update(candidate, "model.params", params, merge=True, force_add=True)
    return candidate


def _is_last(study: optuna.Study, mine: set[int], options: DictConfig) -> bool:
    """Whether it falls to this worker to conclude: it ended the last trial, or found them all done and nothing more."""
    done = study.get_trials(deepcopy=False, states=DONE)
    if len(done) < options.trials:
        return False
    last = max(done, key=lambda trial: (trial.datetime_complete, trial.number))
    known = study.user_attrs
    left = known.get("concluded") != len(done) and time.time() - known.get("concluding", 0) > options.patience
    return last.number in mine or (not mine and left)


def _idle(study: optuna.Study, config: DictConfig) -> str:
    """Say why this worker has nothing left to do."""
    done = len(study.get_trials(deepcopy=False, states=DONE))
    if done < config.study.trials:
        late = f"study.timeout={config.study.timeout} is over"
        return f"{study.study_name}: {late} with {done} of {config.study.trials} trials"
    return (
        f"{study.study_name}: nothing left to do for this worker: study.trials={config.study.trials} are done, "
        "and whoever ended the last one trains the best. Raise study.trials to search on"
    )


def _conclude(study: optuna.Study, config: DictConfig, tracker: Tracker) -> Outcome:
    """Draw the study and train its best candidate; workers that come meanwhile see that somebody does."""
    run_id = study.user_attrs["run_id"]
    best = _candidate(config, study.best_params)
    study.set_user_attr("concluding", time.time())
    try:
        with tracker.record(run_id) as run:
            _draw(study, run)
            run.metrics({"best": study.best_value, "trials": len(study.get_trials(deepcopy=False, states=DONE))})
            outcome = train(best, tracker, parent=run_id)
    except BaseException:
        study.set_user_attr("concluding", 0)  # and so whoever comes next does
        raise
    study.set_user_attr("concluded", len(study.get_trials(deepcopy=False, states=DONE)))
    return outcome


def _draw(study: optuna.Study, run: Run) -> None:
    plots = optuna.visualization.matplotlib
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    completed = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    with matplotlib.rc_context():  # Optuna sets a style of its own, for all figures that follow
        run.figure(plots.plot_optimization_history(study).figure, "history")
        if len({trial.value for trial in completed}) > 1:  # with equal values nothing mattered
            run.figure(plots.plot_param_importances(study).figure, "importance")


def main(config: DictConfig) -> None:
    """Tune, and print what came of it."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    outcome = tune(config, connect(config))
    if outcome is not None:
        report(outcome, config)
