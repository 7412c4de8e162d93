"""prepare that is killed, or whose workers are: tables are whole or as before, and the next run ends as if none was."""

import sys
from pathlib import Path

import pytest
from conftest import Render, run

KILLS = Path(__file__).with_name("kills.py")


@pytest.mark.timeout(2400)
@pytest.mark.parametrize("times", [5, pytest.param(50, marks=pytest.mark.nightly)])
def test_a_killed_prepare_leaves_tables_whole_or_as_before(times: int, render: Render, tmp_path: Path) -> None:
    done = kill("local", times, render(), tmp_path)
    assert done.count("compute=1: killed at line") == times
    assert done.count("compute=2: killed at line") == max(times // 10, 1)


@pytest.mark.timeout(2400)
@pytest.mark.parametrize("times", [2, pytest.param(20, marks=pytest.mark.nightly)])
def test_workers_of_dask_that_are_killed_lose_nothing(times: int, render: Render, tmp_path: Path) -> None:
    assert f"{times} workers killed" in kill("dask", times, render(), tmp_path)


def kill(what: str, times: int, project: Path, folder: Path) -> str:
    done = run(sys.executable, KILLS, what, times, cwd=folder, PYTHONPATH=f"{project}/src", PYTHONDONTWRITEBYTECODE="1")
    assert done.returncode == 0, done.stderr
    return done.stdout
