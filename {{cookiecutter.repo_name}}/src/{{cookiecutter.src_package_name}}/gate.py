"""Whether a model may take the champion's place."""

from dataclasses import dataclass

from omegaconf import DictConfig

from .errors import Problem
from .measure import Comparison, Metric

# A served model answers in single precision, so that a smaller gain than this is none.
TIE = 1e-6

FEW = 30  # rows, below which a verdict says how few they are


@dataclass(frozen=True)
class Against:
    """A champion and its challenger on the rows of the test split that are new to both."""

    version: str  # of the champion
    score: float  # of the champion
    challenger: float
    rows: int
    comparison: Comparison


@dataclass(frozen=True)
class Verdict:
    """The decision and the reason for it, in a sentence."""

    promote: bool
    reason: str


def judge(metric: Metric, score: float, naive: float, against: Against | None, settings: DictConfig) -> Verdict:
    """Decide by the measures of the challenger, the naive answer and the champion on the test split.

    `score` and `naive` are of the whole split, and `naive` is NaN where the naive answer has no value; both models are
    compared on rows that neither was fitted on. `settings` are those of conf/train.yaml under `gate`.
    """
    scored = f"{metric.name} {score:.4f} on the test split"
    if metric.gain(score, naive) <= TIE and not settings.naive:
        return Verdict(
            False,
            f"{scored} is no better than the naive answer's {naive:.4f}; gate.naive=true promotes it all the same",
        )
    if against is None:
        why = "no champion to compare with" if settings.champion == "current" else "not compared: gate.champion=none"
        return Verdict(True, f"{scored}, naive {naive:.4f}, and {why}")
    found = against.comparison
    needed = max(settings.min_gain, TIE * max(1.0, abs(against.score)))
    beats = found.gain > needed and found.share >= settings.confidence
    scored = f"{metric.name} {against.challenger:.4f} on the test split"
    few = "only " if against.rows < FEW else ""
    words = f"better than version {against.version}'s {against.score:.4f} on {few}{against.rows} rows new to both"
    asked = f" by more than {settings.min_gain:g}" if settings.min_gain else ""
    asked += f" in {settings.confidence:.0%} of resamples" if settings.confidence else ""
    gains = f"gain {_signed(found.gain)}, 95% interval {_signed(found.low)} to {_signed(found.high)}"
    sure = f"{gains}, in {found.share:.0%} of resamples"
    return Verdict(beats, f"{scored} is {'' if beats else 'not '}{words}{asked} ({sure})")


def require(settings: DictConfig) -> None:
    """Refuse settings, those of conf/train.yaml under `gate`, that no model could meet or that mean nothing."""
    if settings.champion not in ("current", "none"):
        raise Problem(f"gate.champion={settings.champion}: it is either current or none")
    if not isinstance(settings.min_gain, int | float) or settings.min_gain < 0:
        raise Problem(f"gate.min_gain={settings.min_gain}: it is a number from 0 on")
    if not isinstance(settings.min_rows, int) or isinstance(settings.min_rows, bool) or settings.min_rows < 1:
        raise Problem(f"gate.min_rows={settings.min_rows}: it is a whole number from 1 on")
    if not isinstance(settings.confidence, int | float) or not 0 <= settings.confidence < 1:
        raise Problem(f"gate.confidence={settings.confidence}: it is a share from 0 to below 1, such as 0.95")


def _signed(gain: float) -> str:
    return f"{gain:+.1e}" if 0 < abs(gain) < 1e-4 else f"{gain:+.4f}"
