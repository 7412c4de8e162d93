"""A choice is a folder, and all choices of a question supply the same files."""

import itertools
import json
import re

import pytest
from conftest import ANSWERS, CHOICES, OVERLAYS, ROOT, TEMPLATE, files, texts
from specs import JOBS

BASE = {name for name in files(TEMPLATE) if not name.startswith("_overlays/")}


def test_the_questions_with_choices_are_the_folders() -> None:
    assert {folder.name for folder in OVERLAYS.iterdir()} == set(CHOICES)


@pytest.mark.parametrize("question", CHOICES)
def test_the_choices_of_a_question_are_the_folders(question: str) -> None:
    assert {folder.name for folder in (OVERLAYS / question).iterdir()} == set(CHOICES[question])


def shared(question: str) -> set[str]:
    """The files that all choices of a question supply, which the rest of the project may name."""
    return set.intersection(*(files(OVERLAYS / question / choice) for choice in CHOICES[question]))


@pytest.mark.parametrize(("question", "choice"), [(q, c) for q in CHOICES for c in CHOICES[q]])
def test_what_a_choice_alone_supplies_is_named_by_nothing_else(question: str, choice: str) -> None:
    """So that no other file has to ask which choice was made."""
    own = files(OVERLAYS / question / choice) - shared(question)
    others = {
        name: text for name, text in texts(TEMPLATE).items() if not name.startswith(f"_overlays/{question}/{choice}/")
    }
    named = {(name, path) for name, text in others.items() for path in own if path in text}
    assert not named


def test_the_choices_of_a_question_share_what_the_project_names() -> None:
    """A page, a job or a setting that one choice lacks is a hole that the project's other files fall into."""
    for question in CHOICES:
        for choice in CHOICES[question]:
            extra = {name for name in files(OVERLAYS / question / choice) - shared(question)}
            assert not {name for name in extra if name.startswith(("docs/", "conf/", "requirements/"))}, choice
    assert {f"jobs/{job}.yaml" for job in JOBS} <= shared("orchestrator")


def test_no_file_has_two_sources() -> None:
    choices = [(question, choice) for question in CHOICES for choice in CHOICES[question]]
    for (asked, one), (other_asked, other) in itertools.combinations(choices, 2):
        if asked != other_asked:
            assert not files(OVERLAYS / asked / one) & files(OVERLAYS / other_asked / other)
    for question, choice in choices:
        assert not BASE & files(OVERLAYS / question / choice)


@pytest.mark.parametrize("name", sorted(texts(TEMPLATE)))
def test_a_template_file_holds_values_only_and_renders_the_same_tomorrow(name: str) -> None:
    assert "{%" not in name, "a name that renders to nothing is written outside the project"
    text = (TEMPLATE / name).read_text(encoding="utf-8", errors="replace")
    assert not re.search(r"\{%-?\s*+(?!raw|endraw)", text), "only raw; a choice is a folder"
    banned = r"\b(now|random_ascii_string|uuid4|_output_dir|_repo_dir|_template|_checkout)\b"
    assert not re.search(r"\{\{[^}]*" + banned, text), "differs from one render to the next"


def test_source_and_tests_know_one_answer_at_most() -> None:
    """The name of the package, in the tests: so they read the same whatever was chosen."""
    for name in BASE:
        if name.startswith(("src/", "tests/")):
            text = (TEMPLATE / name).read_text(encoding="utf-8", errors="replace")
            allowed = "{{ cookiecutter.src_package_name }}" if name.startswith("tests/") else "nothing"
            assert "cookiecutter" not in text.replace(allowed, ""), name


def test_every_question_and_choice_has_words_for_people() -> None:
    prompts = json.loads((ROOT / "cookiecutter.json").read_text(encoding="utf-8"))["__prompts__"]
    assert prompts.keys() == {question for question in ANSWERS if not question.startswith("_")}
    for question, choices in CHOICES.items():
        assert prompts[question].keys() == {"__prompt__", *choices}


def test_no_question_is_asked_before_the_answers_can_be_kept() -> None:
    """cruft never runs a pre_prompt hook, and cannot recompute a derived variable's old value."""
    assert not list((ROOT / "hooks").glob("pre_prompt*"))
    assert not [name for name in ANSWERS if name.startswith("__") and name != "__prompts__"]
