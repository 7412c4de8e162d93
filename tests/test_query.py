"""Rows from PostgreSQL: what it gives is kept exactly, and what it refuses is told in a line, without a login."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl
import psycopg
import pytest
from conftest import Render, run
from pods import Machine, pods
from servers import BUCKET, Database, secret
from sites import Site

pytestmark = pytest.mark.xdist_group("servers")

# Asks for each of some pairs of an address and a query, in one process, and says what came of it.
ASK = """
import json, os, resource, sys, warnings
from hydra import compose, initialize_config_dir
from my_ml_project import CONF, query
from my_ml_project.errors import Problem

warnings.simplefilter("ignore")
with initialize_config_dir(str(CONF), version_base="1.3"):
    config = compose("prepare", [f"storage.root={sys.argv[1]}", "data.raw=answers"])
said = []
for address, config.data.query in json.loads(os.environ["ASKED"]):
    os.environ["RAW_DATABASE"] = address
    try:
        said.append(str(query.places(config)[None]))
    except Problem as problem:
        said.append(str(problem))
print(json.dumps([said, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024]))
"""


@dataclass
class Rows:
    """A database with a table, the project that asks it, and a folder that answers are kept in."""

    server: Database
    url: str
    project: Path
    folder: Path

    def ask(self, *asked: tuple[str, str]) -> tuple[list[str], int]:
        """Ask for pairs of an address and a query: the files or the problems, and the memory that it took, in MiB."""
        known = {"PYTHONPATH": str(self.project / "src"), "ASKED": json.dumps(asked)}
        done = run(sys.executable, "-c", ASK, self.folder, cwd=self.folder, **known)
        assert done.returncode == 0, done.stderr
        assert self.server.password not in done.stdout + done.stderr
        said, peak = json.loads(done.stdout)
        return said, peak

    def execute(self, statement: str) -> None:
        with psycopg.connect(self.url.replace("+psycopg", ""), autocommit=True) as connection:
            connection.execute(statement)


@pytest.fixture(scope="module")
def filled(database: Database, render: Render, tmp_path_factory: pytest.TempPathFactory) -> Rows:
    rows = Rows(database, database.url("raw_rows"), render(), tmp_path_factory.mktemp("rows"))
    table = pl.read_csv(rows.project / "data/raw/penguins.csv", infer_schema=False, null_values=["NA"])
    with psycopg.connect(rows.url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(f"CREATE TABLE penguins ({', '.join(f'{name} text' for name in table.columns)})")
        with connection.cursor().copy("COPY penguins FROM STDIN") as copy:
            for row in table.rows():
                copy.write_row(row)
    return rows


@pytest.fixture
def rows(filled: Rows, tmp_path: Path) -> Rows:
    return replace(filled, folder=tmp_path)


KEPT = {
    "true": True,
    "1::int2": 1,
    "(2^62)::bigint": 2**62,
    "0.1::float8": 0.1,
    "0.1::real": 0.1,
    "'NaN'::float8": float("nan"),
    "1.50::numeric": "1.50",
    "12345678901234567890123456789012345678901234567890.5": "12345678901234567890123456789012345678901234567890.5",
    "'NaN'::numeric": "NaN",
    "'a%b :c'": "a%b :c",
    "'ä'::varchar(3)": "ä",
    "'x'::char(3)": "x  ",
    "'00000000-0000-0000-0000-000000000001'::uuid": "00000000-0000-0000-0000-000000000001",
    "'2024-02-29'::date::text": "2024-02-29",
    "extract(epoch FROM '2024-01-01 01:00+02'::timestamptz)::text": "1704063600.000000",
    "NULL::int": None,
    "'5'::jsonb": 5,
}
REFUSED = {
    "'1 day'::interval": "is of type timedelta, which no raw file holds: make it a number",
    "'{1}'::int[]": "is of type list, which no raw file holds: name the parts of it",
    "'{}'::jsonb": "is of type dict, which no raw file holds: name the parts of it",
    "'x'::bytea": "is of type bytes, which no raw file holds: encode it as text",
    "'10:00'::time": "is of type time, which no raw file holds: cast it to text",
    "'10:00+01'::timetz": "is of type time, which no raw file holds: cast it to text",
    "'10.0.0.1'::inet": "is of type IPv4Address, which no raw file holds: cast it to text",
    "int4range(1, 2)": "is of type Range, which no raw file holds: cast it to text",
    "'infinity'::timestamp": "cannot be answered: correct it, or ask for the right to read (timestamp too large",
    "'0044-03-15 BC'::date": "cannot be answered: correct it, or ask for the right to read (date too small",
    "1 / 0": "cannot be answered: correct it, or ask for the right to read (division by zero)",
}


def test_values_are_kept_exactly(rows: Rows) -> None:
    columns = ", ".join(f"{value} AS c{place}" for place, value in enumerate(KEPT))
    (file,), _ = rows.ask((rows.url, f"SELECT {columns}"))
    (kept,) = pl.read_parquet(file).rows()
    assert list(map(repr, kept)) == list(map(repr, KEPT.values()))


def test_a_moment_with_a_zone_is_kept_in_utc_whatever_the_zone_of_the_session(rows: Rows) -> None:
    (one, other), _ = rows.ask(
        (rows.url, "SELECT '2024-01-01 01:00+02'::timestamptz AS t"),
        (f"{rows.url}?options=-c%20timezone%3DAsia/Singapore", "SELECT '2024-01-01 01:00+02'::timestamptz AS t"),
    )
    assert one == other
    assert str(pl.read_parquet(one)["t"][0]) == "2023-12-31 23:00:00+00:00"


def test_what_no_file_holds_is_refused_with_what_to_write(rows: Rows) -> None:
    said, _ = rows.ask(*((rows.url, f"SELECT 1 AS a, {value} AS x") for value in REFUSED))
    assert [line for line, words in zip(said, REFUSED.values(), strict=True) if words not in line] == []
    assert not any("\n" in line for line in said)
    assert not (rows.folder / "answers").exists()


def test_a_query_changes_nothing(rows: Rows) -> None:
    said, _ = rows.ask(
        (rows.url, "DELETE FROM penguins"),
        (rows.url, "DELETE FROM penguins RETURNING *"),
        (rows.url, "SELECT 1 AS a; DROP TABLE penguins"),
        (rows.url, "SELECT count(*) AS count FROM penguins"),
    )
    assert ["cannot be answered" in line for line in said] == [True, True, True, False]
    assert pl.read_parquet(said[-1]).item() == 344


def test_faults_of_the_address_and_the_login_are_told_apart(rows: Rows) -> None:
    password = secret()
    rows.execute(f"CREATE USER reader PASSWORD '{password}'")
    query = "SELECT * FROM penguins"
    faults = {
        rows.url.replace("hush", "hash"): "RAW_DATABASE cannot be used: correct the password in it",
        rows.url + "x": "RAW_DATABASE cannot be used: create that database, or correct its name",
        rows.url + "?nosuch=1": "RAW_DATABASE cannot be used: ",
        rows.url.replace("+psycopg", "+asyncpg"): "RAW_DATABASE cannot be used: install the driver that it names",
        rows.url.replace("+psycopg", "+x"): "RAW_DATABASE cannot be used: an address such as",
        rows.url.replace(
            f"jobs:{rows.server.password}", f"reader:{password}"
        ): "(permission denied for table penguins)",
    }
    said, _ = rows.ask(*((address, query) for address in faults))
    assert [line for line, words in zip(said, faults.values(), strict=True) if words not in line] == []
    assert not any(text in line for line in said for text in ("\n", "hash-", password))
    with rows.server.line.down():
        (line,), _ = rows.ask((rows.url, query))
    assert line.startswith("RAW_DATABASE cannot be used: is the network (VPN) up, and the database running?")


def test_an_answer_that_breaks_off_leaves_nothing(rows: Rows) -> None:
    rows.server.line.cut(after=20_000_000, seconds=3)
    (line,), _ = rows.ask((rows.url, "SELECT x, repeat('x', 90) AS y FROM generate_series(1, 1000000) x"))
    assert line.startswith("data.query cannot be answered: the database stopped answering; run this again (")
    assert not (rows.folder / "answers").exists()


def test_memory_does_not_grow_with_the_answer(rows: Rows, record_property: Callable[[str, object], None]) -> None:
    few, many = (
        rows.ask((rows.url, f"SELECT x, x::text AS y, x / 3.0::float8 AS z FROM generate_series(1, {count}) x"))[1]
        for count in (100_000, 1_500_000)
    )
    record_property("told", f"a query: {few} MiB for 100,000 rows, {many} MiB for 1,500,000")
    assert many < few + 50


@pytest.mark.parametrize("platform", ["onprem", "gcp"])
def test_a_job_keeps_answers_in_the_bucket(
    platform: str, filled: Rows, site: Callable[[str], Site], tmp_path: Path
) -> None:
    there = site(platform)
    machine = Machine(there.project, tmp_path, {**there.environment, "RAW_DATABASE": filled.url})
    settings = ["data.raw=raw/answers", f"data.prepared={there.environment['STORAGE_ROOT']}/of-a-query"]
    query = 'data.query="SELECT * FROM penguins ORDER BY id"'
    (pod,) = pods(there.project, "prepare", *settings)

    def prepare(*words: str, **changed: str) -> tuple[int, str]:
        ended = machine.finish(replace(pod, command=[*pod.command, query, *words]), **changed)
        assert not [value for value in there.secrets() if value in ended.said]
        told = [
            line for line in ended.said.splitlines() if line.startswith(("raw", "train", "valid", "test", "classes"))
        ]
        return ended.status, "\n".join(told)

    first, again, kept = prepare(), prepare(), prepare("ask=false", RAW_DATABASE="")
    assert (first[0], first) == (0, again) == (0, kept), first
    assert "the answer to a query" in first[1]
    names = [name for name in there.store.names(BUCKET) if "raw/answers/" in name]
    assert [name.rpartition("/")[2] == "_newest.json" for name in sorted(names)].count(False) == 1
    manifest = json.loads(there.store.get(BUCKET, "penguins/of-a-query/manifest.json"))
    (part,) = manifest["raw"]
    assert f"penguins/raw/answers/{part['path']}" in names
    assert part["query"] == "SELECT * FROM penguins ORDER BY id"
    held: list[Any] = [there.store.get(BUCKET, name) for name in names]
    assert not any(filled.server.password.encode() in content for content in held)
    assert machine.untouched()
