"""Which split a row belongs to, decided by nothing but the row's own values.

So a row stays where it is when data grow, come in another order or in other files, and equal rows stay together.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from typing import Annotated, Any, Literal

import numpy as np
import polars as pl
from polars_hash import NonCryptographicHashingNameSpace
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from .columns import COLUMNS, EXTRA, plain
from .data import SPLITS
from .errors import Problem

Types = Mapping[str, Any]  # Polars' type of each column, as DataFrame.schema has it

# Whole numbers below this are exact in double precision; they are written alike, whether they came as int or float.
EXACT = 2**53

FOLDS = 2**32 + 1  # the seed that folds are hashed with
SAMPLES = 2**32 + 2  # and samples


class _Rule(BaseModel):
    """What decides a row's split, as the manifest and the registry keep it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @property
    def columns(self) -> list[str]:
        """Name the columns that decide."""
        raise NotImplementedError

    def placed(self, types: Types) -> pl.Expr:
        """Say of each row whether its values decide; a table with a row that they do not decide on is refused."""
        raise NotImplementedError

    def refusal(self, row: Mapping[str, Any]) -> str:
        """Say of a row that it does not decide on what is wrong, and what to do."""
        return f"no value in {', '.join(self.columns)}, by which rows are split; fill it in, or set data.split.by"

    def labels(self, types: Types) -> pl.Expr:
        """Give "train", "valid" or "test" for each row of a table whose columns are of these types."""
        raise NotImplementedError

    @property
    def time_column(self) -> str | None:
        """Name the column in whose order rows follow one another, if that decides."""
        return None

    def folds(self, table: pl.DataFrame, count: int) -> pl.Series:
        """Number each row's fold for cross-validation, from 0: rows that the rule keeps together share one.

        Another seed than the split's is hashed with, since the rows of one split are alike in that hash.
        """
        return table.select((self._hash(table.schema, FOLDS) % count).cast(pl.Int64)).to_series()

    def sampled(self, types: Types, share: float) -> pl.Expr:
        """Say of each row whether it is in a sample of about this share; a greater share keeps a smaller one's rows.

        Rows that the rule keeps together are in it together or not at all.
        """
        return self._hash(types, SAMPLES) < share_of_hashes(share)

    def _hash(self, types: Types, seed: int) -> pl.Expr:
        together = self.columns if isinstance(self, Hash) else [name for name in [*COLUMNS, *EXTRA] if name in types]
        return digest({name: types[name] for name in sorted(together)}, seed)


class Hash(_Rule):
    """A seeded hash of some columns: rows that are equal in them lie in one split."""

    kind: Literal["hash"] = "hash"
    by: Annotated[list[str], Field(min_length=1)]
    content: bool = False  # whether these are all columns of the schema, because none was named
    seed: Annotated[int, Field(ge=0, lt=2**64)]
    valid: float
    test: float

    def __str__(self) -> str:
        what = "all columns" if self.content else ", ".join(self.by)
        return f"a hash of {what} (seed {self.seed}, valid {self.valid}, test {self.test})"

    @property
    def columns(self) -> list[str]:
        """Name the columns that are hashed."""
        return self.by

    def placed(self, types: Types) -> pl.Expr:
        """Ask for a value in at least one of the columns: rows without any have nothing in common."""
        return pl.any_horizontal(pl.col(self.by).is_not_null())

    def labels(self, types: Types) -> pl.Expr:
        """Compare the hash, as a share of all hashes, with the shares of the splits."""
        value = digest({name: types[name] for name in sorted(self.by)}, self.seed)
        tested, others = share_of_hashes(self.test), share_of_hashes(self.test + self.valid)
        split = pl.when(value < tested).then(pl.lit("test")).when(value < others).then(pl.lit("valid"))
        return split.otherwise(pl.lit("train"))


