"""The proof that what is kept answers as what was fitted, on the rows at hand and on awkward ones."""

import numpy as np

from .errors import Problem
from .inputs import INPUTS, Tensors
from .kinds import Kind
from .predictor import Array, Outputs

TOLERANCE = 1e-4
ROWS = 200  # of each awkward kind, at most; with many inputs fewer, so that there are no more in all than:
AWKWARD = 20_000
UNSEEN = "never seen before"


def awkward(inputs: Tensors) -> Tensors:
    """Make the rows that a conversion goes wrong on: a value missing or never seen, in one input at a time.

    A number is missing only where the schema, or a function of features.py, allows it.
    """
    oddities = [(name, value) for name in inputs for value in _odd(name)]
    size = min(ROWS, AWKWARD // max(1, len(oddities)) + 1)
    some = {name: values[:size] for name, values in inputs.items()}
    copies = [some | {name: np.full_like(some[name], value)} for name, value in oddities]
    return {name: np.concatenate([some[name], *(copy[name] for copy in copies)]) for name in some}


def _odd(name: str) -> list[object]:
    made = INPUTS[name]
    if made.kind != Kind.NUMBER:
        return ["", UNSEEN]
    direct = len(made.columns) == 1 and made.columns[0].name == name
    return [] if direct and not made.columns[0].optional else [np.nan]


def prove_equal(saved: Outputs, fitted: Outputs, hint: str = "keep it with export.format=skops") -> float:
    """Compare the kept model's answers with the fitted pipeline's; returns the largest difference, relative to 1.

    Raises Problem if they differ by more than the tolerance, or in a label.
    """
    (labels, probabilities), (truth, known) = saved, fitted
    if (probabilities is None) != (known is None):
        raise Problem(f"the kept model gives probabilities and the fitted one does not, or the other way round; {hint}")
    if probabilities is not None and known is not None:
        gap = _gap(probabilities, known)
    elif np.issubdtype(truth.dtype, np.integer):
        gap = float((labels.reshape(-1) != truth.reshape(-1)).any())
    else:
        gap = _gap(labels.reshape(-1), truth.reshape(-1))
    if not gap <= TOLERANCE:
        raise Problem(f"the kept model differs from the fitted one by {gap:.2g}; {hint}")
    return gap


def _gap(saved: Array, fitted: Array) -> float:
    return float(np.max(np.abs(saved - fitted) / np.maximum(1, np.abs(fitted)), initial=0))
