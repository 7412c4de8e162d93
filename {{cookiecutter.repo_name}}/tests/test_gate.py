import pytest

from {{ cookiecutter.src_package_name }}.gate import judge


@pytest.mark.parametrize(
    ("more_is_better", "challenger", "champion", "min_gain", "promoted"),
    [
        (True, 0.9, None, 0, True),
        (True, 0.9, 0.8, 0, True),
        (True, 0.8, 0.9, 0, False),
        (True, 0.9, 0.9, 0, False),
        (True, 0.9, 0.85, 0.1, False),
        (False, 0.1, 0.2, 0, True),
        (False, 0.2, 0.1, 0, False),
        (False, 0.1, 0.2, 0.05, True),
        (True, float("nan"), 0.1, 0, False),
    ],
)
def test_only_the_better_model_passes(
    more_is_better: bool, challenger: float, champion: float | None, min_gain: float, promoted: bool
) -> None:
    verdict = judge("measure", more_is_better, challenger, champion, min_gain)
    assert verdict.promote is promoted
    assert f"{challenger:.4f}" in verdict.reason
