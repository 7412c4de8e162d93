"""Models that are fitted, kept, loaded and measured, on the sample data and on tables made up for one question."""

from collections.abc import Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from omegaconf import DictConfig
from tqdm import tqdm

from {{ cookiecutter.src_package_name }} import challenger, convert, formats, measure, model
from {{ cookiecutter.src_package_name }}.challenger import Challenger
from {{ cookiecutter.src_package_name }}.columns import TASK
from {{ cookiecutter.src_package_name }}.errors import Problem
from {{ cookiecutter.src_package_name }}.metrics import METRICS
from {{ cookiecutter.src_package_name }}.plan import Plan

from .conftest import MODELS, QUICK, able, configure, grows, small
from .other import Other, declare

ROWS = 600


class Project:
    """A package with a schema of its own, and its prepared table."""

    def __init__(self, other: Other, table: pl.DataFrame) -> None:
        self.other = other
        table.write_csv(other.folder / "raw.csv")
        other.prepare.prepare(other.config())

    def config(self, *overrides: str, described: str = "") -> DictConfig:
        """Compose the settings of train; a description stands for a file in conf/model/."""
        config = self.other.config(*overrides, verb="train")
        if described:
            config.model = yaml.safe_load(described)
        return config

    def make(self, config: DictConfig, folder: Path) -> Any:
        """Make a challenger, and measure it."""
        return self.other.challenger.make(self.other.plan.make(config), config, "", folder)


def project(folder: Path, row: str, example: str, table: pl.DataFrame) -> Iterator[Project]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield Project(declare(folder, row, example, monkeypatch), table)


NUMBER = "Annotated[float, Field(examples=[1])]"


@pytest.fixture(scope="module")
def sick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Two classes, a fifth of the rows sick, which one number tells with some noise."""
    random = np.random.default_rng(0)
    signal, noise = random.normal(size=ROWS), random.normal(size=ROWS)
    sick = signal + random.normal(0, 0.7, ROWS) > 1
    table = pl.DataFrame({"signal": signal, "noise": noise, "times": np.where(sick, 8.0, 1.0), "sick": sick})
    row = f"signal: {NUMBER}\nnoise: {NUMBER}"
    yield from project(tmp_path_factory.mktemp("sick"), row, "times: Annotated[float, ASIDE]\nsick: bool", table)


@pytest.fixture(scope="module")
def price(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A number that is the exponential of two others, with some noise."""
    random = np.random.default_rng(0)
    size, age = random.normal(size=ROWS), random.normal(size=ROWS)
    table = pl.DataFrame({"size": size, "age": age, "price": np.exp(2 * size - age + random.normal(0, 0.1, ROWS) + 5)})
    yield from project(tmp_path_factory.mktemp("price"), f"size: {NUMBER}\nage: {NUMBER}", "price: float", table)


@pytest.fixture(scope="module")
def made(planned: Plan, tmp_path_factory: pytest.TempPathFactory) -> Challenger:
    config = configure("train", f"model={QUICK}")
    return challenger.make(planned, config, "a run", tmp_path_factory.mktemp("made"))


def test_what_is_measured_is_what_is_kept(made: Challenger, planned: Plan) -> None:
    """To the last digit: the fitted pipeline's double precision would show."""
    kept = formats.load(made.folder)
    for split in ("valid", "test"):
        rows = planned.samples[split]
        for name, value in measure.evaluate(METRICS[TASK], rows.truth, kept.predict_inputs(rows.inputs)).items():
            assert made.metrics[f"{split}_{name}"] == value


def test_a_kept_model_tells_what_it_was_made_of_and_what_it_is_worth(made: Challenger, planned: Plan) -> None:
    card = formats.load(made.folder).card
    assert card == made.card
    assert card.metrics == made.metrics
    assert card.naive == planned.naive
    assert (card.run_id, card.data) == ("a run", planned.manifest.version)
    assert made.score == card.metrics[f"test_{planned.objective.name}"]
    assert made.difference < 1e-4


