"""A saved model, loaded and asked. Needs NumPy and ONNX Runtime only; scikit-learn just for models kept by skops."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import onnxruntime
import yaml
from numpy.typing import NDArray
from pydantic import BaseModel

from .errors import Problem
from .features import Tensors

Array = NDArray[Any]


class Missing(Problem):
    """A model's files are not where they should be."""


class Card(BaseModel):
    """What a saved model tells about itself."""

    format: str
    task: str
    target: str
    features: dict[str, str]
    classes: list[Any] | None
    schema_version: str
    metrics: dict[str, float]
    run_id: str


@dataclass(frozen=True)
class Predicted:
    """What a model says of some rows.

    `values` has shape (rows,): classes or numbers. `probabilities` has shape (rows, classes), in the order of
    `classes`; both are None for a regression.
    """

    values: Array
    probabilities: Array | None = None
    classes: Sequence[Any] | None = None


class Predictor(Protocol):
    """A loaded model."""

    card: Card

    def predict(self, inputs: Tensors) -> Predicted:
        """Predict for arrays of shape (rows, 1), one for each of the card's features."""


@dataclass(frozen=True)
class Loaded:
    """A loaded model, and what it is called."""

    name: str
    version: str
    predictor: Predictor


class OnnxPredictor:
    """A model in ONNX Runtime."""

    def __init__(self, file: Path, card: Card, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self.card = card
        self._session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])

    def predict(self, inputs: Tensors) -> Predicted:
        """Predict; class and probabilities come from one pass."""
        outputs = self._session.run(None, {name: inputs[name] for name in self.card.features})
        if self.card.classes is None:
            return Predicted(outputs[0].reshape(-1))
        return Predicted(outputs[0], outputs[1], self.card.classes)


class SkopsPredictor:
    """A scikit-learn pipeline kept by skops, which loads the trusted types and no others."""

    def __init__(self, file: Path, card: Card, trusted: Sequence[str]) -> None:
        import skops.io

        strangers = sorted(set(skops.io.get_untrusted_types(file=file)) - set(trusted))
        if strangers:
            raise Problem(f"{file.name} holds types that are not trusted: {', '.join(strangers)}; see conf/export.yaml")
        self.card = card
        self._pipeline = skops.io.load(file, trusted=list(trusted))

    def predict(self, inputs: Tensors) -> Predicted:
        """Predict as the fitted pipeline does."""
        from .model import predict

        return predict(self._pipeline, inputs)


def load(folder: Path, threads: int = 1, trusted: Sequence[str] = ()) -> Predictor:
    """Load a model from a folder that MLflow laid out; the card is in its MLmodel file.

    `threads` is for ONNX Runtime, 0 for one per processor. Raises Missing if the folder holds no such model,
    and Problem if it holds one of types that are not trusted.
    """
    described = folder / "MLmodel"
    if not described.exists():
        raise Missing(f"{folder} holds no model: there is no MLmodel file in it")
    card = Card.model_validate(yaml.safe_load(described.read_text())["metadata"])
    file = folder / f"model.{card.format}"
    if not file.exists():
        raise Missing(f"{folder} holds no model: there is no {file.name} in it")
    if card.format == "skops":
        return SkopsPredictor(file, card, trusted)
    return OnnxPredictor(file, card, threads)


def require_features(card: Card, known: dict[str, Any]) -> None:
    """Refuse a model that was trained on other features than the schema's."""
    if card.features != known:
        raise Problem(
            f"the model was trained on {', '.join(card.features)}; schema.py says {', '.join(known)}: train a new one"
        )
