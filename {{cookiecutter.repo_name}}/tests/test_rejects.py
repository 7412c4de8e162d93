"""Bad rows: counted by column and rule, and with all that they held."""

import json
from types import SimpleNamespace

import polars as pl

from {{ cookiecutter.src_package_name }} import rejects
from {{ cookiecutter.src_package_name }}.data import Fault
from {{ cookiecutter.src_package_name }}.rejects import Kind, Rejects


def fault(row: int, column: str = "x", value: str = "'much'", rule: str = "not a number") -> Fault:
    return Fault("raw.csv", row, column, value, rule)


def bad(*cells: str) -> pl.DataFrame:
    return pl.DataFrame({"x": cells, "größe": [None] * len(cells)})


def test_faults_of_a_rule_are_one_line_with_the_first_row() -> None:
    found = Rejects()
    found.add(2, [fault(3), fault(3, "größe", rule="missing"), fault(5, value="'more'")])
    found.add(1, [fault(9, value="'most'")])
    assert found.rows == 3
    counts, first, second = (line for line in str(found).splitlines() if "┆" in line)
    assert [cell.strip(" │") for cell in first.split("┆")] == ["3", "raw.csv", "3", "x", "'much'", "not a number"]
    assert [cell.strip(" │") for cell in second.split("┆")][:4] == ["1", "raw.csv", "3", "größe"]
    assert "first row" in counts


def test_every_fault_has_its_whole_row() -> None:
    faults = [fault(3), fault(3, "größe", rule='"missing", it seems'), fault(7, "all"), fault(9)]
    table = rejects.lines(bad("much", "3,only", "most"), faults)
    assert table.columns == [*Fault._fields, "record"]
    assert table.select("row", "column", "rule").rows() == [
        (3, "x", "not a number"),
        (3, "größe", '"missing", it seems'),
        (7, "all", "not a number"),
        (9, "x", "not a number"),
    ]
    assert [json.loads(record)["x"] for record in table["record"]] == ["much", "much", "3,only", "most"]
    assert "größe" in table["record"][0]


def test_rows_of_any_type_have_a_line() -> None:
    days = pl.Series([5, 10**7], dtype=pl.Int32).cast(pl.Date)
    table = pl.DataFrame({"day": days, "bytes": [b"\xff", None], "list": [[1], []], "number": [float("inf"), 1.0]})
    first, second = (json.loads(record) for record in rejects.lines(table, [fault(1), fault(2)])["record"])
    assert (first["day"], second["day"]) == ("1970-01-06", "+29349-01-26")


def test_faults_of_shards_add_up_with_their_rows_in_the_whole_file() -> None:
    found = Rejects()
    for before, count in ((0, 2), (10, 1)):
        kinds = [Kind(fault(3)._replace(file="an earlier name"), count)]
        found.follow("raw.csv", before, SimpleNamespace(rejected=count, kinds=kinds, others=1))
    found.follow("raw.csv", 20, SimpleNamespace(rejected=1, kinds=[Kind(fault(1, rule="another"), 1)], others=0))
    assert (found.rows, found.others) == (4, 2)
    assert [(*kind.first[:2], kind.count) for kind in found.kinds.values()] == [("raw.csv", 3, 3), ("raw.csv", 21, 1)]


def test_no_more_is_kept_of_many_faults_than_is_shown() -> None:
    found = Rejects()
    for row in range(1, rejects.SHOWN + 51):
        found.add(1, [fault(row, rule=f"rule {row}")])
        found.add(1, [fault(row, rule="rule 1")])
    assert len(found.kinds) == rejects.SHOWN
    assert str(found).endswith("and 50 faults of other kinds")
    assert str(found).splitlines()[3].startswith(f"│ {rejects.SHOWN + 51} ")