class Time(_Rule):
    """A column of time: the newest rows are for testing, those before them for validation."""

    kind: Literal["time"] = "time"
    column: str
    valid: str | None = None  # the first moment that is for validation; None until the shares have decided
    test: str | None = None  # the first moment that is for testing

    def __str__(self) -> str:
        bounds = f"valid from {self.valid or 'a share'}, test from {self.test or 'a share'}"
        return f"{self.column} ({bounds})"

    @property
    def columns(self) -> list[str]:
        """Name the column of time."""
        return [self.column]

    @property
    def time_column(self) -> str | None:
        """Name the column of time."""
        return self.column

    def folds(self, table: pl.DataFrame, count: int) -> pl.Series:
        """Number folds in the order of time, each with as many rows; rows of one moment may part."""
        return (table[self.column].rank("ordinal").cast(pl.Int64) - 1) * count // len(table)

    def placed(self, types: Types) -> pl.Expr:
        """Ask for a time."""
        return pl.col(self.column).is_not_null()

    def labels(self, types: Types) -> pl.Expr:
        """Compare the time with the bounds."""
        valid, test = (pl.lit(_moment(bound, types[self.column])) for bound in (self.valid, self.test))
        time = pl.col(self.column)
        tested = pl.when(time >= test).then(pl.lit("test"))
        return tested.when(time >= valid).then(pl.lit("valid")).when(time < valid).then(pl.lit("train"))

    @property
    def bounded(self) -> bool:
        """Say whether both bounds are known."""
        return self.valid is not None and self.test is not None

    def settled(self, times: np.ndarray[Any, Any], kind: Any, valid: float, test: float) -> "Time":
        """Put values in place of bounds that were left open, such that the newest rows make up the shares.

        Args:
            times: The column of time, of all rows, of shape (rows,), as the numbers that Polars keeps; it is sorted.
            kind: Polars' type of the column.
            valid: The share of rows for validation.
            test: The share of rows for testing.

        Raises:
            Problem: If the bound of validation is not before that of testing.
        """
        times.sort()  # in place: they may be a large part of the memory
        last = (
            _moment(self.test, kind) if self.test else _nth(times, len(times) - max(round(len(times) * test), 1), kind)
        )
        before = int(np.searchsorted(times, pl.Series([last], dtype=kind).to_physical()[0]))
        first = (
            _moment(self.valid, kind) if self.valid else _nth(times, max(before - round(len(times) * valid), 0), kind)
        )
        _require_order(first, last)
        return Time(column=self.column, valid=str(first), test=str(last))


class Given(_Rule):
    """A column that holds train, valid or test."""

    kind: Literal["given"] = "given"
    column: str

    def __str__(self) -> str:
        return f"what {self.column} holds"

    @property
    def columns(self) -> list[str]:
        """Name the column that holds the split."""
        return [self.column]

    def placed(self, types: Types) -> pl.Expr:
        """Ask for the name of a split."""
        return pl.col(self.column).cast(pl.String).is_in(SPLITS).fill_null(value=False)

    def refusal(self, row: Mapping[str, Any]) -> str:
        """Give the value that is no split."""
        return f"{self.column} is {row[self.column]!r}; write train, valid or test, as data.split.given asks"

    def labels(self, types: Types) -> pl.Expr:
        """Take the column as it is."""
        return pl.col(self.column).cast(pl.String)


class Files(_Rule):
    """Files of their own; `test` holds the SHA-256 of those with the rows for testing."""

    kind: Literal["files"] = "files"
    test: list[str] = []

    def __str__(self) -> str:
        return "files of their own"

    @property
    def columns(self) -> list[str]:
        """Name no column: nothing in a row says which file it is from."""
        return []

    def placed(self, types: Types) -> pl.Expr:
        """Take every row."""
        return pl.lit(value=True)


Rule = Annotated[Hash | Time | Given | Files, Field(discriminator="kind")]
_RULES: TypeAdapter[Rule] = TypeAdapter(Rule)


