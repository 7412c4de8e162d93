"""Whether a model may take the champion's place."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Verdict:
    """The decision and the reason for it, in a sentence."""

    promote: bool
    reason: str


def judge(metric: str, more_is_better: bool, challenger: float, champion: float | None, min_gain: float = 0) -> Verdict:
    """Compare two models' values of one metric on the same test split; without a champion anything is better."""
    if champion is None:
        return Verdict(True, f"{metric} {challenger:.4f} on the test split, and no champion that can be compared")
    gain = challenger - champion if more_is_better else champion - challenger
    beats = gain > min_gain
    needed = f" by more than {min_gain:g}" if min_gain else ""
    words = f"better than the champion's {champion:.4f}{needed}"
    return Verdict(beats, f"{metric} {challenger:.4f} on the test split is {'' if beats else 'not '}{words}")
