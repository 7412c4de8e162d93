"""Commands killed at random moments, or workers of theirs: what is there is whole, and in the end all of it is."""

import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from conftest import Render, run
from servers import THRIFT

pytestmark = pytest.mark.xdist_group("kills")

# By how many processes a command runs and how often it is killed, and a worker, with each push and each night.
KILLS = [(1, 5), (2, 2), *(pytest.param(*how, marks=pytest.mark.nightly) for how in ((1, 50), (2, 10)))]
LOSSES = [2, pytest.param(20, marks=pytest.mark.nightly)]

POISON = "poison.csv"  # refused by whoever reads the shard with its one byte that is not UTF-8
Files = dict[str, bytes]


@dataclass(frozen=True)
class Command:
    """A command with the folder that it writes to, and what is there after a run that nothing interrupted."""

    project: Path
    words: list[str]
    output: Path
    whole: Files
    status: int

    def start(self, compute: int) -> subprocess.Popen[str]:
        """Start it; gives it when it has begun to write."""
        words = [sys.executable, "-m", *self.words, f"compute={compute}"]
        environment = os.environ | THRIFT | {"PYTHONPATH": "src"}
        before = _all(self.output)
        process = subprocess.Popen(
            words, cwd=self.project, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        while process.poll() is None and _all(self.output) == before:
            time.sleep(0.005)
        return process

    def finish(self, compute: int) -> None:
        """Run it to its end, which is that of a run that nothing interrupted."""
        process = self.start(compute)
        said, _ = process.communicate(timeout=300)
        assert (process.returncode, "Traceback" in said) == (self.status, False), said
        assert results(self.output) == self.whole


def _all(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def results(output: Path) -> Files:
    """What a reader finds; not the parts of a file that is refused, nor records that a kill may leave behind."""
    found = {file.relative_to(output).as_posix(): file for file in output.rglob("*") if file.is_file()}
    return {
        name: file.read_bytes()
        for name, file in found.items()
        if not file.name.startswith((".", "rejected-")) and not (file.name[:5] == "part-" and file.suffix == ".json")
        if POISON not in name or file.name == "refused.txt"
    }


@pytest.fixture(scope="module")
def infer(render: Render, tmp_path_factory: pytest.TempPathFactory) -> Command:
    """A project with a champion, and with some tens of shards in its inbox."""
    project = tmp_path_factory.mktemp("kills") / "project"
    shutil.copytree(render(), project)
    environment = {"PYTHONPATH": str(project / "src")}
    for words in (["prepare"], ["train", "model=logistic"]):
        done = run(sys.executable, "-m", f"my_ml_project.{words[0]}", *words[1:], cwd=project, **environment)
        assert done.returncode == 0, done.stderr
    header, *rows = (project / "data/raw/penguins.csv").read_text().splitlines()
    bad = [row.replace("Torgersen", "") for row in rows]
    inbox = project / "data/inbox"
    (inbox / "large.csv").write_text("\n".join([header, *rows * 3, *bad]))
    (inbox / "small.csv").write_text("\n".join([header, *rows[:30]]))
    (inbox / POISON).write_bytes("\n".join([header, *rows[:200]]).replace("Biscoe", "Bisco\u00e9", 1).encode("latin-1"))
    command = ["my_ml_project.infer", "shard_bytes=2000"]
    done = run(sys.executable, "-m", *command, cwd=project, **environment)
    assert done.stderr.splitlines()[-1].endswith(f"1 of 4 files could not be scored: {POISON}; the others are scored")
    output = project / "data/predictions"
    whole = results(output)
    assert {"large.csv/1/state.json", "large.csv/1/rejected.csv", f"{POISON}/refused.txt"} <= whole.keys()
    return Command(project, command, output, whole, done.returncode)


@pytest.mark.timeout(2400)
@pytest.mark.parametrize(("compute", "times"), KILLS)
def test_infer_that_is_killed_leaves_whole_files_and_goes_on_to_the_same_end(
    compute: int, times: int, infer: Command, record_property: Callable[[str, str], None]
) -> None:
    moments = random.Random(times * 10 + compute)
    killed = 0
    for _ in range(times):
        if results(infer.output).keys() == infer.whole.keys():
            shutil.rmtree(infer.output)
        process = infer.start(compute)
        time.sleep(moments.uniform(0, 1 / compute))
        others = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.kill()
        process.communicate()
        killed += process.returncode < 0
        _, alive = psutil.wait_procs(others, timeout=30)
        assert not alive, "it left processes behind"
        there = results(infer.output)
        assert there.items() <= infer.whole.items(), "a file is not whole"
        for name in ("large.csv", "sample.csv", "small.csv"):
            if f"{name}/1/state.json" in there:
                assert {file for file in infer.whole if file.startswith(name)} <= there.keys()
    assert killed >= times / 2
    infer.finish(compute)
    record_property("told", f"infer compute={compute}: killed {killed} times, and then as if it had not been")


@pytest.mark.timeout(2400)
@pytest.mark.parametrize("times", LOSSES)
def test_infer_loses_workers_and_nothing_else(times: int, infer: Command) -> None:
    moments = random.Random(times)
    for _ in range(times):
        shutil.rmtree(infer.output)
        process = infer.start(compute=2)
        time.sleep(moments.uniform(0, 0.5))
        workers = [child for child in psutil.Process(process.pid).children() if "spawn_main" in child.cmdline()[-2]]
        moments.choice(workers).kill()
        said, _ = process.communicate(timeout=300)
        assert (process.returncode, "Traceback" in said) == (infer.status, False), said
        assert results(infer.output) == infer.whole


SCRIPT = Path(__file__).with_name("kills.py")


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
    done = run(
        sys.executable, SCRIPT, what, times, cwd=folder, PYTHONPATH=f"{project}/src", PYTHONDONTWRITEBYTECODE="1"
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
