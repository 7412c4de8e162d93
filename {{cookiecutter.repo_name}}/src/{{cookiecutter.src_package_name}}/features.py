"""How a row becomes what the model sees: the same arrays in training, serving and batch inference."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from .schema import FEATURES

Tensors = dict[str, NDArray[np.generic]]


def tensors(columns: Mapping[str, Sequence[object]]) -> Tensors:
    """Turn columns of values into one array of shape (rows, 1) for each feature.

    Numbers become float32 with NaN for a missing value, categories become text with "" for one, so that a model is
    fitted on exactly the inputs that it meets later.
    """
    return {
        name: _numbers(columns[name]) if kind == "number" else _texts(columns[name]) for name, kind in FEATURES.items()
    }


def _numbers(values: Sequence[object]) -> NDArray[np.generic]:
    return np.array(values, dtype=np.float32).reshape(-1, 1)


def _texts(values: Sequence[object]) -> NDArray[np.generic]:
    return np.array(["" if value is None else str(value) for value in values], dtype=object).reshape(-1, 1)
