"""What a training or a search stands on, looked at before anything is fitted or recorded."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from omegaconf import DictConfig

from . import formats, freshness, gate, measure, memory, model, naive, storage, tables, threshold
from .columns import TASK, label
from .errors import Problem
from .inputs import INPUTS
from .measure import Metric
from .metrics import METRICS
from .samples import Sample, balanced, sample
from .tables import Manifest, Pieces


@dataclass(frozen=True)
class Plan:
    """The data of a training, the metric that decides, and what the naive answer is worth by all metrics."""

    manifest: Manifest
    tables: dict[str, pl.DataFrame]
    whole: Pieces  # the training split, of which the table may hold a sample
    samples: dict[str, Sample]  # by split
    metrics: dict[str, Metric]  # that the model can be measured by
    objective: Metric
    naive: dict[str, float]  # by split and metric, such as test_accuracy
    changes: list[str] | None  # of the raw files since the tables were made; None where these cannot be seen
    remarks: list[str]  # on tables older than the raw files, rows that are left out, and metrics without a value here

    @property
    def learnt(self) -> list[Any] | None:
        """List the classes that there are to learn; None for a regression."""
        return model.classes(self.samples["train"].truth)

    @property
    def score(self) -> float:
        """Give what the naive answer is worth by the objective on the test split; NaN where it has no value."""
        return self.naive.get(f"test_{self.objective.name}", math.nan)

    @property
    def naive_metrics(self) -> dict[str, float]:
        """Give the naive answer's measures under names of their own, as a run keeps them."""
        return {f"naive_{name}": value for name, value in self.naive.items()}


def make(config: DictConfig) -> Plan:
    """Read the prepared tables and see that the configured model can be fitted to them and judged by its objective.

    Raises Problem if it cannot: an unknown model, format or metric, a metric that asks for probabilities which the
    model does not give, or one that has no value on a split, or weights, early stopping or a threshold that this model
    cannot have.
    """
    pipeline = model.build(config, config.seed)
    formats.find(config.export.format)
    gate.require(config.gate)
    _require_number(config.rows)
    _require_folds(config.folds)
    probabilities = model.has_probabilities(pipeline)
    metrics = measure.usable(METRICS[TASK], probabilities)
    objective = _objective(config, metrics)
    place = storage.locate(config.storage.root, config.data.prepared)
    manifest, read = tables.read(place, config.rows)
    _require_rows(config.rows, len(read["train"]))
    samples = {name: sample(table, config.weight.column) for name, table in read.items()}
    learnt = model.classes(samples["train"].truth)
    if len(samples["test"]) < config.gate.min_rows:
        raise Problem(
            f"the test split has {len(samples['test'])} rows, and gate.min_rows={config.gate.min_rows} asks for more: "
            "add rows, or give the test split a greater share"
        )
    model.require(pipeline, config.model, balanced(samples["train"], config.weight.classes).weights is not None)
    if not isinstance(config.threshold, DictConfig):
        raise Problem(f"threshold={config.threshold}: write threshold.at={config.threshold}")
    threshold.require(config.threshold, learnt, probabilities)
    if config.final_fit and config.model.get("early_stopping"):
        raise Problem("final_fit=true leaves no rows to stop early by: set model.early_stopping=null")
    if learnt is not None and len(learnt) < 2:
        raise Problem(f"the training split has one class only, {learnt[0]!r}: there is nothing to learn")
    given = naive.answers(samples["train"].truth, learnt, _last(manifest, read["train"], samples["train"]))
    values: dict[str, float] = {}
    changes = freshness.changes(config, manifest)
    remarks = freshness.remarks(changes) + _sampled(len(read["train"]), manifest.splits["train"].rows, config.rows)
    if short := memory.shortage(sum(map(len, read.values())), len(read["train"]), len(INPUTS)):
        remarks.append(short)
    for name in ("valid", "test"):
        truth = samples[name].truth
        defined = measure.evaluate(metrics, truth, naive.perfect(truth, learnt))
        naive.require(objective, defined, name, truth, learnt)
        measured = naive.evaluate(metrics, truth, given)
        values |= {f"{name}_{metric}": value for metric, value in measured.items() if np.isfinite(value)}
        remarks += [naive.undefined(metric, name, truth, learnt) for metric in metrics if metric not in defined]
    whole = Pieces(place, manifest.splits["train"].parts)
    return Plan(manifest, read, whole, samples, metrics, objective, values, changes, remarks)


def _objective(config: DictConfig, metrics: dict[str, Metric]) -> Metric:
    if not isinstance(config.objective, DictConfig):
        raise Problem(f"objective={config.objective}: write objective.{TASK}={config.objective}")
    name = config.objective[TASK]
    if name not in METRICS[TASK]:
        raise Problem(f"objective.{TASK}={name}: it is one of {', '.join(METRICS[TASK])}")
    if name not in metrics:
        raise Problem(
            f"objective.{TASK}={name} asks for probabilities, which model={config.model.name} does not give: "
            f"it is one of {', '.join(metrics)}"
        )
    return metrics[name]


def _require_folds(folds: Any) -> None:
    if not isinstance(folds, int) or isinstance(folds, bool) or folds < 0 or folds == 1:
        raise Problem(f"folds={folds}: it is 0 for none, or a number of folds from 2 on")


def _require_number(rows: Any) -> None:
    if rows is not None and (not isinstance(rows, int) or isinstance(rows, bool) or rows < 1):
        raise Problem(f"rows={label(rows)}: it is null for all, or a number of rows to train on from 1 on")


def _require_rows(rows: int | None, count: int) -> None:
    if not count:
        raise Problem(f"rows={rows}: a sample of so few holds no row at all; ask for more")


def _sampled(count: int, whole: int, rows: int | None) -> list[str]:
    if rows is None or count == whole:
        return []
    return [f"rows={rows}: a model learns from {count} of the training split's {whole} rows"]


def _last(manifest: Manifest, table: pl.DataFrame, rows: Sample) -> float | None:
    """Give the last known value where rows follow one another in time."""
    column = manifest.split.time_column
    return None if column is None or TASK == "classification" else float(rows.truth[table[column].arg_max()])
