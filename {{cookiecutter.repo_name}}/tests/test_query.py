"""Rows that a database gives: kept whole and exactly, or told in a line."""

import json
import sqlite3
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import polars as pl
import pytest
from omegaconf import DictConfig

from {{ cookiecutter.src_package_name }} import doctor, query, reader, storage, tables
from {{ cookiecutter.src_package_name }}.columns import TARGET
from {{ cookiecutter.src_package_name }}.data import REASON
from {{ cookiecutter.src_package_name }}.errors import Problem
from {{ cookiecutter.src_package_name }}.prepare import prepare

from .conftest import BY_ROW, configure, raw_files

ALL = 'SELECT * FROM "rows"'


def asking(*overrides: str, statement: str = ALL) -> DictConfig:
    """Compose the settings of prepare for rows of a database."""
    config = configure("prepare", *BY_ROW, "data.raw=raw/answers", *overrides)
    config.data.query = statement
    return config


def answers(folder: Path) -> set[str]:
    return {file.name for file in (folder / "data/raw/answers").glob("*.parquet")}


@pytest.fixture
def database(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[sqlite3.Connection]:
    """A database with the sample's rows, in a project whose variable names it."""
    written = reader.dialect(configure("prepare").data)
    shards = [(file, shard) for file in raw_files(folder) for shard in reader.shards(file, written, 10**9)]
    batches = [batch for file, shard in shards for batch in reader.batches(file, written, shard)]
    table = pl.concat([batch.drop(REASON, strict=False).cast(pl.String) for batch in batches])
    names = ", ".join(f'"{name}"' for name in table.columns)
    monkeypatch.setenv("RAW_DATABASE", f"sqlite:///{folder}/rows.db")
    with closing(sqlite3.connect(folder / "rows.db", isolation_level=None)) as connection:
        connection.execute(f'CREATE TABLE "rows" ({names})')
        marks = ", ".join("?" * table.width)
        connection.executemany(f'INSERT INTO "rows" VALUES ({marks})', table.rows())
        yield connection


def test_rows_of_a_database_become_the_tables_that_a_file_becomes(folder: Path, database: sqlite3.Connection) -> None:
    of_file, of_query = (prepare(config) for config in (configure("prepare", *BY_ROW), asking()))
    one, other = (
        [pl.concat(tables.Pieces(folder / "data/prepared", rows.parts)).collect() for rows in manifest.splits.values()]
        for manifest in (of_file, of_query)
    )
    assert all(left.equals(right) for left, right in zip(one, other, strict=True))


def test_the_manifest_leads_to_the_answer_and_the_query(folder: Path, database: sqlite3.Connection) -> None:
    (part,) = prepare(asking()).raw
    file = folder / "data/raw/answers" / part.path
    assert (part.sha256, part.query) == (storage.digest(file), ALL)
    assert part.rows == database.execute('SELECT count(*) FROM "rows"').fetchone()[0]
    record = json.loads((folder / "data/raw/answers/_newest.json").read_text())
    assert (record["file"], record["sha256"], record["query"]) == (part.path, part.sha256, ALL)


def test_the_same_rows_make_no_second_file_and_the_same_tables(folder: Path, database: sqlite3.Connection) -> None:
    assert prepare(asking()) == prepare(asking())
    assert len(answers(folder)) == 1


def test_other_rows_are_another_file_and_the_newest_counts(folder: Path, database: sqlite3.Connection) -> None:
    first = prepare(asking())
    database.execute('CREATE TABLE away AS SELECT * FROM "rows" WHERE rowid = 5')
    database.execute('DELETE FROM "rows" WHERE rowid = 5')
    second = prepare(asking())
    assert answers(folder) == {first.raw[0].path, second.raw[0].path}
    assert prepare(asking("ask=false")) == second
    database.execute('DELETE FROM "rows"')
    file = folder / "data/raw/answers" / first.raw[0].path
    for row in pl.read_parquet(file).rows():
        database.execute(f'INSERT INTO "rows" VALUES ({", ".join("?" * len(row))})', row)
    assert prepare(asking()) == first
    assert prepare(asking("ask=false")) == first
    assert len(answers(folder)) == 2


def test_an_answer_is_read_again_without_the_database(
    folder: Path, database: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = prepare(asking())
    monkeypatch.delenv("RAW_DATABASE")
    assert prepare(asking("ask=false")) == manifest
    name = manifest.raw[0].path
    by_name = prepare(configure("prepare", *BY_ROW, f"data.raw=raw/answers/{name}"))
    assert (by_name.raw, by_name.splits) == (manifest.raw, manifest.splits)


@pytest.mark.parametrize("place", ["raw/answers", "raw"])
def test_several_answers_are_never_taken_for_one_table(place: str, folder: Path, database: sqlite3.Connection) -> None:
    prepare(asking())
    with pytest.raises(Problem, match="answers holds answers to a query: set"):
        prepare(configure("prepare", f"data.raw={place}"))


def test_a_file_among_the_answers_is_not_passed_over(folder: Path, database: sqlite3.Connection) -> None:
    (folder / "data/raw/answers").mkdir()
    (folder / "data/raw/answers/more.csv").touch()
    with pytest.raises(Problem, match=r"more\.csv is no answer to a query: name another folder in data\.raw"):
        prepare(asking())


@pytest.mark.parametrize("place", ["raw/some.csv", "raw/some"])
def test_answers_are_kept_in_a_folder(place: str, folder: Path, database: sqlite3.Connection) -> None:
    (folder / "data/raw/some").touch()
    with pytest.raises(Problem, match=f"data.raw={place}: with data.query it is a folder"):
        prepare(asking(f"data.raw={place}"))


def test_a_query_and_files_for_each_split_contradict_each_other(folder: Path, database: sqlite3.Connection) -> None:
    with pytest.raises(Problem, match=r"data\.query and data\.split\.files: only one of them"):
        prepare(asking("data.split.files={train: a, valid: b, test: c}"))


def test_an_answer_that_was_changed_is_refused(folder: Path, database: sqlite3.Connection) -> None:
    manifest = prepare(asking())
    file = folder / "data/raw/answers" / manifest.raw[0].path
    pl.read_parquet(file).head(9).write_parquet(file)
    for ask in ("true", "false"):
        with pytest.raises(Problem, match="is gone or was changed since prepare wrote it"):
            prepare(asking(f"ask={ask}"))


def test_an_answer_to_another_query_is_not_taken(folder: Path, database: sqlite3.Connection) -> None:
    with pytest.raises(Problem, match=r"no answer to data\.query in .*: prepare with ask=true first"):
        prepare(asking("ask=false"))
    prepare(asking())
    with pytest.raises(Problem, match="is one to another query: prepare with ask=true"):
        prepare(asking("ask=false", statement=f"{ALL} LIMIT 300"))
    (folder / "data/raw/answers/_newest.json").write_text("{}")
    with pytest.raises(Problem, match="is not what prepare wrote: prepare with ask=true"):
        prepare(asking("ask=false"))


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("SELECT * FROM absent", "data.query cannot be answered: correct it, .* [(]no such table: absent[)]"),
        ("SELEC", r"data\.query cannot be answered: correct it, or ask for the right to read"),
        ("SELECT 1; SELECT 2", "one statement at a time"),
        ("PRAGMA user_version = 1", "data.query gives no table: write a SELECT"),
        ("SELECT 1 AS a, 2 AS a", "data.query has the column 'a' twice: rename or drop one of them"),
        (f"{ALL} WHERE 1 = 0", "data.query gives no rows, and nothing is kept"),
        ("SELECT x'00' AS a", "data.query: column 'a' is of type bytes, which no raw file holds: encode it as text"),
        ("SELECT 1 AS a UNION ALL SELECT 'b'", r"column 'a' holds values of different types \(Int64 and String\)"),
    ],
)
def test_a_query_that_cannot_be_followed_leaves_nothing(
    statement: str, said: str, folder: Path, database: sqlite3.Connection
) -> None:
    with pytest.raises(Problem, match=said) as caught:
        prepare(asking(statement=statement))
    assert len(str(caught.value).splitlines()) == 1
    assert not (folder / "data/raw/answers").exists()


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("", "RAW_DATABASE is not set, and data.query asks the database there"),
        ("sqlite:///none.db", "RAW_DATABASE: there is no file none.db; correct the address"),
        ("sqlite:///rows.db?timeout=hush", "RAW_DATABASE cannot be used"),
        ("nothing", "RAW_DATABASE cannot be used: an address such as"),
        ("nothing://me:hush@host/rows", "RAW_DATABASE cannot be used: an address such as"),
        ("oracle+oracledb://me:hush@host/rows", "RAW_DATABASE cannot be used: install the driver that it names"),
        ("postgresql+psycopg://me:hush@127.0.0.1:9/rows", "RAW_DATABASE cannot be used: is the network"),
        ("postgresql+psycopg://me:hu@sh@127.0.0.1:9/rows", "RAW_DATABASE has several signs @: .* write %40 for it"),
        ("postgresql+psycopg://me:hush@127.0.0.1:port/rows", "RAW_DATABASE cannot be used: an address such as"),
    ],
)
def test_an_address_that_cannot_be_used_is_told_without_its_login(
    address: str, said: str, folder: Path, database: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAW_DATABASE", address)
    with pytest.raises(Problem, match=said) as caught:
        prepare(asking())
    assert "me:" not in str(caught.value)
    assert "sh@" not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_an_address_in_place_of_a_variable_is_refused_and_not_told(folder: Path) -> None:
    with pytest.raises(Problem, match=r"data\.database is not the name of an environment variable") as caught:
        prepare(asking("data.database='sqlite://me:hush@host/rows'"))
    assert "hush" not in str(caught.value)


def test_a_query_is_sent_as_it_is_written(folder: Path, database: sqlite3.Connection) -> None:
    prepare(asking(statement="SELECT *, ':a' AS one, '50%s' AS two, '::' AS three FROM \"rows\""))
    (file,) = answers(folder)
    table = pl.read_parquet(folder / "data/raw/answers" / file)
    assert table.select("one", "two", "three").unique().rows() == [(":a", "50%s", "::")]


def test_a_column_may_begin_without_values(
    folder: Path, database: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query, "BATCH", 100)
    late = "CASE WHEN rowid > 250 THEN rowid END AS late, NULL AS never"
    prepare(asking(statement=f'SELECT *, {late} FROM "rows" ORDER BY rowid'))
    (file,) = answers(folder)
    table = pl.read_parquet(folder / "data/raw/answers" / file)
    assert (table["late"].dtype, table["never"].dtype) == (pl.Int64, pl.String)
    assert table["late"].to_list() == [row if row > 250 else None for row in range(1, len(table) + 1)]
    with pytest.raises(Problem, match="'late' holds values of different types"):
        prepare(asking(statement='SELECT *, CASE WHEN rowid > 250 THEN 1 ELSE 0.5 END AS late FROM "rows"'))


ABROAD = timezone(timedelta(hours=2))


@pytest.mark.parametrize(
    ("values", "kept"),
    [
        ([True, None], [True, None]),
        ([2**63 - 1, -(2**63)], [2**63 - 1, -(2**63)]),
        ([0.1, float("inf")], [0.1, float("inf")]),
        (["", "a", None], ["", "a", None]),
        ([Decimal("1.50"), Decimal("1E+40"), Decimal("NaN")], ["1.50", "1" + 40 * "0", "NaN"]),
        ([UUID(int=1)], ["00000000-0000-0000-0000-000000000001"]),
        ([date(1, 1, 1), date(9999, 12, 31)], [date(1, 1, 1), date(9999, 12, 31)]),
        ([datetime(2024, 2, 29, 1, 2, 3, 4), None], [datetime(2024, 2, 29, 1, 2, 3, 4), None]),
        ([datetime(2024, 1, 1, 1, tzinfo=ABROAD)], [datetime(2023, 12, 31, 23, tzinfo=UTC)]),
    ],
    ids=str,
)
def test_values_are_kept_exactly(values: list[Any], kept: list[Any]) -> None:
    assert query._series("x", values).to_list() == kept


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([b"a"], "is of type bytes, which no raw file holds: encode it as text"),
        ([None, [1]], "is of type list, which no raw file holds: name the parts of it"),
        ([{"a": 1}], "is of type dict, which no raw file holds: name the parts of it"),
        ([time(1)], "is of type time, which no raw file holds: cast it to text"),
        ([timedelta(1)], "is of type timedelta, which no raw file holds: make it a number"),
        ([Ellipsis], "is of type ellipsis, which no raw file holds: cast it to text"),
        ([2**63], "has a value that no raw file holds: cast it to text"),
        (["\udc80"], "has a value that no raw file holds: cast it to text"),
        ([1, 2.5], "different types [(]Float64 and Int64[)]: cast it to one type"),
        ([True, 1], "different types [(]Boolean and Int64[)]"),
        ([date(2024, 1, 1), datetime(2024, 1, 1)], "different types"),
        ([datetime(2024, 1, 1), datetime(2024, 1, 1, tzinfo=UTC)], "different types"),
    ],
    ids=str,
)
def test_what_cannot_be_kept_exactly_is_refused(values: list[Any], said: str) -> None:
    with pytest.raises(Problem, match=f"data.query: column 'x' .*{said}"):
        query._series("x", values)


def test_memory_does_not_grow_with_the_answer(
    folder: Path, database: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query, "BATCH", 100)
    peaks = []
    for rows in (500, 500, 5_000):
        counted = f"WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < {rows}) SELECT x FROM c"
        tracemalloc.start()
        query.places(asking(statement=counted))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    _, few, many = peaks  # the first run imports what the others use
    assert many < 1.5 * few


def test_the_doctor_asks_for_columns_and_keeps_nothing(
    folder: Path, database: sqlite3.Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ["data.raw=raw/answers", "--only", "data"]
    with pytest.raises(SystemExit) as stop:
        doctor.main(["data.query='SELECT * FROM \"rows\"'", *settings])
    assert (stop.value.code, capsys.readouterr().out.split()[0]) == (0, "ok")
    with pytest.raises(SystemExit) as stop:
        doctor.main(["data.query='SELECT 1 AS x'", *settings])
    said = capsys.readouterr().out
    assert (stop.value.code, "the answer to data.query has no column" in said, repr(TARGET) in said) == (1, True, True)
    assert not (folder / "data/raw/answers").exists()
