"""The guide explains every message that the commands give up with, by the words that the code says it in."""

import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from blocks import Workspace, whole
from conftest import CHOICES, OVERLAYS, TEMPLATE, Render
from specs import TOOLS

PAGE = TEMPLATE / "docs" / "troubleshooting.md"
FILES = sorted([*(TEMPLATE / "src").rglob("*.py"), *(TEMPLATE / "jobs").glob("*.py")])


def messages(file: Path) -> Iterator[list[str]]:
    """The fixed parts of each Missing, Problem and Refused that is raised with a text of its own."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            name, words = node.exc.func, node.exc.args
            if isinstance(name, ast.Name) and name.id in {"Missing", "Problem", "Refused"} and words:
                parts = [part.value for part in ast.walk(words[0]) if isinstance(part, ast.Constant)]
                if texts := [plain(part) for part in parts if isinstance(part, str) and len(plain(part)) > 7]:
                    yield texts


def plain(text: str) -> str:
    return " ".join(text.replace("`", "").replace("|", " ").split())


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_message_is_explained(file: Path) -> None:
    page = plain(PAGE.read_text(encoding="utf-8"))
    assert unexplained(file, page) == []


@pytest.mark.parametrize("orchestrator", CHOICES["orchestrator"])
def test_every_message_of_an_orchestrator_is_explained(orchestrator: str) -> None:
    overlay = OVERLAYS / "orchestrator" / orchestrator
    page = plain((overlay / "docs/parts/messages.md").read_text(encoding="utf-8"))
    for file in (overlay / "jobs").glob("*.py"):
        assert unexplained(file, page) == []


def unexplained(file: Path, page: str) -> list[list[str]]:
    """The messages whose words are not on a page; it may stop after the words that people would look for."""
    return [parts for parts in messages(file) if not any(part[:24].strip(" ;:,(") in page for part in parts)]


def test_messages_are_found() -> None:
    assert sum(len(list(messages(file))) for file in FILES) > 30


def listed(page: str) -> list[str]:
    """The messages in the first column of a page's tables."""
    rows = re.findall(r"^\| (`[^|]*`) \|", page, re.MULTILINE)
    return [message for row in rows for message in re.findall(r"`([^`]+)`", row)]


# Said by others, or put together from a list: here when something is provoked, see below.
OTHERS = {
    "…: no such file, and no folder with files in it",
    "Ambiguous value for argument '…'",
    "port=…: Input should be a valid integer",
}


def test_no_message_is_made_up(project: Path) -> None:
    """What the page lists is in the code, word by word, or is provoked below."""
    said = plain(" ".join(text for file in SPEAK for path in project.glob(file) for text in literals(path)))
    fixed = {
        message: [part for part in map(plain, message.split("…")) if len(part) > 3] for message in listed(page(project))
    }
    assert len(fixed) > 50
    assert [
        message for message, parts in fixed.items() if message not in OTHERS and not all(p in said for p in parts)
    ] == []


SPEAK = ["src/**/*.py", "jobs/*.py", "jobs/submit.sh", "Makefile"]


def literals(path: Path) -> Iterator[str]:
    """The texts in a file, which Python joins where they follow each other; all of it, if it is no Python."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        yield text
    else:
        strings = (node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant))
        yield from (string for string in strings if isinstance(string, str))


def page(project: Path) -> str:
    return whole(project, "docs/troubleshooting.md")


# A fault, after what has to be done before it, and the message on the page that it must lead to.
FAULTS = [
    ("{python}train", "no prepared data in …: run make prepare first"),
    ("{python}prepare bad_rows=maybe", "bad_rows=…: it is either fail or quarantine"),
    (
        "{python}prepare data.split.valid=0.9 data.split.test=0.2",
        "split valid=… test=…: both must be above 0 and leave something for training",
    ),
    ("{python}prepare data.split.valid=0.00001", "… good row(s) are too few: none left for …"),
    ("{python}prepare 'data.split.by=[sex]'", "no value in …, by which rows are split"),
    (
        "{python}prepare data.split.by=content data.split.given=sex",
        "data.split has … and …: only one of them can decide",
    ),
    (
        "{python}prepare data.split.by=sex",
        "data.split.by=…: write a list of columns, […], or content for all columns",
    ),
    (
        "{python}prepare 'data.split.time={{column: sex}}'",
        "data.split.time.column=…: schema.py has no such date, time or number",
    ),
    ("{python}prepare data.raw=raw/none.csv", "…: no such file, and no folder with files in it"),
    ("{python}prepare gate.min_gian=1", "there is no setting …: … has …"),
    ("{python}prepare 'data.raw=raw/a=b.csv'", "… is not of the form key=value (…)"),
    ("{python}prepare data.raw=a,b", "Ambiguous value for argument '…'"),
    ("{python}train experiment=big", "…=…: there is no conf/….yaml; there is …"),
    ("{python}serve --port 0", "no model … in …: run make train first"),
    ("{python}serve --host 192.0.2.1", "cannot listen on … port …; take another --port"),
    ("{python}serve --port x", "port=…: Input should be a valid integer"),
    ("{python}serve --port 0 --model conf", "… holds no model: there is no MLmodel file in it"),
    ("{python}prepare && {python}train model=ridge", "model=… cannot do …; take one whose file in conf/model/ can"),
    ("{python}tune model.space=null", "model=… has no space to search"),
    ("MLFLOW_TRACKING_URI=http://127.0.0.1:9 {python}train", "MLFLOW_TRACKING_URI=… does not answer"),
    (
        "OPTUNA_STORAGE=postgresql+psycopg://x@127.0.0.1:9/x {python}doctor --only study",
        "OPTUNA_STORAGE=… cannot be used",
    ),
    (
        "export STORAGE_ROOT=s3://no/where AWS_ENDPOINT_URL=http://127.0.0.1:9;"
        " AWS_ACCESS_KEY_ID=a AWS_SECRET_ACCESS_KEY=b {python}prepare",
        "the server does not answer",
    ),
    ("jobs/submit.sh trian", "… is not one of: …"),
    ("jobs/submit.sh serve a=1", "… takes no arguments; change jobs/….yaml instead"),
    ("TUNE_WORKERS=x jobs/submit.sh tune", "…=…: a number of workers, from 1, is needed"),
    ("SERVE_MODEL=abc jobs/submit.sh serve --dry-run", "SERVE_MODEL=…: an address is needed"),
    ("ENVIRONMENT=x jobs/submit.sh train --dry-run", "ENVIRONMENT=…: one of … is needed"),
    ("SERVE_URL=abc .venv-jobs/bin/python jobs/smoke.py", "SERVE_URL=…: an address is needed"),
    (".venv-jobs/bin/python jobs/credentials.py", "there is no .env: copy .env.example to .env, and fill it in"),
    ("KUBECONFIG=/dev/null jobs/submit.sh train", "kubectl knows no cluster: …"),
]


@pytest.mark.timeout(600)
def test_faults_say_what_the_page_lists(render: Render, tmp_path: Path) -> None:
    """One project, in which one thing after the other is done wrong."""
    workspace = Workspace(render(platform="onprem", orchestrator="none"), tmp_path)
    workspace.environment["PATH"] += os.pathsep + str(TOOLS.absolute())  # kubectl
    for fault, message in FAULTS:
        assert message in listed(page(workspace.project)), message
        done = workspace.run("bash", "-c", fault.format(python="python -m my_ml_project."))
        pattern = ".*".join(re.escape(part) for part in plain(message).split("…"))
        assert done.returncode, fault
        assert re.search(pattern, plain(done.stdout + done.stderr)), (fault, message, done.stderr[-500:])
