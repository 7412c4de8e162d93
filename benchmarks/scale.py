"""What 1 to 1,000 workers of Dask do with ten billion rows: measured for one, simulated for the others.

Measured here, in processor time: a million rows in prepare and in infer, a call in Dask's scheduler and in the process
that makes the calls, a shard's record in infer, and a raw file's hash, which prepare computes before it makes any call
and which is not in the simulation. What is assumed stands in ASSUMED. The simulation puts each shard through the
scheduler, the store, a worker and the process that made the call, one after the other; all but the workers serve one at
a time. Its only chance is how long a shard takes, from a generator with a seed.

    python benchmarks/scale.py              # writes scale.json and the picture of the guide
    python benchmarks/scale.py --draw       # from scale.json
"""

import hashlib
import heapq
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import tables

FIGURES = Path(__file__).with_suffix(".json")
PICTURE = tables.ROOT / "{{cookiecutter.repo_name}}" / "docs" / "pictures" / "scale.svg"
ROWS = 10_000_000_000
WORKERS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
SEED = 0
ASSUMED = {
    "shard_bytes": 16_000_000,  # conf/prepare.yaml, conf/infer.yaml
    "latency": 0.05,  # seconds until the store answers a request
    "line": 1e9 / 8,  # bytes per second to one worker: 1 Gbit/s
    "spread": 0.2,  # of a shard's time: the standard deviation of its logarithm
}
# What is tried: the store's bytes per second, how many times shard_bytes, and whether Dask deals the shards.
TRIED: dict[str, tuple[float, int, bool]] = {
    "store of 10 Gbit/s": (10e9 / 8, 1, True),
    "store of 100 Gbit/s": (100e9 / 8, 1, True),
    "100 Gbit/s, shards of 128 MB": (100e9 / 8, 8, True),
    "100 Gbit/s, an Indexed Job": (100e9 / 8, 1, False),  # whose last pod puts the records together
}
RESULTS = ("data/prepared-big", "data/predictions")
SMALL, LARGE = 200_000, 3_000_000  # rows
FEW, MANY = 2_000, 12_000  # calls
CALLS = """
import os, sys
from my_ml_project import engine
for number in map(int, sys.argv[2:]):
    before, used = os.times(), 0
    for _ in engine.results(os.getpid, [()] * number, sys.argv[1], "calls"):
        used += 1
    after = os.times()
    print(used, after.user + after.system - before.user - before.system, flush=True)
    sys.stdin.readline()
"""


@dataclass(frozen=True)
class Shard:
    """What a shard asks for: bytes from and to the store, and processor seconds of a worker."""

    read: float
    written: float
    seconds: float


def commands(folder: Path) -> dict[str, list[str]]:
    """Give the two commands that are measured."""
    raw = folder / "rows.csv"
    return {
        "prepare": ["prepare", f"data.raw={raw}", "data.prepared=prepared-big", "review=false"],
        "infer": ["infer", f"data.inbox={raw}"],
    }


def costs(folder: Path) -> dict[str, Any]:
    """Measure both commands on two tables: seconds for a million rows more, and bytes of a row on both sides."""
    found: dict[str, dict[int, list[float]]] = {name: {} for name in commands(folder)}
    written: dict[str, float] = {}
    for rows in (SMALL, LARGE):
        raw = folder / "rows.csv"
        tables.measured(
            [sys.executable, tables.__file__, "--longer", "data/raw/penguins.csv", str(raw), str(rows)], folder
        )
        for name, words in commands(folder).items():
            found[name][rows] = [run(folder, *words) for _ in range(tables.TURNS)]
            written[name] = sum(size(folder / place) for place in RESULTS) / rows
    read = raw.stat().st_size / LARGE
    return {
        name: {
            "seconds": (statistics.median(each[LARGE]) - statistics.median(each[SMALL])) / (LARGE - SMALL) * 1e6,
            "runs": {str(rows): seconds for rows, seconds in each.items()},
            "read": read,
            "written": written[name],
        }
        for name, each in found.items()
    }


def run(folder: Path, name: str, *words: str) -> float:
    """Run a command anew, and give its processor seconds."""
    for place in RESULTS:
        subprocess.run(["rm", "-rf", folder / place], check=True)
    return again(folder, name, *words)


def again(folder: Path, name: str, *words: str) -> float:
    """Run a command on what is there."""
    seconds, _ = tables.measured([sys.executable, "-m", f"my_ml_project.{name}", *words], folder)
    return float(seconds)


def size(folder: Path) -> int:
    """Count the bytes of all tables in a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*.parquet"))


def record(folder: Path) -> float:
    """Measure what a shard's record costs who puts them together: infer, with all parts there but no state."""
    words = [*commands(folder)["infer"], "shard_bytes=8000"]
    run(folder, *words)
    parts = len(list((folder / "data/predictions").rglob("part-*.parquet")))
    whole = again(folder, *words)
    next((folder / "data/predictions").rglob("state.json")).unlink()
    return (again(folder, *words) - whole) / parts


