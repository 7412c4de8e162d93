"""How raw files are read: what each kind of file gives, and what is said of those that cannot be read."""

import csv
import gzip
import io
import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from {{ cookiecutter.src_package_name }} import reader
from {{ cookiecutter.src_package_name }}.data import REASON
from {{ cookiecutter.src_package_name }}.errors import Problem
from {{ cookiecutter.src_package_name }}.reader import Dialect

from .other import Other, declare

PLAIN = Dialect(missing=("", "NA"))
LINES = Dialect(missing=("", "NA"), multiline=True)

HEADER = "id,place,x,y"
LIST = [HEADER, *(f"{number},p{number},1.5,{number}" for number in range(1, 13))]
GOOD = "\n".join([*LIST, ""])
QUOTE = "a quote that is not closed, or is within a cell; if cells hold line ends, set data.csv.multiline=true"


def with_row(number: int, line: str) -> str:
    return "\n".join([*LIST[:number], line, *LIST[number + 1 :], ""])


def parquet_of(table: pl.DataFrame, **options: Any) -> bytes:
    stream = io.BytesIO()
    parquet.write_table(table.to_arrow(compat_level=pl.CompatLevel.oldest()), stream, **options)
    return stream.getvalue()


TABLE = pl.DataFrame({"id": range(1, 13), "place": ["p"] * 12, "x": [1.5] * 12, "y": [2.5] * 12})
PARQUET = parquet_of(TABLE, compression="zstd")
DAMAGED = PARQUET[:20] + bytes(200) + PARQUET[220:]


