"""Every combination renders exactly its files, and they parse."""

import ast
import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from conftest import CHOICES, CONTEXTS, OVERLAYS, TEMPLATE, Render, files, texts

# What may be written only where its choice was made. Packages that a library brings along are
# not a choice: locks are left out, and so are source and tests, which serve all choices.
WORDS = {
    "onprem": r"s3://|boto3|\bAWS_|MLFLOW_S3_|on.prem",
    "gcp": r"gs://|gcloud|google[ ._-]?(cloud|apis|application)|\bgcp\b|artifact registry",
    "none": r"kubectl kustomize|kustomize\.config",
    "runai": r"run[.:-]?ai\b",
    "polyaxon": r"polyaxon",
    "gitlab": r"gitlab-ci|\.gitlab\b|\bCI_[A-Z]",
    "github": r"\.github\b|GITHUB_|github actions",
    "generic": r"clusters\.example\.com",
    "aisg": r"aisg|ai singapore|aisingapore",
}
ALL_CHOICES = re.compile(r"(src|tests)/|requirements/.*\.txt")
# An organisation's addresses are its own, and name what runs there.
ADDRESSES = "docs/links.md"

AWKWARD = [
    """He said "it's '10%' off" & left: #1, [a], *b*, |c| = ~d!""",
    "Prévision «Ωmega» — naïve façade, Übermaß, ¿señor?",
    "ペンギンの種類を当てる 模型 펭귄",
    "👩‍🔬 measures 🐧 & 😀",
    "yes",
    "null",
    "1.0",
    "- x",
    "'",
    '"',
]


class Loader(yaml.SafeLoader):
    """Reads the tags that GitLab and MkDocs add to YAML as if they were not there."""


Loader.add_multi_constructor("", lambda loader, tag, node: None)


def parse(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    match path.suffix:
        case ".yaml" | ".yml":
            list(yaml.load_all(text, Loader))
        case ".toml":
            tomllib.loads(text)
        case ".json":
            json.loads(text)
        case ".py":
            ast.parse(text)


def test_the_files_are_the_base_and_the_chosen_overlays(project: Path, choices: dict[str, str]) -> None:
    expected = {name for name in files(TEMPLATE) if not name.startswith("_overlays/")}
    for question, choice in choices.items():
        expected |= files(OVERLAYS / question / choice)
    names = {"repo_name": "my-ml-project", "src_package_name": "my_ml_project"}
    for question, answer in names.items():
        expected = {name.replace(f"{{{{cookiecutter.{question}}}}}", answer) for name in expected}
    assert files(project) == expected


def test_no_template_syntax_is_left(project: Path) -> None:
    for name, text in texts(project).items():
        assert not re.search(r"\{\{ ?cookiecutter|cookiecutter\.\w|\{%", text), name


def test_the_default_names_are_nowhere_in_a_project_of_another_name(render: Render) -> None:
    held = texts(render(project_name="Wine"))
    assert [name for name, text in held.items() if re.search("my[-_]ml[-_]project", text, re.IGNORECASE)] == []


def test_no_choice_leaves_a_trace_where_another_was_made(project: Path, choices: dict[str, str]) -> None:
    held = {name: text for name, text in texts(project).items() if not ALL_CHOICES.match(name)}
    for question, choice in choices.items():
        for other in set(CHOICES[question]) - {choice}:
            for name, text in held.items():
                found = re.search(WORDS[other], text, re.I)
                theirs = name == ADDRESSES and question != "organisation"
                assert theirs or not found, f"{name} speaks of {other}: {found}"


@pytest.mark.parametrize("choice", WORDS)
def test_each_choice_does_leave_its_own_words(choice: str, render: Render) -> None:
    """Or the test above would look for nothing."""
    context = next(context for context in CONTEXTS if choice in context.values())
    assert re.search(WORDS[choice], "\n".join(texts(render(**context)).values()), re.I)


def test_everything_parses(project: Path) -> None:
    for name in texts(project):
        parse(project / name)


def test_source_and_tests_are_the_same_in_all_renders(render: Render) -> None:
    """So one run of the rendered project's own tests, and one look at its types, stands for all renders."""
    first, *others = [render(**context) for context in CONTEXTS]
    settings = (first / "pyproject.toml").read_text(encoding="utf-8")
    assert {(other / "pyproject.toml").read_text(encoding="utf-8") for other in others} == {settings}
    for folder in ("src", "tests"):
        assert texts(first / folder)
        for other in others:
            assert texts(other / folder) == texts(first / folder)


def test_scripts_can_be_run(project: Path) -> None:
    scripts = [path for path in project.rglob("*.sh") if ".venv" not in path.parts]
    assert scripts
    for script in scripts:
        assert script.stat().st_mode & 0o111, script
        assert script.read_bytes().startswith(b"#!"), script


@pytest.mark.parametrize("text", AWKWARD)
def test_awkward_words_are_kept_as_they_are(text: str, render: Render) -> None:
    project = render(project_name=text, description=text, author_name=text, repo_name="awkward")
    for name in texts(project):
        parse(project / name)
    settings = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert settings["description"] == text
    assert [author["name"] for author in settings["authors"]] == [text]
    site = yaml.load((project / "mkdocs.yml").read_text(encoding="utf-8"), Loader)
    assert site["site_name"] == text
    assert (project / "README.md").read_text(encoding="utf-8").startswith(f"# {text}\n")


def test_pip_installs_locks_as_they_are(project: Path) -> None:
    """Asked to resolve them, one of 2023 looks for coverage[toml], which no lock of ours names."""
    lines = [line for text in texts(project).values() for line in text.splitlines() if "pip install" in line]
    locked = [line for line in lines if " -r requirements/" in line]
    assert len(locked) > 5
    assert [line for line in locked if "--no-deps" not in line] == []
