"""The rules of schema.py for whole columns: a Pydantic model compiled to Polars expressions.

A compiled rule is sure of a value only if Pydantic takes it, too, and makes the same of it. It refuses nothing: a row
of which a rule is not sure goes to Pydantic, whose words people read. What cannot be compiled, a validator of a team's
own above all, goes to Pydantic value by value or, where it looks at several columns, row by row.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import polars as pl
from pydantic import BaseModel, ValidationError
from pydantic_core import SchemaValidator, core_schema

from .columns import plain
from .errors import Problem

Core = Mapping[str, Any]  # a schema of pydantic-core, as a model keeps it in __pydantic_core_schema__

# What a model's configuration may hold, and a field's schema beside its rules, for them to be compiled.
HARMLESS = {"allow_inf_nan", "extra_fields_behavior", "title", "validate_by_name", "validate_by_alias", "frozen"}
BESIDE = {"type", "metadata", "ref", "expected", "allow_inf_nan", "microseconds_precision"}

BOUNDS: dict[str, Callable[[pl.Expr, Any], pl.Expr]] = {
    "gt": lambda value, bound: value > bound,
    "ge": lambda value, bound: value >= bound,
    "lt": lambda value, bound: value < bound,
    "le": lambda value, bound: value <= bound,
    "min_length": lambda value, bound: value.str.len_chars() >= bound,
    "max_length": lambda value, bound: value.str.len_chars() <= bound,
    "pattern": lambda value, bound: value.str.contains(bound),  # Pydantic's patterns are of the same library
}

TRUE = ["true", "True", "TRUE", "1"]
FALSE = ["false", "False", "FALSE", "0"]
EXACT = 2**53  # whole numbers up to here are exact in double precision
DAY = r"^[1-9]\d{3}-\d\d-\d\d$"
MOMENT = r"^[1-9]\d{3}-\d\d-\d\d[T ]([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?Z?$"


class Rule(NamedTuple):
    """What a column's values become, and which of them are surely right."""

    value: pl.Expr
    sure: pl.Expr


@functools.cache
def fields(model: type[BaseModel]) -> dict[str, Core] | None:
    """List the schemas of a model's fields, by their names in files; None if rows have to be looked at as a whole."""
    core: Any = model.__pydantic_core_schema__
    inner = core.get("schema", {})
    if core["type"] != "model" or inner.get("type") != "model-fields" or core["custom_init"] or core.get("post_init"):
        return None
    if not set(core.get("config", {})) <= HARMLESS:
        return None
    found = {str(field.get("validation_alias", name)): field["schema"] for name, field in inner["fields"].items()}
    looks_aside = any(part.get("type") == "with-info" for schema in found.values() for part in _parts(schema))
    return None if looks_aside else found


def _parts(schema: Any) -> Iterator[Core]:
    """List a schema and all that is in it."""
    if isinstance(schema, Mapping):
        yield schema
        for part in schema.values():
            yield from _parts(part)
    elif isinstance(schema, list | tuple):
        for part in schema:
            yield from _parts(part)


def rule(schema: Core, column: pl.Expr, kind: pl.DataType) -> Rule | None:
    """Compile a field's schema for a column of one of Polars' types; None if that cannot be done."""
    if schema["type"] == "default":
        return rule(schema["schema"], column, kind) if not schema.get("validate_default") else None
    if schema["type"] == "nullable":
        found = rule(schema["schema"], column, kind)
        return found and Rule(found.value, found.sure | column.is_null())
    read = READERS.get(schema["type"])
    found = read(schema, column, kind) if read else None
    if found is None or not schema.keys() <= BESIDE | BOUNDS.keys() or not isinstance(schema.get("pattern", ""), str):
        return None
    for name, bound in schema.items():
        if name in BOUNDS:
            found = Rule(found.value, found.sure & BOUNDS[name](found.value, bound))
    return Rule(found.value, found.sure.fill_null(value=False))


def _float(_: Core, column: pl.Expr, kind: pl.DataType) -> Rule | None:
    if not (kind == pl.String or kind.is_integer() or kind.is_float()):
        return None
    value = column.cast(pl.Float64, strict=False)
    return Rule(value, value.is_finite())


def _int(_: Core, column: pl.Expr, kind: pl.DataType) -> Rule | None:
    value = column.cast(pl.Int64, strict=False)
    if kind.is_float():
        return Rule(value, (column.floor() == column) & (column.abs() <= EXACT))
    return Rule(value, value.is_not_null()) if kind == pl.String or kind.is_integer() else None


