"""What a saved model is asked and what it answers. Needs NumPy and no training library."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from .errors import Problem
from .inputs import INPUTS, Tensors, Values, tensors

Array = NDArray[Any]

# What a format gives for inputs of n rows: labels or values of shape (n,) or (n, 1), and probabilities of shape
# (n, classes) where the estimator has them. Labels are the places of classes in the card's list.
Outputs = tuple[Array, Array | None]


class Seen(BaseModel):
    """An input of a model: its kind, and what tells whether today's code still makes it the same way."""

    kind: str
    fingerprint: str


class Missing(Problem):
    """A model's files are not where they should be."""


class Card(BaseModel):
    """What a saved model tells about itself."""

    format: str
    task: str
    target: str
    columns: dict[str, str]  # what is asked: each column of a row, and its kind
    inputs: dict[str, Seen]  # what the model sees of them
    classes: list[Any] | None  # None for a regression
    probabilities: bool = False  # whether it gives those of classes
    positive: Any = None  # of two classes, the one that the threshold is for
    threshold: float | None = None  # its probability from which on it is predicted; None for the more probable one
    metrics: dict[str, float] = {}
    naive: dict[str, float] = {}  # the same measures of the naive answer
    judged: str | None = None  # where the model that was measured is, if this one was fitted again on all rows
    data: str  # the version of the prepared tables
    rows: int | None = None  # that it was fitted on
    rows_of: int | None = None  # that there were to be fitted on
    split: dict[str, Any]  # the rule that parted them
    schema_version: str
    run_id: str


@dataclass(frozen=True)
class Predicted:
    """What a model predicts for some rows.

    `values` has shape (rows,): classes or numbers. `probabilities` has shape (rows, classes), in the order of
    `classes`; it is None for a regression, and for a classifier that gives none.
    """

    values: Array
    probabilities: Array | None = None
    classes: Sequence[Any] | None = None

    def take(self, rows: Array | slice) -> "Predicted":
        """Give the predictions for some of the rows."""
        probabilities = None if self.probabilities is None else self.probabilities[rows]
        return Predicted(self.values[rows], probabilities, self.classes)

    def of(self, label: Any) -> Array:
        """Give the probability of one class, shape (rows,); raises Problem if the model does not know the class."""
        assert self.probabilities is not None, "this model gives no probabilities"
        known = list(self.classes or ())
        if label not in known:
            raise Problem(f"the model knows no class {label!r}; its classes are {', '.join(map(repr, known))}")
        return self.probabilities[:, known.index(label)]


@dataclass(frozen=True)
class Loaded:
    """A model of the model registry, or of a folder, with what it is called."""

    name: str
    version: str
    predictor: "Predictor"
    image: str | None = None  # the commit of the image that made it, if one did


class Predictor:
    """A model that is ready to be asked, whatever it is kept as."""

    def __init__(self, card: Card, outputs: Callable[[Tensors], Outputs]) -> None:
        self.card = card
        self._outputs = outputs

    def with_card(self, changes: Mapping[str, Any]) -> "Predictor":
        """Give the same model with some of its card changed, such as the threshold."""
        return Predictor(self.card.model_copy(update=dict(changes)), self._outputs)

    def predict(self, columns: Mapping[str, Values]) -> Predicted:
        """Predict for columns of rows, as data.columns and columns.of_rows give them."""
        return self.predict_inputs(tensors(columns, self.card.inputs))

    def predict_inputs(self, inputs: Tensors) -> Predicted:
        """Predict for arrays of shape (rows, 1), one for each of the card's inputs."""
        labels, probabilities = self._outputs({name: inputs[name] for name in self.card.inputs})
        return decide(self.card.classes, labels, probabilities, self.card.threshold, self.card.positive)


def decide(
    classes: Sequence[Any] | None,
    labels: Array,
    probabilities: Array | None,
    threshold: float | None = None,
    positive: Any = None,
) -> Predicted:
    """Say what is predicted: the most probable class or, with a threshold, the positive one from there on."""
    if classes is None:
        return Predicted(labels.reshape(-1))
    known = array(classes)
    if probabilities is None:
        return Predicted(known[labels.reshape(-1)], None, classes)
    if threshold is None:
        return Predicted(known[probabilities.argmax(axis=1)], probabilities, classes)
    place = list(classes).index(positive)
    reached = probabilities[:, place] >= threshold
    return Predicted(np.where(reached, known[place], known[1 - place]), probabilities, classes)


def array(classes: Sequence[Any]) -> Array:
    """Give classes as an array of shape (classes,), texts as objects, as a table's target has them."""
    found = np.asarray(classes)
    return found.astype(object) if found.dtype.kind == "U" else found


def require_inputs(card: Card, image: str | None = None) -> None:
    """Refuse a model that has an input which today's code does not make, or makes in another way.

    `image` is the commit of the image that made it, whose tag pipelines shorten to eight letters.
    """
    gone = [name for name in card.inputs if name not in INPUTS]
    changed = [
        name
        for name, seen in card.inputs.items()
        if name in INPUTS and (INPUTS[name].kind, INPUTS[name].fingerprint) != (seen.kind, seen.fingerprint)
    ]
    faults = [f"{', '.join(gone)}: not made any more"] if gone else []
    faults += [f"{', '.join(changed)}: made in another way"] if changed else []
    if faults:
        code = f"the image that made it, IMAGE_TAG={image[:8]}" if image else "the code that trained it"
        raise Problem(
            f"the model has inputs that this code does not make as it was trained on ({'; '.join(faults)}). "
            f"Take {code}, or train a new model"
        )
