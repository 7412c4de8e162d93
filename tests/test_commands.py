"""The command in every job's spec runs: what the orchestrators would start is started here, and must do its work."""

import http.client
import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import CHOICES, Render
from pods import Machine, Pod
from specs import JOBS, VERBS, judge, submit

from tools import demo

pytestmark = pytest.mark.xdist_group("commands")

WORKERS = {"tune": "TUNE_WORKERS", "infer": "INFER_WORKERS"}
SMALL = {"train": ["experiment=small"], "tune": ["model=logistic", "study.trials=2"]}
# The editor is in the workspace's image and in no registry that a test could install it from.
ELSEWHERE = {"code-server"}

# What the specs of workers put into their environment, where that is not part of the command.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}
CLIENT = """
import os, sys
from dask.system import CPU_COUNT
from distributed import Client
from my_ml_project import engine
with Client(sys.argv[1]) as client:
    client.wait_for_workers(int(sys.argv[2]) * CPU_COUNT, timeout=120)
threads = list(engine.results(os.getenv, [("OMP_NUM_THREADS",), ("POLARS_MAX_THREADS",)] * 8, sys.argv[1], "threads"))
print(len(threads), "times", *set(threads))
"""

Command = tuple[str, ...]


def commands(render: Render) -> dict[Command, list[str]]:
    """Every distinct command, and the specs that hold it."""
    found: dict[Command, list[str]] = {}
    for orchestrator in CHOICES["orchestrator"]:
        texts, names = [], []
        for platform in CHOICES["platform"]:
            project = render(orchestrator=orchestrator, platform=platform)
            for job in JOBS:
                words = SMALL.get(job.partition("-")[0], []) if job in VERBS else []
                done = submit(project, job, *words, "--dry-run", **{name: "2" for name in WORKERS.values()})
                assert done.returncode == 0, done.stderr
                texts.append(done.stdout)
                names.append(f"{orchestrator}-{platform}-{job}")
        for name, verdict in zip(names, judge(orchestrator, *texts), strict=True):
            for worker in ("0", "1") if name.endswith(("-tune", "-infer")) else ("0",):
                found.setdefault(_of_worker(verdict["asks"]["command"], worker), []).append(name)
    return found


def _of_worker(command: list[str], worker: str) -> Command:
    """A worker's own command; where the specs count pods, as in an Indexed Job, the number comes from the pod."""
    numbered = [word.replace("$(JOB_COMPLETION_INDEX)", worker) for word in command]
    return tuple(
        f"{word.partition('=')[0]}={worker}" if word.startswith(("study.worker=", "worker.index=")) else word
        for word in numbered
    )


def test_every_command_runs(render: Render, tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    project = Path(shutil.copytree(render(orchestrator="none"), tmp_path / "project"))
    machine = Machine(project, tmp_path / "machine", {})
    store = tmp_path / "store"
    shutil.copytree(project / "data", store)
    machine.environment |= {
        "STORAGE_ROOT": str(store),
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db",
        "OPTUNA_STORAGE": str(tmp_path / "journal.log"),
    }
    found = commands(render)
    order = ["prepare", "train", "tune", "infer", "doctor"]
    verbs = sorted((c for c in found if c[0] == "python" and not _serves(c)), key=lambda c: order.index(_verb(c)))
    for command in verbs:
        ended = machine.finish(Pod(_verb(command), list(command), {}))
        assert ended.status == 0, (command, ended.said)
    dask = [c for c in found if "dask" in c]
    _compute(machine, dask)
    services = [c for c in found if c not in (*verbs, *dask) and c[0] not in ELSEWHERE]
    for command in services:
        _answers(machine, command, tmp_path)
    done = [*verbs, *dask, *services]
    assert {c[0] for c in found} - {c[0] for c in done} <= ELSEWHERE
    specs = len({name for names in found.values() for name in names})
    assert specs >= len(JOBS) * len(CHOICES["orchestrator"]) * len(CHOICES["platform"])
    told = f"job specs: {specs} hold {len(found)} distinct commands; {len(done)} were run, and"
    record_property("told", f"{told} {len(found) - len(done)} are of the image's own code-server")


def _verb(command: Command) -> str:
    return command[2].rpartition(".")[2]


def _serves(command: Command) -> bool:
    return command[0] == "python" and _verb(command) == "serve"


def _compute(machine: Machine, commands: list[Command]) -> None:
    """Start Dask's scheduler and all kinds of workers on this machine, have them called, and see them end together."""
    port = demo.free_port()
    here = {
        "tcp://my-ml-project-dask:8786": f"tcp://127.0.0.1:{port}",
        "--port=8786": f"--port={port}",
        "--dashboard-address=127.0.0.1:8787": "--dashboard-address=127.0.0.1:0",
        "--local-directory=/tmp": f"--local-directory={machine.folder / 'tmp'}",
    }
    processes = [
        machine.start(Pod("dask", [*(here.get(word, word) for word in command), "--host=127.0.0.1"], {}), **ONE_THREAD)
        for command in sorted(commands, key=lambda command: "worker" in command)
    ]
    scheduler, *workers = processes
    try:
        asked = machine.start(
            Pod("client", ["python", "-c", CLIENT, f"tcp://127.0.0.1:{port}", str(len(workers))], {})
        ).end()
        scheduler.running.terminate()
        ended = [worker.running.wait(60) for worker in workers]
    finally:
        for process in processes:
            process.running.kill()
    assert (asked.status, asked.said.splitlines()[-1:]) == (0, ["16 times 1"]), asked.said
    assert ended == [0] * len(workers), [worker.log.read_text(encoding="utf-8") for worker in workers]


def _answers(machine: Machine, command: Command, folder: Path) -> None:
    """Start a service on a port of this machine, in a folder of this machine, and ask it."""
    port = str(demo.free_port())
    words = [word.replace("8888", port) if word.startswith("--port") else word for word in command]
    (volume := folder / "volume").mkdir(exist_ok=True)
    here = [word.replace("/data", str(volume)) for word in words]
    if here[0] == "jupyter-lab" and os.geteuid() == 0:  # a pod is nobody's root
        here.append("--allow-root")
    service = machine.start(Pod("service", here, {}), SERVE_PORT=port, HOME=str(volume))
    base = "".join(word.partition("=")[2] for word in command if word.startswith("--ServerApp.base_url="))
    path = "/readyz" if _serves(command) else f"{base.rstrip('/')}/api/status"
    try:
        deadline = time.monotonic() + 90
        status = 0
        while status != 200 and time.monotonic() < deadline and service.running.poll() is None:
            with suppress(OSError):
                connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=5)
                connection.request("GET", path)
                status = connection.getresponse().status
            time.sleep(0.2)
    finally:
        service.running.terminate()
        said = service.end().said
    assert status == 200, (command, said)
