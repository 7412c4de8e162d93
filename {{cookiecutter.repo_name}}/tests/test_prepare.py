import gzip
import json
import os
import shutil
import time
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
from omegaconf import DictConfig
from polars.testing import assert_frame_equal

from {{ cookiecutter.src_package_name }} import engine, review, storage, tables
from {{ cookiecutter.src_package_name }}.columns import COLUMNS, EXTRA, TARGET
from {{ cookiecutter.src_package_name }}.errors import Problem
from {{ cookiecutter.src_package_name }}.prepare import prepare
from {{ cookiecutter.src_package_name }}.tables import Manifest

from .conftest import BY_ROW, NUMBERED, a_number, as_text, configure, number, raw_files, rewrite, spoil
from .other import Other, declare


def test_every_row_is_in_one_table(folder: Path) -> None:
    manifest = prepare(configure("prepare"))
    _, found = tables.read(folder / "data/prepared")
    assert sum(map(len, found.values())) == sum(part.rows for part in manifest.raw)
    assert [len(found[name]) for name in found] == [manifest.splits[name].rows for name in found]


def test_the_size_of_shards_changes_no_row(folder: Path) -> None:
    whole = prepare(configure("prepare")), read(folder)
    assert len(whole[0].splits["train"].parts) == 1
    shards = prepare(configure("prepare", "shard_bytes=300")), read(folder)
    assert len(shards[0].splits["train"].parts) > 2
    assert alike(shards) == alike(whole)
    for name, table in shards[1].items():
        assert_frame_equal(table, whole[1][name])


def read(folder: Path) -> dict[str, pl.DataFrame]:
    return tables.read(folder / "data/prepared")[1]


def alike(made: tuple[Manifest, object]) -> dict[str, Any]:
    """Give what a manifest says, whatever the files that the rows lie in."""
    found = made[0].model_dump(exclude={"splits", "folders"})
    return found | {name: split.rows for name, split in made[0].splits.items()}


def test_equal_rows_are_the_same_version_wherever_they_lie(folder: Path) -> None:
    one, other = (prepare(configure("prepare", *BY_ROW, f"data.prepared={place}")) for place in ("here", "there"))
    assert one == other


def test_another_seed_makes_other_tables(folder: Path) -> None:
    one, other = (prepare(configure("prepare", *BY_ROW, f"seed={seed}")) for seed in (1, 2))
    assert one.version != other.version
    assert one.splits["train"].parts[0].sha256 != other.splits["train"].parts[0].sha256


def test_bad_rows_are_all_told_and_the_tables_stay_as_they_were(folder: Path) -> None:
    before = prepare(configure("prepare"))
    rewrite(folder, spoil(3, a_number(), "much"))
    rewrite(folder, spoil(9, TARGET, "no such thing"))
    with pytest.raises(Problem, match="2 bad row") as caught:
        prepare(configure("prepare", "shard_bytes=300"))
    assert all(word in str(caught.value) for word in ("much", "no such thing", a_number(), TARGET))
    assert tables.read(folder / "data/prepared")[0] == before


def test_bad_rows_can_be_set_aside(folder: Path) -> None:
    rewrite(folder, spoil(3, a_number(), "much"))
    rewrite(folder, spoil(9, TARGET, "no such thing"))
    manifest = prepare(configure("prepare", "bad_rows=quarantine", "shard_bytes=300"))
    quarantine = pl.read_csv(folder / "data/prepared" / manifest.version / "quarantine.csv")
    assert manifest.rejected == 2
    assert quarantine["row"].to_list() == [3, 9]
    assert ["much" in record for record in quarantine["record"]] == [True, False]


@pytest.fixture
def plain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Other:
    """A project whose table, which is not there yet, has an id and two numbers."""
    return declare(tmp_path, ROW, "y: float", monkeypatch)


def test_a_line_that_is_no_row_is_set_aside_as_it_came(plain: Other) -> None:
    lines = ["id,x,y", *(f"{row},{row},{row}" for row in range(1, 31))]
    (plain.folder / "raw.csv").write_text("\n".join([*lines[:4], "4,4", *lines[5:]]), encoding="utf-8")
    manifest = plain.prepare.prepare(plain.config("bad_rows=quarantine", "shard_bytes=50"))
    quarantine = pl.read_csv(plain.folder / "prepared" / manifest.version / "quarantine.csv")
    assert quarantine.select("row", "column", "rule").rows() == [(4, "all", "2 cell(s), where the header has 3")]
    assert json.loads(quarantine["record"][0]) == {"id": "4,4", "x": None, "y": None}
    assert sum(part.rows for part in manifest.splits.values()) == 29