@contextmanager
def dask(folder: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Start a scheduler and a worker, as jobs/dask.yaml and jobs/dask-workers.yaml do."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1", "PYTHONPATH": str(folder / "src")}
    file = folder / "scheduler.json"
    bins = Path(sys.executable).parent
    common = [f"--scheduler-file={file}", "--host=127.0.0.1", "--dashboard-address=127.0.0.1:0"]
    quiet: dict[str, Any] = {
        "cwd": folder,
        "env": environment,
        "stdout": subprocess.DEVNULL,
        "stderr": subprocess.DEVNULL,
    }
    scheduler = subprocess.Popen([bins / "dask", "scheduler", "--port=0", *common], **quiet)
    worker = subprocess.Popen([bins / "dask", "worker", "--nthreads=1", *common], **quiet)
    try:
        while not file.exists():
            time.sleep(0.2)
        yield json.loads(file.read_text())["address"], scheduler
    finally:
        scheduler.terminate()
        worker.wait(60)


def hashed() -> float:
    """Measure how many bytes of a file a second of processor time is enough to hash, as prepare does."""
    block, times = os.urandom(2**24), 32
    before, digest = time.process_time(), hashlib.sha256()
    for _ in range(times):
        digest.update(block)
    return len(block) * times / (time.process_time() - before)


