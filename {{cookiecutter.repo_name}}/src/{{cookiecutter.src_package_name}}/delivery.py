"""The way of a judged model into the model registry: what is registered is, byte for byte, what was measured."""

from pathlib import Path
from tempfile import TemporaryDirectory

from omegaconf import DictConfig

from . import challenger, formats, model, samples, storage
from .challenger import Challenger
from .errors import Problem
from .plan import Plan
from .tracking import Run, Tracker
from .versions import Versions


def deliver(made: Challenger, planned: Plan, promoted: bool, config: DictConfig, run: Run, versions: Versions) -> str:
    """Record and register a judged model or, if final_fit asks for it and it is promoted, its twin; returns the version.

    The twin is fitted in the same way on all rows; the judged one is recorded beside it, to be compared with later.
    """
    address = record(made.folder, run, versions)
    if config.final_fit and promoted:
        with TemporaryDirectory() as folder:
            _fit_again(made, planned, address, config, Path(folder, "model"))
            address = record(Path(folder, "model"), run, versions)
    return versions.register(address, _origin(planned, made))


def record(folder: Path, run: Run, versions: Versions) -> str:
    """Record a kept model with its run; returns its address. Raises Problem if it does not come back as it is here."""
    address = run.model(folder)
    with TemporaryDirectory() as scratch:
        back = versions.fetch(address, Path(scratch))
        for file in sorted(folder.glob("model.*")):
            if storage.digest(back / file.name) != storage.digest(file):
                raise Problem(f"{address} does not give {file.name} back as it was recorded; is MLflow's store in order?")
    return address


def _fit_again(made: Challenger, planned: Plan, judged: str, config: DictConfig, folder: Path) -> None:
    if config.model.get("early_stopping"):
        raise Problem("final_fit=true leaves no rows to stop early by: set model.early_stopping=null")
    pipeline, rows = model.build(config, config.seed), samples.joined(planned.samples.values())
    challenger.fit(pipeline, rows, config)
    card = made.card.model_copy(update={"judged": judged, "classes": model.classes(rows.truth)})
    challenger.keep(pipeline, card, planned.samples["valid"], folder, config)
