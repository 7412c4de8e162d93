"""Train a model on the prepared tables, record it, and let it become the champion if it is better."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from omegaconf import DictConfig

from . import challenger, explain, formats, gate, measure, metrics, model, naive, plots, rival, storage, tables
from .challenger import Challenger
from .cli import command, resolved
from .columns import TASK
from .errors import Problem
from .gate import Verdict
from .measure import Metric
from .samples import Sample, balanced, sample
from .tables import Manifest
from .tracking import Run, Tracker
from .versions import Claim, Versions

STRONGEST = 4  # inputs whose effect is drawn


@dataclass(frozen=True)
class Outcome:
    """What came of a training."""

    run_id: str
    version: str
    metrics: dict[str, float]
    verdict: Verdict


def train(config: DictConfig, tracker: Tracker, versions: Versions, parent: str | None = None) -> Outcome:
    """Fit, measure, record, register and judge the configured model.

    Raises Problem, before anything is fitted or recorded, if the settings or the data cannot lead to a verdict.
    """
    pipeline = model.build(config, config.seed)
    formats.find(config.export.format)
    manifest, prepared = tables.read(storage.locate(config.storage.root, config.data.prepared))
    samples = {name: sample(table, config.weight.column) for name, table in prepared.items()}
    metric = decisive(config, model.has_probabilities(pipeline))
    naive_metrics = measure_naive(metric, samples, manifest)
    since = datetime.now(UTC)
    champion = rival.call(versions, config, manifest, prepared["test"])

    run_id = tracker.create(config.model.name, parent=parent)
    print(f"run {tracker.address(run_id)}", flush=True)  # first, so that the log of a job that fails leads to it
    with tracker.record(run_id) as run, tempfile.TemporaryDirectory() as folder:
        run.configuration(resolved(config))
        run.text(manifest.model_dump_json(indent=2), "data/manifest.json")
        rows = balanced(samples["train"], config.weight.classes)
        challenger.fit(pipeline, rows, config, watch=samples["valid"])
        card = challenger.describe(config, manifest, samples["train"], run_id)
        made = challenger.challenge(pipeline, card, samples, Path(folder) / "model", config)
        ...
    return Outcome(run_id, version, made.metrics, verdict)