def file_of(folder: Path, content: bytes | str, name: str = "x.csv") -> Path:
    """Write a file."""
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A package whose table has a text, a number and a target."""
    row = "place: Annotated[str, Field(examples=['p'])]\nx: Annotated[float, Field(examples=[1])] | None = None"
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield declare(tmp_path_factory.mktemp("package"), row, "y: float", monkeypatch).name


@pytest.fixture
def other(package: str, tmp_path: Path) -> Other:
    """A project of that package without any data."""
    return Other(package, tmp_path)


def prepared(other: Other, *overrides: str) -> str:
    """Prepare the folder of raw files, and say what comes of it."""
    splits = ["data.split.by=[id]", "data.split.valid=0.3", "data.split.test=0.3"]
    config = other.config(*splits, "review=false", "shard_bytes=60", *overrides, raw="raw")
    try:
        manifest = other.prepare.prepare(config)
    except other.errors.Problem as problem:
        assert not (other.folder / "prepared/manifest.json").exists()
        return " ".join(re.sub("[│┆]", " ", str(problem)).split())  # as if a table broke no line
    return f"{sum(part.rows for part in manifest.raw)} rows"


def learnt_from(other: Other) -> str:
    """Say how many rows a training finds, or what it says."""
    try:
        _, found = other.tables.read(other.folder / "prepared")
    except other.errors.Problem as problem:
        return str(problem)
    return f"{sum(map(len, found.values()))} rows"


def scored(other: Other, *overrides: str) -> list[str]:
    """Score the same folder with a model that knows one answer, and list what is said of each file."""
    config = other.config("data.inbox=raw", "shard_bytes=60", *overrides, verb="infer")
    answer = lambda columns: SimpleNamespace(values=np.ones(len(columns["x"])), probabilities=None)  # noqa: E731
    other.scoring.load = lambda _: SimpleNamespace(predictor=SimpleNamespace(predict=answer))
    champion = other.scoring.Champion("", "name", "1", 1)
    return [other.infer.told(outcome, config) for outcome in other.infer.infer(config, champion)]


def both(said: str) -> tuple[str, str]:
    return said, f"not scored: {said}"


ALL = ("12 rows", "12 rows scored by name/1, 0 set aside")
NONE = "0 rows scored by name/1, 0 set aside"
ONE_ASIDE = "11 rows scored by name/1, 1 set aside"
SIX = (with_row(6, "6,p6"), "2 cell(s), where the header has 4")
WORD = "\n".join(LIST).replace("p6", "pø") + "\n"
SEMICOLON = GOOD.replace(",", ";")
COMMA = SEMICOLON.replace("1.5", "1,5")

# A file's name and content, what prepare says of it and what infer says, and the settings for both.
KINDS: dict[str, tuple[str, bytes | str, tuple[str, str], list[str]]] = {
    "good": ("x.csv", GOOD, ALL, []),
    "no last line end": ("x.csv", GOOD.rstrip("\n"), ALL, []),
    "empty lines": ("x.csv", "\n" + GOOD.replace("\n", "\n\n"), ALL, []),
    "CR LF": ("x.csv", GOOD.replace("\n", "\r\n"), ALL, []),
    "BOM": ("x.csv", "\ufeff" + GOOD, ALL, []),
    "upper case": ("X.CSV", GOOD, ALL, []),
    "packed": ("x.csv.gz", gzip.compress(GOOD.encode()), ALL, []),
    "Parquet": ("x.parquet", PARQUET, ALL, []),
    "pattern": ("[x]*.csv", GOOD, ALL, []),
    "line end in the name": ("x\ny.csv", GOOD, ALL, []),
    "folder": ("x.csv/part-0.csv", GOOD, ALL, []),
    "short row": ("x.csv", SIX[0], (SIX[1], ONE_ASIDE), []),
    "long row": ("x.csv", with_row(6, "6,p6,1.5,6,7"), ("more cells than the header, which has 4", ONE_ASIDE), []),
    "cut in a row": ("x.csv", GOOD[:-5], ("3 cell(s), where the header has 4", ONE_ASIDE), []),
    "unclosed quote": ("x.csv", with_row(6, '6,"p6,1.5,6'), (QUOTE, ONE_ASIDE), []),
    "quote inside": ("x.csv", with_row(6, '6,p"6,1.5,6'), (QUOTE, ONE_ASIDE), []),
    "NUL byte": ("x.csv", with_row(6, "6,p\0,1.5,6"), ("a NUL byte", ONE_ASIDE), []),
    "control character": ("x.csv", with_row(6, "6,p\x1e,1.5,6"), ("a control character 30", ONE_ASIDE), []),
    "header only": ("x.csv", f"{HEADER}\n", ("x.csv has no rows below its header: take it away", NONE), []),
    "empty": ("x.csv", "", ("x.csv is empty: not even a header is in it; take it away, or write it again", NONE), []),
    "line ends only": ("x.csv", "\n\n", ("x.csv is empty: not even a header is in it", NONE), []),
    "blank header": ("x.csv", "  \n" + GOOD, both("x.csv has no column 'place'"), []),
    "header twice": ("x.csv", f"x,{GOOD}", both("x.csv has the column 'x' twice: rename or drop one of them"), []),
    "NUL in the header": ("x.csv", f"\0z,{GOOD}", both("x.csv has a NUL byte in its header"), []),
    "quote in the header": ("x.csv", f'"{GOOD}', both("x.csv has a header that cannot be read"), []),
    "other names": (
        "x.csv",
        GOOD.replace("place", "town"),
        both("x.csv has no column 'place'; it has 'id', 'town'"),
        [],
    ),
    "CR alone": (
        "x.csv",
        GOOD.replace("\n", "\r"),
        both("x.csv has lines that end in CR alone, as on old Macs: write it again with LF"),
        [],
    ),
    "latin-1": (
        "x.csv",
        WORD.encode("latin-1"),
        both("x.csv is not UTF-8 at row 6 (byte 0xf8); set data.csv.encoding, to cp1252 or latin-1, say"),
        [],
    ),
    "latin-1, set": ("x.csv", WORD.encode("latin-1"), ALL, ["data.csv.encoding=latin-1"]),
    "UTF-16": (
        "x.csv",
        WORD.encode("utf-16"),
        both("x.csv is not utf-8: it looks like UTF-16; set data.csv.encoding=utf-16"),
        [],
    ),
    "UTF-16, set": ("x.csv", WORD.encode("utf-16"), ALL, ["data.csv.encoding=utf-16"]),
    "UTF-16, cut": ("x.csv", WORD.encode("utf-16")[:-1], both("x.csv is not utf-16 ("), ["data.csv.encoding=utf-16"]),
    "UTF-16, set in vain": ("x.csv", GOOD, both("x.csv is not utf-16 ("), ["data.csv.encoding=utf-16"]),
    "semicolon": ("x.csv", SEMICOLON, both("x.csv has ';' between its columns; set data.csv.delimiter=';'"), []),
    "semicolon, set": ("x.csv", SEMICOLON, ALL, ["data.csv.delimiter=';'"]),
    "decimal comma, set": ("x.csv", COMMA, ALL, ["data.csv.delimiter=';'", "data.csv.decimal=','"]),
    "decimal comma and point": (
        "x.csv",
        COMMA.replace("1,5", "1.5", 1),
        ("a point in x, of decimal commas", ONE_ASIDE),
        ["data.csv.delimiter=';'", "data.csv.decimal=','"],
    ),
    "line ends in cells": (
        "x.csv",
        with_row(6, '6,"p\n6",1.5,6'),
        (QUOTE, "11 rows scored by name/1, 2 set aside"),
        [],
    ),
    "line ends in cells, set": ("x.csv", with_row(6, '6,"p\n6",1.5,6'), ALL, ["data.csv.multiline=true"]),
    "short row, multiline": ("x.csv", SIX[0], (SIX[1], ONE_ASIDE), ["data.csv.multiline=true"]),
    "unclosed quote, multiline": (
        "x.csv",
        with_row(6, '6,"p6,1.5,6'),
        both("x.csv: a quote is not closed, or is within a cell, before line 13 (unexpected end of data)"),
        ["data.csv.multiline=true"],
    ),
    "empty lines only, multiline": (
        "x.csv",
        f"{HEADER}\n\n\n",
        ("x.csv has no rows below its header", NONE),
        ["data.csv.multiline=true"],
    ),
    "CSV called Parquet": (
        "x.parquet",
        GOOD,
        both("x.parquet is no Parquet file, in spite of its name: rename it, or write it again"),
        [],
    ),
    "cut Parquet": (
        "x.parquet",
        PARQUET[:-9],
        both("x.parquet is cut: it has no end as Parquet files have it; copy it again"),
        [],
    ),
    "damaged Parquet": ("x.parquet", DAMAGED, both("x.parquet cannot be read: "), []),
    "cut gzip": ("x.csv.gz", gzip.compress(GOOD.encode())[:-12], both("x.csv.gz is cut or damaged: "), []),
    "no gzip": ("x.csv.gz", GOOD, both("x.csv.gz is cut or damaged: "), []),
    "another kind": (
        "x.xlsx",
        b"PK",
        both("x.xlsx is of no kind that can be read (.csv, .csv.gz, .parquet): take it away"),
        [],
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_each_door_says_of_a_file(kind: str, other: Other) -> None:
    """The door of train opens on what prepare let through, and on nothing else."""
    name, content, (by_prepare, by_infer), overrides = KINDS[kind]
    file_of(other.folder / "raw", content, name)
    said = prepared(other, *overrides)
    assert by_prepare in said
    assert learnt_from(other).startswith(said if by_prepare == "12 rows" else "no prepared data in ")
    [told] = scored(other, *overrides)
    assert told.startswith(f"{name}: {by_infer}")


def test_files_whose_names_are_no_patterns_are_each_read(other: Other) -> None:
    file_of(other.folder / "raw", "\n".join(LIST[:4]), "a[1].csv")
    file_of(other.folder / "raw", "\n".join(LIST[:6]), "a1.csv")
    file_of(other.folder / "raw", "no table", ".part-0.csv.crc")
    file_of(other.folder / "raw", "", "_SUCCESS")
    assert scored(other) == [f"a1.csv: 5 rows {ALL[1][8:]}", f"a[1].csv: 3 rows {ALL[1][8:]}"]
    assert prepared(other) == "8 rows"


@pytest.mark.parametrize("size", [1, 20, 60, 10**6])
def test_faults_keep_their_rows_whatever_the_size_of_shards(size: int, other: Other) -> None:
    text = with_row(3, "3,p3,much,3").replace("9,p9", '"9,p9').replace("\n5,", "\n\n5,").removesuffix(",12\n")
    file_of(other.folder / "raw", text)
    scored(other, f"shard_bytes={size}")
    rejected = pl.read_csv(other.folder / "predictions/x.csv/1/rejected.csv")
    assert rejected.select("row", "column").rows() == [(3, "x"), (9, "all"), (12, "all")]


@pytest.mark.parametrize("name", ["x.csv", "x.csv.gz", "x.parquet"])
def test_a_file_that_cannot_be_opened_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(Problem, match=f"{name} cannot be opened: Is a directory"):
        reader.names(tmp_path / name, PLAIN)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("data.csv.encoding=utf8x", "data.csv.encoding='utf8x': .*no such encoding; write utf-8, utf-16, cp1252"),
        ("data.csv.encoding=base64", "no such encoding"),
        ("data.csv.delimiter=ab", "data.csv.delimiter='ab': String should have at most 1 character"),
        ("data.csv.delimiter='.'", "data.csv.delimiter='.': it has another meaning, too"),
        ("data.csv.decimal=';'", "data.csv.decimal=';': Input should be '.' or ','"),
        ("+data.csv.quotes=1", "data.csv.quotes=1: Extra inputs are not permitted"),
    ],
)
def test_a_setting_that_cannot_be_followed_is_named(settings: str, said: str, other: Other) -> None:
    with pytest.raises(other.errors.Problem, match=said):
        other.reader.dialect(other.config(settings).data)


def batches(file: Path, written: Dialect = PLAIN, size: int = 10**6) -> Iterator[pl.DataFrame]:
    """Read a file shard by shard."""
    for shard in reader.shards(file, written, size):
        yield from reader.batches(file, written, shard)


def rows(file: Path, written: Dialect = PLAIN, size: int = 10**6) -> list[tuple[Any, ...]]:
    """Read a file's rows, and behind each the reason why it is none."""
    return [row for batch in batches(file, written, size) for row in batch.iter_rows()]


