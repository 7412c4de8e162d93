"""Raw files as they lie, in batches: CSV read strictly, as the settings data.csv say, and Parquet.

Nothing is guessed, and nothing that deviates is passed over: a line that is no row comes along with its reason, and
what is wrong with a whole file is a Problem that names the setting to change. A file is read in blocks, so memory does
not grow with it. An empty line is no row, and is not counted.
"""

import codecs
import csv
import gzip
import io
import itertools
import math
import re
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal, NamedTuple

import polars as pl
import pyarrow as pa
from omegaconf import DictConfig, OmegaConf
from polars import selectors
from pyarrow import parquet
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from . import storage
from .columns import COLUMNS, EXTRA
from .data import REASON
from .errors import Problem
from .kinds import Kind
from .storage import Location

SUFFIXES = (".csv", ".csv.gz", ".parquet")

# Put behind the last cell of each line, so that one cell too few or too many shows; and the name of the column in which
# it ends up, where a line that is no row then has its reason.
END = REASON

BLOCK = 2 << 20  # bytes that are parsed at a time
LINE = 64 << 20  # bytes of a line at most: a file that is no table may have no line end at all

RECORDS = 50_000  # rows that are read at a time where cells hold line ends
NO_REASON = pl.lit(None, pl.String).alias(REASON)

MISPLACED = "a quote that is not closed, or is within a cell; if cells hold line ends, set data.csv.multiline=true"
CONTROLS = {"\0": "NUL byte", END: "control character 30"}


def _known(encoding: str) -> str:
    try:
        "".encode(encoding)  # which refuses codecs that are for other things than text
        return codecs.lookup(encoding).name
    except (LookupError, UnicodeError):
        raise ValueError("no such encoding; write utf-8, utf-16, cp1252 or latin-1, say") from None


class Shard(NamedTuple):
    """A range of a file: of the bytes in which lines begin, for CSV; of rows, for Parquet."""

    start: int
    stop: int


WHOLE = Shard(0, -1)  # a CSV file that can be read only from its beginning to its end


