import re
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from {{ cookiecutter.src_package_name }}.errors import Problem
from {{ cookiecutter.src_package_name }}.predictor import Seen, require_inputs
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


def claim(score: float, over: str | None = "1", data: str = "a", settled: Sequence[str] = ()) -> Claim:
    return Claim(score=score, sign=-1, reason=f"loss {score}", over=over, data=data, settled=list(settled))


def move(here: Versions, version: str) -> None:
    """Do what a person does in MLflow's pages."""
    tracker().client.set_registered_model_alias(here.name, here.alias, version)


def tags(here: Versions, version: str) -> dict[str, str]:
    return dict(tracker().client.get_model_version(here.name, version).tags)


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
        move(here, "3")
    assert here.promote("2", claim(ours)) == holder
    assert here.champion() == holder
    assert tags(here, "2").get("gave_way_to") == (None if holder == "2" else "3")
    assert ("promoted_at" in tags(here, "2")) == (holder == "2")


@pytest.mark.parametrize(
    "other",
    [
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


def test_a_roll_back_is_not_undone_by_an_older_claim(here: Versions, rivals: list[str]) -> None:
    assert here.promote("2", claim(0.1)) == "2"
    move(here, "1")
    place = here.place()
    assert (place.holder, place.settled) == ("1", ["2"])
    assert here.promote("3", claim(0.2, settled=place.settled)) == "3"
    assert here.champion() == "3"


def test_nor_by_one_that_settled_while_the_new_version_was_trained(here: Versions, rivals: list[str]) -> None:
    place = here.place()
    assert place.settled == []
    here.promote("2", claim(0.1))
    move(here, "1")
    assert here.promote("3", claim(0.2, settled=place.settled)) == "3"


def test_trainings_that_know_of_a_roll_back_tell_those_that_do_not(here: Versions, rivals: list[str]) -> None:
    here.promote("2", claim(0.1))
    move(here, "1")
    say_first(here, "3", claim(0.3, settled=here.place().settled))
    move(here, "3")
    source = tracker().client.get_model_version(here.name, "1").source
    late = here.register(source)
    assert here.promote(late, claim(0.2)) == late


def test_what_settled_on_the_way_to_the_champion_stays_a_rival(here: Versions, rivals: list[str]) -> None:
    here.promote("2", claim(0.1))  # while version 3 was trained, and judged against version 1
    assert here.promote("3", claim(0.2)) == "2"
    assert here.champion() == "2"
    assert here.place().settled == []


def test_a_place_that_is_taken_again_and_again_is_given_up(
    here: Versions, rivals: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    say_first(here, "3", claim(0.3))
    looks = iter(range(100))  # beyond which the test fails, because someone fights for ever
    monkeypatch.setattr(here, "champion", lambda: str(3 + 0 * next(looks)))
    assert here.promote("2", claim(0.2)) == "3"
    assert tags(here, "2")["gave_way_to"] == "3"


def test_a_place_given_to_what_cannot_be_compared_is_left_alone(
    here: Versions, rivals: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rank = here._ranked

    def rank_late(mine: Claim) -> list[str]:
        monkeypatch.setattr(here, "_ranked", rank)  # once is enough
        move(here, "1")  # by a person, at that very moment
        return rank(mine)

    monkeypatch.setattr(here, "_ranked", rank_late)
    assert here.promote("2", claim(0.2)) == "1"
    assert tags(here, "2")["gave_way_to"] == "1"


def test_a_version_tells_what_made_it(here: Versions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REVISION", "0ff1ce0")
    source = tracker().client.get_model_version(here.name, "1").source
    assert tags(here, here.register(source, {"data": "d1"})) == {"data": "d1", "image": "0ff1ce0"}
    monkeypatch.setenv("REVISION", "unknown")
    assert tags(here, here.register(source)) == {}


def test_a_model_whose_inputs_are_not_made_names_the_image_that_made_it(
    here: Versions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REVISION", "0ff1ce0ddba11")
    source = tracker().client.get_model_version(here.name, "1").source
    made = here.load(f"models:/{here.name}/{here.register(source)}")
    card = made.predictor.card
    require_inputs(card, made.image)
    name, seen = next(iter(card.inputs.items()))
    changed = card.model_copy(update={"inputs": {**card.inputs, name: Seen(kind=seen.kind, fingerprint="of before")}})
    with pytest.raises(Problem, match=rf"{re.escape(name)}: made in another way.*IMAGE_TAG=0ff1ce0d,"):
        require_inputs(changed, made.image)
    with pytest.raises(Problem, match="the code that trained it"):
        require_inputs(changed, here.load(f"models:/{here.name}/1").image)


@pytest.mark.parametrize("gone", ["*", "model.onnx"])
def test_a_version_whose_files_are_gone_is_named_with_the_way_out(here: Versions, tmp_path: Path, gone: str) -> None:
    folder = here.fetch(here.address, tmp_path / "copy")
    address = tracker().log_model(tracker().create("copy"), folder)  # of its own, since all tests share the champion's
    move(here, here.register(address))
    model = tracker().client.get_logged_model(address.removeprefix("models:/"))
    for file in Path(model.artifact_location).glob(gone):
        file.unlink()
    with pytest.raises(Problem, match=rf"models:/{here.name}/2 .* files are gone: .* move the alias champion"):
        here.load(here.address)


def test_a_version_that_there_is_not_is_named(here: Versions) -> None:
    with pytest.raises(Problem, match=rf"there is no models:/{here.name}/9 in sqlite"):
        here.load(f"models:/{here.name}/9")
