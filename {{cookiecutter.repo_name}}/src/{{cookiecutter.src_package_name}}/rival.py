"""The champion, called to be measured on the rows that its challenger is measured on."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from omegaconf import DictConfig

from . import split
from .columns import TARGET, TASK
from .errors import Problem
from .gate import Against
from .measure import Metric, compare
from .predictor import Array, Predicted, Predictor, require_inputs
from .samples import Sample
from .tables import Manifest
from .versions import Versions

OTHERWISE = "or set gate.champion=none to promote without comparing, for this once"


@dataclass(frozen=True)
class Rival:
    """A champion that can be measured, and which rows of the test split it was not fitted on: a mask, shape (rows,)."""

    version: str
    predictor: Predictor
    rows: Array

    def compared(self, metric: Metric, test: Sample, predicted: Predicted, config: DictConfig) -> Against:
        """Compare a challenger's predictions for the test split with this champion's, on rows that are new to both."""
        shared = test.take(self.rows)
        old, new = self.predictor.predict_inputs(shared.inputs), predicted.take(self.rows)
        comparison = compare(metric, shared.truth, new, old, config.gate.min_gain, config.seed)
        return Against(self.version, metric.measure(shared.truth, old), len(shared), comparison)


def call(versions: Versions, config: DictConfig, manifest: Manifest, test: pl.DataFrame) -> Rival | None:
    """Load the champion; None if there is none yet, or if it is not to be asked.

    Raises Problem if it cannot be loaded, predicts something else, has inputs that today's code does not make, or has
    seen all rows of the test split.
    """
    if config.gate.champion not in ("current", "none"):
        raise Problem(f"gate.champion={config.gate.champion}: it is either current or none")
    version = None if config.gate.champion == "none" else versions.champion()
    if version is None:
        return None
    address = f"models:/{versions.name}/{version}"
    try:
        return _called(versions, config, version, manifest, test)
    except Problem as problem:
        raise Problem(f"the champion {address} cannot be compared: {problem}; {OTHERWISE}") from problem


def _called(
    versions: Versions, config: DictConfig, version: str, manifest: Manifest, test: pl.DataFrame
) -> Rival:
    predictor = versions.load(f"models:/{versions.name}/{version}", trusted=list(config.export.trusted)).predictor
    card = predictor.card
    if card.judged is not None:  # what is served was fitted on the test split, too
        predictor = versions.load(card.judged, trusted=list(config.export.trusted)).predictor
    if (card.task, card.target) != (TASK, TARGET):
        raise Problem(f"it predicts {card.target} ({card.task}), and schema.py's target is {TARGET} ({TASK})")
    require_inputs(card)
    rows = split.still(card.split, manifest.split, test).to_numpy()
    if not rows.any():
        raise Problem("it was fitted on, or chosen by, every row of today's test split")
    return Rival(version, predictor, np.asarray(rows, dtype=bool))
