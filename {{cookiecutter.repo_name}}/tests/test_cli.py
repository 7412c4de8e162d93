"""What a command costs before it works: answering --help, or what cannot be followed, takes no large library."""

import errno
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import polars as pl
import pytest
from pyarrow import parquet

from {{ cookiecutter.src_package_name }} import cli, errors, servers

COMMANDS = ["prepare", "train", "tune", "infer", "serve", "doctor"]
LARGE = {
    *("boto3", "cloudpathlib", "fastapi", "google", "matplotlib", "mlflow", "numpy", "onnxruntime", "optuna"),
    *("pandas", "polars", "skl2onnx", "skops", "sklearn", "sqlalchemy"),
}
PACKAGE = cli.__name__.rpartition(".")[0]
NOBODY = "http://127.0.0.1:9"


def answer(command: str, *words: str, **environment: str) -> tuple[int, str, set[str]]:
    """Run a command; gives its status, what it prints, and the libraries that it imports."""
    call = [sys.executable, "-X", "importtime", "-m", f"{PACKAGE}.{command}", *words]
    done = subprocess.run(call, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    lines = done.stderr.splitlines()
    imported = {line.rpartition("|")[2].split(".")[0].strip() for line in lines if line.startswith("import time:")}
    return done.returncode, done.stdout + done.stderr, imported


@pytest.mark.parametrize("command", COMMANDS)
def test_help_imports_no_large_library(command: str) -> None:
    status, said, imported = answer(command, "--help")
    assert (status, command in said) == (0, True)
    assert PACKAGE in imported
    assert imported & LARGE == set()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_setting_that_does_not_exist_is_refused_before_a_large_library_is_imported(command: str) -> None:
    status, said, imported = answer(command, "--nosuch" if command == "serve" else "nosuch=1")
    assert (status != 0, "nosuch" in said, "Traceback" in said) == (True, True, False)
    assert imported & LARGE == set()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("prepare seeed=1", "prepare: there is no setting seeed: the command has seed, objective, "),
        ("train gate.min_gian=1", "train: there is no setting gate.min_gian: gate has champion, min_gain, "),
        ("train seed.x=1", "train: there is no setting seed.x: seed has none below it\n"),
        ("train model.params.beauty=1", "; +model.params.beauty=… adds a parameter\n"),
        ("train experiment=nosuch", "train: experiment=nosuch: there is no conf/experiment/nosuch.yaml; there is "),
        ("train model", "train: model is not of the form key=value (missing EQUAL at '<EOF>'): a value with =, commas"),
        ("train data.raw=a=b", "train: data.raw=a=b is not of the form key=value (mismatched input '=' expecting"),
        ("train data.raw=a,b", "train: Ambiguous value for argument 'data.raw=a,b' 1. To use it as a list"),
        ("train gate=3", "train: gate=3: it is not one setting, but several: gate.champion, gate.min_gain, "),
        ("prepare data.split=3", "prepare: data.split=3: it is not one setting, but several: data.split.valid, "),
        ("doctor seeed=1", "doctor: there is no setting seeed: the command has seed, "),
    ],
)
def test_what_a_command_line_gets_wrong_is_one_line(words: str, says: str) -> None:
    command, *given = words.split()
    call = [sys.executable, "-m", f"{PACKAGE}.{command}", *given]
    done = subprocess.run(call, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 1
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_hydra_tells_all_to_those_who_ask_it_to() -> None:
    status, said, _ = answer("train", "seeed=1", HYDRA_FULL_ERROR="1")
    assert (status, "Traceback" in said) == (1, True)


@pytest.mark.parametrize("command", ["train", "tune", "infer", "serve"])
def test_a_server_that_does_not_answer_is_told_before_a_large_library_is_imported(command: str) -> None:
    status, said, imported = answer(command, MLFLOW_TRACKING_URI=NOBODY)
    assert (status, f"{command}: MLFLOW_TRACKING_URI={NOBODY} does not answer" in said) == (1, True)
    assert imported & LARGE == set()


def test_a_database_that_does_not_answer_is_told_before_a_large_library_is_imported() -> None:
    status, said, imported = answer("tune", OPTUNA_STORAGE="postgresql+psycopg://me:secret@127.0.0.1:9/study")
    assert (status, "tune: OPTUNA_STORAGE=postgresql+psycopg://127.0.0.1:9/study does not answer" in said) == (1, True)
    assert "secret" not in said
    assert imported & LARGE == set()


def test_a_database_of_rows_that_does_not_answer_is_told_before_a_large_library_is_imported() -> None:
    address = "postgresql+psycopg://me:sec/ret@127.0.0.1:9/rows?password=secret"
    status, said, imported = answer("prepare", "data.query=SELECT", RAW_DATABASE=address)
    shown = "prepare: RAW_DATABASE=postgresql+psycopg://127.0.0.1:9/rows does not answer"
    assert (status, shown in said, "ret" in said.partition("prepare: ")[2]) == (1, True, False)
    assert imported & LARGE == set()


def test_an_address_that_no_store_has_is_refused() -> None:
    status, said, _ = answer("prepare", "storage.root=s4://bucket/folder")
    assert status == 1
    assert "prepare: s4://bucket/folder cannot be opened: no store has addresses with s4://" in said


@pytest.mark.parametrize("compute", [0, 1.5, "two", "tcp://dask", "http://dask:8787", "tcp://dask:x", None, True])
def test_what_cannot_compute_is_refused(compute: object) -> None:
    with pytest.raises(errors.Problem, match="it is a number of processes from 1 on, or the address of a Dask"):
        servers.require_compute(compute)


def test_a_wrong_compute_is_told_before_a_large_library_is_imported() -> None:
    status, said, imported = answer("infer", "compute=0")
    assert (status, "infer: compute=0: it is a number of processes" in said) == (1, True)
    assert imported & LARGE == set()


def test_a_run_for_each_of_several_values_leaves_no_folder_of_its_own(folder: Path) -> None:
    before = {path.name for path in folder.iterdir()}
    status, said, _ = answer("prepare", "--multirun", "seed=1,2")
    assert status == 0, said
    assert {path.name for path in folder.iterdir()} - before == {"multirun.yaml"}
    assert sorted(path.name for path in (folder / "data").iterdir()) == ["inbox", "prepared", "raw"]


STOPPED = """
import os, signal, time
from {} import cli
cli.AGAIN = 1
with cli._stoppable():
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    except SystemExit:
        {}
    time.sleep(5)
    print("went on")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows stops processes without a signal")
@pytest.mark.parametrize("library", ["raise ValueError", "pass"], ids=["raises another error", "loses it"])
def test_a_command_that_is_stopped_ends_so_whatever_a_library_makes_of_it(library: str) -> None:
    call = [sys.executable, "-c", STOPPED.format(PACKAGE, library)]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (143, "", "")


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such signal")
def test_whoever_reads_no_further_ends_the_command_without_a_word() -> None:
    code = f"from {PACKAGE} import errors\nwith errors.told('train'):\n    print('verdict')"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    buffered = os.environ | {"PYTHONUNBUFFERED": ""}  # then the line is written when all else is done
    with subprocess.Popen([sys.executable, "-c", code], env=buffered, **pipes) as command:
        assert command.stdout
        assert command.stderr
        command.stdout.close()
        assert (command.stderr.read(), command.wait()) == (b"", 141)


@pytest.mark.parametrize("login", ["me", "me:secret", "me:sec/ret", "me:se:cret", ":secret"])
def test_no_login_stays_in_a_text(login: str) -> None:
    text = f"no answer from postgresql://{login}@db.example.com:5432/rows, nor from http://127.0.0.1:5000/a"
    assert errors.redacted(text) == text.replace(f"{login}@", "")


def write_with_arrow(file: str) -> None:
    with parquet.ParquetWriter(file, pl.DataFrame({"a": [1]}).to_arrow().schema) as writer:
        writer.write_table(pl.DataFrame({"a": [1]}).to_arrow())


WAYS = {
    "Python": lambda file: Path(file).write_text("a"),
    "Polars, CSV": lambda file: pl.DataFrame({"a": [1]}).write_csv(file),
    "Polars, Parquet": lambda file: pl.DataFrame({"a": [1]}).write_parquet(file),
    "Arrow": write_with_arrow,
}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a file that is always full is Linux's")
@pytest.mark.parametrize("way", WAYS)
def test_a_full_disk_is_told_in_a_line(way: str) -> None:
    with pytest.raises(SystemExit, match="prepare: the disk is full: make room"), errors.told("prepare"):
        WAYS[way]("/dev/full")


def test_a_place_that_may_not_be_written_to_is_told_with_its_name() -> None:
    refusal = OSError(errno.EROFS, "Read-only file system", "data/prepared")
    with pytest.raises(SystemExit, match=r"infer: this place cannot be .* \(data/prepared\)"), errors.told("infer"):
        raise refusal


@pytest.mark.parametrize("module", errors.CLIENTS)
def test_what_the_clients_of_servers_raise_is_known_by_its_name(module: str) -> None:
    for name in errors.CLIENTS[module]:
        kind = getattr(import_module(module), name)
        assert (kind.__module__, kind.__name__) == (module, name)
        narrower = type("Narrower", (kind,), {})
        assert errors.is_failure(narrower.__new__(narrower))
    assert not errors.is_failure(ValueError(name))
