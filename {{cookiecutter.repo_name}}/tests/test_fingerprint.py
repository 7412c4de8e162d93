import hashlib
import sys
from collections.abc import Callable
from importlib import import_module
from itertools import count
from pathlib import Path
from textwrap import dedent

import pytest

from {{ cookiecutter.src_package_name }}.fingerprint import source_of

NUMBERS = count()
Fingerprint = Callable[[str], str]

CODE = """
import math
from math import floor

LOW, HIGH = 0.5, 2.0
WORDS = {"a": 1}
WORDS["b"] = 2
for word in "cd":
    WORDS[word] = 3

def clipped(value):
    return min(max(value, LOW), HIGH)

def ratio(one, other, digits=2):
    return round(clipped(one / other), digits) + floor(WORDS["a"])

def area(one, other):
    return one * other * math.pi

DERIVED = [ratio, area]
"""


@pytest.fixture
def ratio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fingerprint:
    """Give the source of the function `ratio` of some code."""
    monkeypatch.syspath_prepend(tmp_path)

    def of(code: str) -> str:
        name = f"features{next(NUMBERS)}"
        (tmp_path / f"{name}.py").write_text(code, encoding="utf-8")
        try:
            return source_of(import_module(name).ratio)
        finally:
            del sys.modules[name]

    return of


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("one / other", "other / one"),
        ("digits=2", "digits=3"),
        ("max(value, LOW)", "value"),
        ("0.5, 2.0", "0.25, 2.0"),
        ("0.5, 2.0", "0.5, 3.0"),
        ('{"a": 1}', '{"a": 2}'),
        ('WORDS["b"] = 2', 'WORDS["a"] = 2'),
        ("WORDS[word] = 3", "WORDS[word] = 4"),
        ("from math import floor", "from math import ceil as floor"),
        ("def ratio", "@staticmethod\ndef ratio"),
    ],
)
def test_it_changes_with_what_is_computed(ratio: Fingerprint, old: str, new: str) -> None:
    assert old in CODE
    assert ratio(CODE.replace(old, new)) != ratio(CODE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("def ratio", "# how long\ndef ratio"),
        ("    return round", '    """Divide."""\n    return round'),
        ("    return min", '    """Cut off."""\n    return min'),
        ("def clipped(value)", "def clipped(value: float) -> float"),
        ("one, other, digits=2)", "one: float, other: 'float', digits: int = 2) -> float"),
        ('WORDS = {"a": 1}', "WORDS: dict[str, int] = {\n    'a': 0x1,\n}"),
        ("one / other", "(one  /  other)"),
        ("math.pi", "3"),
        ("[ratio, area]", "[area, ratio]"),
        ("import math\n", "import cmath\nimport math\n"),
        ("DERIVED", "def unused(ratio):\n    return ratio\n\nDERIVED"),
    ],
)
def test_it_stays_when_nothing_else_is_computed(ratio: Fingerprint, old: str, new: str) -> None:
    assert old in CODE
    assert ratio(CODE.replace(old, new)) == ratio(CODE)


HELPERS = """
LIMIT = 2

def half(value):
    return value / LIMIT

def other(value):
    return value
"""


@pytest.mark.parametrize(
    "imported",
    ["from .helpers import half", "from . import helpers\nhalf = helpers.half", "from NAME.helpers import half"],
)
def test_what_stands_in_another_module_of_the_package_counts(
    imported: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)

    def source(helpers: str) -> str:
        folder = tmp_path / f"package{next(NUMBERS)}"
        folder.mkdir()
        (folder / "__init__.py").touch()
        (folder / "helpers.py").write_text(helpers, encoding="utf-8")
        code = f"{imported}\n\ndef ratio(one):\n    return half(one)\n".replace("NAME", folder.name)
        (folder / "features.py").write_text(code, encoding="utf-8")
        return source_of(import_module(f"{folder.name}.features").ratio).replace(folder.name, "")

    first = source(HELPERS)
    assert source(HELPERS.replace("LIMIT = 2", "LIMIT = 3")) != first
    assert source(HELPERS.replace("value / LIMIT", "LIMIT / value")) != first
    assert source(HELPERS.replace("def half", "# the half of it\ndef half")) == first
    if "import helpers" not in imported:  # of a whole module all of it counts
        assert source(HELPERS.replace("return value\n", "return -value\n")) == first


def test_every_version_of_python_gives_the_same(ratio: Fingerprint) -> None:
    """The digest is what 3.11, 3.12 and 3.13 were seen to give; ast.unparse writes f-strings otherwise in 3.12."""
    code = """
    def ratio(one, *more, digits=2, **other):
        first = f"{one['x']:>{digits}} BRACES it's {one!r}" f"{more[0, 1:2]}{one}"
        match first:
            case {"a": 1, **rest} if rest:
                return -1j
        return [x for x in (*more, lambda: u"x")], not one ** -digits, 1_000, 1e309, b"x"
    """
    code = dedent(code).replace("BRACES", "{" * 2 + "}" * 2)
    assert hashlib.sha256(ratio(code).encode()).hexdigest()[:12] == "e16eb4c8f8c3"