def rule(settings: Mapping[str, Any], seed: int, unique: str | None) -> Rule:
    """Work out the rule from the settings data.split.

    Args:
        settings: The settings, as conf/data/table.yaml has them.
        seed: The project's seed.
        unique: The column that names each row, where the files have it.

    Raises:
        Problem: If settings contradict each other, or a column cannot decide.
    """
    named = [name for name in ("by", "time", "given", "files") if settings.get(name) is not None]
    if len(named) > 1:
        raise Problem(f"data.split has {' and '.join(named)}: only one of them can decide; set the others to null")
    valid, test = settings["valid"], settings["test"]
    match named:
        case ["given"]:
            return Given(column=settings["given"])
        case ["files"]:
            if set(settings["files"]) != set(SPLITS):
                raise Problem(f"data.split.files names {', '.join(settings['files'])}: name {', '.join(SPLITS)}")
            return Files()
        case ["time"]:
            return _time(settings["time"], valid, test)
    _require_shares(valid, test)
    by = settings.get("by")
    if isinstance(by, str) and by != "content":
        raise Problem(f"data.split.by={by}: write a list of columns, [{by}], or content for all columns")
    content = by == "content" or (by is None and unique is None)
    columns = [*COLUMNS, *EXTRA] if content else [unique] if by is None else list(by)
    try:
        return Hash(by=columns, content=content, seed=seed, valid=valid, test=test)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        place = "seed" if fault["loc"] == ("seed",) else f"data.split.{fault['loc'][0]}"
        raise Problem(f"{place}={fault['input']}: {fault['msg']}") from error


def _time(settings: Mapping[str, Any], valid: float, test: float) -> Time:
    if unknown := [name for name in settings if name not in ("column", "valid", "test")]:
        raise Problem(f"data.split.time has {', '.join(unknown)}: write column and, where dates decide, valid and test")
    ordered = {
        name: column for name, column in {**COLUMNS, **EXTRA}.items() if column.type in (date, datetime, float, int)
    }
    column = ordered.get(settings.get("column", ""))
    if column is None:
        raise Problem(
            f"data.split.time.column={settings.get('column')}: schema.py has no such date, time or number; "
            f"it has {', '.join(ordered) or 'none'}. Name one, or add it to Example: Annotated[date, ASIDE]"
        )
    bounds = {name: str(settings[name]) for name in ("valid", "test") if settings.get(name) is not None}
    if len(bounds) < 2:
        _require_shares(valid, test)
    moments = {}
    for name, bound in bounds.items():
        try:
            moments[name] = plain(TypeAdapter(column.type).validate_python(bound))
        except ValidationError as error:
            raise Problem(f"data.split.time.{name}={bound}: {error.errors(include_url=False)[0]['msg']}") from error
    if len(moments) == 2:
        _require_order(moments["valid"], moments["test"])
    return Time(column=column.name, **bounds)


def _require_order(valid: Any, test: Any) -> None:
    if not valid < test:
        raise Problem(
            f"data.split.time: valid begins with {valid} and test with {test}, which is not later; write both dates"
        )


def _require_shares(valid: float, test: float) -> None:
    if not (valid > 0 and test > 0 and valid + test < 1):
        raise Problem(f"split valid={valid} test={test}: both must be above 0 and leave something for training")


def still(champions: Mapping[str, Any], today: Rule, table: pl.DataFrame) -> pl.Series:
    """Say of each row of today's test table whether it is one under the champion's rule, too.

    Args:
        champions: The rule of the manifest that the champion was trained with, as JSON has it.
        today: The rule of the manifest that the table is from.
        table: Today's test table.

    Returns:
        Booleans of shape (rows,); all False where the champion's rule cannot be followed in this table.
    """
    before = _RULES.validate_python(dict(champions))
    if isinstance(before, Files):
        return pl.repeat(before == today, len(table), dtype=pl.Boolean, eager=True)
    if not set(before.columns) <= set(table.columns):
        return pl.repeat(value=False, n=len(table), dtype=pl.Boolean, eager=True)
    return table.select((before.labels(table.schema) == "test").fill_null(value=False)).to_series()


