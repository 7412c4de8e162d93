import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from {{ cookiecutter.src_package_name }}.errors import Problem
from {{ cookiecutter.src_package_name }}.versions import Claim, Versions

from .conftest import tracker, versions


@pytest.fixture
def here(trained: Path) -> Versions:
    return versions()


def test_there_is_no_champion_before_there_is_a_model(folder: Path) -> None:
    assert versions().champion() is None
    with pytest.raises(Problem, match="make train"):
        versions().resolve("models:/nothing@champion")


def test_an_address_leads_to_a_version(here: Versions) -> None:
    assert here.resolve(f"models:/{here.name}@champion") == (here.name, "1")
    assert here.resolve("models:/other/3") == ("other", "3")


@pytest.fixture
def rivals(here: Versions) -> list[str]:
    """The champion, and two versions that were trained at the same time."""
    source = tracker().client.get_model_version(here.name, "1").source
    return ["1", *(tracker().client.create_model_version(here.name, source).version for _ in range(2))]


def claim(score: float, over: str | None = "1", data: str = "a", age: timedelta = timedelta()) -> Claim:
    now = datetime.now(UTC)
    return Claim(score=score, sign=-1, reason=f"loss {score}", over=over, data=data, since=now - age)


def say_first(here: Versions, version: str, said: Claim) -> None:
    """Do what another training does before it moves the alias."""
    tracker().client.set_model_version_tag(here.name, version, "claim", said.model_dump_json())


@pytest.mark.parametrize("moved", [True, False])
@pytest.mark.parametrize(("ours", "holder"), [(0.1, "2"), (0.2, "2"), (0.3, "3")])
def test_of_two_trainings_at_the_same_time_the_better_wins(
    here: Versions, rivals: list[str], moved: bool, ours: float, holder: str
) -> None:
    say_first(here, "3", claim(0.2))
    if moved:
        tracker().client.set_registered_model_alias(here.name, "champion", "3")
    assert here.promote("2", claim(ours)) == holder
    assert here.champion() == holder
    tags = tracker().client.get_model_version(here.name, "2").tags
    assert tags.get("gave_way_to") == (None if holder == "2" else "3")
    assert ("promoted_at" in tags) == (holder == "2")


@pytest.mark.parametrize(
    "other",
    [
        claim(0.01, age=timedelta(days=1)),  # someone has gone back to "1" since
        claim(0.01, data="b"),  # measured on another test split
        claim(0.01, over=None),
    ],
)
def test_what_was_promoted_otherwise_is_no_rival(here: Versions, rivals: list[str], other: Claim) -> None:
    say_first(here, "3", other)
    assert here.promote("2", claim(0.2)) == "2"


def test_any_number_of_trainings_agree_on_the_best(here: Versions, rivals: list[str]) -> None:
    source = tracker().client.get_model_version(here.name, "1").source
    scores = [0.5, 0.2, 0.4, 0.1, 0.3, 0.6]
    made = [tracker().client.create_model_version(here.name, source).version for _ in scores]
    gate = threading.Barrier(len(scores))

    def race(mine: Versions, version: str, score: float) -> str:
        gate.wait(60)
        return mine.promote(version, claim(score))

    with ThreadPoolExecutor(len(scores)) as pool:
        list(pool.map(race, [versions() for _ in scores], made, scores))
    assert here.champion() == str(made[3])
