"""The guide explains every message that the commands give up with, by the words that the code says it in."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import TEMPLATE

PAGE = TEMPLATE / "docs" / "troubleshooting.md"
FILES = sorted([*(TEMPLATE / "src").rglob("*.py"), *(TEMPLATE / "jobs").glob("*.py")])


def messages(file: Path) -> Iterator[list[str]]:
    """The fixed parts of each Problem and Refused that is raised with a text of its own."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            name, words = node.exc.func, node.exc.args
            if isinstance(name, ast.Name) and name.id in {"Problem", "Refused"} and words:
                parts = [part.value for part in ast.walk(words[0]) if isinstance(part, ast.Constant)]
                if texts := [plain(part) for part in parts if isinstance(part, str) and len(plain(part)) > 7]:
                    yield texts


def plain(text: str) -> str:
    return " ".join(text.replace("`", "").replace("|", " ").split())


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_message_is_explained(file: Path) -> None:
    page = plain(PAGE.read_text(encoding="utf-8"))
    # The page may stop after the words that people would look for.
    unexplained = [parts for parts in messages(file) if not any(part[:24].strip(" ;:,(") in page for part in parts)]
    assert not unexplained


def test_messages_are_found() -> None:
    assert sum(len(list(messages(file))) for file in FILES) > 30
