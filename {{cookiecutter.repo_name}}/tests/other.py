"""Copies of the package with another schema.py and features.py: what holds for the sample's is to hold for others."""

import shutil
import sys
from importlib import import_module
from itertools import count
from pathlib import Path
from textwrap import dedent
from types import ModuleType

import pytest
from omegaconf import DictConfig

import {{ cookiecutter.src_package_name }}

from .conftest import BY_ROW, configure

HEAD = """
from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from .kinds import ASIDE, Kind
"""
FEATURES = """
import numpy as np

from .kinds import Categories, Dates, Numbers, Texts
"""
NUMBERS = count()

# These tables are not the project's: what conf/data/table.yaml says of its own columns is not to hold for them.
TABLE = [
    "data.id=id",
    "data.missing=['', NA]",
    "data.split.valid=0.15",
    "data.split.test=0.15",
    *BY_ROW,
]


class Other:
    """A package with a schema and features of its own, and its settings."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder

    def __getattr__(self, module: str) -> ModuleType:
        return import_module(f"{self.name}.{module}")

    def config(self, *overrides: str, raw: str = "raw.csv", verb: str = "prepare") -> DictConfig:
        """Compose the settings of a command, for a raw file in the folder."""
        return configure(verb, *TABLE, f"storage.root={self.folder}", f"data.raw={raw}", *overrides)


def declare(
    folder: Path, row: str, example: str, monkeypatch: pytest.MonkeyPatch, features: str = "DERIVED = []"
) -> Other:
    """Make a copy of the package whose Row and Example have these fields, and whose features.py has this code."""
    name = f"other{next(NUMBERS)}"
    source = Path({{ cookiecutter.src_package_name }}.__file__).parent
    shutil.copytree(source, folder / "src" / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree({{ cookiecutter.src_package_name }}.CONF, folder / "conf", dirs_exist_ok=True)
    lines = [HEAD, "class Row(BaseModel):", '    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)']
    text = "\n".join([*lines, _indented(row), "class Example(Row):", _indented(example or "pass")])
    (folder / "src" / name / "schema.py").write_text(text, encoding="utf-8")
    (folder / "src" / name / "features.py").write_text(FEATURES + dedent(features), encoding="utf-8")
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # importing the package sets it
    monkeypatch.syspath_prepend(folder / "src")
    return Other(name, folder)


def _indented(fields: str) -> str:
    return "\n".join(f"    {line}" for line in dedent(fields).strip().splitlines())
