"""Calls that run here, in processes of this machine, and on a scheduler's workers, which may be lost."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from {{ cookiecutter.src_package_name }} import engine
from {{ cookiecutter.src_package_name }}.errors import Problem

from .calls import lose, lose_once, process, refuse, square
from .other import declare

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals to kill workers with")

CALLS = [(number,) for number in range(9)]
SQUARES = [number**2 for number in range(9)]
NOBODY = "tcp://127.0.0.1:9"


def lives(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    return True


@contextmanager
def dask(role: str, *words: str) -> Iterator[None]:
    """A scheduler or a worker, as a process of its own that can import what this one can."""
    paths = os.pathsep.join(path for path in sys.path if path)
    command = [sys.executable, "-m", f"distributed.cli.dask_{role}", "--no-dashboard", *words]
    environment = {**os.environ, "PYTHONPATH": paths}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        try:
            yield
        finally:
            running.terminate()


@contextmanager
def scheduler(folder: Path) -> Iterator[str]:
    """The address of a scheduler on loopback, without workers."""
    file = folder / "scheduler.json"
    with dask("scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file)):
        deadline = time.monotonic() + 60
        while not file.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        yield json.loads(file.read_text())["address"]


def run(compute: int | str) -> list[int]:
    return sorted(engine.results(square, CALLS, compute, "squares"))


def test_calls_run_in_this_process() -> None:
    assert run(1) == SQUARES
    assert set(engine.results(process, CALLS, 1, "processes")) == {os.getpid()}


def test_calls_run_in_other_processes_which_end_with_the_last_one() -> None:
    found = set(engine.results(process, CALLS * 20, 2, "processes"))
    assert len(found) == 2
    assert not [number for number in found if lives(number)]


def test_a_call_that_is_lost_with_its_worker_runs_again(tmp_path: Path) -> None:
    calls = [(number, tmp_path) for (number,) in CALLS]
    assert sorted(engine.results(lose_once, calls, 2, "squares")) == SQUARES
    assert (tmp_path / "lost").exists()


def test_a_call_that_is_lost_again_and_again_is_a_problem() -> None:
    with pytest.raises(Problem, match="four workers in a row were lost with the same shard"):
        list(engine.results(lose, [(1,)], 2, "losses"))


@pytest.mark.parametrize("compute", [1, 2])
def test_what_a_call_raises_is_raised(compute: int) -> None:
    with pytest.raises(Problem, match="call 1 is refused"):
        list(engine.results(refuse, [(1,)], compute, "refusals"))


def test_calls_run_on_the_workers_of_a_scheduler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with scheduler(tmp_path) as address:
        monkeypatch.setattr(engine, "WAIT", 1)
        with pytest.raises(Problem, match="no worker after 1 seconds"):
            run(address)
        monkeypatch.undo()
        with dask("worker", address, "--nworkers", "1", "--nthreads", "1", "--local-directory", str(tmp_path)):
            assert run(address) == SQUARES
            monkeypatch.setattr(engine, "code", lambda: "another")
            with pytest.raises(Problem, match="the workers run other code than this"):
                run(address)


def test_a_scheduler_that_does_not_answer_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "ANSWER", 1)
    with pytest.raises(Problem, match=f"compute={NOBODY}: no Dask scheduler answers there"):
        run(NOBODY)


def test_code_is_that_of_every_file_of_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = declare(tmp_path, "x: Annotated[float, Field(examples=[1])]", "y: float", monkeypatch)
    found = {other.engine.code()}
    for name in ("split.py", "formats/onnx.py"):
        with (tmp_path / "src" / other.name / name).open("a") as file:
            file.write("\n")
        other.engine.code.cache_clear()
        found.add(other.engine.code())
    assert len(found) == 3
