"""Kill prepare at lines drawn by lot, in a rendered project: `python kills.py local 50`, or a worker of Dask instead.

An attempt is a fork, since importing takes longer than all the rest. What a killed run leaves is looked at by another
process, as is the run after it, which has to end with the very files of a run that was never killed.
"""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from hydra import compose, initialize_config_dir
from my_ml_project import CONF, prepare, tables
from my_ml_project.errors import Problem

PACKAGE = str(CONF.parent / "src")


def make(root: Path, seed: int, compute: int | str = 1, shard: int = 4000) -> None:
    """Prepare below a folder."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        data = [f"data.raw={Path('raw').absolute()}", "data.split.by=[id]", f"storage.root={root}"]
        rest = ["review=false", "bad_rows=quarantine", f"shard_bytes={shard}", f"compute={compute}", f"seed={seed}"]
        config = compose("prepare", [*data, *rest])
    prepare.prepare(config)


def fork(task: Callable[..., Any], *arguments: Any) -> Any:
    """Give what a function returns in a process of its own; None if that is killed."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        with os.fdopen(writing, "w") as stream:
            json.dump(task(*arguments), stream)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as stream:
        said = stream.read()
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or not status, "an attempt has failed"
    return json.loads(said) if said else None


def traced(root: Path, seed: int, compute: int, last: int = -1) -> int:
    """Prepare, killed at the last of so many lines, if it comes to that; gives how many lines there are."""
    lines = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal lines
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        lines += event == "line"
        if lines == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)
    make(root, seed, compute)
    sys.settrace(None)
    return lines


def seen(root: Path) -> str | None:
    """Read what train would read, if there is anything, and see that no row is in it twice."""
    try:
        manifest, found = tables.read(root / "prepared")
    except Problem:
        return None
    ids = [row for table in found.values() for row in table["id"]]
    assert len(ids) == len(set(ids)) == sum(rows.rows for rows in manifest.splits.values())
    return str(manifest.version)


def below(root: Path) -> dict[str, str]:
    """Hash all files below a folder; drafts of runs that were killed are hidden."""
    files = (file for file in root.rglob("*") if file.is_file() and not file.name.startswith("."))
    return {str(file.relative_to(root)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def runs(times: int, compute: int) -> None:
    """Kill so many runs, every other one beside tables that an earlier run has made."""
    lot = random.Random(0)
    ends = []
    for earlier in (False, True):
        root = Path(f"whole-{compute}-{earlier}")
        first = start(root, earlier)
        lines = fork(traced, root, 2, compute)
        ends.append((first, lines, fork(seen, root), below(root)))
    for number in range(times):
        first, lines, last, files = ends[number % 2]
        root = Path(f"killed-{compute}-{number}")
        assert start(root, bool(number % 2)) == first
        line = lot.randint(1, lines)
        assert fork(traced, root, 2, compute, line) is None, f"line {line} of {lines} is not reached"
        left = fork(seen, root)
        assert left in (first, last)
        if left != last:
            fork(make, root, 2, compute)
        assert fork(seen, root) == last
        assert below(root) == files, set(below(root).items()) ^ set(files.items())
        print(f"compute={compute}: killed at line {line} of {lines}, which left {left}")


def start(root: Path, earlier: bool) -> Any:
    """Begin with a new folder, or with one that has tables of another seed."""
    if earlier:
        fork(make, root, 1)
    return fork(seen, root)


def workers(times: int) -> None:
    """Kill a worker of Dask so many times, and start another, while prepare has two of them check small shards."""
    from distributed import LocalCluster

    lot = random.Random(0)
    killed = seed = 0
    with LocalCluster(n_workers=0, dashboard_address="127.0.0.1:0") as cluster:
        address = cluster.scheduler_address
        at_work = [worker(address), worker(address)]
        while killed < times:
            whole, root = Path(f"whole-{seed}"), Path(f"lost-{seed}")
            make(whole, seed, shard=200)
            run = threading.Thread(target=make, args=(root, seed, address, 200))
            run.start()
            checked = 0
            while run.is_alive() and killed < times:
                time.sleep(lot.uniform(0.1, 0.5))
                # Four workers in a row that are lost with one shard would end the run, so some are left in peace.
                if run.is_alive() and checked < (checked := len(list(root.rglob("*.json")))):
                    victim = at_work.pop(lot.randrange(2))
                    victim.kill()
                    victim.wait()
                    at_work.append(worker(address))
                    killed += 1
            run.join()
            assert seen(root) == seen(whole)
            assert below(root) == below(whole)
            seed += 1
        for process in at_work:
            process.kill()
    print(f"{killed} workers killed in {seed} runs")


def worker(scheduler: str) -> "subprocess.Popen[bytes]":
    """Start a worker that nobody starts again."""
    command = [sys.executable, "-m", "distributed.cli.dask_worker", scheduler, "--no-nanny", "--nthreads", "1"]
    return subprocess.Popen([*command, "--dashboard-address", "127.0.0.1:0"], stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    header, *rows = (CONF.parent / "data/raw/penguins.csv").read_text().replace("Adelie", "Dodo", 1).splitlines()
    Path("raw").mkdir()
    for name, some in {"a": rows[:200], "b": rows[200:]}.items():
        Path(f"raw/{name}.csv").write_text("\n".join([header, *some]))
    kind, count = sys.argv[1], int(sys.argv[2])
    if kind == "local":
        runs(count, 1)
        runs(max(count // 10, 1), 2)
    else:
        workers(count)