def test_what_answers_otherwise_than_what_was_fitted_is_refused(
    planned: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is of a model that was fitted to other rows."""
    rows = planned.samples["train"]
    rows = replace(rows, truth=np.roll(rows.truth, 50))
    config = configure("train", f"model={QUICK}")
    another = model.build(config, 0)
    model.fit(another, rows, config.model)
    to_onnx = convert.to_onnx
    monkeypatch.setattr(convert, "to_onnx", lambda _, *more: to_onnx(another, *more))
    with pytest.raises(Problem, match=r"the kept model differs from the fitted one by .*export.format=skops"):
        challenger.make(planned, config, "", tmp_path)


def test_a_model_without_a_number_for_its_objective_is_refused(
    planned: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "evaluate", lambda *_: {})
    with pytest.raises(Problem, match=rf"{planned.objective.name} is no number for what this model predicts"):
        challenger.make(planned, configure("train", f"model={QUICK}"), "", tmp_path)


@pytest.mark.skipif(QUICK != "logistic", reason="needs a model that goes step by step")
def test_a_fit_that_did_not_converge_is_told_in_a_line(
    planned: Plan, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    challenger.make(planned, configure("train", "model=logistic", "model.params.max_iter=2"), "", tmp_path)
    told = capsys.readouterr()
    assert (
        told.out == "the fit stopped before it converged: raise the estimator's number of iterations in model.params\n"
    )
    assert "Warning" not in told.err


def test_a_fit_shows_how_far_it_is(planned: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    screen, bar = StringIO(), tqdm
    monkeypatch.setattr(
        challenger,
        "tqdm",
        lambda **given: bar(**{**given, "file": screen, "disable": False, "delay": 0, "mininterval": 0}),
    )
    config = configure("train", *small("forest"))
    challenger.fit(model.build(config, 0), planned.samples["train"], config)
    assert "fitting forest" in screen.getvalue()
    assert "5/10" in screen.getvalue()


@pytest.mark.parametrize("name", MODELS)
def test_every_model_is_kept_and_measured_in_every_format_that_can(name: str, planned: Plan, tmp_path: Path) -> None:
    one = challenger.make(planned, configure("train", *small(name)), "", tmp_path / "onnx")
    config = configure("train", *small(name), "export.format=skops")
    if config.model.estimator[TASK].startswith("sklearn."):
        other = challenger.make(planned, config, "", tmp_path / "skops")
        assert one.metrics == pytest.approx(other.metrics, rel=1e-4, abs=1e-4)
    else:
        with pytest.raises(Problem, match=rf"export.trusted lacks .*{name}"):
            challenger.make(planned, config, "", tmp_path / "skops")


# What people put into conf/model/, and what it needs to be judged by.
FILES = {
    "voting": """
        estimator: {classification: sklearn.ensemble.VotingClassifier}
        params:
          voting: soft
          estimators:
            - [a, {_target_: sklearn.linear_model.LogisticRegression}]
            - [b, {_target_: sklearn.tree.DecisionTreeClassifier, max_depth: 3}]
        """,
    "stacking": """
        estimator: {classification: sklearn.ensemble.StackingClassifier}
        params:
          estimators:
            - [a, {_target_: sklearn.linear_model.LogisticRegression}]
            - [b, {_target_: sklearn.tree.DecisionTreeClassifier, max_depth: 3}]
        """,
    "bagging": """
        estimator: {classification: sklearn.ensemble.BaggingClassifier}
        params: {n_estimators: 3, estimator: {_target_: sklearn.tree.DecisionTreeClassifier, max_depth: 3}}
        """,
    "bagging of another": """
        estimator: {classification: sklearn.ensemble.BaggingClassifier}
        params: {n_estimators: 3, estimator: {_target_: sklearn.linear_model.LogisticRegression}}
        """,
    "calibration": """
        estimator: {classification: sklearn.calibration.CalibratedClassifierCV}
        params: {estimator: {_target_: sklearn.linear_model.LogisticRegression}}
        """,
}


@pytest.mark.parametrize("name", FILES)
def test_estimators_inside_of_others_work_from_their_file_alone(name: str, sick: Project, tmp_path: Path) -> None:
    config = sick.config(described=f"{FILES[name]}\n        name: nested")
    made = sick.make(config, tmp_path)
    assert made.metrics["test_log_loss"] < made.card.naive["test_log_loss"]


def test_an_estimator_without_what_it_needs_is_one_line(sick: Project) -> None:
    described = "{name: voting, estimator: {classification: sklearn.ensemble.VotingClassifier}, params: {}}"
    with pytest.raises(sick.other.errors.Problem, match=r"model=voting cannot be made: .*estimators") as caught:
        sick.other.plan.make(sick.config(described=described))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("kept", ["onnx", "skops"])
def test_a_classifier_without_probabilities_is_judged_by_what_asks_for_none(
    kept: str, sick: Project, tmp_path: Path
) -> None:
    described = "{name: plain, estimator: {classification: sklearn.linear_model.RidgeClassifier}, params: {}}"
    config = sick.config("objective.classification=accuracy", f"export.format={kept}", described=described)
    made = sick.make(config, tmp_path)
    assert made.test.probabilities is None
    assert made.card.probabilities is False
    assert made.score > made.card.naive["test_accuracy"]
    assert set(made.metrics) == {
        f"{split}_{name}" for split in ("valid", "test") for name in ("accuracy", "recall", "f1")
    }


@pytest.mark.parametrize("name", able("classification"))
def test_weights_help_the_rarer_class(name: str, sick: Project) -> None:
    found = []
    for weight in ("weight.column=null", "weight.column=times", "weight.classes=balanced"):
        config = sick.config(*small(name), weight)
        planned, pipeline = sick.other.plan.make(config), sick.other.model.build(config, 0)
        sick.other.challenger.fit(pipeline, planned.samples["train"], config)
        found.append(sick.other.model.predict(pipeline, planned.samples["train"].inputs, planned.learnt).values.mean())
    assert min(found[1:]) > 1.1 * found[0]


def test_a_threshold_decides_and_is_kept(sick: Project, tmp_path: Path) -> None:
    made = sick.make(sick.config("model=logistic", "threshold.at=0.3"), tmp_path)
    assert (made.card.threshold, made.card.positive) == (0.3, True)
    probability = made.test.of(True)
    assert ((probability >= 0.3) & (probability < 0.5)).any()
    assert made.test.values.tolist() == (probability >= 0.3).tolist()
    assert made.settled == {"threshold": 0.3}
    assert made.remarks == ["threshold 0.3 for true: as set"]
    loaded = sick.other.formats.load(tmp_path)
    predicted = loaded.predict({"signal": np.linspace(-1, 3, 50), "noise": np.zeros(50)})
    assert predicted.values.tolist() == (predicted.of(True) >= 0.3).tolist()
    assert predicted.values.tolist() != (predicted.of(True) >= 0.5).tolist()


def test_a_threshold_can_be_for_the_other_class(sick: Project, tmp_path: Path) -> None:
    made = sick.make(sick.config("model=logistic", "threshold.at=0.9", "threshold.positive=false"), tmp_path)
    assert made.card.positive is False
    assert made.test.values.tolist() == (made.test.of(False) < 0.9).tolist()


def test_a_threshold_can_be_where_a_metric_is_best_on_the_validation_split(sick: Project, tmp_path: Path) -> None:
    config = sick.config("model=logistic", "threshold.at=recall")
    made, valid = sick.make(config, tmp_path), sick.other.plan.make(config).samples["valid"]

    def recall(threshold: float) -> float:
        predicted = made.predictor.with_card({"threshold": threshold}).predict_inputs(valid.inputs)
        return float(sick.other.metrics.recall(valid.truth, predicted))

    assert made.remarks == [f"threshold {made.card.threshold:g} for true: where recall is best on the validation split"]
    assert made.metrics["valid_recall"] == recall(made.card.threshold)
    assert made.metrics["valid_recall"] >= max(map(recall, np.linspace(0.05, 0.95, 19))) > recall(0.5)


@pytest.mark.parametrize(
    ("at", "positive", "says"),
    [
        ("1.5", "true", "threshold.at=1.5: a probability lies between 0 and 1"),
        ("0.3", "ill", "threshold.positive=ill: it is one of false, true"),
        ("beauty", "true", "threshold.at=beauty: it is a probability, or one of accuracy"),
    ],
)
def test_a_threshold_that_cannot_be_is_one_line(
    at: str, positive: str, says: str, sick: Project, tmp_path: Path
) -> None:
    with pytest.raises(sick.other.errors.Problem, match=says):
        sick.make(sick.config("model=logistic", f"threshold.at={at}", f"threshold.positive={positive}"), tmp_path)


EARLY = [name for name in MODELS if model.can_stop_early(model.build(configure("train", f"model={name}"), 0)[-1])]


@pytest.mark.parametrize("name", EARLY)
def test_a_fit_that_stopped_early_is_kept_as_it_is(name: str, sick: Project, price: Project, tmp_path: Path) -> None:
    """The rounds after the best one are no part of what answers, here and in the file."""
    [steps] = grows(name)
    for number, each in enumerate((sick, price)):
        config = each.config(f"model={name}", f"model.params.{steps}=60", "model.early_stopping=2")
        assert each.make(config, tmp_path / str(number)).difference < 1e-4


@pytest.mark.parametrize("name", EARLY)
def test_how_many_rounds_early_stopping_kept_is_told(name: str, sick: Project, tmp_path: Path) -> None:
    [steps] = grows(name)
    config = sick.config(f"model={name}", f"model.params.{steps}=60", "model.early_stopping=2")
    made = sick.make(config, tmp_path / "stopped")
    kept = made.settled["rounds"]
    assert 1 <= kept < 60
    assert made.remarks == [f"early stopping kept {kept} of 60 rounds"]
    config = sick.config(f"model={name}", f"model.params.{steps}=2", "model.early_stopping=50")
    made = sick.make(config, tmp_path / "not")
    assert made.settled == {"rounds": 2}
    assert made.remarks == [f"early stopping kept all 2 rounds, so it never stopped: raise model.params.{steps}"]


LOG = """
name: log
estimator: {regression: sklearn.compose.TransformedTargetRegressor}
params:
  regressor: {_target_: sklearn.linear_model.Ridge, alpha: 0.01}
  func: {_target_: hydra.utils.get_method, path: numpy.log}
  inverse_func: {_target_: hydra.utils.get_method, path: numpy.exp}
"""


def test_a_log_target_is_a_models_file(price: Project, tmp_path: Path) -> None:
    log = price.make(price.config(described=LOG), tmp_path / "log")
    plain = price.make(price.config("model=ridge"), tmp_path / "plain")
    assert log.score < plain.score / 2
    assert log.metrics["test_r2"] > 0.9 > plain.metrics["test_r2"]


@pytest.mark.parametrize("name", ["voting", "stacking", "bagging", "calibration"])
def test_weights_reach_the_estimators_inside_of_others(name: str, sick: Project) -> None:
    found = []
    for weight in ("weight.column=null", "weight.column=times"):
        config = sick.config(weight, described=f"{FILES[name]}\n        name: nested")
        planned, pipeline = sick.other.plan.make(config), sick.other.model.build(config, 0)
        sick.other.challenger.fit(pipeline, planned.samples["train"], config)
        found.append(sick.other.model.predict(pipeline, planned.samples["train"].inputs, planned.learnt).values.mean())
    assert found[1] > 1.1 * found[0]


def test_weights_of_whole_numbers_are_rows_told_several_times(price: Project) -> None:
    """Behind the logarithm of a target as well."""
    config = price.config(described=LOG.replace("0.01", "0"))
    model, rows = price.other.model, price.other.plan.make(config).samples["train"]
    times = np.arange(len(rows)) % 3
    weighted, repeated = model.build(config, 0), model.build(config, 0)
    model.require(weighted, config.model, weighted=True)
    model.fit(weighted, replace(rows, weights=times), config.model)
    model.fit(repeated, rows.take(np.repeat(np.arange(len(rows)), times)), config.model)
    one, other = (model.predict(pipeline, rows.inputs, None).values for pipeline in (weighted, repeated))
    assert np.allclose(one, other)


@pytest.fixture(scope="module")
def accounts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Whole numbers of ten digits, which single precision takes for one."""
    random = np.random.default_rng(0)
    account = 1_000_000_000 + random.integers(0, 64, 4000)
    answer = np.where(account % 2 == 0, "even", "odd")
    table = pl.DataFrame({"account": account, "x": random.normal(size=len(account)), "answer": answer})
    row = f"account: Annotated[int, Field(examples=[1000000001])]\nx: {NUMBER}"
    yield from project(tmp_path_factory.mktemp("accounts"), row, "answer: str", table)


def test_long_numbers_keep_their_digits(accounts: Project, tmp_path: Path) -> None:
    assert accounts.make(accounts.config("model=boosting"), tmp_path).metrics["test_accuracy"] == 1.0
