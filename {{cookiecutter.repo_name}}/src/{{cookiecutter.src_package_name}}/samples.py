"""Rows to learn from or to measure by, as arrays."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from sklearn.utils.class_weight import compute_sample_weight

from . import data
from .columns import EXTRA, TASK
from .errors import Problem
from .inputs import Tensors, tensors
from .predictor import Array

LOOKED_AT = 100  # rows by which inputs are tried for looking across rows


@dataclass(frozen=True)
class Sample:
    """Inputs of shape (rows, 1) each, and the truth and weights of shape (rows,)."""

    inputs: Tensors
    truth: Array
    weights: Array | None = None

    def __len__(self) -> int:
        """Count the rows."""
        return len(self.truth)

    def take(self, rows: Array | slice) -> "Sample":
        """Give some of the rows."""
        inputs = {name: values[rows] for name, values in self.inputs.items()}
        return Sample(inputs, self.truth[rows], None if self.weights is None else self.weights[rows])


def joined(parts: Iterable[Sample]) -> Sample:
    """Put samples one behind the other."""
    whole = list(parts)
    inputs = {name: np.concatenate([part.inputs[name] for part in whole]) for name in whole[0].inputs}
    weights = [part.weights for part in whole if part.weights is not None]
    return Sample(inputs, np.concatenate([part.truth for part in whole]), np.concatenate(weights) if weights else None)


def sample(table: pl.DataFrame, weight: str | None = None) -> Sample:
    """Make a sample of a prepared table, with the weights of a column that Example declares."""
    if weight is not None and weight not in EXTRA:
        raise Problem(f"weight.column={weight}: Example declares no such column; it has {', '.join(EXTRA)}")
    weights = None if weight is None else table[weight].cast(pl.Float64).to_numpy()
    if weights is not None and not (np.isfinite(weights).all() and (weights >= 0).all() and weights.any()):
        raise Problem(f"weight.column={weight}: a weight is missing, below 0 or infinite; say so in Example's field")
    return Sample(_inputs(table), data.target(table), weights)


def _inputs(table: pl.DataFrame) -> Tensors:
    """Make the inputs; raises Problem if one of a row depends on other rows, which a request would not bring along."""
    inputs, some = tensors(data.columns(table)), table[:LOOKED_AT:2]
    for name, values in tensors(data.columns(some)).items():
        whole = inputs[name][:LOOKED_AT:2]
        equal = values == whole if values.dtype == object else np.isclose(values, whole, rtol=1e-9, equal_nan=True)
        if not equal.all():
            raise Problem(
                f"features.py: {name} of a row depends on the other rows beside it, and a request has others or none; "
                "what is learnt from data is a step in conf/inputs/"
            )
    return inputs


def balanced(rows: Sample, classes: str | None) -> Sample:
    """Weigh rows as weight.classes says: `balanced` makes each class count as much as any other."""
    if classes is None:
        return rows
    if classes != "balanced" or TASK != "classification":
        raise Problem(f"weight.classes={classes}: it is null or, for classes, balanced")
    weights = compute_sample_weight("balanced", rows.truth)
    return replace(rows, weights=weights if rows.weights is None else weights * rows.weights)


def folds(rows: Sample, places: Array, count: int, ordered: bool) -> Iterator[tuple[Sample, Sample]]:
    """Part a sample for cross-validation into what is learnt from and what is measured by, `count` times.

    `places` numbers each row's fold, shape (rows,). Where rows follow one another in time (`ordered`), a fold is
    measured by what stands before it only, so the first one is never measured.
    """
    for fold in range(1 if ordered else 0, count):
        before = places < fold if ordered else places != fold
        yield rows.take(before), rows.take(places == fold)
