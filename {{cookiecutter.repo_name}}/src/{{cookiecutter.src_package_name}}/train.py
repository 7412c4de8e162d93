"""Train a model on the prepared tables, record it, and let it become the champion if it is better."""

from .cli import resolved, start

if __name__ == "__main__":  # before the imports below: --help, or a wrong setting, needs none of them
    start("train")


import tempfile
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from . import challenger, delivery, freshness, gate, plan, plots, rival
from .columns import TASK
from .folds import cross_validated
from .gate import Verdict
from .metrics import METRICS
from .tracking import Tracker
from .versions import Versions


@dataclass(frozen=True)
class Outcome:
    """What came of a training: measures by split or folds and metric, such as test_accuracy, and the verdict."""

    run_id: str
    version: str
    metrics: dict[str, float]
    naive: dict[str, float]
    verdict: Verdict


def train(config: DictConfig, tracker: Tracker, parent: str | None = None) -> Outcome:
    """Fit, measure, judge, record and register the configured model.

    Raises Problem, before anything is fitted or recorded, if settings or data cannot lead to a verdict.
    """
    versions = Versions(tracker, config.tracking.model, config.tracking.alias)
    planned = plan.make(config)
    place = versions.place()
    champion = rival.call(versions, place.holder, planned, config)
    for remark in planned.remarks:
        print(remark)
    tracker.release()
    run_id = tracker.create(config.model.name, parent=parent)
    print(f"run {tracker.address(run_id)}", flush=True)  # first, so that the log of a job that fails leads to it
    with tracker.record(run_id) as run, tempfile.TemporaryDirectory() as folder:
        run.configuration(resolved(config))
        run.tag(raw_files=freshness.describe(planned.changes))
        run.text(planned.manifest.model_dump_json(indent=2), "data/manifest.json")
        run.tag(rows=f"{len(planned.samples['train'])} of {planned.manifest.splits['train'].rows}")
        folds = cross_validated(planned, config) if config.folds else {}
        run.metrics(folds)
        made = challenger.make(planned, config, run_id, Path(folder))
        for remark in made.remarks:
            print(remark)
        run.metrics({**made.metrics, **planned.naive_metrics, **made.settled, "export_difference": made.difference})
        for name, figure in plots.draw(made, planned, config.seed):
            run.figure(figure, name)
        against = None if champion is None else champion.against(made, planned, config)
        verdict = gate.judge(planned.objective, made.score, planned.score, against, config.gate)
        version = delivery.deliver(made, planned, config, tracker=tracker, versions=versions, promoted=verdict.promote)
        if verdict.promote:
            verdict = delivery.promote(version, verdict, made, planned, versions=versions, place=place)
        run.tag(version=version, promoted=str(verdict.promote).lower(), verdict=verdict.reason)
    return Outcome(run_id, version, made.metrics | folds, planned.naive, verdict)


def main(config: DictConfig) -> None:
    """Train, and print what came of it."""
    report(train(config, connect(config)), config)


def connect(config: DictConfig) -> Tracker:
    """Connect to where the configured command is recorded; raises Problem if that cannot work."""
    return Tracker(config.tracking.uri, config.tracking.experiment, config.tracking.patience)


def report(outcome: Outcome, config: DictConfig) -> None:
    """Print the measures, the naive answer's in brackets, and the verdict."""
    for name in METRICS[TASK]:
        cells = [_cell(outcome, f"{split}_{name}") for split in ("valid", "test")]
        print(f"{name:18} valid {cells[0]}   test {cells[1]}{_folds(outcome, name)}")
    alias = config.tracking.alias
    done = f"promoted to {alias}" if outcome.verdict.promote else f"kept, not promoted to {alias}"
    print(f"{config.tracking.model} version {outcome.version}: {done}: {outcome.verdict.reason}")


def _cell(outcome: Outcome, name: str) -> str:
    value, naive = outcome.metrics.get(name), outcome.naive.get(name)
    return "-" if value is None else f"{value:.4f} (naive {'-' if naive is None else f'{naive:.4f}'})"


def _folds(outcome: Outcome, name: str) -> str:
    """Give mean and standard deviation over folds, where there were any."""
    mean, deviation = (outcome.metrics.get(f"folds_{name}{part}") for part in ("", "_deviation"))
    return "" if mean is None else f"   folds {mean:.4f} ± {deviation:.4f}"
