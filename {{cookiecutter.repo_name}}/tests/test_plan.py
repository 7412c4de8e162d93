from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from omegaconf import DictConfig

from {{ cookiecutter.src_package_name }} import memory, naive, plan, tables
from {{ cookiecutter.src_package_name }}.columns import TARGET, TASK
from {{ cookiecutter.src_package_name }}.errors import Problem
from {{ cookiecutter.src_package_name }}.metrics import METRICS
from {{ cookiecutter.src_package_name }}.plan import Plan

from .conftest import QUICK, configure
from .other import declare

CLASSES = pytest.mark.skipif(TASK == "regression", reason="the target is a number")
Configured = Callable[..., DictConfig]


@pytest.fixture
def configured(finished: Path) -> Configured:
    return lambda *overrides: configure("train", f"model={QUICK}", f"storage.root={finished}/data", *overrides)


def without(monkeypatch: pytest.MonkeyPatch, **absent: object) -> None:
    """Let the prepared tables be without the rows of a class in some split."""
    read = tables.read

    def fewer(folder: object, *rows: object) -> tuple[tables.Manifest, dict[str, pl.DataFrame]]:
        manifest, found = read(folder, *rows)  # type: ignore[arg-type]
        return manifest, found | {name: found[name].filter(pl.col(TARGET) != value) for name, value in absent.items()}

    monkeypatch.setattr(tables, "read", fewer)


def test_a_plan_knows_what_the_naive_answer_is_worth(planned: Plan) -> None:
    test, train = planned.samples["test"], planned.samples["train"]
    given = naive.answers(train.truth, planned.learnt)
    assert planned.score == naive.evaluate(METRICS[TASK], test.truth, given)[planned.objective.name]
    assert set(planned.naive) == {f"{split}_{name}" for split in ("valid", "test") for name in METRICS[TASK]}
    assert (
        planned.naive_metrics["naive_valid_" + planned.objective.name]
        == planned.naive[f"valid_{planned.objective.name}"]
    )
    assert planned.remarks == []


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("weight.classes=heavy", r"weight\.classes=heavy: it is null or, for classes, balanced"),
        ("model.early_stopping=3", f"model.early_stopping=3: model={QUICK} cannot stop early; set it to null, or take"),
        ("model.early_stopping=true", "model.early_stopping=true: it is null for none, or a number of rounds from 1"),
        ("model.early_stopping=0", "model.early_stopping=0: it is null for none, or a number of rounds from 1 on"),
        (f"objective.{TASK}=beauty", f"objective.{TASK}=beauty: it is one of {', '.join(METRICS[TASK])}"),
        (f"objective={next(iter(METRICS[TASK]))}", f"objective=.*: write objective.{TASK}="),
        ("threshold=0.3", "threshold=0.3: write threshold.at=0.3"),
        ("gate.confidence=95", "gate.confidence=95: it is a share from 0 to below 1"),
        ("gate.min_rows=9999", r"the test split has \d+ rows, and gate.min_rows=9999 asks for more: add rows, or give"),
        ("rows=0", "rows=0: it is null for all, or a number of rows to train on from 1 on"),
        ("rows=half", "rows=half: it is null for all, or a number of rows"),
        ("rows=true", "rows=true: it is null for all"),
        ("folds=1", "folds=1: it is 0 for none, or a number of folds from 2 on"),
        ("folds=many", "folds=many: it is 0 for none"),
        ("export.format=pickle", "export.format=pickle: it is one of onnx, skops"),
        ("weight.column=nothing", "weight.column=nothing: Example declares no such column"),
        ("+model.params.nonsense=1", f"model={QUICK} cannot be made: .*nonsense"),
        ("inputs.number.scale._target_=sklearn.preprocessing.Nothing", "inputs.number.scale cannot be made: .*Nothing"),
    ],
)
def test_what_cannot_be_is_one_line(configured: Configured, override: str, says: str) -> None:
    with pytest.raises(Problem, match=says) as caught:
        plan.make(configured(override))
    assert len(str(caught.value).splitlines()) == 1


def test_rows_are_a_sample_of_the_training_split_and_of_no_other(configured: Configured, planned: Plan) -> None:
    counts = {}
    for rows in (60, 120, 9999):
        looked = plan.make(configured(f"rows={rows}"))
        table = looked.tables["train"]
        counts[rows] = len(table)
        assert table.equals(planned.tables["train"].join(table, on=table.columns, how="semi", nulls_equal=True))
        assert len(looked.samples["train"]) == len(table)
        assert all(looked.tables[name].equals(planned.tables[name]) for name in ("valid", "test"))
        whole = len(planned.tables["train"])
        says = [f"rows={rows}: a model learns from {len(table)} of the training split's {whole} rows"]
        assert looked.remarks == (says if rows < whole else [])
    assert counts[60] == pytest.approx(60, abs=40)
    assert counts[60] < counts[120] < counts[9999] == len(planned.tables["train"])