class Dialect(BaseModel):
    """How CSV files are written."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    encoding: Annotated[str, AfterValidator(_known)] = "utf-8"
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","
    quote: Annotated[str, Field(min_length=1, max_length=1)] = '"'
    decimal: Literal[".", ","] = "."
    multiline: bool = False
    missing: tuple[str, ...] = ("",)


def dialect(config: DictConfig) -> Dialect:
    """Read the settings data.csv and data.missing.

    Raises:
        Problem: If one of them cannot be followed.
    """
    settings: Any = OmegaConf.to_container(config.csv, resolve=True)
    try:
        found = Dialect(**settings, missing=tuple(config.missing))
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        name = ".".join(map(str, fault["loc"]))
        raise Problem(f"data.csv.{name}={fault['input']!r}: {fault['msg']}") from error
    if found.delimiter in (found.quote, found.decimal, "\n", "\r"):
        raise Problem(f"data.csv.delimiter={found.delimiter!r}: it has another meaning, too")
    return found


def _is_parquet(file: Location) -> bool:
    return file.suffix.lower() == ".parquet"


def names(file: Location, written: Dialect, needed: Iterable[str] = ()) -> list[str]:
    """Read the names of a file's columns, and look for those that are needed; an empty file has none.

    Raises:
        Problem: If the header names a column twice, or the file cannot be read at all.
    """
    if not file.name.lower().endswith(SUFFIXES):
        raise Problem(
            f"{file.name} is of no kind that can be read ({', '.join(SUFFIXES)}): take it away, "
            "or begin its name with an underscore"
        )
    if _is_parquet(file):
        with _parquet(file) as table:
            return _fields(table.schema_arrow, file)
    with _opened(file, written) as stream:
        return _header(_first_line(stream), file, written, needed)


def _fields(schema: pa.Schema, file: Location) -> list[str]:
    """List the names of columns, if Polars can hold them."""
    _require_once(schema.names, file)
    if large := [field for field in schema if pa.types.is_decimal256(field.type)]:
        raise Problem(f"{file.name} has a column that cannot be read ({large[0]}): write it as a double, say")
    return list(schema.names)


def _require_once(found: list[str], file: Location) -> None:
    if twice := sorted({name for name in found if found.count(name) > 1}):
        raise Problem(f"{file.name} has the column {', '.join(map(repr, twice))} twice: rename or drop one of them")


def shards(file: Location, written: Dialect, size: int) -> list[Shard]:
    """Part a file into ranges of rows that can be read apart, of some `size` bytes each before compression.

    A CSV file is one shard if it is compressed, not UTF-8, or if its cells may hold line ends: where a line begins can
    then be told only from the file's beginning.
    """
    if _is_parquet(file):
        with _parquet(file) as table:
            rows = table.metadata.num_rows
            whole = sum(table.metadata.row_group(group).total_byte_size for group in range(table.num_row_groups))
        return _ranges(0, rows, max(rows * size // max(whole, 1), 1))
    if undivided(file, written):
        return [WHOLE]
    with _opened(file, written) as stream:
        _first_line(stream)
        return _ranges(stream.tell(), file.stat().st_size, size)


def undivided(file: Location, written: Dialect) -> str:
    """Say why a file can be read only from its beginning to its end; nothing if it can be read in parts."""
    if _is_parquet(file):
        return ""
    if file.suffix.lower() == ".gz":
        return "it is compressed"
    if written.multiline:
        return "its cells may hold line ends (data.csv.multiline)"
    return "" if written.encoding == "utf-8" else f"it is {written.encoding}"


def _ranges(start: int, stop: int, size: int) -> list[Shard]:
    return [Shard(place, min(place + size, stop)) for place in range(start, stop, size)]


def batches(file: Location, written: Dialect, shard: Shard) -> Iterator[pl.DataFrame]:
    """Read the rows of a shard.

    A CSV file's cells are text, for the schema to judge, and None where they hold what data.missing lists; the column
    REASON says what is wrong with a line that is no row. In Parquet, NaN is how pandas says "no value".

    Raises:
        Problem: If the file cannot be read to its end.
    """
    if _is_parquet(file):
        with _parquet(file) as table:
            for batch in _slices(table, shard):
                yield _held(batch.with_columns(selectors.float().fill_nan(None)))
        return
    with _opened(file, written) as stream:
        header = _header(_first_line(stream), file, written)
        if shard != WHOLE and shard.start > stream.tell():
            stream.seek(shard.start - 1)  # a line belongs to the shard that its first byte lies in
            _rest_of_line(stream, file)
        read = _records if written.multiline else _rows
        for rows in read(_blocks(stream, file, shard), header, file, written):
            yield _numbers(rows, header, written)


def _slices(table: parquet.ParquetFile, shard: Shard) -> Iterator[pl.DataFrame]:
    """Read the row groups that a range of rows lies in, and give those rows."""
    first = 0
    for group in range(table.num_row_groups):
        start, first = first, first + table.metadata.row_group(group).num_rows
        if first <= shard.start or start >= shard.stop:
            continue
        for batch in table.iter_batches(row_groups=[group]):
            stop = start + batch.num_rows
            wanted = slice(max(shard.start - start, 0), max(min(shard.stop, stop) - start, 0))
            if wanted.start < wanted.stop:
                yield pl.DataFrame(pl.from_arrow(batch))[wanted]
            start = stop
            if start >= shard.stop:
                return


def _held(table: pl.DataFrame) -> pl.DataFrame:
    """Set aside rows with a date or time that Python cannot hold: its years are 1 to 9999."""
    known = {**COLUMNS, **EXTRA}
    found = [name for name, kind in table.schema.items() if name in known and isinstance(kind, pl.Date | pl.Datetime)]
    held = {
        name: pl.col(name).is_null() | pl.col(name).dt.year().is_between(1, 9999).fill_null(value=False)
        for name in found
    }
    if table.select(pl.all_horizontal(pl.lit(value=True), *held.values()).all()).item():
        return table
    reasons = [pl.when(~right).then(pl.lit(f"{name} is beyond the years 1 to 9999")) for name, right in held.items()]
    return table.with_columns(
        pl.coalesce(reasons).alias(REASON), *(pl.when(right).then(pl.col(name)) for name, right in held.items())
    )


@contextmanager
def _parquet(file: Location) -> Iterator[parquet.ParquetFile]:
    """Open a Parquet file; what Arrow says of a damaged one becomes a Problem."""
    with _failures(file), storage.stream(file) as stream:
        first, last = _ends(stream)
        if first != b"PAR1":
            raise Problem(f"{file.name} is no Parquet file, in spite of its name: rename it, or write it again")
        if last != b"PAR1":
            raise Problem(f"{file.name} is cut: it has no end as Parquet files have it; copy it again")
        try:
            with parquet.ParquetFile(stream, page_checksum_verification=True) as table:
                yield table
        except (pa.ArrowException, pl.exceptions.PolarsError) as error:
            raise Problem(f"{file.name} cannot be read: {str(error).splitlines()[0]}; write it again") from error


@contextmanager
def _failures(file: Location) -> Iterator[None]:
    """Put what this machine says of a file into a Problem; what a bucket's client says is put into words elsewhere."""
    try:
        yield
    except OSError as error:
        if not isinstance(file, Path):
            raise
        if error.strerror:
            raise Problem(f"{file.name} cannot be opened: {error.strerror}") from error
        raise Problem(f"{file.name} cannot be read: {str(error).splitlines()[0]}; write it again") from error


