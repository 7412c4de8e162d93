"""What schema.py declares, worked out: the columns, the target, the task and an example, under the file's own names."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError, create_model
from pydantic.fields import FieldInfo

from .errors import Problem
from .kinds import ASIDE, Kind
from .schema import Example, Row

Task = Literal["classification", "regression"]

# The kind that a type stands for. A Literal's values count as text, whole numbers among them: they name something.
KINDS: dict[Any, Kind] = {
    float: Kind.NUMBER,
    int: Kind.NUMBER,
    bool: Kind.BOOLEAN,
    date: Kind.DATE,
    datetime: Kind.TIME,
    str: Kind.CATEGORY,
}
TYPES = "float, int, bool, str, date, datetime or a Literal"


@dataclass(frozen=True)
class Column:
    """A column of the table: its name in files and requests, its field in schema.py, its type, and what it holds."""

    name: str
    field: str
    type: type
    kind: Kind
    seen: bool  # whether it is an input of the model by itself
    optional: bool  # whether a row may be without it


def _leaves(annotation: Any) -> Iterator[Any]:
    """List the types and literal values that an annotation allows, and the marks in it; None is left out."""
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *marks = get_args(annotation)
        yield from _leaves(inner)
        yield from (mark for mark in marks if isinstance(mark, Kind) or mark == ASIDE)
    elif origin in (Union, UnionType):
        for part in get_args(annotation):
            yield from _leaves(part)
    elif origin is Literal:
        yield from get_args(annotation)
    elif annotation is not NoneType:
        yield annotation


def _column(place: str, field: str, info: FieldInfo) -> Column:
    leaves = list(_leaves(info.rebuild_annotation()))
    optional = NoneType in get_args(info.annotation)
    marks = [leaf for leaf in leaves if isinstance(leaf, Kind)]
    types = {_type(leaf) for leaf in leaves if not isinstance(leaf, Kind) and leaf != ASIDE}
    if types == {int, float}:
        types = {float}
    hidden = next((kind for kind in KINDS if kind.__name__ == field), None)
    if not types and hidden:  # Python has set the field to its default when it comes to its annotation
        raise Problem(
            f"schema.py: {place}.{field} hides the type {field}, whose name it has; write "
            f"from {hidden.__module__} import {field} as {field.capitalize()}, and take {field.capitalize()} for it"
        )
    if len(types) != 1 or not types <= KINDS.keys():
        names = ", ".join(sorted(str(kind) if get_origin(kind) else kind.__name__ for kind in types))
        raise Problem(f"schema.py: {place}.{field} is of type {names or 'nothing'}; write {TYPES}")
    (kind,) = types
    literal = any(not isinstance(leaf, type | Kind) and leaf != ASIDE for leaf in leaves)
    held = Kind.CATEGORY if literal else KINDS[kind]
    if _hides_alias(info.annotation):
        raise Problem(
            f"schema.py: {place}.{field} has its alias within `| None`, where it is not looked for; "
            f"write Annotated[{kind.__name__} | None, Field(alias=…)] = None"
        )
    return Column(info.alias or field, field, kind, marks[-1] if marks else held, ASIDE not in leaves, optional)


def _hides_alias(annotation: Any) -> bool:
    """Say whether an alias stands at a part of a type, where Pydantic passes over it."""
    parts = get_args(annotation)
    return any(part.alias is not None if isinstance(part, FieldInfo) else _hides_alias(part) for part in parts)


def _type(leaf: Any) -> Any:
    return leaf if isinstance(leaf, type) or get_origin(leaf) else type(leaf)


def _columns(model: type[BaseModel], place: str, without: Mapping[str, Any]) -> dict[str, Column]:
    found: dict[str, Column] = {}
    for field, info in model.model_fields.items():
        if field in without:
            continue
        column = _column(place, field, info)
        if column.name in found:
            raise Problem(f"schema.py: {place}.{field} and {place}.{found[column.name].field} are both {column.name!r}")
        found[column.name] = column
    return found


def _target() -> Column:
    """Find the one field that Example adds and that is not marked as standing aside."""
    added = [column for column in EXTRA.values() if column.seen]
    if not added:
        raise Problem("schema.py: Example adds no field to Row; write the target as its field")
    if len(added) > 1:
        names = ", ".join(column.field for column in added)
        raise Problem(
            f"schema.py: Example adds {names} to Row; only one can be the target: "
            "write Annotated[…, ASIDE] for the others"
        )
    if added[0].optional:
        raise Problem(f"schema.py: Example.{added[0].field} may be None; take that out, a target is always known")
    return added[0]


def _example(column: Column) -> Any:
    """Take the first example that a field gives, wherever in its annotation it stands."""
    schema = Row.model_json_schema()["properties"][column.name]
    for part in (schema, *schema.get("anyOf", [])):
        if part.get("examples"):
            return part["examples"][0]
    raise Problem(
        f"schema.py: Row.{column.field} has no example; write Field(examples=[…]), which the API's documentation shows"
    )


def _example_row() -> Row:
    try:
        return Row.model_validate(EXAMPLE)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        raise Problem(
            f"schema.py: the example of {fault['loc'][0]} breaks its own rule; correct it ({fault['msg']})"
        ) from error


def label(value: Any) -> str:
    """Name a class as JSON's keys and plots have it: text as it is, true for True, 3 for 3."""
    return value if isinstance(value, str) else json.dumps(value)


def of_rows(rows: Sequence[Row]) -> dict[str, list[Any]]:
    """Gather checked rows in columns, by their names in files and requests."""
    return {name: [getattr(row, column.field) for row in rows] for name, column in COLUMNS.items()}


def plain(value: Any) -> Any:
    """Put a moment into UTC without a zone, as tables and arrays keep it; other values stay as they are."""
    return value.astimezone(UTC).replace(tzinfo=None) if isinstance(value, datetime) and value.tzinfo else value


# What is asked: the columns of a row. What the model sees of them is worked out in inputs.py.
COLUMNS = _columns(Row, "Row", {})
EXTRA = _columns(Example, "Example", Row.model_fields)
_TARGET = _target()
TARGET = _TARGET.name
TASK: Task = "regression" if _TARGET.kind == Kind.NUMBER else "classification"
EXAMPLE: dict[str, Any] = {name: _example(column) for name, column in COLUMNS.items()}
EXAMPLE_ROW = _example_row()

# Changes when the table does, so that prepared data from before the change are told apart.
VERSION = hashlib.sha256(json.dumps(Example.model_json_schema(), sort_keys=True).encode()).hexdigest()[:12]

_ANSWER: dict[str, Any] = {"prediction": (Example.model_fields[_TARGET.field].annotation, ...)}
if TASK == "classification":
    _ANSWER["probabilities"] = (dict[str, float] | None, None)
Prediction: type[BaseModel] = create_model("Prediction", __doc__="What the model predicts for one row.", **_ANSWER)
