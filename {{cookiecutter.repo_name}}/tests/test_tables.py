"""Files that grow by tables: the same, whatever the sizes that the tables come in."""

from pathlib import Path

import polars as pl
import pytest

from {{ cookiecutter.src_package_name }} import storage, tables


@pytest.fixture(autouse=True)
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "ROW_GROUP", 10)


TABLE = pl.DataFrame({"number": range(37), "text": [None if row % 5 else str(row % 3) for row in range(37)]})


def write(file: Path, size: int) -> bytes:
    """Write the table in pieces of a size."""
    with tables.writers({"": file}) as writers:
        for start in range(0, len(TABLE), size):
            writers[""].add(TABLE[start : start + size])
            writers[""].add(TABLE.clear())
    return file.read_bytes()


@pytest.mark.parametrize("size", [1, 7, 10, 36])
def test_the_sizes_of_tables_change_no_byte(size: int, tmp_path: Path) -> None:
    assert write(tmp_path / "pieces.parquet", size) == write(tmp_path / "whole.parquet", len(TABLE))
    assert pl.read_parquet(tmp_path / "pieces.parquet").equals(TABLE)


def test_rows_are_counted_and_no_file_is_made_without_any(tmp_path: Path) -> None:
    with tables.writers({name: tmp_path / name for name in ("some", "none")}) as writers:
        writers["some"].add(TABLE)
        writers["none"].add(TABLE.clear())
    assert (writers["some"].rows, writers["none"].rows) == (37, 0)
    assert [file.name for file in tmp_path.iterdir()] == ["some"]


def test_a_file_is_written_where_its_folder_has_been_taken_away(tmp_path: Path) -> None:
    with storage.publish(tmp_path / "new/file.parquet") as draft, tables.writers({"": draft}) as writers:
        draft.parent.rmdir()  # as another worker does that made it, and failed
        writers[""].add(TABLE)
    assert pl.read_parquet(tmp_path / "new/file.parquet").equals(TABLE)