def _ends(stream: BinaryIO) -> tuple[bytes, bytes]:
    first = stream.read(4)
    stream.seek(max(stream.seek(0, io.SEEK_END) - 4, 0))
    last = stream.read(4)
    stream.seek(0)
    return first, last


@contextmanager
def _opened(file: Location, written: Dialect) -> Iterator[Any]:
    """Open a CSV file, as UTF-8; what libraries say of a damaged one becomes a Problem."""
    with _failures(file), storage.stream(file) as packed:
        stream: Any = gzip.GzipFile(fileobj=packed) if file.suffix.lower() == ".gz" else packed
        try:
            yield _as_utf8(stream, file, written)
        except UnicodeError as error:
            raise Problem(f"{file.name} is not {written.encoding} ({error}); set data.csv.encoding") from error
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise Problem(f"{file.name} is cut or damaged: {error}; copy it again") from error


def _first_line(stream: Any) -> bytes:
    """Read the first line that is not empty."""
    line = b"\n"
    while line and not line.strip(b"\r\n"):
        line = stream.readline(LINE)
    return line


def _blocks(stream: Any, file: Location, shard: Shard) -> Iterator[bytes]:
    """Read whole lines, up to the last one that begins in the shard."""
    left = math.inf if shard == WHOLE else shard.stop - stream.tell()
    while left > 0 and (block := stream.read(int(min(left, BLOCK)))):
        if not block.endswith(b"\n"):  # or the next line would come along, which may begin in the next shard
            block += _rest_of_line(stream, file)
        yield block
        left -= len(block)


def _rest_of_line(stream: Any, file: Location) -> bytes:
    rest: bytes = stream.readline(LINE)
    if len(rest) == LINE:
        raise Problem(f"{file.name} has a line of over {LINE >> 20} MiB: it is no table, or it has no line ends")
    return rest


def _as_utf8(stream: BinaryIO, file: Location, written: Dialect) -> Any:
    """Give the content of a file in UTF-8, whatever it is written in."""
    start = stream.read(4)
    stream.seek(0)
    wide = next((name for name in ("utf-16", "utf-32") if written.encoding.startswith(name)), None)
    if wide is None and (start[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) or start[1:2] == b"\0"):
        raise Problem(f"{file.name} is not {written.encoding}: it looks like UTF-16; set data.csv.encoding=utf-16")
    if written.encoding == "utf-8":
        if start.startswith(codecs.BOM_UTF8):
            stream.seek(len(codecs.BOM_UTF8))
        return stream
    return _Recoded(stream, written.encoding, newline="\n")


