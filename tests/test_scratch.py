"""Tables that are larger than the scratch of the pods that work on them, which is a file system of its own size."""

import random
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from pods import Machine, pods
from servers import BUCKET
from sites import Site

pytestmark = pytest.mark.xdist_group("servers")

SCRATCH = 2 << 20  # bytes
ROWS = 45_000
MOUNT = f'mount -t tmpfs -o size={SCRATCH} scratch "$TMPDIR" && exec "$@"'


@cache
def mounting() -> tuple[str, ...]:
    """What a command is started with to have a scratch of that size, where this machine lets it mount one."""
    for options in (["--mount"], ["--mount", "--map-root-user"]):
        words = ("unshare", *options, "sh", "-c", MOUNT, "sh")
        tried = {"env": {"TMPDIR": "/tmp"}, "capture_output": True}  # seen by nobody else
        if shutil.which("unshare") and subprocess.run([*words, "true"], **tried).returncode == 0:
            return words
    return ()


def succeed(machine: Machine, job: str, *overrides: str) -> str:
    """Run a job of one pod in that scratch; gives what it printed. Where none can be mounted, it is watched."""
    (pod,) = pods(machine.project, job, *overrides)
    process = machine.start(replace(pod, command=[*mounting(), *pod.command]))
    most = 0
    while not mounting() and process.running.poll() is None:
        most = max(most, used(machine.folder / "tmp"))
        time.sleep(0.1)
    ended = process.end()
    assert ended.status == 0, ended.said[-4000:]
    assert most <= SCRATCH
    return ended.said


def used(folder: Path) -> int:
    """The bytes of all files below a folder, from which any may be taken away meanwhile."""
    done = subprocess.run(["du", "--summarize", "--bytes", folder], capture_output=True, text=True)
    return int(done.stdout.split()[0])


def large(project: Path) -> tuple[bytes, bytes]:
    """Raw rows and an inbox: the sample's rows, with ids that nothing makes shorter, and a column without a meaning."""
    drawn = random.Random(0)
    header, *rows = (project / "data/raw/penguins.csv").read_text().splitlines()
    lines = [header]
    for row in drawn.choices(rows, k=ROWS):
        _, species, island, length, _, *others = row.split(",")
        depth = str(drawn.uniform(13, 22))
        lines.append(",".join([drawn.randbytes(32).hex(), species, island, length, depth, *others]))
    asked = [",".join(cell for place, cell in enumerate(line.split(",")) if place != 1) for line in lines]
    return "\n".join(lines).encode(), "\n".join(asked).encode()


# What else is read of all rows: the columns that make a group, and the one that rows are in order by.
SPLITS = {
    "onprem": ("data.split.by=[id,island]", "groups (train/valid/test): "),
    "gcp": ("data.split.time={column: bill_depth_mm}", "split by bill_depth_mm (valid from "),
}


@pytest.mark.parametrize("platform", ["onprem", pytest.param("gcp", marks=pytest.mark.nightly)])
def test_a_table_may_be_larger_than_the_scratch(platform: str, site: Callable[[str], Site], tmp_path: Path) -> None:
    there = site(platform)
    store = there.store
    raw, inbox = large(there.project)
    store.put("large/raw/penguins.csv", raw)
    store.put("large/inbox/sample.csv", inbox)
    root = {"STORAGE_ROOT": f"{store.scheme}://{BUCKET}/large"}
    machine = Machine(there.project, tmp_path, there.environment | root)
    split, line = SPLITS[platform]
    said = succeed(machine, "prepare", "shard_bytes=1_000_000", split)
    assert line in said
    assert size(there, "large/prepared/parts/") > 1.5 * SCRATCH
    assert "rows=2000: a model learns from " in succeed(
        machine, "train", "tracking.model=large", "model=logistic", "rows=2000", "folds=0"
    )
    assert f"{ROWS} rows scored" in succeed(machine, "infer", "tracking.model=large", "shard_bytes=1_000_000")
    assert size(there, "large/predictions/") > SCRATCH


def size(there: Site, folder: str) -> int:
    """The bytes of all tables below a folder of the bucket."""
    names = [name for name in there.store.names(BUCKET) if name.startswith(folder) and name.endswith(".parquet")]
    return sum(len(there.store.get(BUCKET, name)) for name in names)