@pytest.mark.parametrize(("text", "said"), [("", "is empty: not even a header"), ("id,x,y\n", "has no rows below its")])
def test_a_file_without_rows_is_a_problem(text: str, said: str, plain: Other) -> None:
    (plain.folder / "raw.csv").write_text(text, encoding="utf-8")
    with pytest.raises(plain.errors.Problem, match=f"raw.csv {said}"):
        plain.prepare.prepare(plain.config())
    assert not (plain.folder / "prepared").exists()


def test_a_file_that_changes_while_it_is_read_is_a_problem(plain: Other, monkeypatch: pytest.MonkeyPatch) -> None:
    file = plain.folder / "raw.csv"
    file.write_text("\n".join(["id,x,y", *(f"{row},{row},{row}" for row in range(30))]), encoding="utf-8")
    real = plain.reader.batches

    def replaced(*given: Any) -> Iterator[pl.DataFrame]:
        yield from real(*given)
        file.write_bytes(file.read_bytes() + b"\n")

    monkeypatch.setattr(plain.reader, "batches", replaced)
    with pytest.raises(plain.errors.Problem, match=r"raw\.csv was changed while it was read: run `make prepare` again"):
        plain.prepare.prepare(plain.config())
    assert not (plain.folder / "prepared").exists()


def test_remarks_can_be_left_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(review, "review", lambda *_: ["a remark"])
    assert prepare(configure("prepare")).notes == ["a remark"]
    assert prepare(configure("prepare", "review=false")).notes == []


def test_memory_does_not_grow_with_faults(plain: Other) -> None:
    peaks = []
    for rows in (8_000, 8_001, 64_000):
        lines = ["id,x,y", *(f"{row},{'much' if row % 2 else row},{row}" for row in range(rows))]
        (plain.folder / "raw.csv").write_text("\n".join(lines), encoding="utf-8")
        tracemalloc.start()
        manifest = plain.prepare.prepare(plain.config("bad_rows=quarantine", "review=false", "shard_bytes=100000"))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert manifest.rejected == rows // 2
    _, few, many = peaks  # the first run imports what the others use, which is no file that was checked before
    assert many < 1.5 * few


@pytest.fixture
def days(plain: Other) -> Other:
    """The same with a folder of raw files, of thirty rows a day."""
    (plain.folder / "raw").mkdir()
    for day in range(3):
        add(plain, day)
    return plain


def add(other: Other, day: int, x: object = 1) -> Path:
    file = other.folder / f"raw/{day}.csv"
    rows = [f"{day}-{row},{x if row == 25 else row},{row}" for row in range(1, 31)]
    file.write_text("\n".join(["id,x,y", *rows]), encoding="utf-8")
    return file


def lines(other: Other, *overrides: str) -> list[str]:
    """Prepare, and give what is told of how rows were checked."""
    return other.prepare.make(of_days(other, *overrides)).lines


def of_days(other: Other, *overrides: str) -> DictConfig:
    return other.config(
        "review=false", "shard_bytes=90", "data.split.valid=0.3", "data.split.test=0.3", *overrides, raw="raw"
    )


def taken_over(count: int, total: int) -> list[str]:
    return [f"{count} of {total} file(s) had been checked before, and were taken over"]


def files_below(folder: Path) -> dict[str, str]:
    """Hash all files below a folder."""
    found = (file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): storage.digest(file) for file in found}


def test_a_new_file_costs_only_itself(days: Other) -> None:
    assert lines(days) == []
    assert lines(days) == taken_over(3, 3)
    add(days, 3)
    assert lines(days) == taken_over(3, 4)
    assert lines(days, "seed=7") == []
    _, found = days.tables.read(days.folder / "prepared")
    assert sorted(pl.concat(found.values())["id"]) == sorted(f"{day}-{row}" for day in range(4) for row in range(1, 31))


def test_another_size_schema_or_code_checks_anew(days: Other, monkeypatch: pytest.MonkeyPatch) -> None:
    lines(days)
    assert lines(days, "shard_bytes=70") == []
    assert lines(days, "data.missing=[none]") == []
    monkeypatch.setattr(days.shards, "VERSION", "another")
    assert lines(days) == []
    monkeypatch.undo()
    monkeypatch.setattr(days.engine, "code", lambda: "another")
    assert lines(days) == []


