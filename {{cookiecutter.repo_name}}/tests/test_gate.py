from dataclasses import replace

import pytest
from omegaconf import OmegaConf

from {{ cookiecutter.src_package_name }}.errors import Problem
from {{ cookiecutter.src_package_name }}.gate import TIE, Against, judge, require
from {{ cookiecutter.src_package_name }}.measure import Comparison, Metric

from .conftest import configure

HIGH = Metric("measure", lambda truth, predicted: 0, "high", probabilities=False)
LOW = replace(HIGH, best="low")
SETTINGS = configure("train").gate


def champion(score: float, gain: float, share: float = 1.0) -> Against:
    return Against("7", score, score, 53, Comparison(gain, gain - 0.01, gain + 0.01, share))


def test_the_first_model_is_promoted_if_it_beats_the_naive_answer() -> None:
    verdict = judge(HIGH, 0.9, 0.5, None, SETTINGS)
    assert verdict.promote
    assert verdict.reason == "measure 0.9000 on the test split, naive 0.5000, and no champion to compare with"


@pytest.mark.parametrize(("metric", "score"), [(HIGH, 0.5), (HIGH, 0.4), (HIGH, 0.5 + TIE / 2), (LOW, 0.5), (LOW, 0.6)])
@pytest.mark.parametrize("against", [None, champion(0.1, 0.4)])
def test_a_model_that_is_no_better_than_the_naive_answer_waits_to_be_asked_for(
    metric: Metric, score: float, against: Against | None
) -> None:
    verdict = judge(metric, score, 0.5, against, SETTINGS)
    assert not verdict.promote
    assert "no better than the naive answer's 0.5000; gate.naive=true" in verdict.reason
    assert judge(metric, score, 0.5, against, configure("train", "gate.naive=true").gate).promote


@pytest.mark.parametrize(
    ("gain", "promoted"),
    [(0.1, True), (2 * TIE, True), (TIE / 2, False), (0.0, False), (-0.1, False), (float("nan"), False)],
)
def test_only_what_gains_something_takes_over(gain: float, promoted: bool) -> None:
    assert judge(HIGH, 0.9, 0.5, champion(0.9, gain), SETTINGS).promote is promoted


def test_what_counts_as_a_tie_grows_with_the_size_of_the_numbers() -> None:
    """The error of a price in single precision is larger than all of a small loss."""
    assert not judge(LOW, 1e6, 1e7, champion(1e6, 0.5), SETTINGS).promote
    assert judge(LOW, 1e6, 1e7, champion(1e6, 2.0), SETTINGS).promote


@pytest.mark.parametrize(("gain", "promoted"), [(0.2, True), (0.1, False), (0.05, False)])
def test_a_gain_can_be_asked_for(gain: float, promoted: bool) -> None:
    verdict = judge(HIGH, 0.9, 0.5, champion(0.8, gain), configure("train", "gate.min_gain=0.1").gate)
    assert verdict.promote is promoted
    assert "by more than 0.1 (gain" in verdict.reason


@pytest.mark.parametrize(("share", "promoted"), [(0.96, True), (0.95, True), (0.9, False)])
def test_being_sure_can_be_asked_for(share: float, promoted: bool) -> None:
    verdict = judge(HIGH, 0.9, 0.5, champion(0.8, 0.1, share), configure("train", "gate.confidence=0.95").gate)
    assert verdict.promote is promoted
    assert "in 95% of resamples (gain" in verdict.reason


def test_a_verdict_tells_how_sure_it_is() -> None:
    assert judge(LOW, 0.4, 0.9, replace(champion(0.5, 0.1, 0.98), challenger=0.4), SETTINGS).reason == (
        "measure 0.4000 on the test split is better than version 7's 0.5000 on 53 rows new to both "
        "(gain +0.1000, 95% interval +0.0900 to +0.1100, in 98% of resamples)"
    )
    assert "is not better than version 7's" in judge(LOW, 0.6, 0.9, champion(0.5, -0.1), SETTINGS).reason


def test_both_scores_of_a_verdict_are_of_the_same_rows_and_few_of_them_are_told() -> None:
    against = replace(champion(0.5, 0.1), challenger=0.45, rows=6)
    reason = judge(LOW, 0.4, 0.9, against, SETTINGS).reason
    assert "measure 0.4500 on the test split is better than version 7's 0.5000 on only 6 rows new to both" in reason


def test_a_gain_that_four_digits_do_not_show_is_shown() -> None:
    assert "gain +2.0e-05" in judge(LOW, 0.4, 0.9, champion(0.4, 2e-5), SETTINGS).reason


def test_a_naive_answer_without_a_value_is_beaten() -> None:
    assert judge(HIGH, 0.9, float("nan"), None, SETTINGS).promote


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        *(("champion", "any"), ("min_gain", -1), ("min_gain", "a"), ("confidence", 95), ("confidence", 1)),
        *(("min_rows", 0), ("min_rows", 0.5), ("min_rows", True)),
    ],
)
def test_a_setting_that_means_nothing_is_refused(setting: str, value: object) -> None:
    with pytest.raises(Problem, match=f"gate.{setting}={value}: it is"):
        require(OmegaConf.merge(SETTINGS, {setting: value}))
