"""Bad answers are refused with the reason and leave nothing behind, whatever door they come by."""

import json
from collections.abc import Iterator
from pathlib import Path

import click.testing
import pytest
from conftest import CHOICES, ROOT, Render, files, run
from cookiecutter.cli import main as cookiecutter

GOOD = {
    "project_name": "Penguins",
    "description": "Tells penguins apart.",
    "author_name": "Polar Team",
    "repo_name": "penguins",
    "src_package_name": "penguins",
    "platform": "onprem",
    "orchestrator": "none",
    "registry_project_path": "registry.example.com/polar/penguins",
    "ci": "gitlab",
    "organisation": "generic",
    "_extensions": ["local_extensions.Slipway"],
}

# One bad answer each, and what the message must say about it.
BAD = {
    "climbs out": ({"repo_name": "../../climbed/out"}, "repo_name: '../../climbed/out'"),
    "is absolute": ({"repo_name": "/climbed"}, "repo_name: '/climbed'"),
    "is this folder": ({"repo_name": "."}, "repo_name: '.'"),
    "is empty": ({"project_name": ""}, "project_name: ''"),
    "is blank": ({"author_name": "  "}, "author_name: '  '"),
    "has control characters": ({"description": "a\x07b\x1b[2J"}, r"description: 'a\x07b\x1b[2J'"),
    "has a newline": ({"description": "a\nb"}, r"description: 'a\nb'"),
    "has quotes": ({"repo_name": """a"b'c"""}, "repo_name: "),
    "has a backslash": ({"project_name": "a\\b"}, r"project_name: 'a\\b'"),
    "has a template": ({"description": "{{ 7 * 7 }}"}, "description: '{{ 7 * 7 }}'"),
    "has an open template": ({"description": "a {{ b"}, "description: 'a {{ b'"),
    "has an undefined name": ({"description": "{{ nope }}"}, "description: '{{ nope }}'"),
    "has a statement": ({"description": "{% if x"}, "description: '{% if x'"),
    "has an interpolation": ({"description": "${HOME}"}, "description: '${HOME}'"),
    "is long": ({"project_name": "x" * 5000}, "(5000 characters)"),
    "has a long name": ({"repo_name": "x" * 5000}, "(5000 characters)"),
    "is only an emoji": ({"project_name": "😀"}, "repo_name: ''"),
    "is a keyword": ({"src_package_name": "class"}, "src_package_name: 'class'"),
    "is a soft keyword": ({"src_package_name": "match"}, "src_package_name: 'match'"),
    "is a standard module": ({"src_package_name": "json"}, "src_package_name: 'json'"),
    "is a dependency": ({"src_package_name": "sklearn"}, "src_package_name: 'sklearn'"),
    "is a dependency's project": ({"repo_name": "scikit-learn"}, "repo_name: 'scikit-learn'"),
    "is a folder of the project": ({"src_package_name": "tests"}, "src_package_name: 'tests'"),
    "has a scheme": ({"registry_project_path": "https://r.io/x"}, "'https://r.io/x'"),
    "has a tag": ({"registry_project_path": "r.io/x:1"}, "registry_project_path: 'r.io/x:1'"),
}
UNKNOWN = {
    "misspelt": ({"plaftorm": "gcp"}, "did you mean platform?"),
    "made up": ({"colour": "blue"}, "they are project_name, "),
}
FILED = {
    "an unknown choice": ({"platform": "aws"}, "needs one of onprem, gcp, e.g. onprem"),
    "a number": ({"author_name": 3}, "author_name: 3"),
    "nothing": ({"author_name": None}, "author_name: None"),
    "half a character": ({"description": "\ud800"}, r"description: '\ud800'"),
}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A folder three levels down, where Cookiecutter is told to write; nothing may stay there."""
    (tmp_path / "config.yaml").write_text(f"replay_dir: {tmp_path / 'replays'}\n")
    place = tmp_path / "a" / "b" / "out"
    place.mkdir(parents=True)
    (place / "mine.txt").write_text("mine")
    yield place
    assert files(tmp_path / "a") == {"b/out/mine.txt"}
    assert {path.name for path in (tmp_path / "a").rglob("*") if path.is_dir()} == {"b", "out"}
    assert not Path("/climbed").exists()


def asked(place: Path, *words: str) -> click.testing.Result:
    """What the cookiecutter command does, in this process: the command itself costs a second."""
    config = place.parents[2] / "config.yaml"
    command = [str(ROOT), "-o", str(place), "--config-file", str(config), *words]
    return click.testing.CliRunner().invoke(cookiecutter, command)


def is_refused_well(message: str, code: int, reason: str) -> bool:
    lines = message.splitlines()
    assert code == 1
    assert reason in message
    assert "Traceback" not in message
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 160
    return True


@pytest.mark.parametrize("force", [(), ("-f",)], ids=["", "-f"])
@pytest.mark.parametrize(("answers", "reason"), (BAD | UNKNOWN).values(), ids=[*BAD, *UNKNOWN])
def test_an_answer_on_the_command_line_is_refused(
    answers: dict[str, str], reason: str, force: tuple[str, ...], place: Path
) -> None:
    words = [f"{question}={value}" for question, value in answers.items()]
    result = asked(place, "--no-input", *force, *words)
    assert is_refused_well(result.output, result.exit_code, reason)


@pytest.mark.parametrize("force", [(), ("-f",)], ids=["", "-f"])
@pytest.mark.parametrize(("answers", "reason"), (BAD | FILED).values(), ids=[*BAD, *FILED])
def test_an_answer_in_a_replay_file_is_refused(
    answers: dict[str, str], reason: str, force: tuple[str, ...], place: Path
) -> None:
    replay = place.parents[2] / "replay.json"
    derived = {"repo_name": ""} if reason == "repo_name: ''" else {}
    replay.write_text(json.dumps({"cookiecutter": GOOD | derived | answers}))
    result = asked(place, *force, "--replay-file", str(replay))
    assert is_refused_well(result.output, result.exit_code, reason)


def test_an_answer_at_the_keyboard_is_refused(place: Path) -> None:
    config = place.parents[2] / "config.yaml"
    result = click.testing.CliRunner().invoke(
        cookiecutter,
        [str(ROOT), "-o", str(place), "--config-file", str(config)],
        input="A {{ b\n" + "\n" * (len(GOOD) - 2),
    )
    assert "Nothing was written" in result.output
    assert "project_name: 'A {{ b'" in result.output
    assert result.exit_code == 1


def test_all_faults_are_told_at_once_and_fit_on_a_screen(place: Path) -> None:
    replay = place.parents[2] / "replay.json"
    bad = dict.fromkeys(GOOD, "x\n" * 5000) | {"_extensions": GOOD["_extensions"]}
    replay.write_text(json.dumps({"cookiecutter": bad}))
    result = asked(place, "--replay-file", str(replay))
    assert is_refused_well(result.output, result.exit_code, "Nothing was written")
    for question in GOOD:
        assert question.startswith("_") or f"  {question}: " in result.output


@pytest.mark.parametrize("flag", ["--no-input", "-f"])
def test_the_real_command_refuses_in_the_same_way(flag: str, place: Path) -> None:
    command = [
        "cookiecutter",
        ROOT,
        "--no-input",
        flag,
        "-o",
        place,
        "repo_name=../up",
        "author_name=",
    ]
    done = run(*command, cwd=place.parents[2])
    assert is_refused_well(done.stderr, done.returncode, "repo_name: '../up'")
    assert "author_name: ''" in done.stderr


def test_an_unknown_choice_on_the_command_line_writes_nothing(place: Path) -> None:
    """Cookiecutter refuses this one before it reads our code, with a traceback of its own."""
    result = asked(place, "--no-input", "platform=aws")
    assert result.exit_code == 1
    assert "aws" in str(result.exception)


def test_refusing_leaves_an_existing_project_alone(place: Path) -> None:
    words = ["repo_name=out", "src_package_name=class"]
    done = asked(place, "--no-input", "-f", "-o", str(place.parent), *words)
    assert is_refused_well(done.output, done.exit_code, "src_package_name: 'class'")


@pytest.mark.parametrize(
    ("program", "option"),
    [
        ("cruft", "--extra-context"),
        ("cruft", "--variables-to-update"),
        ("cruft/__main__.py", "--extra-context"),
    ],
)
def test_cruft_is_asked_for_its_words_too(
    program: str, option: str, monkeypatch: pytest.MonkeyPatch, render: Render
) -> None:
    from local_extensions import surprises, typed_answers

    typed = {"plaftorm": "gcp"}
    for words in ([option, json.dumps(typed)], [f"{option}={json.dumps(typed)}"]):
        assert typed_answers([f"/bin/{program}", "create", "x", *words, "-y"]) == typed
    assert typed_answers(["/bin/pytest", option, "{"]) == {}
    assert surprises(typed, list(CHOICES))


def test_a_render_again_keeps_what_the_user_added(place: Path) -> None:
    out = place.parents[2] / "kept"
    words = ["--no-input", "-f", "-o", str(out)]
    assert asked(place, *words).exit_code == 0
    folders = ("jobs/mine", "src/my_ml_project/mine", "_mine", "conf/model")
    added = [out / "my-ml-project" / folder / "mine.txt" for folder in folders]
    for file in added:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("mine")
    before = files(out)

    assert asked(place, *words).exit_code == 0

    assert files(out) == before
    assert {file.read_text() for file in added} == {"mine"}