CELLS = st.text("ab ßx\t;|'\x85\u2028", max_size=3)
QUOTED = st.text('ab ,"ß;', max_size=4).map(lambda text: '"' + text.replace('"', '""') + '"')


@st.composite
def texts(draw: st.DrawFn) -> str:
    """Draw the text of a CSV file, with empty lines, and with or without an end of its last line."""
    width = draw(st.integers(1, 3))
    cells = draw(st.sampled_from([CELLS, CELLS | QUOTED]))
    lines = draw(st.lists(st.lists(cells, min_size=width, max_size=width).map(",".join) | st.just(""), max_size=6))
    end = draw(st.sampled_from(["\n", "\r\n"]))
    before, behind = (draw(st.sampled_from([[], [""]])) for _ in range(2))
    return draw(st.sampled_from(["", "\ufeff"])) + end.join([*before, ",".join("abc"[:width]), *lines, *behind])


def read_by_python(text: str) -> list[tuple[str | None, ...]]:
    """Read a table as Python's csv module does; empty cells are missing, and so is the reason."""
    _, *found = [row for row in csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""), strict=True) if row]
    return [(*(None if cell in ("", "NA") else cell for cell in row), None) for row in found]


@settings(max_examples=150, deadline=None)
@given(text=texts(), size=st.integers(1, 60))
def test_rows_are_those_that_python_reads(text: str, size: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = file_of(tmp_path_factory.getbasetemp(), text, "any.csv")
    assert rows(file, size=size) == read_by_python(text)
    assert rows(file, LINES) == read_by_python(text)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_shards_of_every_size_hold_each_row_once(end: str, tmp_path: Path) -> None:
    text = end.join(["a,b", "1,ß", "", "333,", '"4,4",""', "5,5"])
    file = file_of(tmp_path, text)
    for size in range(1, len(text) + 5):
        assert rows(file, size=size) == read_by_python(text), size


def test_blocks_are_read_alike_whatever_their_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = file_of(tmp_path, WORD)
    for size in (1, 7, 50):
        monkeypatch.setattr(reader, "BLOCK", size)
        monkeypatch.setattr(reader, "RECORDS", size)
        assert len(rows(file)) == len(rows(file, LINES)) == 12
        assert rows(file) == rows(file, LINES) == rows(file, Dialect(encoding="utf-8-sig"))


def test_a_line_without_end_is_no_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "BLOCK", 50)
    monkeypatch.setattr(reader, "LINE", 100)
    with pytest.raises(Problem, match="it is no table, or it has no line ends"):
        rows(file_of(tmp_path, f"{HEADER}\n{'x' * 500}"))


