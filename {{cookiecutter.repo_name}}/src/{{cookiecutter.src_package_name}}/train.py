"""Train a model on the prepared tables, record it, and let it become the champion if it is better."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from omegaconf import DictConfig
from sklearn.pipeline import Pipeline

from . import data, export, model, plots, prepared, storage
from .cli import command, resolved
from .errors import Problem
from .features import tensors
from .gate import Verdict, judge
from .predictor import Card, load, require_features
from .prepared import Manifest
from .schema import EXAMPLE, FEATURES, TARGET, TASK, VERSION
from .tracking import Run, Tracker, write_model
from .versions import Claim, Versions


@dataclass(frozen=True)
class Outcome:
    """What came of a training."""

    run_id: str
    version: str
    metrics: dict[str, float]
    verdict: Verdict


def fit(pipeline: Pipeline, table: pl.DataFrame, steps: str | None = None, report: model.Report | None = None) -> None:
    """Fit a pipeline on a table; see model.fit for `steps` and `report`."""
    model.fit(pipeline, tensors(data.columns(table)), data.target(table), steps, report)


def train(config: DictConfig, tracker: Tracker, parent: str | None = None) -> Outcome:
    """Fit, measure, record, register and judge the configured model."""
    model.objective(config.objective)  # refuses a measure that there is not, before anything is recorded
    pipeline = model.build(config.model, config.seed)
    manifest, tables = prepared.read(storage.locate(config.storage.root, config.data.prepared))
    versions = Versions(tracker, config.tracking.model, config.tracking.alias)
    run_id = tracker.create(config.model.name, parent=parent)
    print(f"run {tracker.address(run_id)}", flush=True)  # first, so that the log of a job that fails leads to it
    with tracker.record(run_id) as run:
        run.configuration(resolved(config))
        run.text(manifest.model_dump_json(indent=2), "data/manifest.json")
        fit(pipeline, tables["train"])
        metrics = _measure(run, pipeline, config, tables)
        card = _card(config, pipeline, metrics, run.id)
        version, difference = _keep(pipeline, card, config, (tracker, versions), tables["valid"])
        run.metrics({"export_difference": difference})
        verdict = _judge(config, versions, version, card, (manifest, tables["test"]))
        run.tag(version=version, promoted=str(verdict.promote).lower(), verdict=verdict.reason)
    return Outcome(run.id, version, metrics, verdict)


def _measure(run: Run, pipeline: Pipeline, config: DictConfig, tables: Mapping[str, pl.DataFrame]) -> dict[str, float]:
    """Measure on the validation and test splits, and draw what the figures stand for."""
    metrics: dict[str, float] = {}
    for name in ("valid", "test"):
        inputs, truth = tensors(data.columns(tables[name])), data.target(tables[name])
        said = model.predict(pipeline, inputs)
        metrics |= {f"{name}_{metric}": value for metric, value in model.evaluate(truth, said).items()}
        if name == "test":
            run.figure(plots.quality(truth, said), "quality")
        else:
            run.figure(plots.importance(pipeline, inputs, truth, config.seed), "importance")
    run.metrics(metrics)
    return metrics


def _card(config: DictConfig, pipeline: Pipeline, metrics: dict[str, float], run_id: str) -> Card:
    if config.export.format not in ("onnx", "skops"):
        raise Problem(f"export.format={config.export.format}: it is either onnx or skops")
    return Card(
        format=config.export.format,
        task=TASK,
        target=TARGET,
        features=dict(FEATURES),
        classes=pipeline.classes_.tolist() if TASK == "classification" else None,
        schema_version=VERSION,
        metrics=metrics,
        run_id=run_id,
    )


def _keep(
    pipeline: Pipeline, card: Card, config: DictConfig, stores: tuple[Tracker, Versions], valid: pl.DataFrame
) -> tuple[str, float]:
    """Write the model, prove the file equal to what was fitted, and register it; returns version and difference."""
    (tracker, versions), trusted = stores, list(config.export.trusted)
    kept = export.to_onnx(pipeline) if card.format == "onnx" else export.audit(pipeline, trusted)
    example = tensors({name: [value] for name, value in EXAMPLE.items()})
    inputs = tensors(data.columns(valid))
    with tempfile.TemporaryDirectory() as draft:
        folder = Path(draft) / "model"
        write_model(folder, kept, card, example if card.format == "onnx" else model.frame(example), trusted)
        saved = load(folder, trusted=trusted).predict(inputs)
        difference = export.prove_equal(saved, model.predict(pipeline, inputs))
        address = tracker.log_model(card.run_id, folder)
    return versions.register(address, tracker.code), difference


def _judge(
    config: DictConfig, versions: Versions, version: str, card: Card, tested: tuple[Manifest, pl.DataFrame]
) -> Verdict:
    """Put the new version to the gate, and promote it if it passes."""
    name, metric = model.objective(config.objective)
    (manifest, test), score, place = tested, card.metrics[f"test_{name}"], versions.place()
    current = _score(config, versions, place.holder, test, metric) if place.holder else None
    verdict = judge(name, metric.more_is_better, score, current, config.gate.min_gain)
    if verdict.promote:
        claim = Claim(
            score=score,
            sign=1 if metric.more_is_better else -1,
            reason=verdict.reason,
            over=place.holder,
            data=manifest.version,
            settled=place.settled,
        )
        holder = versions.promote(version, claim)
        if holder != version:
            return Verdict(False, f"{verdict.reason}; meanwhile version {holder} took the place")
    return verdict


def _score(
    config: DictConfig, versions: Versions, version: str, test: pl.DataFrame, metric: model.Metric
) -> float | None:
    """Measure the champion on today's test split; None if it was trained for another schema."""
    champion = versions.load(f"models:/{versions.name}/{version}", trusted=list(config.export.trusted)).predictor
    try:
        require_features(champion.card, FEATURES)
    except Problem:
        return None
    return metric.measure(data.target(test), champion.predict(tensors(data.columns(test))))


@command("train")
def main(config: DictConfig) -> None:
    """Train, and say what came of it."""
    report(train(config, Tracker(config.tracking.uri, config.tracking.experiment)), config)


def report(outcome: Outcome, config: DictConfig) -> None:
    """Print measures and verdict."""
    for name in model.METRICS[TASK]:
        print(f"{name:18} valid {outcome.metrics[f'valid_{name}']:.4f}   test {outcome.metrics[f'test_{name}']:.4f}")
    alias = config.tracking.alias
    done = f"promoted to {alias}" if outcome.verdict.promote else f"kept, not promoted to {alias}"
    print(f"{config.tracking.model} version {outcome.version}: {done}: {outcome.verdict.reason}")


if __name__ == "__main__":
    main()
