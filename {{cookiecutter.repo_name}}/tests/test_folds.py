from dataclasses import replace

import pytest
from sklearn.pipeline import Pipeline

from {{ cookiecutter.src_package_name }} import model
from {{ cookiecutter.src_package_name }}.columns import COLUMNS, TASK
from {{ cookiecutter.src_package_name }}.folds import cross_validated
from {{ cookiecutter.src_package_name }}.metrics import METRICS
from {{ cookiecutter.src_package_name }}.plan import Plan
from {{ cookiecutter.src_package_name }}.samples import Sample
from {{ cookiecutter.src_package_name }}.split import Hash

from .conftest import POOR, QUICK, configure


def test_every_metric_has_its_mean_and_deviation_over_folds(planned: Plan) -> None:
    found = cross_validated(planned, configure("train", f"model={QUICK}", "folds=3"))
    assert set(found) == {f"folds_{name}{end}" for name in METRICS[TASK] for end in ("", "_deviation")}
    assert found[f"folds_{planned.objective.name}_deviation"] > 0


def test_folds_tell_the_better_model(planned: Plan) -> None:
    good, poor = (
        cross_validated(planned, configure("train", f"model={QUICK}", "folds=3", *more)) for more in ([], [POOR])
    )
    objective = planned.objective
    assert objective.gain(good[f"folds_{objective.name}"], poor[f"folds_{objective.name}"]) > 0


def test_a_fold_is_measured_by_a_model_that_has_not_seen_it(planned: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    learnt: list[int] = []
    fit = model.fit

    def count(pipeline: Pipeline, sample: Sample, *more: object) -> None:
        learnt.append(len(sample))
        fit(pipeline, sample, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(model, "fit", count)
    by_row = Hash(by=list(COLUMNS), seed=42, valid=0.15, test=0.15)  # a split by time has other folds
    planned = replace(planned, manifest=planned.manifest.model_copy(update={"split": by_row}))
    cross_validated(planned, configure("train", f"model={QUICK}", "folds=4"))
    rows = len(planned.samples["train"])
    assert len(learnt) == 4
    assert sum(rows - fitted for fitted in learnt) == rows