class _Recoded(io.TextIOWrapper):
    """A stream of text that gives UTF-8."""

    def read(self, size: int | None = -1) -> bytes:  # type: ignore[override]
        return super().read(size).encode()

    def readline(self, size: int = -1) -> bytes:  # type: ignore[override]
        return super().readline(size).encode()


def _header(line: bytes, file: Location, written: Dialect, needed: Iterable[str] = ()) -> list[str]:
    """Read the names of columns; none if the file is empty."""
    if not line:
        return []
    text = _text(line, file, written).rstrip("\n").removesuffix("\r")
    if "\r" in text:
        raise Problem(f"{file.name} has lines that end in CR alone, as on old Macs: write it again with LF")
    try:
        (found,) = csv.reader([text], delimiter=written.delimiter, quotechar=written.quote, strict=True)
    except (csv.Error, ValueError) as error:
        raise Problem(f"{file.name} has a header that cannot be read ({error}): {text[:100]!r}") from error
    _require_once(found, file)
    if controls := [name for sign, name in CONTROLS.items() if sign in text]:
        raise Problem(f"{file.name} has a {controls[0]} in its header: {text[:100]!r}")
    wanted = set(needed)
    if not wanted <= set(found):
        for other in ";,\t|":
            if wanted <= {cell.strip(written.quote) for cell in text.split(other)}:
                raise Problem(f"{file.name} has {other!r} between its columns; set data.csv.delimiter={other!r}")
    return found


def _text(block: bytes, file: Location, written: Dialect) -> str:
    """Read a block as UTF-8."""
    try:
        return block.decode()
    except UnicodeDecodeError as error:
        with _opened(file, written) as stream:
            lines = (line for line in stream if line.strip(b"\r\n"))
            row = next((row for row, line in enumerate(lines) if not _is_utf8(line)), 0)
        place = f"at row {row}" if row else "in its header"
        raise Problem(
            f"{file.name} is not UTF-8 {place} (byte {block[error.start]:#x}); set data.csv.encoding, "
            "to cp1252 or latin-1, say"
        ) from error


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _rows(blocks: Iterable[bytes], header: list[str], file: Location, written: Dialect) -> Iterator[pl.DataFrame]:
    """Read blocks in which each line is a row."""
    for block in blocks:
        whole = (block if block.endswith(b"\n") else block + b"\n").replace(b"\r\n", b"\n")
        if not whole.isascii():
            _text(whole, file, written)
        doubtful = written.quote.encode() in whole or any(sign.encode() in whole for sign in CONTROLS)
        if not doubtful:
            table = _parse(whole, header, written, quoted=False)
            fits = (table[REASON] == END).all(ignore_nulls=False) and len(header) > 1
            yield table.with_columns(NO_REASON) if fits else _judge(table, header, _split(whole), NO_REASON)
        else:
            lines = _split(whole)
            reasons = lines.to_frame().select(_reason(written)).to_series()
            sound = lines.set(reasons.is_not_null(), "").str.join("\n").item() + "\n"
            table = _parse(sound.encode(), header, written, quoted=True)
            yield _judge(table, header, lines, reasons)


def _split(block: bytes) -> pl.Series:
    return pl.Series(REASON, [block.decode().removesuffix("\n")]).str.split("\n").explode()


def _reason(written: Dialect) -> pl.Expr:
    """Say what is wrong with the quotes or the characters of a line."""
    quote, delimiter = re.escape(written.quote), re.escape(written.delimiter)
    cell = f"(?:[^{quote}{delimiter}]*|{quote}(?:[^{quote}]|{quote}{quote})*{quote})"
    sound = pl.col(REASON).str.contains(f"^{cell}(?:{delimiter}{cell})*$")
    controls = [
        pl.when(pl.col(REASON).str.contains(sign, literal=True)).then(pl.lit(f"a {name}"))
        for sign, name in CONTROLS.items()
    ]
    return pl.coalesce(pl.when(~sound).then(pl.lit(MISPLACED)), *controls).alias(REASON)