def test_a_file_of_another_name_is_taken_over_and_told_by_its_own(days: Other) -> None:
    file = add(days, 1, "much")
    with pytest.raises(days.errors.Problem, match=r"1\.csv +┆ 25 "):
        lines(days)
    file.rename(file.with_name("9.csv"))
    with pytest.raises(days.errors.Problem, match=r"9\.csv +┆ 25 "):
        lines(days)
    manifest, told = days.prepare.make(of_days(days, "bad_rows=quarantine"))
    quarantine = pl.read_csv(days.folder / "prepared" / manifest.version / "quarantine.csv")
    assert quarantine.select("file", "row").rows() == [("9.csv", 25)]
    assert told == taken_over(3, 3)


def test_a_run_that_was_stopped_goes_on_where_it_was(days: Other, monkeypatch: pytest.MonkeyPatch) -> None:
    lines(days)
    whole = files_below(days.folder / "prepared")
    shutil.rmtree(days.folder / "prepared")
    real, calls = days.data.check, []

    def stop(*given: Any) -> Any:
        calls.append(given)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return real(*given)

    monkeypatch.setattr(days.data, "check", stop)
    with pytest.raises(KeyboardInterrupt):
        lines(days)
    with pytest.raises(days.errors.Problem, match="no prepared data"):
        days.tables.read(days.folder / "prepared")
    assert lines(days) == [
        *taken_over(1, 3),
        "1.csv: 1 of 4 shards had been checked before, and were taken over",
    ]
    assert len(calls) == 12 + 1
    assert files_below(days.folder / "prepared") == whole


def test_several_processes_make_what_this_one_makes(folder: Path) -> None:
    rewrite(folder, spoil(9, TARGET, "no such thing"))
    settings = ["bad_rows=quarantine", "shard_bytes=2000"]
    manifest = prepare(configure("prepare", *settings))
    whole = files_below(folder / "data/prepared")
    assert len(manifest.splits["train"].parts) > 2
    shutil.rmtree(folder / "data/prepared")
    assert prepare(configure("prepare", *settings, "compute=2")) == manifest
    assert files_below(folder / "data/prepared") == whole


def test_the_first_file_that_is_wrong_is_told_whoever_reads_it(folder: Path) -> None:
    number(folder)
    rewrite(folder, spoil(300, "row_id", ""))
    rewrite(folder, spoil(200, "row_id", ""))
    for compute in (1, 2):
        with pytest.raises(Problem, match="row 200: no value in row_id, by which rows are split"):
            prepare(configure("prepare", *NUMBERED, "shard_bytes=2000", f"compute={compute}"))


def test_a_time_more_checks_nothing_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = declare(tmp_path, ROW, "y: float\nseen: Annotated[date, ASIDE]", monkeypatch)
    table = history(tmp_path)
    (tmp_path / "raw").mkdir()
    table[:300].write_csv(tmp_path / "raw/old.csv")
    config = other.config("data.split.time={column: seen}", "shard_bytes=2000", raw="raw")
    before, _ = other.prepare.make(config)
    table[300:].write_csv(tmp_path / "raw/new.csv")
    after, lines = other.prepare.make(config)
    assert lines == taken_over(1, 2)
    assert before.split.test < after.split.test
    assert "rows moved" in after.notes[0]
    _, found = other.tables.read(tmp_path / "prepared")
    assert_frame_equal(pl.concat(found.values()).sort("seen").select(table.columns), table, check_dtypes=False)


def test_parts_that_are_gone_or_cut_are_made_again(days: Other) -> None:
    manifest = days.prepare.prepare(of_days(days))
    whole = files_below(days.folder / "prepared")
    first, second, *_ = manifest.splits["train"].parts
    (days.folder / "prepared" / first.path).unlink()
    (days.folder / "prepared" / second.path).write_bytes(b"PAR1")
    next((days.folder / "prepared/parts").glob("*/000002.json")).write_text("{")
    assert days.prepare.prepare(of_days(days)) == manifest
    assert files_below(days.folder / "prepared") == whole


