"""Trials that any number of workers share: as many as were asked for, none lost, none twice."""

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import optuna
from omegaconf import DictConfig
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage, get_storage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import TrialState
from sqlalchemy.exc import IntegrityError, ProgrammingError, SQLAlchemyError

from .errors import Problem
from .servers import remedy
from .tracking import Tracker

BEATS = 6  # signs of life in the time after which a trial without one is taken for lost
DONE = (TrialState.COMPLETE, TrialState.PRUNED)

Objective = Callable[[optuna.Trial], float]


class Undefined(Exception):
    """A trial has no value to compare; its text says why."""


def require(options: DictConfig) -> None:
    """Refuse settings, those of conf/tune.yaml under `study`, that no search could follow."""
    for name, least in {"trials": 1, "startup_trials": 0, "worker": 0}.items():
        if not isinstance(options[name], int) or isinstance(options[name], bool) or options[name] < least:
            raise Problem(f"study.{name}={options[name]}: it is a whole number from {least} on")
    for name in ("timeout", "patience"):
        seconds = options[name]
        if (name, seconds) != ("timeout", None) and not (isinstance(seconds, int | float) and seconds > 0):
            raise Problem(f"study.{name}={seconds}: it is a number of seconds above 0")


def meet(address: str) -> BaseStorage:
    """Open the place where a study's workers meet: a file, or a database; raises Problem if that cannot be used."""
    if "://" not in address:
        return JournalStorage(JournalFileBackend(address, lock_obj=JournalFileOpenLock(address)))
    try:
        try:
            return _database(address)
        except (IntegrityError, ProgrammingError):  # another worker was making the tables at that moment
            time.sleep(2)
            return _database(address)
    except (ImportError, SQLAlchemyError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise Problem(f"OPTUNA_STORAGE={address} cannot be used: {remedy(reason)} ({reason})") from error


def _database(address: str) -> BaseStorage:
    """Open a database; each connection is tried before it is used, since it may have been idle for a whole trial."""
    return get_storage(RDBStorage(address, engine_kwargs={"pool_pre_ping": True}))


def work(study: optuna.Study, objective: Objective, options: DictConfig, tracker: Tracker, bar: Any) -> set[int]:
    """Run trials until the study has enough, the others' included; returns the numbers of this worker's."""
    mine: set[int] = set()
    deadline = time.monotonic() + (options.timeout or math.inf)
    while time.monotonic() < deadline:
        release(study, options.patience, tracker)
        bar.n = len(study.get_trials(deepcopy=False, states=DONE))
        bar.refresh()
        if bar.n >= options.trials:
            break
        failures = [
            trial.user_attrs["failed"]
            for trial in study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
            if "failed" in trial.user_attrs
        ]
        if len(failures) >= options.trials:
            raise Problem(f"{len(failures)} trials of {study.study_name} failed, and {bar.n} succeeded: {failures[-1]}")
        if len(_taken(study, options.patience)) >= options.trials:
            time.sleep(1)  # until the others' last trials have ended, or one of them is lost
            continue
        trial = study.ask()
        if trial.number not in _taken(study, options.patience)[: options.trials]:
            # Two workers took the last one at once, or this one was slow and taken for lost: it gives way.
            study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
            continue
        with alive(trial, options.patience / BEATS):
            mine.add(trial.number)
            _run(study, objective, trial)
    return mine


def _taken(study: optuna.Study, patience: float) -> list[int]:
    """Number the trials that have a place: done, under way, or lost a moment ago and about to be tried again."""
    trials = study.get_trials(deepcopy=False)
    again = {trial.user_attrs.get("again") for trial in trials}

    def is_between(trial: optuna.trial.FrozenTrial) -> bool:
        ended = trial.datetime_complete.timestamp() if trial.datetime_complete else 0
        lost = trial.state == TrialState.FAIL and bool(trial.params) and "failed" not in trial.user_attrs
        return lost and trial.number not in again and time.time() - ended < patience

    return [trial.number for trial in trials if trial.state in (*DONE, TrialState.RUNNING) or is_between(trial)]


def _run(study: optuna.Study, objective: Objective, trial: optuna.Trial) -> None:
    try:
        value = objective(trial)
    except UpdateFinishedTrialError:
        return  # another worker took this one for lost, and sees to the trial
    except optuna.TrialPruned:
        study.tell(trial, state=TrialState.PRUNED, skip_if_finished=True)
    except Undefined as undefined:
        with suppress(UpdateFinishedTrialError):
            trial.set_user_attr("failed", str(undefined))
        study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
    except BaseException as error:
        with suppress(UpdateFinishedTrialError):
            trial.set_user_attr("failed", type(error).__name__)  # and so not to be tried again
        study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
        raise
    else:
        study.tell(trial, value, skip_if_finished=True)


@contextmanager
def alive(trial: optuna.Trial, seconds: float) -> Iterator[None]:
    """Let other workers see that a trial is being worked on, until the block ends."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(seconds):
            try:
                trial.set_user_attr("alive", time.time())
            except UpdateFinishedTrialError:  # the others take this worker for lost
                return
            except (StorageInternalError, SQLAlchemyError):
                continue  # the next sign may get through

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def release(study: optuna.Study, patience: float, tracker: Tracker) -> None:
    """Mark trials whose worker must have died as failed, and have their settings tried again."""
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        started = trial.datetime_start.timestamp() if trial.datetime_start else time.time()
        if time.time() - trial.user_attrs.get("alive", started) > patience:
            try:
                study.tell(trial.number, state=TrialState.FAIL)
            except (ValueError, UpdateFinishedTrialError):
                continue  # it has ended after all, or another worker was quicker
            study.enqueue_trial(trial.params, user_attrs={"again": trial.number})
            if "run_id" in trial.user_attrs:
                tracker.abandon(trial.user_attrs["run_id"], f"no sign of life for {patience:g} seconds")
