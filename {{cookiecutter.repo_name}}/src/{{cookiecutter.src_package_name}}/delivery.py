"""The way of a judged model into the model registry: what is registered is, byte for byte, what was measured."""

from pathlib import Path
from tempfile import TemporaryDirectory

from omegaconf import DictConfig, OmegaConf

from . import challenger, formats, model, samples, storage
from .challenger import Challenger
from .errors import Problem
from .gate import Verdict
from .inputs import INPUTS, digest
from .plan import Plan
from .tracking import Tracker
from .versions import Claim, Place, Versions


def deliver(
    made: Challenger, planned: Plan, config: DictConfig, *, tracker: Tracker, versions: Versions, promoted: bool
) -> str:
    """Record and register a judged model or, if it is promoted and final_fit asks for it, its twin.

    The twin is fitted in the same way on all rows; the judged one is recorded beside it, to be compared with later.
    Returns the version.
    """
    run_id, file = made.card.run_id, formats.find(made.card.format).FILE
    address = _record(made.folder, file, run_id, tracker, versions)
    if config.final_fit and promoted:
        with TemporaryDirectory() as folder:
            _fit_again(made, planned, address, config, Path(folder))
            address = _record(Path(folder), file, run_id, tracker, versions)
    return versions.register(address, {**tracker.code, **_origin(planned, config)})


def _origin(planned: Plan, config: DictConfig) -> dict[str, str]:
    """Tag a version with what made it beside the code: data, inputs, and the configuration that its run has."""
    return {
        "data": planned.manifest.version,
        "inputs": digest(*(f"{name} {made.fingerprint}" for name, made in INPUTS.items())),
        "configuration": digest(OmegaConf.to_yaml(config, resolve=True, sort_keys=True)),
    }


def _record(folder: Path, file: str, run_id: str, tracker: Tracker, versions: Versions) -> str:
    """Record a kept model with its run; returns its address. Raises Problem if it does not come back as it is here."""
    address = tracker.log_model(run_id, folder)
    with TemporaryDirectory() as scratch:
        back = versions.fetch(address, Path(scratch))
        if storage.digest(back / file) != storage.digest(folder / file):
            raise Problem(f"{address} does not give {file} back as recorded: is MLflow's store in order?")
    return address


def _fit_again(made: Challenger, planned: Plan, judged: str, config: DictConfig, folder: Path) -> None:
    """Fit the same model on all rows, and keep it with the measures of the judged one."""
    pipeline, rows = model.build(config, config.seed), samples.joined(planned.samples.values())
    challenger.fit(pipeline, rows, config)
    known = {"classes": model.classes(rows.truth), "rows": len(rows), "rows_of": _count(planned)}
    card = made.card.model_copy(update={"judged": judged, **known})
    challenger.keep(pipeline, card, planned.samples["valid"], folder, config)


def _count(planned: Plan) -> int:
    return sum(split.rows for split in planned.manifest.splits.values())


def promote(
    version: str, verdict: Verdict, made: Challenger, planned: Plan, *, versions: Versions, place: Place
) -> Verdict:
    """Let a version become the champion, unless one that was trained at the same time is better."""
    claim = Claim(
        score=made.score,
        sign=1 if planned.objective.best == "high" else -1,
        reason=verdict.reason,
        over=place.holder,
        data=planned.manifest.version,
        settled=place.settled,
    )
    holder = versions.promote(version, claim)
    if holder == version:
        return verdict
    return Verdict(False, f"{verdict.reason}; meanwhile version {holder} took the place")
