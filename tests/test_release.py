"""The template's own pages agree with what it is."""

import re
import tomllib

from conftest import ANSWERS, CHOICES, ROOT


def test_the_changelog_opens_with_the_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    assert newest
    assert newest[1] == version


def test_the_readme_explains_every_question_and_choice() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (.*) \| (.*) \|$", readme, re.M)
    assert [question for question, _, _ in rows] == [name for name in ANSWERS if not name.startswith("_")]
    explained = re.findall(r"^\| `(\w+)=(\w+)` \| ", readme, re.M)
    assert explained == [(question, choice) for question in CHOICES for choice in CHOICES[question]]
    for question, _, default in rows:
        assert question not in CHOICES or re.findall(r"`(\w+)`", default) == CHOICES[question]


def test_the_licence_has_no_year_to_go_out_of_date() -> None:
    licence = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert not re.search(r"copyright (\(c\) )?\d{4}", licence, re.I)
