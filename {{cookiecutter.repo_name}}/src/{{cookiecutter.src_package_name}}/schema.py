"""One row and its target: the only description of the data.

prepare checks raw files against it, serve checks requests, infer checks inboxes. For another table, replace the
fields of Row and Example; what stands below them is worked out.
"""

import hashlib
import json
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, create_model


class Row(BaseModel):
    """One penguin, as anyone who asks for a prediction describes it."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    island: Annotated[str, Field(min_length=1, max_length=40, examples=["Biscoe"])]
    bill_length_mm: Annotated[float, Field(gt=0, lt=200, examples=[46.1])] | None = None
    bill_depth_mm: Annotated[float, Field(gt=0, lt=100, examples=[13.2])] | None = None
    flipper_length_mm: Annotated[float, Field(gt=0, lt=500, examples=[211])] | None = None
    body_mass_g: Annotated[float, Field(gt=0, lt=50_000, examples=[4500])] | None = None
    sex: Annotated[Literal["female", "male"], Field(examples=["female"])] | None = None


class Example(Row):
    """One penguin whose species is known: a row to learn from."""

    species: Literal["Adelie", "Chinstrap", "Gentoo"]


# ---------------------------------------------------------------------------------------------------------------------

Kind = Literal["number", "category"]
Task = Literal["classification", "regression"]


def _leaves(annotation: Any) -> list[Any]:
    """List the plain types, and the values of literals, that an annotation allows."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _leaves(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return [leaf for part in get_args(annotation) for leaf in _leaves(part) if leaf is not NoneType]
    return list(get_args(annotation)) if origin is Literal else [annotation]


def _kind(name: str) -> Kind:
    leaves = _leaves(Row.model_fields[name].rebuild_annotation())
    if all(leaf in (float, int, bool) for leaf in leaves):
        return "number"
    if all(leaf is str or not isinstance(leaf, type) for leaf in leaves):
        return "category"
    raise TypeError(f"Row.{name} is {leaves}; a feature is a float, an int, a bool, a str or a Literal")


def _example(name: str) -> Any:
    """Take the first example that a field gives, wherever in its annotation it stands."""
    schema = Row.model_json_schema()["properties"][name]
    for part in (schema, *schema.get("anyOf", [])):
        if part.get("examples"):
            return part["examples"][0]
    raise TypeError(f"Row.{name} has no example: write Field(examples=[…]), which the API's documentation shows")


def _task() -> Task:
    leaves = _leaves(Example.model_fields[TARGET].annotation)
    if leaves in ([float], [int]):
        return "regression"
    if leaves and not any(isinstance(leaf, type | bool) for leaf in leaves):
        return "classification"
    raise TypeError(f"Example.{TARGET} is {leaves}; a target is a float, or a Literal of texts or whole numbers")


FEATURES: dict[str, Kind] = {name: _kind(name) for name in Row.model_fields}
(TARGET,) = Example.model_fields.keys() - Row.model_fields.keys()
TASK: Task = _task()
EXAMPLE: dict[str, Any] = {name: _example(name) for name in FEATURES}

# Changes when the table does, so that prepared data and models from before the change are told apart.
VERSION = hashlib.sha256(json.dumps(Example.model_json_schema(), sort_keys=True).encode()).hexdigest()[:12]

_ANSWER: dict[str, Any] = {"prediction": (Example.model_fields[TARGET].annotation, ...)}
if TASK == "classification":
    _ANSWER["probabilities"] = (dict[str, float], ...)
Prediction: type[BaseModel] = create_model(
    "Prediction",
    __doc__="What the model says of one row.",
    **_ANSWER,
)