def _parse(lines: bytes, header: list[str], written: Dialect, *, quoted: bool) -> pl.DataFrame:
    """Part lines into cells, a row each; END falls into the column REASON where a line has as many as the header."""
    return pl.read_csv(
        lines.replace(b"\n", f"{written.delimiter}{END}\n".encode()),
        has_header=False,
        schema=dict.fromkeys([*header, REASON], pl.String),
        separator=written.delimiter,
        quote_char=written.quote if quoted else None,
        null_values=list(written.missing),
        empty_string_is_null="" in written.missing,
        extra_columns="ignore",
        missing_columns="insert",
    )


def _judge(table: pl.DataFrame, header: list[str], lines: pl.Series, reasons: pl.Series | pl.Expr) -> pl.DataFrame:
    """Put the reason why a line is no row in place of END, and the line itself in its first cell; drop empty ones."""
    count = len(header)
    places = enumerate([*header, REASON])
    cells = pl.coalesce(pl.when(pl.col(name) == END).then(pl.lit(place)) for place, name in places)
    misfit = (
        pl.when(cells < count)
        .then(pl.format("{} cell(s), where the header has {}", cells, pl.lit(count)))
        .when(cells.is_null())
        .then(pl.lit(f"more cells than the header, which has {count}"))
        .otherwise(None)
    )
    judged = table.with_columns(pl.coalesce(reasons, misfit).alias(REASON)).filter(lines != "")
    lines = lines.filter(lines != "")
    broken = pl.col(REASON).is_not_null()
    first, *others = header
    return judged.with_columns(
        pl.when(broken).then(lines).otherwise(pl.col(first)).alias(first),
        pl.when(~broken).then(pl.col(others)),
    )


def _records(blocks: Iterable[bytes], header: list[str], file: Location, written: Dialect) -> Iterator[pl.DataFrame]:
    """Read blocks in which a quoted cell may hold line ends; Python's own reader keeps track of the quotes."""
    csv.field_size_limit(LINE)
    lines = (line for block in blocks for line in io.StringIO(_text(block, file, written), newline="\n"))
    reader = csv.reader(lines, delimiter=written.delimiter, quotechar=written.quote, strict=True)
    try:
        while records := list(itertools.islice(reader, RECORDS)):
            if rows := [record for record in records if record]:
                yield _table(rows, header, written)
    except csv.Error as error:
        raise Problem(
            f"{file.name}: a quote is not closed, or is within a cell, before line {reader.line_num + 1} ({error}); "
            "with data.csv.multiline, nothing behind it can be read: correct the file"
        ) from error


def _table(records: list[list[str]], header: list[str], written: Dialect) -> pl.DataFrame:
    """Make rows of records; one that is no row lies in its first cell as it came, as far as that can be told."""
    reasons = [_fault(record, len(header)) for record in records]
    for place, reason in enumerate(reasons):
        if reason:
            records[place] = [written.delimiter.join(records[place]), *[""] * (len(header) - 1)]
    columns = zip(header, map(list, zip(*records, strict=True)), strict=True)
    missing = pl.col(header).is_in(list(written.missing))
    table = pl.DataFrame({**dict(columns), REASON: pl.Series(reasons, dtype=pl.String)})
    return table.with_columns(pl.when(~missing).then(pl.col(header)))


def _fault(record: list[str], count: int) -> str | None:
    if len(record) != count:
        return f"{len(record)} cell(s), where the header has {count}"
    found = [name for sign, name in CONTROLS.items() for cell in record if sign in cell]
    return f"a {found[0]}" if found else None


def _numbers(table: pl.DataFrame, header: list[str], written: Dialect) -> pl.DataFrame:
    """Write numbers with a point, where the file has a decimal comma."""
    if written.decimal == ".":
        return table
    known = {**COLUMNS, **EXTRA}
    found = [name for name in header if name in known and known[name].kind == Kind.NUMBER]
    pointed = [
        pl.when(pl.col(name).str.contains(".", literal=True)).then(pl.lit(f"a point in {name}, of decimal commas"))
        for name in found
    ]
    broken = pl.col(REASON).is_not_null()
    return table.with_columns(pl.coalesce(REASON, *pointed).alias(REASON)).with_columns(
        pl.when(broken).then(pl.col(found)).otherwise(pl.col(found).str.replace(",", ".", literal=True))
    )
