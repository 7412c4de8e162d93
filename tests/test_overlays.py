"""A choice is a folder, and all choices of a question supply the same files."""

import itertools
import json
import re

import pytest
from conftest import ANSWERS, CHOICES, OVERLAYS, ROOT, TEMPLATE, files

BASE = {name for name in files(TEMPLATE) if not name.startswith("_overlays/")}


def test_the_questions_with_choices_are_the_folders() -> None:
    assert {folder.name for folder in OVERLAYS.iterdir()} == set(CHOICES)


@pytest.mark.parametrize("question", CHOICES)
def test_the_choices_of_a_question_are_the_folders(question: str) -> None:
    assert {folder.name for folder in (OVERLAYS / question).iterdir()} == set(CHOICES[question])


@pytest.mark.parametrize(("question", "choice"), [(q, c) for q in CHOICES for c in CHOICES[q][1:]])
def test_all_choices_of_a_question_supply_the_same_files(question: str, choice: str) -> None:
    assert files(OVERLAYS / question / choice) == files(OVERLAYS / question / CHOICES[question][0])


def test_no_file_has_two_sources() -> None:
    sources = [
        BASE,
        *(files(OVERLAYS / question / picked[0]) for question, picked in CHOICES.items()),
    ]
    for one, other in itertools.combinations(sources, 2):
        assert not one & other


@pytest.mark.parametrize("name", sorted(files(TEMPLATE)))
def test_a_template_file_holds_values_only_and_renders_the_same_tomorrow(name: str) -> None:
    assert "{%" not in name, "a name that renders to nothing is written outside the project"
    text = (TEMPLATE / name).read_text(encoding="utf-8", errors="replace")
    assert not re.search(r"\{%-?\s*(?!raw|endraw)", text), "only raw; a choice is a folder"
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