def test_old_versions_go_with_the_parts_that_only_they_have(days: Other) -> None:
    versions = [days.prepare.prepare(of_days(days, "keep=2", f"seed={seed}")) for seed in range(2)]
    for parts in (days.folder / "prepared/parts").iterdir():
        old(parts)
    young = days.folder / "prepared/parts/0"  # of a run that is still going on
    young.mkdir()
    (young / "000000.json").touch()
    versions.append(days.prepare.prepare(of_days(days, "keep=2", "seed=2")))
    found = {place.parent.name for place in (days.folder / "prepared").glob("*/manifest.json")}
    assert found == {manifest.version for manifest in versions[1:]}
    parts = {f"parts/{place.name}" for place in (days.folder / "prepared/parts").iterdir()}
    assert parts == {"parts/0", *versions[1].folders, *versions[2].folders}
    old(young)
    days.prepare.prepare(of_days(days, "keep=1", "seed=1"))  # which is the newest again
    assert {f"parts/{place.name}" for place in (days.folder / "prepared/parts").iterdir()} >= set(versions[1].folders)
    assert not young.exists()


def old(folder: Path) -> None:
    """Let all files of a folder be as old as if their run had ended long ago."""
    for file in folder.iterdir():
        os.utime(file, (0, 0))


def test_what_a_run_takes_over_is_not_taken_away_by_another(days: Other) -> None:
    manifest = days.prepare.prepare(of_days(days))
    folders = [days.folder / "prepared" / folder for folder in manifest.folders]
    for folder in folders:
        old(folder)
    lines(days)
    assert all(time.time() - (folder / "000000.json").stat().st_mtime < 60 for folder in folders)


@pytest.mark.parametrize("keep", ["0", "-1", "many", "1.5"])
def test_a_number_of_versions_that_cannot_be_is_a_problem(keep: str, days: Other) -> None:
    with pytest.raises(days.errors.Problem, match=f"keep={keep}: a whole number from 1"):
        lines(days, f"keep={keep}")


def test_a_file_that_cannot_be_divided_is_told(days: Other) -> None:
    file = add(days, 1)
    (file.with_suffix(".csv.gz")).write_bytes(gzip.compress(file.read_bytes() * 9, 0))
    assert reasons(days) == ["1.csv.gz was checked by one worker as a whole, because it is compressed"]
    multiline = "its cells may hold line ends (data.csv.multiline)"
    assert f"0.csv was checked by one worker as a whole, because {multiline}" in reasons(
        days, "data.csv.multiline=true"
    )
    assert "0.csv was checked by one worker as a whole, because it is cp1252" in reasons(
        days, "data.csv.encoding=cp1252"
    )


def reasons(other: Other, *overrides: str) -> list[str]:
    config = of_days(other, *overrides)
    written = other.reader.dialect(config.data)
    files = other.storage.files(other.folder / "raw").items()
    found = [other.prepare.File(SimpleNamespace(name=name, file=file, written=written), []) for name, file in files]
    config.compute = 2
    return list(other.prepare._undivided(found, config))


def test_a_changed_column_is_named_and_nothing_is_written(folder: Path) -> None:
    rewrite(folder, lambda table: table.rename({TARGET: "renamed"}))
    with pytest.raises(Problem, match=f"no column '{TARGET}'"):
        prepare(configure("prepare"))
    assert not (folder / "data/prepared").exists()


