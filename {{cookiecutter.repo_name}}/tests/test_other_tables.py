"""From a raw file through train to an HTTP answer and a file of predictions, for tables unlike the sample."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from fastapi.testclient import TestClient

from {{ cookiecutter.src_package_name }} import CONF

from .other import Other, declare

ROW = """
kind: Annotated[str, Field(alias="class", examples=["red"])]
length: Annotated[float | None, Field(alias="Bill length (mm)", gt=0, examples=[39.1])] = None
size: Annotated[int, Field(alias="größe", examples=[3])]
seen: Annotated[date, Field(alias="seen on", examples=["2024-02-29"])]
moment: Annotated[datetime, Field(examples=["2024-02-29T12:00:00+02:00"])] | None = None
wild: Annotated[bool, Field(examples=[True])] | None = None
remark: Annotated[str, Kind.TEXT, Field(examples=["Fell far"])] | None = None
plot: Annotated[str, ASIDE, Field(examples=["A"])]
"""
FEATURES = """
FACTOR = 2

def relative_length(length: Numbers, size: Numbers) -> Numbers:
    return FACTOR * length / size

def weekday(seen: Dates) -> Categories:
    return (seen.astype(int) % 7).astype(str)

DERIVED = [relative_length, weekday]
"""
NAMES = ["class", "Bill length (mm)", "größe", "seen on", "moment", "wild", "remark", "plot"]
TARGETS = {
    "boolean": ('ripe: Annotated[bool, Field(alias="ripe?")]', "ripe?", [False, True]),
    "whole numbers": ('grade: Annotated[Literal[1, 2], Field(alias="note")]', "note", [1, 2]),
    "text": ('species: Annotated[Literal["a", "b"], Field(alias="Art")]', "Art", ["a", "b"]),
    "number": ('weight: Annotated[float, Field(alias="weight (g)")]', "weight (g)", None),
}


def table(target: str, classes: Sequence[Any] | None, rows: int = 300) -> pl.DataFrame:
    """Make a table whose target hangs on the ratio of two columns, with values missing here and there."""
    random = np.random.default_rng(0)
    length, size = random.uniform(20, 60, rows), random.integers(1, 9, rows)
    ratio = length / size
    numbers = range(rows)
    return pl.DataFrame(
        {
            "class": random.choice(["red", "blue"], rows),
            "Bill length (mm)": length,
            "größe": size,
            "seen on": [date(2024, 1, 1) + timedelta(days=number % 200) for number in numbers],
            "moment": [datetime(2024, 1, 1) + timedelta(seconds=number) for number in numbers],
            "wild": [number % 3 == 0 for number in numbers],
            "remark": random.choice(["fell far", "stayed"], rows),
            "plot": random.choice(["A", "B"], rows),
            target: ratio if classes is None else [classes[int(value > 8)] for value in ratio],
        }
    ).with_columns(pl.when(pl.int_range(rows) % 10 > 0).then(pl.col("moment", "wild")))


@dataclass(frozen=True)
class Project:
    """A copy of the package, with a folder of data and a model of its own in the current folder's MLflow."""

    other: Other
    overrides: Sequence[str] = ()

    def config(self, verb: str) -> Any:
        overrides = self.overrides if verb == "train" else []
        return self.other.config(f"tracking.model={self.other.folder.name}", *overrides, verb=verb)

    def train(self, raw: pl.DataFrame) -> Any:
        raw.write_csv(self.other.folder / "raw.csv")
        self.other.prepare.prepare(self.other.config())
        self.other.train.train(self.config("train"), self._tracker())
        return self.champion()

    def champion(self) -> Any:
        config = self.config("train").tracking
        versions = self.other.versions.Versions(self._tracker(), config.model, config.alias)
        return versions.load(versions.address)

    def ask(self, rows: Sequence[dict[str, Any]]) -> Any:
        with self.client() as client:
            answer = client.post("/predict", json={"rows": rows})
            assert answer.status_code == 200, answer.text
            return answer.json()["predictions"]

    def client(self) -> TestClient:
        return TestClient(self.other.serve.create_app(self.other.settings.Settings(), self.champion()))

    def infer(self, rows: pl.DataFrame) -> pl.DataFrame:
        inbox = self.other.folder / "inbox"
        inbox.mkdir(exist_ok=True)
        rows.write_csv(inbox / "new.csv")
        loaded = self.champion()
        self.other.scoring.load = lambda _: loaded
        list(self.other.infer.infer(self.config("infer"), self.other.scoring.Champion("", "model", "1", 1)))
        return self.other.predictions.read(self.other.folder / "predictions" / "new.csv" / "1")

    def _tracker(self) -> Any:
        config = self.config("train").tracking
        return self.other.tracking.Tracker(config.uri, config.experiment)


Start = Callable[..., Project]


