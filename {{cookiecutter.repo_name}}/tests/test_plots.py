from collections.abc import Iterator, Sequence
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from {{ cookiecutter.src_package_name }} import plots
from {{ cookiecutter.src_package_name }}.columns import TARGET, Column
from {{ cookiecutter.src_package_name }}.explain import Curve, Worth
from {{ cookiecutter.src_package_name }}.kinds import Kind
from {{ cookiecutter.src_package_name }}.predictor import Predicted
from {{ cookiecutter.src_package_name }}.samples import Sample

from .other import declare

LONG = "a rather long name that goes on and on, with the number "


@pytest.fixture(params=["classification", "regression"])
def task(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Both kinds of target, whichever the schema has."""
    monkeypatch.setattr(plots, "TASK", request.param)
    return request.param


@pytest.fixture
def classes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plots, "TASK", "classification")


def answers(names: Sequence[str], rows: int = 600) -> tuple[Any, Predicted]:
    """Give a truth, and predictions of which four out of five are right."""
    random = np.random.default_rng(0)
    truth = np.arange(rows) % len(names)
    values = np.where(random.random(rows) < 0.8, truth, random.integers(0, len(names), rows))
    return np.array(names)[truth], Predicted(np.array(names)[values], None, names)


def legible(figure: Figure) -> list[str]:
    """Draw a figure, see that none of its labels lies on another or outside of it, and give what they say."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    for axes in figure.axes:
        for shown in (labels(axes.xaxis), labels(axes.yaxis)):
            assert not [(one.get_text(), other.get_text()) for one, other in pairwise(shown) if covers(one, other)]
            assert all(figure.bbox.padded(2).contains(*corner) for tick in shown for corner in corners(tick))
        inside = [text for text in axes.texts if text.get_text()]
        assert not [one.get_text() for one, other in pairwise(inside) if covers(one, other)]
    return [text.get_text() for axes in figure.axes for text in (*labels(axes.xaxis), *labels(axes.yaxis))]


def labels(axis: Axis) -> list[Text]:
    """List the labels that can be seen; Matplotlib keeps others for ticks beyond the ends of the axis."""
    low, high = sorted(axis.get_view_interval())
    ticks = zip(
        axis.get_ticklocs(), axis.get_ticklabels(), strict=False
    )  # of axes that share one, the first has labels
    return [text for place, text in ticks if low <= place <= high and text.get_text()]


def covers(one: Text, other: Text) -> bool:
    """Whether two labels that are turned alike lie on one another: their lines are closer than a letter is high."""
    if one.get_rotation() == 0:
        return bool(one.get_window_extent().overlaps(other.get_window_extent()))
    angle = np.deg2rad(one.get_rotation())
    places = [text.get_transform().transform(text.get_position()) for text in (one, other)]
    return bool(abs((places[0] - places[1]) @ [np.sin(angle), -np.cos(angle)]) < one.get_fontsize())


def corners(text: Text) -> Iterator[tuple[float, float]]:
    box = text.get_window_extent()
    yield from ((box.x0, box.y0), (box.x1, box.y1))


@pytest.mark.parametrize("count", [2, 3, 12])
@pytest.mark.parametrize("name", ["", LONG])
@pytest.mark.usefixtures("classes")
def test_few_classes_have_their_counts_written_down(count: int, name: str) -> None:
    names = [f"{name}{number}" for number in range(count)]
    figure = plots.quality(*answers(names, 60_000), "accuracy 0.8, naive answer 0.1")
    found = legible(figure)
    assert len(found) == 2 * count
    tilts = {text.get_rotation() for text in figure.axes[0].get_xticklabels()}
    assert tilts == ({45} if name else {0})  # what is short is read without turning one's head
    assert len(set(found)) == count  # names that begin alike can still be told apart
    assert sum(text.get_text() == "0" for text in figure.axes[0].texts) == 0
    assert "naive answer 0.1" in figure.get_suptitle()


@pytest.mark.parametrize("name", ["", LONG])
@pytest.mark.usefixtures("classes")
def test_many_classes_are_shown_as_shares_and_by_their_worst_confusions(name: str) -> None:
    figure = plots.quality(*answers([f"{name}{number}" for number in range(56)]), "accuracy 0.8, naive answer 0.1")
    matrix, worst = figure.axes
    found = legible(figure)
    assert not matrix.texts
    assert len(worst.patches) == plots.SHOWN
    assert sum(" → " in text for text in found) == plots.SHOWN
    assert len({text for text in found if " → " in text}) == plots.SHOWN
    assert all(float(text.get_text()).is_integer() for text in labels(worst.xaxis))


@pytest.mark.usefixtures("classes")
def test_classes_without_a_confusion_are_drawn_too() -> None:
    names = [str(number) for number in range(56)]
    legible(plots.quality(np.array(names), Predicted(np.array(names), None, names), ""))


@pytest.mark.parametrize("rows", [2, 300, 20_000])
def test_numbers_are_drawn_against_the_truth(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plots, "TASK", "regression")
    truth = np.random.default_rng(0).normal(size=rows) * 1e6
    figure = plots.quality(truth, Predicted(truth * 0.9), "rmse 1e5, naive answer 1e6")
    legible(figure)
    [drawn] = figure.axes[0].collections
    assert len(drawn.get_offsets()) <= plots.DOTS  # more dots would hide one another


@pytest.mark.parametrize("count", [1, 2, 300])
def test_importance_shows_the_strongest_twenty(count: int) -> None:
    found = [Worth(f"{LONG}{number:03}", 1 / (number + 1), 0.01) for number in range(count)]
    figure = plots.importance(found, "log_loss")
    written = legible(figure)
    assert len(figure.axes[0].patches) == min(count, 20)
    assert figure.axes[0].get_xlabel() == "how much worse log_loss gets\nwhen an input is shuffled"
    assert [label[-3:] for label in written if "…" in label] == [worth.name[-3:] for worth in found[:20]]
    assert ("strongest 20 of 300" in figure.get_suptitle()) is (count == 300)


def curve(name: str, kind: str, values: Sequence[Any], lines: Sequence[str]) -> Curve:
    random = np.random.default_rng(len(name))
    return Curve(name, kind, values, {line: random.random(len(values)) for line in lines})


def test_dependence_is_drawn_for_numbers_and_categories(task: str) -> None:
    lines = ["no", "yes"] if task == "classification" else ["mean prediction"]
    numbers = curve("size", Kind.NUMBER, np.linspace(1e6, 3e6, 20).tolist(), lines)
    names = curve("island", Kind.CATEGORY, ["Biscoe", "Dream", ""], lines)
    figure = plots.dependence([numbers, names])
    assert "(missing)" in legible(figure)
    assert [len(axes.lines) for axes in figure.axes] == [len(lines)] * 2
    assert {line.get_linestyle() for line in figure.axes[0].lines} == {"-"}
    assert {line.get_linestyle() for line in figure.axes[1].lines} == {"None"}  # nothing is between two names
    assert len({tuple(line.get_xdata()) for line in figure.axes[1].lines}) == len(lines)  # nor over one another
    assert len(figure.legends) == (len(lines) > 1)


@pytest.mark.usefixtures("classes")
@pytest.mark.parametrize("positive", ["yes", f"{LONG}1"])
def test_dependence_of_two_classes_is_one_line_for_the_positive_one(positive: str) -> None:
    followed = [curve("size", Kind.NUMBER, [1.0, 2.0, 3.0], ["no", positive])]
    figure = plots.dependence(followed, positive)
    legible(figure)
    [line] = figure.axes[0].lines
    assert list(line.get_ydata()) == followed[0].lines[positive].tolist()
    assert figure.axes[0].get_ylabel() == f"predicted share of\n{plots._short(TARGET)} = {plots._short(positive)}"
    assert not figure.legends


def test_dependence_on_a_boolean_is_drawn_for_false_and_true(task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(plots.COLUMNS, "seen", Column("seen", "seen", bool, Kind.BOOLEAN, seen=True, optional=False))
    figure = plots.dependence([curve("seen", Kind.NUMBER, [0.0, 1.0], ["one", "other"])])
    assert legible(figure)[:2] == ["false", "true"]
    assert {line.get_linestyle() for line in figure.axes[0].lines} == {"None"}


@pytest.mark.usefixtures("classes")
def test_dependence_of_many_classes_shows_those_that_change_most() -> None:
    lines = [f"{LONG}{number}" for number in range(56)]
    figure = plots.dependence([curve("name", Kind.CATEGORY, [f"{LONG}{number}" for number in range(8)], lines)] * 3)
    legible(figure)
    assert [len(axes.lines) for axes in figure.axes] == [plots.LINES] * 3
    assert "the 6 classes of 56" in figure.get_suptitle()
    [legend] = figure.legends
    assert not any(legend.get_window_extent().overlaps(axes.get_window_extent()) for axes in figure.axes)


@pytest.mark.usefixtures("classes")
def test_dates_are_drawn_as_dates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(plots.COLUMNS, "day", Column("day", "day", date, Kind.DATE, seen=True, optional=False))
    days = np.linspace(19_723, 20_088, 20).tolist()  # of the year 2024
    figure = plots.dependence([curve("day", Kind.NUMBER, days, ["no", "yes"])])
    assert any("2024" in label for label in legible(figure))


def test_axes_name_the_target_and_no_class(task: str) -> None:
    """A class may be called true."""
    truth, target = np.arange(60) % 20, plots._short(TARGET)
    for classes in (truth, truth % 2):
        figure = plots.quality(classes.astype(float) if task == "regression" else classes, Predicted(classes), "")
        axes = figure.axes[0]
        assert (axes.get_xlabel(), axes.get_ylabel()) == (f"predicted {target}", f"actual {target}")


@pytest.mark.parametrize("threshold", [None, 0.3])
@pytest.mark.parametrize("positive", ["yes", LONG])
def test_two_classes_have_curves(positive: str, threshold: float | None) -> None:
    random = np.random.default_rng(0)
    truth = np.where(random.random(400) < 0.3, positive, "no")
    probability = np.clip(random.random(400) * 0.6 + 0.4 * (truth == positive), 0, 1)
    predicted = Predicted(truth, np.column_stack([1 - probability, probability]), ["no", positive])
    figure = plots.curves(truth, predicted, positive, threshold)
    legible(figure)
    assert [axes.get_title() for axes in figure.axes] == ["ROC", "Thresholds", "Calibration"]
    assert figure.get_suptitle().endswith(" on the test split")
    [chosen] = [line for line in figure.axes[1].lines if line.get_label() == f"threshold {threshold or 0.5}"]
    assert list(chosen.get_xdata()) == [threshold or 0.5] * 2


def test_a_figure_of_fewer_rows_says_of_how_many() -> None:
    few, whole = (plots._of(count, Sample({}, np.zeros(149_856))) for count in (200, 149_856))
    followed = [curve("size", Kind.NUMBER, [1.0, 2.0], ["yes"])]
    truth, predicted = answers(["no", "yes"])
    predicted = Predicted(predicted.values, np.full((len(truth), 2), 0.5), ["no", "yes"])
    for rows, said in ((few, "200 of 149856 rows of the"), (whole, "the")):
        figures = [
            plots.importance([Worth("size", 1, 0)], "auc", rows),
            plots.dependence(followed, "yes", rows),
            plots.curves(truth, predicted, "yes", None, rows),
        ]
        titles = [figure.get_suptitle().replace("\n", " ") for figure in figures]
        assert titles[0] == f"Importance of the inputs on {said} validation split"
        assert titles[1].endswith(f"to a value in {said} validation split" if rows else "to a value in every row")
        assert titles[2].endswith(f"on {said} test split")
        assert all(covered(figure) for figure in figures)


def covered(figure: Figure) -> bool:
    """Whether all of a figure's title is on it."""
    legible(figure)
    title = figure._suptitle.get_window_extent()  # type: ignore[attr-defined]
    return bool(figure.bbox.x0 <= title.x0 and title.x1 <= figure.bbox.x1)


def test_a_text_has_no_dependence_on_its_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is hardly ever the same twice: what counts in it are words."""
    row = "note: Annotated[str, Kind.TEXT, Field(examples=['a b'])]\nsize: Annotated[float, Field(examples=[1])]"
    other = declare(tmp_path, row, "good: bool", monkeypatch)
    number = np.arange(400)
    notes = [f"word{each % 7} {'fine' if each % 2 else 'poor'}" for each in number]
    table = pl.DataFrame({"note": notes, "size": number % 13, "good": number % 2 == 1})
    table.write_csv(tmp_path / "raw.csv")
    other.prepare.prepare(other.config())
    config = other.config("model=logistic", verb="train")
    planned = other.plan.make(config)
    made = other.challenger.make(planned, config, "", tmp_path / "made")
    drawn = dict(other.plots.draw(made, planned, 0))
    assert legible(drawn["importance"])[-2:] == ["note", "size"]
    assert [axes.get_xlabel() for axes in drawn["dependence"].axes] == ["size"]
    assert drawn["dependence"].axes[0].get_ylabel() == "predicted share of\ngood = true"
    assert drawn["curves"].get_suptitle() == "good = true on the test split"


def test_a_name_is_no_formula() -> None:
    """Matplotlib takes what stands between two $ for one."""
    legible(plots.importance([Worth(r"$5 to \frac $10", 1, 0)], "accuracy"))