def test_a_failure_half_way_leaves_the_tables_before_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = prepare(configure("prepare"))

    def fail(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(tables.Writer, "_write", fail)
    with pytest.raises(OSError, match="disk full"):
        prepare(configure("prepare", "seed=1"))
    manifest, _ = tables.read(folder / "data/prepared")
    assert manifest == before


def test_files_of_a_folder_are_one_table(folder: Path) -> None:
    whole = as_text(*raw_files(folder))
    (folder / "data/many").mkdir()
    whole.head(10).write_csv(folder / "data/many/some.csv")
    whole.slice(10).write_csv(folder / "data/many/more.csv")
    manifest = prepare(configure("prepare", *BY_ROW, "data.raw=many"))
    assert sum(part.rows for part in manifest.splits.values()) == len(whole)


def test_too_few_rows_are_a_problem(folder: Path) -> None:
    rewrite(folder, lambda table: table.head(1))
    with pytest.raises(Problem, match="too few"):
        prepare(configure("prepare", *BY_ROW))


def test_an_unknown_policy_is_a_problem(folder: Path) -> None:
    with pytest.raises(Problem, match="fail or quarantine"):
        prepare(configure("prepare", "bad_rows=ignore"))


def test_tables_that_were_changed_are_refused(folder: Path) -> None:
    manifest = prepare(configure("prepare"))
    file = folder / "data/prepared" / manifest.splits["test"].parts[0].path
    pl.read_parquet(file).head(3).write_parquet(file)
    with pytest.raises(Problem, match="not the file that prepare wrote"):
        tables.read(folder / "data/prepared")
    file.unlink()
    with pytest.raises(Problem, match="not the file that prepare wrote"):
        tables.read(folder / "data/prepared")
    assert prepare(configure("prepare")) == manifest


def test_tables_of_another_schema_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(configure("prepare"))
    monkeypatch.setattr(tables, "VERSION", "another")
    with pytest.raises(Problem, match="has changed"):
        tables.read(folder / "data/prepared")


def test_no_tables_are_a_problem(folder: Path) -> None:
    with pytest.raises(Problem, match="make prepare"):
        tables.read(storage.locate("data", "prepared"))


def test_tables_of_an_older_version_are_refused(folder: Path) -> None:
    prepare(configure("prepare"))
    file = folder / "data/prepared/manifest.json"
    file.write_text('{"version": "1"}')
    with pytest.raises(Problem, match="older version of this project: run `make prepare` again"):
        tables.read(folder / "data/prepared")
    assert prepare(configure("prepare")).notes == []


def test_another_rule_says_what_changed_and_how_many_rows_move(folder: Path) -> None:
    number(folder)
    prepare(configure("prepare", *NUMBERED))
    before = placed(folder)
    notes = prepare(configure("prepare", *NUMBERED, "seed=7")).notes
    after = placed(folder)
    moved = Counter((before[row], after[row]) for row in before if before[row] != after[row])
    assert notes == [
        "rows are split by a hash of row_id (seed 7, valid 0.15, test 0.15); before, by a hash of row_id (seed 42, "
        f"valid 0.15, test 0.15): {moved.total()} rows moved, {moved['test', 'train']} of them from test to train and "
        f"{moved['train', 'test']} from train to test"
    ]
    assert prepare(configure("prepare", *NUMBERED, "seed=7")).notes == []


def placed(folder: Path) -> dict[str, str]:
    """Give the split of each row, by its id."""
    _, found = tables.read(folder / "data/prepared")
    return {row: name for name, table in found.items() for row in table["row_id"]}


def test_rows_that_moved_from_a_column_that_is_gone_cannot_be_counted(folder: Path) -> None:
    rewrite(folder, lambda table: table.with_row_index("other"))
    prepare(configure("prepare", *BY_ROW, "data.split.by=[other]"))
    rewrite(folder, lambda table: table.drop("other"))
    assert "how many rows moved cannot be counted" in prepare(configure("prepare", *BY_ROW)).notes[0]


def test_a_column_outside_the_schema_can_group_rows(folder: Path) -> None:
    rewrite(folder, lambda table: table.with_columns((pl.int_range(pl.len()) // 4).alias("nest")))
    manifest = prepare(configure("prepare", *BY_ROW, "data.split.by=[nest]"))
    _, found = tables.read(folder / "data/prepared")
    nests = [set(table["nest"]) for table in found.values()]
    assert [len(held) for held in nests] == list(manifest.groups.values())
    assert len(set.union(*nests)) == sum(map(len, nests))


def test_a_row_that_the_rule_does_not_decide_on_is_told(folder: Path) -> None:
    number(folder)
    rewrite(folder, spoil(3, a_number(), "much"))
    rewrite(folder, spoil(9, "row_id", ""))
    with pytest.raises(Problem, match=r"row 9: no value in row_id, by which rows are split; .* set data.split.by"):
        prepare(configure("prepare", *NUMBERED, "bad_rows=quarantine", "shard_bytes=300"))


def test_a_column_that_is_to_decide_must_be_there(folder: Path) -> None:
    with pytest.raises(Problem, match=r"no column 'nest'.* or data.split in conf"):
        prepare(configure("prepare", *BY_ROW, "data.split.by=[nest]"))


def test_a_given_split_is_followed(folder: Path) -> None:
    labels = pl.Series(["train", "test", "valid", "train"])
    rewrite(folder, lambda table: table.with_columns(part=labels.sample(len(table), with_replacement=True, seed=1)))
    manifest = prepare(configure("prepare", *BY_ROW, "data.split.given=part"))
    _, found = tables.read(folder / "data/prepared")
    assert {name: set(table["part"]) for name, table in found.items()} == {name: {name} for name in found}
    assert manifest.split.columns == ["part"]
    rewrite(folder, spoil(3, "part", "tset"))
    with pytest.raises(Problem, match="row 3: part is 'tset'; write train, valid or test"):
        prepare(configure("prepare", *BY_ROW, "data.split.given=part"))


def test_files_can_be_a_split_of_their_own(folder: Path) -> None:
    whole = number(folder)
    first, second = len(whole) // 2, len(whole) * 3 // 4
    parts = {"train": whole[:first], "valid": whole[first:second], "test": whole[second:]}
    for name, table in parts.items():
        table.write_csv(folder / f"data/raw/{name}.csv")
    setting = "data.split.files={train: raw/train.csv, valid: raw/valid.csv, test: raw/test.csv}"
    manifest = prepare(configure("prepare", *NUMBERED, setting, "shard_bytes=2000"))
    _, found = tables.read(folder / "data/prepared")
    assert {name: list(table["row_id"]) for name, table in found.items()} == {
        name: list(table["row_id"]) for name, table in parts.items()
    }
    assert manifest.split.test == [part.sha256 for part in manifest.raw if part.path == "test.csv"]


ROW = "x: Annotated[float, Field(examples=[1])]"


def history(folder: Path) -> pl.DataFrame:
    days = pl.date_range(pl.date(2024, 1, 1), pl.date(2024, 12, 31), eager=True)
    table = pl.DataFrame({"seen": days, "x": range(len(days)), "y": [0.5 * number for number in range(len(days))]})
    table.sample(fraction=1, shuffle=True, seed=1).write_csv(folder / "raw.csv")
    return table


@pytest.mark.parametrize(
    ("time", "rows"),
    [
        ("{column: seen}", {"train": 256, "valid": 55, "test": 55}),
        ("{column: seen, valid: 2024-03-01, test: 2024-05-01}", {"train": 60, "valid": 61, "test": 245}),
    ],
)
def test_the_newest_rows_are_for_testing(
    time: str, rows: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = declare(tmp_path, ROW, "y: float\nseen: Annotated[date, ASIDE]", monkeypatch)
    history(tmp_path)
    config = other.config(f"data.split.time={time}", "shard_bytes=2000")
    manifest = other.prepare.prepare(config)
    _, found = other.tables.read(tmp_path / "prepared")
    assert {name: len(table) for name, table in found.items()} == rows
    assert found["train"]["seen"].max() < found["valid"]["seen"].min()
    assert manifest.split.valid == str(found["valid"]["seen"].min())
    assert manifest.split.test == str(found["test"]["seen"].min())


def test_a_bound_that_is_no_date_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = declare(tmp_path, ROW, "y: float\nseen: Annotated[date, ASIDE]", monkeypatch)
    history(tmp_path)
    with pytest.raises(other.errors.Problem, match=r"data.split.time.test=soon: Input should be a valid date"):
        other.prepare.prepare(other.config("data.split.time={column: seen, test: soon}"))
    with pytest.raises(other.errors.Problem, match="which is not later"):
        other.prepare.prepare(other.config("data.split.time={column: seen, valid: 2024-05-01, test: 2024-03-01}"))


def test_a_column_more_moves_no_row_of_a_table_without_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    history(tmp_path)
    before = declare(tmp_path, ROW, "y: float", monkeypatch)
    before.prepare.prepare(before.config())
    more = declare(tmp_path, ROW, "y: float\nseen: Annotated[date, ASIDE]", monkeypatch)
    manifest = more.prepare.prepare(more.config())
    assert manifest.split.by == ["x", "y"]
    assert manifest.notes[0].startswith("rows are split by the columns that the tables had before, without seen")
    assert not any("moved" in note for note in manifest.notes)


def test_columns_that_stand_aside_stay_in_the_tables(folder: Path) -> None:
    number(folder)
    prepare(configure("prepare", *NUMBERED))
    _, found = tables.read(folder / "data/prepared")
    assert set(found["train"].columns) == {"row_id", *COLUMNS, *EXTRA}


def test_classes_of_each_split_are_counted(folder: Path) -> None:
    manifest = prepare(configure("prepare"))
    _, found = tables.read(folder / "data/prepared")
    for name, classes in manifest.classes.items():
        assert classes == {str(value): count for value, count in found[name][TARGET].value_counts().sort(TARGET).rows()}


def test_a_folder_that_workers_on_other_machines_do_not_see_is_a_problem(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {"hashing": lambda calls: iter([(number, "") for number, _ in calls])}
    monkeypatch.setattr(engine, "results", lambda task, calls, compute, label: found[label](calls))
    with pytest.raises(Problem, match=r"its workers do not see .* as it is here: set STORAGE_ROOT"):
        prepare(configure("prepare", "compute=tcp://dask:8786"))
