"""How a model is kept: a module for each format, each with the same five things.

FILE is the name of the model's file, NEEDS the packages that reading it takes; `example` gives inputs as MLflow shows
them, `write` keeps a fitted pipeline in a folder with MLflow's description of it, and `read` gives back what answers.
Another format is another module here, whose name is what export.format says.
"""

import pkgutil
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import yaml
from pydantic import ValidationError

from ..errors import Problem
from ..inputs import Tensors
from ..predictor import Card, Missing, Outputs, Predictor


class Reader(Protocol):
    """A model in memory."""

    def __call__(self, inputs: Tensors, /) -> Outputs:
        """Answer for arrays of shape (rows, 1)."""


class Format(Protocol):
    """What a module of this package holds."""

    FILE: str
    NEEDS: Sequence[str]

    def example(self, inputs: Tensors) -> Any:
        """Give inputs in the form that the model takes them in MLflow."""

    def write(self, pipeline: Any, card: Card, folder: Path, trusted: Sequence[str], **described: Any) -> None:
        """Keep a fitted pipeline; raises Problem if this format cannot."""

    def read(self, folder: Path, threads: int, trusted: Sequence[str]) -> Reader:
        """Load what `write` kept; raises Problem if it holds what is not trusted."""


def find(name: str) -> Format:
    """Find a format by its name; raises Problem if there is none."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    if name not in names:
        raise Problem(f"export.format={name}: it is one of {', '.join(names)}")
    module: Any = import_module(f"{__name__}.{name}")
    return module  # type: ignore[no-any-return]


def save(pipeline: Any, card: Card, folder: Path, inputs: Tensors, trusted: Sequence[str] = ()) -> None:
    """Keep a fitted pipeline in a folder, with its card and an example of its inputs, as MLflow lays models out."""
    from mlflow.models import infer_signature

    kept = find(card.format)
    example = kept.example(inputs)
    kept.write(
        pipeline,
        card,
        folder,
        trusted,
        signature=infer_signature(example),
        input_example=example,
        metadata=card.model_dump(),
        # Spelled out, because MLflow would import the model in a process of its own to find them.
        pip_requirements=[f"{package}=={version(package)}" for package in kept.NEEDS],
    )


def describe(folder: Path, card: Card) -> None:
    """Put another card beside a model that is kept already, such as one with its measures."""
    from mlflow.models import Model

    described = Model.load(str(folder))
    described.metadata = card.model_dump()
    described.save(str(folder / "MLmodel"))


def load(folder: Path, threads: int = 1, trusted: Sequence[str] = ()) -> Predictor:
    """Load a model from a folder that MLflow laid out; the card is in its MLmodel file.

    `threads` is for ONNX Runtime, 0 for one per processor. Raises Problem if the folder holds no such model, or one of
    types that are not trusted.
    """
    described = folder / "MLmodel"
    if not described.exists():
        raise Missing(f"{folder} holds no model: there is no MLmodel file in it")
    try:
        card = Card.model_validate(yaml.safe_load(described.read_text(encoding="utf-8"))["metadata"])
    except (KeyError, TypeError, ValidationError, yaml.YAMLError):
        raise Problem(f"{folder} holds a model that this code did not train: its MLmodel file has no card") from None
    kept = find(card.format)
    if not (folder / kept.FILE).exists():
        raise Missing(f"{folder} holds no model: there is no {kept.FILE} in it")
    return Predictor(card, kept.read(folder, threads, trusted))