def _str(_: Core, column: pl.Expr, kind: pl.DataType) -> Rule | None:
    return Rule(column, column.is_not_null()) if kind == pl.String else None


def _bool(_: Core, column: pl.Expr, kind: pl.DataType) -> Rule | None:
    if kind == pl.Boolean:
        return Rule(column, column.is_not_null())
    return Rule(column.is_in(TRUE), column.is_in([*TRUE, *FALSE])) if kind == pl.String else None


def _date(_: Core, column: pl.Expr, kind: pl.DataType) -> Rule | None:
    if kind == pl.Date:
        return Rule(column, column.dt.year().is_between(1, 9999))
    value = column.str.to_date("%Y-%m-%d", strict=False)
    return Rule(value, column.str.contains(DAY) & value.is_not_null()) if kind == pl.String else None


def _datetime(schema: Core, column: pl.Expr, kind: pl.DataType) -> Rule | None:
    if schema.keys() & BOUNDS.keys():  # one with a zone and one without compare in a way of Pydantic's own
        return None
    if kind in (pl.Datetime("us"), pl.Datetime("us", "UTC")):
        return Rule(column.dt.replace_time_zone(None), column.dt.year().is_between(1, 9999))
    plain = column.str.strip_suffix("Z").str.replace(" ", "T", literal=True)
    value = plain.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", time_unit="us", strict=False)
    return Rule(value, column.str.contains(MOMENT) & value.is_not_null()) if kind == pl.String else None


def _literal(schema: Core, column: pl.Expr, kind: pl.DataType) -> Rule | None:
    """Read one of some texts or, as data.check does, of some whole numbers."""
    expected = schema["expected"]
    if all(type(value) is str for value in expected):
        return Rule(column, column.is_in(expected)) if kind == pl.String else None
    if all(type(value) is int and abs(value) < EXACT for value in expected):
        number = _float(schema, column, kind)
        allowed = [float(value) for value in expected]
        return number and Rule(number.value.cast(pl.Int64, strict=False), number.value.is_in(allowed))
    return None


READERS: dict[str, Callable[[Core, pl.Expr, pl.DataType], Rule | None]] = {
    "float": _float,
    "int": _int,
    "str": _str,
    "bool": _bool,
    "date": _date,
    "datetime": _datetime,
    "literal": _literal,
}


def values(model: type[BaseModel], schema: Core, series: pl.Series, kind: Any) -> tuple[pl.Series, pl.Series]:
    """Let Pydantic look at a column of a model value by value.

    Returns:
        What the values become, in Polars' type `kind`, and which of them Pydantic takes.
    """
    core: Any = model.__pydantic_core_schema__
    validator = SchemaValidator(core_schema.list_schema(schema), core.get("config"))
    given = series.to_list()
    try:
        taken = validator.validate_python(given)
        refused: set[Any] = set()
    except ValidationError as error:
        refused = {fault["loc"][0] for fault in error.errors(include_url=False, include_context=False)}
        taken = iter(validator.validate_python([value for place, value in enumerate(given) if place not in refused]))
        taken = [None if place in refused else next(taken) for place in range(len(given))]
    refused |= {place for place, value in enumerate(taken) if beyond(value)}
    taken = [None if place in refused else value for place, value in enumerate(taken)]
    sure = pl.Series([place not in refused for place in range(len(given))], dtype=pl.Boolean)
    return gathered(series.name, taken, kind), sure


def beyond(value: Any) -> str:
    """Say why no table can hold a value that Pydantic takes; nothing if one can."""
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return "a whole number beyond 64 bits; declare the column as float"
    try:
        plain(value)
    except OverflowError:
        return "a moment that is beyond the years 1 to 9999 in UTC"
    return ""


def gathered(name: str, taken: list[Any], kind: Any) -> pl.Series:
    """Make a column of checked values; Polars puts times into UTC.

    Raises:
        Problem: If a validator of a team's own makes something else of them than the field's type.
    """
    try:
        return pl.DataFrame({name: taken}, schema={name: kind}).to_series()
    except TypeError as error:
        reason = str(error).splitlines()[0]
        raise Problem(
            f"schema.py: a validator of {name} gives what its type does not allow; correct it ({reason})"
        ) from error