@pytest.fixture
def start(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Make a project for one of the targets, with other features and settings if need be."""

    def make(
        target: str = "boolean", *overrides: str, features: str = FEATURES, row: str = ROW, draw: bool = False
    ) -> Project:
        folder = trained / "other"
        folder.mkdir(exist_ok=True)
        other = declare(folder, row, TARGETS[target][0], monkeypatch, features=features)
        if not draw:
            monkeypatch.setattr(other.plots, "draw", lambda *_: [])
        model = "model=ridge" if target == "number" else "model=logistic"
        return Project(other, [model, *overrides])

    return make


def requests(raw: pl.DataFrame, count: int = 20) -> list[dict[str, Any]]:
    """Give rows as a client sends them."""
    return [
        {name: value.isoformat() if hasattr(value, "isoformat") else value for name, value in row.items()}
        for row in raw.select(NAMES).head(count).to_dicts()
    ]


@pytest.mark.parametrize("target", TARGETS)
def test_a_table_is_used_under_its_own_names_from_the_raw_file_to_the_answer(target: str, start: Start) -> None:
    _, name, classes = TARGETS[target]
    raw = table(name, classes)
    project = start(target, draw=target == "boolean")
    card = project.train(raw).predictor.card
    assert (card.target, card.classes, set(card.columns)) == (name, classes, set(NAMES))
    assert set(card.inputs) == {*NAMES, "relative_length", "weekday"} - {"plot"}

    answers = project.ask(requests(raw))
    given, truth = [answer["prediction"] for answer in answers], raw[name].head(20).to_list()
    if classes is None:
        assert given == pytest.approx(truth, rel=0.2)
    else:
        assert sum(one == other for one, other in zip(given, truth, strict=True)) >= 18
        assert {type(value) for value in given} == {type(classes[0])}
        labels = [project.other.columns.label(value) for value in classes]
        assert all(list(answer["probabilities"]) == labels for answer in answers)

    scored = project.infer(raw.select(NAMES).head(20))
    assert scored["prediction"].to_list() == (given if classes else pytest.approx(given))
    if classes:
        assert [column for column in scored.columns if column.startswith("probability_")] == [
            f"probability_{label}" for label in labels
        ]


def test_the_documentation_shows_the_files_own_names(start: Start) -> None:
    project = start()
    project.train(table("ripe?", [False, True]))
    with project.client() as client:
        described = client.get("/openapi.json").json()["components"]["schemas"]
        assert list(described["Row"]["properties"]) == NAMES
        assert described["Prediction"]["properties"]["prediction"]["type"] == "boolean"
        [example] = described["Rows"]["examples"]
        assert set(example["rows"][0]) == set(NAMES)
        assert client.post("/predict", json=example).status_code == 200
        wrong = client.post("/predict", json={"rows": [example["rows"][0] | {"Bill length (mm)": -1}]})
        assert [fault["loc"][-1] for fault in wrong.json()["detail"]] == ["Bill length (mm)"]
        by_field = {name: value for name, value in example["rows"][0].items() if name != "class"} | {"kind": "red"}
        assert client.post("/predict", json={"rows": [by_field]}).status_code == 422


def test_a_threshold_decides_for_the_service_and_for_batches(start: Start) -> None:
    raw = table("ripe?", [False, True])
    project = start("boolean", "threshold.at=0.95", "threshold.positive=true", "model.params.C=0.01")
    project.train(raw)
    answers = project.ask(requests(raw, 200))
    given = [answer["prediction"] for answer in answers]
    assert given == [answer["probabilities"]["true"] >= 0.95 for answer in answers]
    assert any(answer["probabilities"]["true"] > 0.5 and not answer["prediction"] for answer in answers)
    assert project.infer(raw.select(NAMES).head(200))["prediction"].to_list() == given


def test_a_classifier_without_probabilities_is_served(start: Start) -> None:
    raw = table("Art", ["a", "b"])
    project = start("text", "model.estimator.classification=sklearn.svm.LinearSVC", "objective.classification=accuracy")
    project.train(raw)
    answers = project.ask(requests(raw))
    assert {answer["prediction"] for answer in answers} == {"a", "b"}
    assert not any(answer.get("probabilities") for answer in answers)
    scored = project.infer(raw.select(NAMES).head(20))
    assert scored.columns == ["prediction", "model"]
    assert scored["prediction"].to_list() == [answer["prediction"] for answer in answers]


OTHERWISE = [
    ("FACTOR * length / size", "size / length", "relative_length: made in another way"),
    ("FACTOR = 2", "FACTOR = 3", "relative_length: made in another way"),
    ("-> Categories", "-> Texts", "weekday: made in another way"),
    ("[relative_length, weekday]", "[]", "relative_length, weekday: not made any more"),
]


def test_neither_service_nor_batches_start_with_inputs_that_are_made_otherwise(
    start: Start, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start().train(table("ripe?", [False, True]))
    (trained / "conf").symlink_to(CONF)
    for old, new, says in OTHERWISE:
        assert old in FEATURES
        other = start(features=FEATURES.replace(old, new)).other
        monkeypatch.setattr(sys, "argv", ["infer", f"tracking.model={other.folder.name}"])
        with pytest.raises(SystemExit, match=rf"^infer: .*\({says}\)\. Take the code that trained it, or train"):
            other.cli.start("infer")
        with pytest.raises(Exception, match=says) as raised:
            other.serve.fetch(other.settings.Settings(model=f"models:/{other.folder.name}@champion"))
        assert raised.typename == "Problem"


def test_a_champion_with_fewer_inputs_is_still_served(start: Start) -> None:
    raw = table("ripe?", [False, True])
    before = start()
    before.train(raw)
    asked = requests(raw)
    now = start(features=f"{FEATURES}\ndef longer(length) -> Numbers:\n    return length\n\nDERIVED.append(longer)")
    assert "longer" in now.other.inputs.INPUTS
    now.other.predictor.require_inputs(now.champion().predictor.card)
    assert now.ask(asked) == before.ask(asked)
