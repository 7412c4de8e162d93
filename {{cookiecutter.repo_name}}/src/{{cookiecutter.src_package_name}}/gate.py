"""Whether a model may take the champion's place."""

from dataclasses import dataclass

from omegaconf import DictConfig

from .measure import Comparison, Metric

# A served model answers in single precision, so that a smaller gain than this is none.
TIE = 1e-6


@dataclass(frozen=True)
class Against:
    """The champion's side of a comparison."""

    version: str
    score: float
    rows: int  # of the test split, that neither model was fitted on
    comparison: Comparison


@dataclass(frozen=True)
class Verdict:
    """The decision and the reason for it, in a sentence."""

    promote: bool
    reason: str


def judge(metric: Metric, score: float, naive: float, against: Against | None, settings: DictConfig) -> Verdict:
    """Decide by the measures of the challenger, the naive answer and the champion on the test split.

    `score` and `naive` are of the whole split; the champion is compared on rows that it was not fitted on, either.
    `settings` are those of conf/train.yaml under `gate`.
    """
    scored = f"{metric.name} {score:.4f} on the test split"
    if not metric.gain(score, naive) > TIE and not settings.naive:
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
    words = f"better than version {against.version}'s {against.score:.4f} on {against.rows} rows new to both"
    asked = f" by more than {settings.min_gain:g}" if settings.min_gain else ""
    asked += f" in {settings.confidence:.0%} of resamples" if settings.confidence else ""
    sure = (
        f"gain {found.gain:+.4f}, 95% interval {found.low:+.4f} to {found.high:+.4f}, in {found.share:.0%} of resamples"
    )
    return Verdict(beats, f"{scored} is {'' if beats else 'not '}{words}{asked} ({sure})")
