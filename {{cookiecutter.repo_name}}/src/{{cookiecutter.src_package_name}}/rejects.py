"""Rows that are no rows, or break a rule: counted by column and rule, and as they came, with the reasons."""

import json
from dataclasses import dataclass, field
from typing import Protocol

import polars as pl
from polars import selectors

from .data import Fault

LINE = {
    "file": pl.String,
    "row": pl.Int64,
    "column": pl.String,
    "value": pl.String,
    "rule": pl.String,
    "record": pl.String,
}
SHOWN = 100  # kinds of faults that are counted apart; the quarantine file has every single one


@dataclass
class Kind:
    """Faults of one rule in one column of one file: the first of them, and how many there are."""

    first: Fault
    count: int = 0


class Found(Protocol):
    """What came of the bad rows of a shard, whose rows count from its beginning."""

    rejected: int
    kinds: list[Kind]
    others: int


@dataclass
class Rejects:
    """What came of the bad rows of a table so far."""

    rows: int = 0
    kinds: dict[tuple[str, str, str], Kind] = field(default_factory=dict)
    others: int = 0

    def add(self, rows: int, faults: list[Fault]) -> None:
        """Take note of some bad rows, and of every fault that they have."""
        self.rows += rows
        for fault in faults:
            self._count(fault, 1)

    def follow(self, file: str, before: int, found: "Found") -> None:
        """Take note of what came of a shard of a file, before which so many of the file's rows lie."""
        self.rows += found.rejected
        self.others += found.others
        for kind in found.kinds:
            self._count(kind.first._replace(file=file, row=kind.first.row + before), kind.count)

    def _count(self, fault: Fault, count: int) -> None:
        key = (fault.file, fault.column, fault.rule)
        if key in self.kinds or len(self.kinds) < SHOWN:
            self.kinds.setdefault(key, Kind(fault)).count += count
        else:
            self.others += count

    def __str__(self) -> str:
        """Say what is wrong, a line for each rule that is broken."""
        kinds = sorted(self.kinds.values(), key=lambda kind: -kind.count)
        lines = [(kind.count, *kind.first) for kind in kinds]
        names = ["faults", "file", "first row", "column", "value", "rule"]
        with pl.Config(
            tbl_rows=-1, fmt_str_lengths=110, tbl_hide_dataframe_shape=True, tbl_hide_column_data_types=True
        ):
            text = str(pl.DataFrame(lines, schema=names, orient="row"))
        return f"{text}\nand {self.others} faults of other kinds" if self.others else text


def lines(bad: pl.DataFrame, faults: list[Fault]) -> pl.DataFrame:
    """Give a line for each fault of some bad rows, which are in their order, with the whole row that it is in."""
    bad = bad.with_columns((selectors.date() | selectors.datetime()).cast(pl.String))  # Python's end at year 9999
    numbers = dict.fromkeys(fault.row for fault in faults)
    rows = dict(zip(numbers, bad.iter_rows(named=True), strict=True))
    records = [(*fault, json.dumps(rows[fault.row], default=str, ensure_ascii=False)) for fault in faults]
    return pl.DataFrame(records, schema=LINE, orient="row")