def used(pid: int) -> float:
    """Give the processor seconds that a process has used, as Linux tells them."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def calls(folder: Path) -> dict[str, float]:
    """Measure what a call that does nothing costs the scheduler and the process that makes it."""
    with dask(folder) as (address, scheduler):
        words = [sys.executable, "-c", CALLS, address, str(FEW), str(FEW), str(MANY)]
        environment = {**os.environ, "PYTHONPATH": str(folder / "src")}
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        client = subprocess.Popen(words, cwd=folder, env=environment, text=True, bufsize=1, **pipes)
        assert client.stdin
        assert client.stdout
        figures = []
        for _ in range(3):  # the first one warms up
            before, began = used(scheduler.pid), time.monotonic()
            _, seconds = client.stdout.readline().split()
            took = time.monotonic() - began
            figures.append((used(scheduler.pid) - before, float(seconds), took))
            client.stdin.write("on\n")
        client.wait()
    (few, few_client, few_took), (many, many_client, many_took) = figures[1:]
    more = MANY - FEW
    return {
        "scheduler": (many - few) / more,
        "caller": (many_client - few_client) / more,
        "elapsed": (many_took - few_took) / more,
    }


def simulate(
    shard: Shard, number: int, workers: int, store: float, scheduler: float, caller: float
) -> tuple[float, str]:
    """Give the seconds until the last record is there, and what was busiest: what one must have more of.

    Args:
        shard: What each shard asks for.
        number: How many shards there are.
        workers: How many work at a time.
        store: Bytes per second that the store gives and takes, to and from all.
        scheduler: Seconds that a call takes of the scheduler.
        caller: Seconds that a shard takes of the process that made the calls, and puts the records together.
    """
    import numpy as np

    random = np.random.default_rng(SEED)
    spread = ASSUMED["spread"]
    seconds = shard.seconds * np.exp(random.normal(-(spread**2) / 2, spread, number))  # whose mean is shard.seconds
    moved = shard.read + shard.written
    free = [0.0] * workers
    sent = served = kept = 0.0
    for one in seconds:
        begins = max(heapq.heappop(free), sent)
        sent = begins + scheduler
        served = max(sent, served) + moved / store
        ends = max(served, sent + moved / ASSUMED["line"]) + 2 * ASSUMED["latency"] + one
        kept = max(ends, kept) + caller
        heapq.heappush(free, ends)
    busy = {
        "workers": float(seconds.sum()) / workers,
        "store": number * moved / store,
        "scheduler": number * scheduler,
        "caller": number * caller,
    }
    most = max(busy, key=busy.__getitem__)
    return kept, most


def spent(shard: Shard) -> float:
    """Give the seconds that a shard takes of a worker, where nothing else is busy."""
    return (shard.read + shard.written) / ASSUMED["line"] + 2 * ASSUMED["latency"] + shard.seconds


def shards(cost: dict[str, float], times: int) -> Shard:
    """Give what a shard of so many times the usual bytes asks for."""
    rows = ASSUMED["shard_bytes"] * times / cost["read"]
    return Shard(rows * cost["read"], rows * cost["written"], rows * cost["seconds"] / 1e6)


def limits(measured: dict[str, Any]) -> str:
    """Put into Markdown how many workers keep each of the others busy all the time."""
    lines = [
        f"| workers that keep it busy | {' | '.join(measured['costs'])} |",
        "|---" * (1 + len(measured["costs"])) + "|",
    ]
    caller = measured["calls"]["caller"] + measured["record"]
    for times in (1, 8):
        found = [(each := shards(cost, times), spent(each)) for cost in measured["costs"].values()]
        rows = {
            f"store of {gigabits} Gbit/s": [(each.read + each.written) / gigabits / 1e9 * 8 for each, _ in found]
            for gigabits in (10, 100)
        }
        rows |= {"scheduler": [measured["calls"]["scheduler"]] * len(found), "caller": [caller] * len(found)}
        for name, seconds in rows.items():
            counts = (f"{time / one:,.0f}" for (_, time), one in zip(found, seconds, strict=True))
            lines.append(f"| {name}, shards of {16 * times} MB | {' | '.join(counts)} |")
    return "\n".join(lines)


def scenarios(measured: dict[str, Any]) -> dict[str, dict[str, list[tuple[float, str]]]]:
    """Simulate each command in each way that is tried, with each number of workers."""
    found: dict[str, dict[str, list[tuple[float, str]]]] = {}
    for name, cost in measured["costs"].items():
        for what, (store, times, dealt) in TRIED.items():
            if not dealt and name == "prepare":
                continue  # it needs all counts in one place
            shard = shards(cost, times)
            scheduler = measured["calls"]["scheduler"] if dealt else 0.0
            caller = measured["calls"]["caller"] + measured["record"] if dealt else measured["record"]
            number = math.ceil(ROWS * cost["read"] / shard.read)
            found.setdefault(name, {})[what] = [
                simulate(shard, number, workers, store, scheduler, caller) for workers in WORKERS
            ]
    return found


def listed(measured: dict[str, Any], found: dict[str, dict[str, list[tuple[float, str]]]]) -> str:
    """Put what was measured and simulated into Markdown."""
    lines = ["| measured | |", "|---|---|"]
    for name, cost in measured["costs"].items():
        lines.append(f"| {name}, a million rows | {cost['seconds']:.2f} CPU-s |")
        lines.append(f"| {name}, a row: read, written | {cost['read']:.0f}, {cost['written']:.1f} bytes |")
    lines += [f"| a call: {who} | {seconds * 1000:.2f} ms |" for who, seconds in measured["calls"].items()]
    lines.append(f"| a shard's record | {measured['record'] * 1000:.2f} ms |")
    whole = ROWS * measured["costs"]["prepare"]["read"]
    line = f"{duration(whole / measured['hash'])} of a processor, {duration(whole / ASSUMED['line'])} over the line"
    lines.append(f"| the hash of all raw files, by one process | {line} |")
    for name, ways in found.items():
        lines += ["", f"| {name}, workers | " + " | ".join(ways) + " |", "|---" * (1 + len(ways)) + "|"]
        for place, workers in enumerate(WORKERS):
            cells = (f"{duration(each[place][0])} ({each[place][1]})" for each in ways.values())
            lines.append(f"| {workers:,} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def duration(seconds: float) -> str:
    """Write seconds as people say them."""
    if seconds < 3600:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} d"


def draw(found: dict[str, dict[str, list[tuple[float, str]]]]) -> None:
    """Draw the time against workers; colours are readable on light and dark pages."""
    from matplotlib import pyplot

    grey = "#888888"
    pyplot.rc("text", color=grey)
    pyplot.rc("axes", labelcolor=grey, edgecolor=grey, titlecolor=grey)
    for ticks in ("xtick", "ytick"):
        pyplot.rc(ticks, color=grey)
    pyplot.rc("svg", hashsalt="scale")
    titles = {"prepare": "preparing ten billion rows", "infer": "scoring ten billion rows"}
    figure, panels = pyplot.subplots(1, 2, figsize=(8, 3.8), layout="constrained", sharey=True)
    for axes, (name, ways) in zip(panels, found.items(), strict=True):
        for what, each in ways.items():
            axes.plot(WORKERS, [seconds for seconds, _ in each], marker="o", markersize=3, label=what)
        alone = next(iter(ways.values()))[0][0]
        axes.plot(
            WORKERS, [alone / workers for workers in WORKERS], linestyle=":", color=grey, label="no limit but workers"
        )
        axes.set(title=titles[name], xlabel="workers", xscale="log", yscale="log")
        axes.set_xticks([1, 10, 100, 1000], ["1", "10", "100", "1,000"])
        axes.set_yticks([60, 600, 3600, 36_000], ["1 minute", "10 minutes", "1 hour", "10 hours"])
        axes.minorticks_off()
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color=grey, alpha=0.2)
    panels[-1].legend(frameon=False)
    figure.savefig(PICTURE, transparent=True, metadata={"Date": None})


def main() -> None:
    """Measure, unless there are figures to draw; then simulate, print and draw."""
    if "--draw" not in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as scratch:
            folder = tables.project(Path(scratch))
            measured = {"costs": costs(folder), "record": record(folder), "calls": calls(folder), "hash": hashed()}
        measured["versions"] = {name: version(name) for name in ("distributed", "polars", "onnxruntime", "numpy")}
        measured["assumed"] = ASSUMED
        FIGURES.write_text(json.dumps(measured, indent=2) + "\n")
    measured = json.loads(FIGURES.read_text())
    found = scenarios(measured)
    print(listed(measured, found), limits(measured), sep="\n\n")
    draw(found)


if __name__ == "__main__":
    main()