@pytest.mark.parametrize("size", [1, 100, 250, 10**6])
def test_parquet_with_several_row_groups_is_read_once(size: int, tmp_path: Path) -> None:
    table = pl.DataFrame({"a": range(97), "b": [None if number % 7 else number / 2 for number in range(97)]})
    file = file_of(tmp_path, parquet_of(table, row_group_size=10), "x.parquet")
    assert rows(file, size=size) == table.rows()
    assert len(reader.shards(file, PLAIN, size)) > 1 or size == 10**6


def test_parquet_that_no_table_can_hold_is_named(tmp_path: Path) -> None:
    twice = pa.table([pa.array([1]), pa.array([2])], names=["a", "a"])
    large = pa.table([pa.array([1]).cast(pa.decimal256(50))], names=["a"])
    for table, said in [
        (twice, "x.parquet has the column 'a' twice"),
        (large, r"cannot be read .*decimal256\(50, 0\)"),
    ]:
        parquet.write_table(table, tmp_path / "x.parquet")
        with pytest.raises(Problem, match=said):
            reader.names(tmp_path / "x.parquet", PLAIN)


def test_a_date_that_python_cannot_hold_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = "seen: Annotated[date, Field(examples=['2024-02-29'])]"
    other = declare(tmp_path, seen, "y: float", monkeypatch)
    table = pl.DataFrame({"seen": pl.Series([5, 10**7], dtype=pl.Int32).cast(pl.Date), "y": [1.0, 2.0]})
    file = file_of(tmp_path, parquet_of(table), "x.parquet")
    [batch] = other.reader.batches(file, PLAIN, reader.shards(file, PLAIN, 10**6)[0])
    good, bad, faults = other.data.check(batch, other.schema.Example, "x.parquet")
    assert good["seen"].to_list() == [date(1970, 1, 6)]
    assert [(fault.row, fault.rule) for fault in faults] == [(2, "seen is beyond the years 1 to 9999")]
    assert bad.columns == ["seen", "y"]
    assert REASON not in good.columns
