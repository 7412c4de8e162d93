"""What the model sees: columns as numbers, categories and texts, and what features.py makes of them.

Training, tuning, serving and batch inference turn rows into arrays here and nowhere else.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any, get_args, get_type_hints

import numpy as np
from numpy.typing import NDArray

from . import features
from .columns import COLUMNS, Column, plain
from .errors import Problem
from .fingerprint import source_of
from .kinds import Kind

Tensors = dict[str, NDArray[Any]]
Values = Sequence[Any] | NDArray[Any]

# What a column of each kind is as an input, if it is one by itself: a date is days, a time is seconds, since 1970.
AS_INPUT = {
    Kind.NUMBER: Kind.NUMBER,
    Kind.BOOLEAN: Kind.NUMBER,
    Kind.DATE: Kind.NUMBER,
    Kind.TIME: Kind.NUMBER,
    Kind.CATEGORY: Kind.CATEGORY,
    Kind.TEXT: Kind.TEXT,
}
# Single precision ends a little later; a number beyond this counts as this, so that a scaled one stays finite.
LARGEST = 1e30

UNITS = {Kind.DATE: "D", Kind.TIME: "us"}


@dataclass(frozen=True)
class Input:
    """One input of the model: its kind, the columns that it is made from, and how."""

    kind: Kind
    columns: tuple[Column, ...]
    make: Callable[..., Any]
    fingerprint: str  # changes when what makes it does


def tensors(columns: Mapping[str, Values], names: Iterable[str] | None = None) -> Tensors:
    """Turn columns of values into one array of shape (rows, 1) for each input, or for those that are named.

    Numbers are float64, with NaN for a value that is missing or undefined, such as a division by zero, and none beyond
    1e30 either way. Categories and texts are objects, with "" for a missing one. Raises Problem if a function of
    features.py gives anything else than one value a row.
    """
    wanted = {name: INPUTS[name] for name in (INPUTS if names is None else names)}
    used = {column.name: column for made in wanted.values() for column in made.columns}
    arrays = {name: _array(column, columns[name]) for name, column in used.items()}
    return {name: _input(name, made, [arrays[column.name] for column in made.columns]) for name, made in wanted.items()}


def _array(column: Column, values: Values) -> NDArray[Any]:
    """Make a column's array of shape (rows,), as functions in features.py take it."""
    if column.kind in (Kind.CATEGORY, Kind.TEXT):
        if isinstance(values, np.ndarray):
            return values
        return np.array(["" if value is None else str(value) for value in values], dtype=object)
    if column.kind in UNITS:
        values = values if isinstance(values, np.ndarray) else [plain(value) for value in values]
        return np.asarray(values, dtype=f"datetime64[{UNITS[column.kind]}]")
    return np.asarray(values, dtype=np.float64)


def _input(name: str, made: Input, arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    with np.errstate(all="ignore"):  # what has no value becomes NaN below
        values = np.asarray(made.make(*arrays))
    if values.shape != arrays[0].shape:
        raise Problem(
            f"features.py: {name} gives an array of shape {values.shape} for columns of shape {arrays[0].shape}; "
            "return one value for each row"
        )
    if made.make is _as_is and made.kind != Kind.NUMBER:
        return values.reshape(-1, 1)
    if made.kind != Kind.NUMBER:
        texts = values.astype(object)
        if strangers := [value for value in texts if not isinstance(value, str)]:
            raise Problem(f"features.py: {name} gives {strangers[0]!r}, which is no text; return .astype(str)")
        return texts.reshape(-1, 1)
    if values.dtype.kind not in "biuf":  # booleans, whole numbers and floats
        raise Problem(
            f"features.py: {name} gives an array of {values.dtype}, not of numbers; return .astype(float) or, "
            'for a difference of dates, divide it by np.timedelta64(1, "D")'
        )
    numbers = values.astype(np.float64)
    return np.clip(np.where(np.isfinite(numbers), numbers, np.nan), -LARGEST, LARGEST).reshape(-1, 1)


def _as_is(values: NDArray[Any]) -> NDArray[Any]:
    return values


def _lowered(values: NDArray[Any]) -> NDArray[Any]:
    return np.array([value.lower() for value in values], dtype=object)


def _days(values: NDArray[Any]) -> NDArray[Any]:
    return np.where(np.isnat(values), np.nan, values.astype(np.int64))


def _seconds(values: NDArray[Any]) -> NDArray[Any]:
    return np.where(np.isnat(values), np.nan, values.astype(np.int64) / 1e6)


DIRECT = {Kind.DATE: _days, Kind.TIME: _seconds, Kind.TEXT: _lowered}


def _direct(column: Column) -> Input:
    """Take a column as an input by itself."""
    fingerprint = digest(f"the column itself, a {column.kind}")
    return Input(AS_INPUT[column.kind], (column,), DIRECT.get(column.kind, _as_is), fingerprint)


def _derived(function: Callable[..., Any]) -> Input:
    """Take a function of features.py as an input; raises Problem if its signature does not say what it needs."""
    name = function.__name__
    known = {column.field: column for column in COLUMNS.values()}
    if unknown := [field for field in signature(function).parameters if field not in known]:
        raise Problem(f"features.py: {name} takes {', '.join(unknown)}; the fields of Row are {', '.join(known)}")
    taken = tuple(known[field] for field in signature(function).parameters)
    _, *marks = get_args(get_type_hints(function, include_extras=True).get("return")) or [None]
    kind = next((mark for mark in marks if isinstance(mark, Kind)), None)
    if kind is None or not taken:
        raise Problem(f"features.py: {name} must take columns and say what it makes: -> Numbers, Categories or Texts")
    if name in COLUMNS:
        raise Problem(f"features.py: {name} is the name of a column already; call the function something else")
    kinds = [f"{column.name}: {column.kind}" for column in taken]
    return Input(kind, taken, function, digest(source_of(function), *kinds, kind))


def digest(*parts: str) -> str:
    """Give twelve hexadecimal digits that change when any of the texts does."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


# What is seen: the inputs of the model, by name.
INPUTS: dict[str, Input] = {
    **{name: _direct(column) for name, column in COLUMNS.items() if column.seen},
    **{function.__name__: _derived(function) for function in features.DERIVED},
}
if not INPUTS:
    raise Problem(
        "schema.py: the model has no input; take ASIDE off a column of Row, or list a function in features.py"
    )


def kinds(names: Iterable[str] | None = None) -> dict[str, Kind]:
    """Give the kind of each input, or of those that are named."""
    return {name: INPUTS[name].kind for name in (INPUTS if names is None else names)}