def apart(today: Rule, test: pl.DataFrame, others: Iterable[pl.LazyFrame]) -> pl.Series:
    """Say of each row of the test table whether no equal row is in the other splits, where a split is given.

    Other rules part rows by their own values, and need no such look. Booleans of shape (rows,).
    """
    if not isinstance(today, Given | Files):
        return pl.repeat(value=True, n=len(test), dtype=pl.Boolean, eager=True)
    left_out = today.columns  # which may say train of one row and test of its equal
    names = [name for name in sorted([*COLUMNS, *EXTRA]) if name in test.columns and name not in left_out]
    value = digest({name: test.schema[name] for name in names}, seed=0)
    hashes = test.select(value).to_series()
    known = [
        table.select(value.alias("hash"))
        .filter(pl.col("hash").is_in(hashes.implode()))
        .unique()
        .collect(engine="streaming")
        .to_series()
        for table in others
    ]
    return ~hashes.is_in(pl.concat(known).implode())


def digest(types: Types, seed: int) -> pl.Expr:
    """Hash some columns of each row, with XXH3 (64 bits): equal values give equal numbers, whatever they came from.

    The values are joined by commas; a comma or percent sign in one is written as in an address, and a missing one as a
    bare percent sign. So no two rows are joined to the same text.
    """
    cells = [_escaped(text(name, kind), kind).fill_null("%") for name, kind in types.items()]
    return NonCryptographicHashingNameSpace(pl.concat_str(cells, separator=",")).xxh3_64(seed=seed)


def _escaped(value: pl.Expr, kind: Any) -> pl.Expr:
    if kind.is_numeric() or kind.is_temporal() or kind == pl.Boolean:
        return value  # these hold neither sign
    return value.str.replace_all("%", "%25", literal=True).str.replace_all(",", "%2C", literal=True)


def text(name: str, kind: Any) -> pl.Expr:
    """Write a column's values as text: equal ones alike, different ones differently, in every version of Polars.

    Whole numbers are written in digits, whether they are int or float (-0.0 is 0), other numbers as the bits that they
    are kept in; dates in ISO form, times as microseconds since 1970.
    """
    column = pl.col(name)
    if kind.is_float():
        number = column.cast(pl.Float64)
        whole = (number.floor() == number) & (number.abs() < EXACT)
        digits = number.cast(pl.Int64, strict=False).cast(pl.String)
        bits = pl.concat_str(pl.lit("~"), number.reinterpret(dtype=pl.UInt64).cast(pl.String))
        return pl.when(whole).then(digits).otherwise(bits)
    if kind == pl.Date:
        return column.dt.strftime("%Y-%m-%d")
    if isinstance(kind, pl.Datetime):
        return column.dt.epoch("us").cast(pl.String)
    if kind.is_nested() or kind == pl.Binary:
        raise Problem(f"column {name!r} is of type {kind}: rows cannot be split by it; name another in data.split.by")
    return column.cast(pl.String)


def share_of_hashes(share: float) -> pl.Expr:
    """Give a share of all hashes as the number that they are compared with."""
    return pl.lit(min(int(share * 2**64), 2**64 - 1), dtype=pl.UInt64)


def _moment(bound: str | None, kind: Any) -> Any:
    """Read a bound as a value of the column's type."""
    assert bound is not None, "the shares have not decided yet"
    return plain(TypeAdapter(kind.to_python()).validate_python(bound))


def _nth(times: np.ndarray[Any, Any], place: int, kind: Any) -> Any:
    """Give one of the numbers that Polars keeps as a value of its type."""
    return pl.Series(times[place : place + 1]).cast(kind)[0]


def moved(
    before: Rule, rows: pl.DataFrame, place: str, counts: Counter[tuple[str, str]] | None
) -> Counter[tuple[str, str]] | None:
    """Count rows that would lie elsewhere under another rule, by the split that they would be in and are in.

    Args:
        before: The other rule.
        rows: Rows of one split.
        place: The split that they are in.
        counts: What was counted so far.

    Returns:
        The counts, or None where the other rule cannot be followed in these tables.
    """
    if counts is None or isinstance(before, Files) or not set(before.columns) <= set(rows.columns):
        return None
    found = rows.select(before.labels(rows.schema).alias("was")).group_by("was").len()
    return counts + Counter({(was or "none", place): count for was, count in found.iter_rows() if was != place})
