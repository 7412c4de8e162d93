"""Rows that are no rows, or break a rule: counted by column and rule, and set aside as they came, with the reasons."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
from polars import selectors

from .data import Fault

SHOWN = 100  # kinds of faults that are counted apart; the quarantine file has every single one


@dataclass
class Kind:
    """Faults of one rule in one column of one file: the first of them, and how many there are."""

    first: Fault
    count: int = 0


@dataclass
class Rejects:
    """What came of the bad rows of a table so far."""

    quarantine: Path | None  # where they are written, if they are to be set aside
    rows: int = 0
    kinds: dict[tuple[str, str, str], Kind] = field(default_factory=dict)
    others: int = 0

    def add(self, bad: pl.DataFrame, faults: list[Fault]) -> None:
        """Take note of bad rows, in their order, and of every fault that they have."""
        if faults and self.quarantine:
            self._write(self.quarantine, bad, faults)
        self.rows += len(bad)
        for fault in faults:
            key = (fault.file, fault.column, fault.rule)
            if key in self.kinds or len(self.kinds) < SHOWN:
                self.kinds.setdefault(key, Kind(fault)).count += 1
            else:
                self.others += 1

    def _write(self, file: Path, bad: pl.DataFrame, faults: list[Fault]) -> None:
        """Write a line for each fault, with the whole row that it is in."""
        bad = bad.with_columns((selectors.date() | selectors.datetime()).cast(pl.String))  # Python's end at year 9999
        rows = dict(zip(_rows(faults), bad.iter_rows(named=True), strict=True))
        lines = [(*fault, json.dumps(rows[fault.row], default=str, ensure_ascii=False)) for fault in faults]
        table = pl.DataFrame(lines, schema=[*Fault._fields, "record"], orient="row")
        with file.open("ab") as stream:
            table.write_csv(stream, include_header=not self.rows)

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


def _rows(faults: Iterable[Fault]) -> Iterable[int]:
    return dict.fromkeys(fault.row for fault in faults)
