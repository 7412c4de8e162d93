"""The champion, called to be measured on the rows that its challenger is measured on."""

from dataclasses import dataclass
from itertools import chain

from omegaconf import DictConfig

from . import split
from .challenger import Challenger
from .columns import TARGET, TASK
from .errors import Problem
from .gate import Against
from .measure import compare
from .plan import Plan
from .predictor import Array, Card, Predictor, require_inputs
from .versions import Versions

OTHERWISE = "or set gate.champion=none to promote without comparing, for this once"


@dataclass(frozen=True)
class Rival:
    """A champion that can be measured, and which rows of the test split it was not fitted on: a mask, shape (rows,)."""

    version: str
    predictor: Predictor
    rows: Array

    def against(self, made: Challenger, planned: Plan, config: DictConfig) -> Against:
        """Compare a challenger with this champion on the rows that are new to both."""
        metric, test = planned.objective, planned.samples["test"].take(self.rows)
        old, new = self.predictor.predict_inputs(test.inputs), made.test.take(self.rows)
        comparison = compare(metric, test.truth, new, old, min_gain=config.gate.min_gain, seed=config.seed)
        champion, challenger = (metric.measure(test.truth, predicted) for predicted in (old, new))
        return Against(self.version, champion, challenger, len(test), comparison)


def call(versions: Versions, champion: str | None, planned: Plan, config: DictConfig) -> Rival | None:
    """Load the champion, a version; None if there is none yet, or if it is not to be asked.

    Raises Problem if it cannot be loaded, predicts something else, has inputs that today's code does not make, cannot
    be measured by the objective, or was fitted on, or chosen by, all rows of today's test split.
    """
    if champion is None or config.gate.champion == "none":
        return None
    address = f"models:/{versions.name}/{champion}"
    try:
        predictor = _judged(versions, address, list(config.export.trusted))
        return Rival(champion, predictor, _shared(predictor.card, planned, config.gate.min_rows))
    except Problem as problem:
        raise Problem(f"the champion {address} cannot be compared: {problem}; {OTHERWISE}") from problem


def _judged(versions: Versions, address: str, trusted: list[str]) -> Predictor:
    """Load the model behind an address or, if that one was fitted again on all rows, the one that was judged for it."""
    predictor = versions.load(address, trusted=trusted).predictor
    if predictor.card.judged is None:
        return predictor
    return versions.load(predictor.card.judged, trusted=trusted).predictor


def _shared(card: Card, planned: Plan, least: int) -> Array:
    """Find the rows of the test split that a champion may be measured on; raises Problem if they are too few."""
    if (card.task, card.target) != (TASK, TARGET):
        raise Problem(f"it predicts {card.target} ({card.task}), and schema.py's target is {TARGET} ({TASK})")
    require_inputs(card)
    if planned.objective.probabilities and not card.probabilities:
        raise Problem(f"it gives no probabilities, which {planned.objective.name} asks for")
    rule, test = planned.manifest.split, planned.tables["test"]
    others = chain(planned.whole, [planned.tables["valid"].lazy()])
    rows = split.still(card.split, rule, test) & split.apart(rule, test, others)
    # What a column says of the split may be said anew for other data: then nothing tells which rows are new.
    said_anew = rule.kind == "given" and card.data != planned.manifest.version
    if said_anew or not rows.any():
        raise Problem("no row of today's test split is known to be new to it: rows or their split have changed")
    if rows.sum() < least:
        raise Problem(f"{rows.sum()} rows of today's test split are new to it, and gate.min_rows={least} asks for more")
    return rows.to_numpy()
