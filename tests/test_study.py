"""Workers that share a search, on the servers that they would have: none of the trials lost, none double."""

import re
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import optuna
import pytest
import yaml
from optuna.trial import TrialState
from pods import Machine, pods
from sites import Site

pytestmark = pytest.mark.xdist_group("servers")

TRIALS, WORKERS = 9, 3


@dataclass
class Search:
    """A search that has ended."""

    site: Site
    machine: Machine
    study: optuna.Study
    said: list[str]

    def runs(self) -> list[Any]:
        """The runs of its trials."""
        parent = self.study.user_attrs["run_id"]
        experiment = self.site.tracking.ask("GET", "experiments/get-by-name", experiment_name=self.site.project.name)
        found = self.site.tracking.ask(
            "POST",
            "runs/search",
            experiment_ids=[experiment["experiment"]["experiment_id"]],
            filter=f"tags.`mlflow.parentRunId` = '{parent}'",
        )
        return [run for run in found["runs"] if run["info"]["run_name"].startswith("trial")]


@pytest.fixture(scope="module")
def search(site: Callable[[str], Site], tmp_path_factory: pytest.TempPathFactory) -> Search:
    """Three workers, one of which is killed in the middle of its first trial."""
    there = site("onprem")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    machine = Machine(there.project, tmp_path_factory.mktemp("search"), there.environment)
    machine.run("prepare")
    words = ["model=logistic", f"study.trials={TRIALS}", "study.patience=20", "study.name=shared"]
    workers = [machine.start(pod) for pod in pods(there.project, "tune", *words, TUNE_WORKERS=str(WORKERS))]
    study = _joined(there.environment["OPTUNA_STORAGE"])
    victim = _first_with_a_trial(workers, study)
    victim.running.send_signal(signal.SIGKILL)
    ended = [worker.end() for worker in workers]
    assert [worker.status for worker in ended].count(0) == WORKERS - 1, ended
    return Search(there, machine, study, [worker.said for worker in ended])


def _joined(storage: str) -> optuna.Study:
    """Find the study, whose name goes on with a hash of what is searched."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        for name in optuna.get_all_study_names(storage):
            if name.startswith("shared-"):
                return optuna.load_study(study_name=name, storage=storage)
        time.sleep(0.1)
    raise TimeoutError("no worker made the study")


def _first_with_a_trial(workers: list[Any], study: optuna.Study) -> Any:
    """Find the process behind a trial that runs, which writes its own worker's number into the trial's run."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        for trial in study.get_trials(states=(TrialState.RUNNING,)):
            if "worker" in trial.user_attrs:
                return workers[trial.user_attrs["worker"]]
        time.sleep(0.02)
    raise TimeoutError("no worker took a trial")


def test_there_are_as_many_trials_as_were_asked_for(search: Search) -> None:
    states = [trial.state for trial in search.study.trials]
    assert states.count(TrialState.COMPLETE) + states.count(TrialState.PRUNED) == TRIALS
    assert not {TrialState.RUNNING, TrialState.WAITING} & set(states)
    numbers = [trial.number for trial in search.study.trials]
    assert numbers == sorted(set(numbers))


def test_the_killed_workers_trial_was_made_again(search: Search) -> None:
    lost = [trial for trial in search.study.trials if trial.state == TrialState.FAIL and trial.params]
    assert len(lost) == 1
    again = [trial for trial in search.study.trials if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    assert [trial.params for trial in again].count(lost[0].params) == 1
    (run,) = [run for run in search.runs() if run["info"]["run_id"] == lost[0].user_attrs["run_id"]]
    assert run["info"]["status"] == "KILLED"


def test_the_study_and_the_server_tell_the_same(search: Search) -> None:
    done = [trial for trial in search.study.trials if trial.state == TrialState.COMPLETE]
    runs = {run["info"]["run_id"]: run for run in search.runs()}
    measured = {
        run_id: metric["value"]
        for run_id, run in runs.items()
        for metric in run["data"].get("metrics", [])
        if metric["key"] == "valid_log_loss"
    }
    values = [trial.value for trial in done]
    assert sum(values) == sum(measured[trial.user_attrs["run_id"]] for trial in done)
    assert len({trial.user_attrs["run_id"] for trial in done}) == len(done)


def test_the_best_is_reproduced_by_its_own_settings(search: Search) -> None:
    best = search.study.best_trial
    params = yaml.safe_dump(best.params, default_flow_style=True).strip().replace("'", "")
    said = search.machine.run("train", "model=logistic", f"model.params={params}")
    (line,) = [line for line in said.splitlines() if line.startswith("log_loss")]
    assert line.split()[2] == f"{best.value:.4f}"


def test_one_worker_concluded_and_none_printed_a_traceback(search: Search) -> None:
    assert ["version" in said for said in search.said].count(True) == 1
    assert not [said for said in search.said if "Traceback" in said or "WARNING" in said]


def test_a_log_leads_to_the_run_and_the_run_to_the_job(search: Search) -> None:
    url, parent = search.site.tracking.environment["MLFLOW_TRACKING_URI"], search.study.user_attrs["run_id"]
    address = re.compile(rf"^search {url}/#/experiments/\d+/runs/{parent}$", re.M)
    assert all(address.search(said) for said in search.said)  # the killed worker's, too
    (said,) = [said for said in search.said if "version" in said]
    (line,) = [line for line in said.splitlines() if line.startswith(f"run {url}/#/experiments/")]
    run = search.site.tracking.ask("GET", "runs/get", run_id=line.rpartition("/")[2])["run"]
    tags = {tag["key"]: tag["value"] for tag in run["data"]["tags"]}
    assert tags["job"].startswith(f"{search.site.project.name}-tune-")


def test_of_trainings_that_race_the_best_is_champion(search: Search) -> None:
    """Three at once, as three jobs would be."""
    models = [["model=logistic", "model.params.C=0.001"], ["experiment=small"], ["model=boosting"]]
    (pod,) = pods(search.site.project, "train")
    racing = [search.machine.start(replace(pod, command=[*pod.command, *words])) for words in models]
    ended = [training.end() for training in racing]
    assert not any(training.status for training in ended), ended
    losses = {}
    for training in ended:
        lines = training.said.splitlines()
        version = re.search(r"version (\d+): ", lines[-1])
        assert version
        loss = re.search(r"^log_loss .* test (\S+)", training.said, re.M)
        assert loss
        losses[version[1]] = float(loss[1])
    name = search.site.project.name
    alias = search.site.tracking.ask("GET", "registered-models/alias", name=name, alias="champion")
    champion = alias["model_version"]["version"]
    assert champion not in losses or losses[champion] == min(losses.values())
    # Whoever was told of a promotion holds the alias, or was beaten later by a better one that says so.
    promoted = [version for version, training in zip(losses, ended, strict=True) if ": promoted" in training.said]
    assert champion in promoted or not promoted