def test_rows_that_memory_may_not_hold_are_a_remark(configured: Configured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available", lambda: memory.BASE)
    [remark] = plan.make(configured()).remarks
    assert "rows take at least 0.5 GiB to train on, and there are 0.5: " in remark


def test_a_sample_without_a_row_is_a_problem(configured: Configured, monkeypatch: pytest.MonkeyPatch) -> None:
    read = tables.read

    def none(folder: object, *rows: object) -> tuple[tables.Manifest, dict[str, pl.DataFrame]]:
        manifest, found = read(folder, *rows)  # type: ignore[arg-type]
        return manifest, found | {"train": found["train"].clear()}

    monkeypatch.setattr(tables, "read", none)
    with pytest.raises(Problem, match="rows=1: a sample of so few holds no row at all; ask for more"):
        plan.make(configured("rows=1"))


@pytest.mark.parametrize("target", ["Literal[0, 1, 2]", "float"])
def test_a_threshold_takes_two_classes(target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = declare(tmp_path, "x: Annotated[float, Field(examples=[1])]", f"y: {target}", monkeypatch)
    numbers = pl.int_range(300, eager=True)
    pl.DataFrame({"x": numbers, "y": numbers % 3}).write_csv(tmp_path / "raw.csv")
    other.prepare.prepare(other.config())
    says = r"threshold\.at=0\.3: a threshold takes two classes and their probabilities"
    with pytest.raises(other.errors.Problem, match=says):
        other.plan.make(other.config("model=boosting", "threshold.at=0.3", verb="train"))


def test_a_model_for_another_task_is_a_problem(configured: Configured) -> None:
    other = {"classification": "ridge", "regression": "logistic"}[TASK]
    with pytest.raises(Problem, match=rf"model={other} cannot do {TASK}"):
        plan.make(configured(f"model={other}"))


@CLASSES
def test_a_metric_of_probabilities_is_no_objective_for_a_model_that_gives_none(configured: Configured) -> None:
    config = configured()
    config.model = {"name": "plain", "estimator": {TASK: "sklearn.linear_model.RidgeClassifier"}, "params": {}}
    with pytest.raises(Problem, match=r"log_loss asks for probabilities, which model=plain does not give: .*accuracy"):
        plan.make(config)
    config.objective.classification = "accuracy"
    assert set(plan.make(config).metrics) == {"accuracy", "recall", "f1"}


@CLASSES
@pytest.mark.parametrize("split", ["valid", "test"])
def test_an_objective_without_a_value_names_the_split_and_the_class(
    configured: Configured, planned: Plan, monkeypatch: pytest.MonkeyPatch, split: str
) -> None:
    absent = np.unique(planned.samples["train"].truth)[1]
    without(monkeypatch, **{split: absent})
    with pytest.raises(Problem, match=rf"auc is not defined on the {split} split: no row of class {absent} is in it"):
        plan.make(configured("objective.classification=auc"))


@CLASSES
def test_another_metric_without_a_value_is_a_remark(
    configured: Configured, planned: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = np.unique(planned.samples["train"].truth)[1]
    without(monkeypatch, test=absent)
    looked = plan.make(configured())
    assert looked.remarks == [f"auc is not defined on the test split: no row of class {absent} is in it"]
    assert "test_auc" not in looked.naive
    assert "valid_auc" in looked.naive


@CLASSES
def test_there_is_nothing_to_learn_from_one_class(
    configured: Configured, planned: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = tables.read

    def one(folder: object, *rows: object) -> tuple[tables.Manifest, dict[str, pl.DataFrame]]:
        manifest, found = read(folder, *rows)  # type: ignore[arg-type]
        return manifest, {name: table.filter(pl.col(TARGET) == table[TARGET][0]) for name, table in found.items()}

    monkeypatch.setattr(tables, "read", one)
    with pytest.raises(Problem, match=r"the training split has one class only"):
        plan.make(configured())


def test_a_final_fit_has_no_rows_to_stop_early_by(configured: Configured) -> None:
    with pytest.raises(Problem, match=r"final_fit=true leaves no rows to stop early by: set model.early_stopping=null"):
        plan.make(configured("model=boosting", "final_fit=true", "model.early_stopping=5"))
