"""Bad rows: counted by column and rule, and set aside with all that they held."""

import json
from pathlib import Path

import polars as pl

from {{ cookiecutter.src_package_name }} import rejects
from {{ cookiecutter.src_package_name }}.data import Fault
from {{ cookiecutter.src_package_name }}.rejects import Rejects


def fault(row: int, column: str = "x", value: str = "'much'", rule: str = "not a number") -> Fault:
    return Fault("raw.csv", row, column, value, rule)


def bad(*cells: str) -> pl.DataFrame:
    return pl.DataFrame({"x": cells, "größe": [None] * len(cells)})


def test_faults_of_a_rule_are_one_line_with_the_first_row() -> None:
    found = Rejects(None)
    found.add(bad("much", "more"), [fault(3), fault(3, "größe", rule="missing"), fault(5, value="'more'")])
    found.add(bad("most"), [fault(9, value="'most'")])
    assert found.rows == 3
    counts, first, second = (line for line in str(found).splitlines() if "┆" in line)
    assert [cell.strip(" │") for cell in first.split("┆")] == ["3", "raw.csv", "3", "x", "'much'", "not a number"]
    assert [cell.strip(" │") for cell in second.split("┆")][:4] == ["1", "raw.csv", "3", "größe"]
    assert "first row" in counts


def test_every_fault_is_set_aside_with_its_whole_row(tmp_path: Path) -> None:
    found = Rejects(tmp_path / "quarantine.csv")
    found.add(bad("much"), [fault(3), fault(3, "größe", rule='"missing", it seems')])
    found.add(bad(), [])
    found.add(bad("3,only", "most"), [fault(7, "all"), fault(9)])
    table = pl.read_csv(tmp_path / "quarantine.csv")
    assert table.columns == [*Fault._fields, "record"]
    assert table.select("row", "column", "rule").rows() == [
        (3, "x", "not a number"),
        (3, "größe", '"missing", it seems'),
        (7, "all", "not a number"),
        (9, "x", "not a number"),
    ]
    assert [json.loads(record)["x"] for record in table["record"]] == ["much", "much", "3,only", "most"]
    assert "größe" in table["record"][0]


def test_rows_of_any_type_can_be_set_aside(tmp_path: Path) -> None:
    days = pl.Series([5, 10**7], dtype=pl.Int32).cast(pl.Date)
    table = pl.DataFrame({"day": days, "bytes": [b"\xff", None], "list": [[1], []], "number": [float("inf"), 1.0]})
    Rejects(tmp_path / "quarantine.csv").add(table, [fault(1), fault(2)])
    first, second = (json.loads(record) for record in pl.read_csv(tmp_path / "quarantine.csv")["record"])
    assert (first["day"], second["day"]) == ("1970-01-06", "+29349-01-26")


def test_nothing_is_set_aside_where_nothing_is_bad(tmp_path: Path) -> None:
    Rejects(tmp_path / "quarantine.csv").add(bad(), [])
    assert not (tmp_path / "quarantine.csv").exists()


def test_no_more_is_kept_of_many_faults_than_is_shown() -> None:
    found = Rejects(None)
    for row in range(1, rejects.SHOWN + 51):
        found.add(bad("much"), [fault(row, rule=f"rule {row}")])
        found.add(bad("much"), [fault(row, rule="rule 1")])
    assert len(found.kinds) == rejects.SHOWN
    assert str(found).endswith("and 50 faults of other kinds")
    assert str(found).splitlines()[3].startswith(f"│ {rejects.SHOWN + 51} ")
