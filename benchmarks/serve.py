"""The service beside `mlflow models serve`, of the same ONNX and of the pipeline, and beside a plain FastAPI handler.

Each is a process of its own on this machine, and answers one row a request, for one client and for many, in turns.
Prints medians: requests a second, the slowest of a hundred, how many times as many the service answers. It needs wrk.
"""

import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple
from urllib.error import HTTPError

from cookiecutter.main import cookiecutter

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from tools.demo import ask, free_port  # noqa: E402 - the path comes first

ROUNDS = 3
SECONDS = 8
CLIENTS = (1, 32)
ROW = {"island": "Biscoe", "bill_length_mm": 46.1, "bill_depth_mm": 13.2, "flipper_length_mm": 211}
ROW |= {"body_mass_g": 4500, "sex": "female"}

# What most people write first: the pipeline, asked by FastAPI in one of its threads.
PLAIN = """\
from pathlib import Path

from fastapi import FastAPI
from hydra import compose, initialize_config_dir
from my_ml_project import model, plan
from my_ml_project.columns import of_rows
from my_ml_project.inputs import tensors
from my_ml_project.schema import Row

with initialize_config_dir(str(Path("conf").resolve()), version_base=None):
    config = compose("train")
planned = plan.make(config)
pipeline = model.build(config, config.seed)
model.fit(pipeline, planned.samples["train"], config.model)
app = FastAPI()


@app.post("/predict")
def predict(rows: list[Row]) -> list[dict[str, float]]:
    probabilities = pipeline.predict_proba(model.frame(tensors(of_rows(rows))))
    return [dict(zip(planned.learnt, row)) for row in probabilities.tolist()]
"""
SAVE = """\
import mlflow, plain
mlflow.sklearn.save_model(plain.pipeline, "pipeline", serialization_format="cloudpickle", pip_requirements=[])
"""
POST = """\
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = [==[{}]==]
"""


class Server(NamedTuple):
    """How a server is started, and asked for one prediction, and what it answers for a Gentoo."""

    words: list[str]
    path: str
    body: object
    answer: str  # MLflow's give a class by its place among the three


class Answered(NamedTuple):
    """What a load said."""

    rate: float  # requests a second
    slow: float  # milliseconds within which 99 of 100 were answered


def servers(python: str) -> dict[str, Server]:
    mlflow = [python, "-m", "mlflow", "models", "serve", "--env-manager=local", "--workers=1"]
    champion = [*mlflow, "--model-uri=models:/my-ml-project@champion", "--port"]
    tensors = {name: [[value]] for name, value in ROW.items()}
    plain = [python, "-m", "uvicorn", "plain:app", "--log-level=warning", "--no-access-log", "--port"]
    return {
        "serve": Server([python, "-m", "my_ml_project.serve", "--port"], "/predict", {"rows": [ROW]}, "Gentoo"),
        "mlflow, ONNX": Server(champion, "/invocations", {"inputs": tensors}, "[2]"),
        "mlflow, scikit-learn": Server(
            [*mlflow, "--model-uri=pipeline", "--port"], "/invocations", {"dataframe_records": [ROW]}, "[2]"
        ),
        "plain handler": Server(plain, "/predict", [ROW], "Gentoo"),
    }


@contextmanager
def started(server: Server, project: Path, log: Path) -> Iterator[str]:
    """Run a server; gives the address that answers, once it does."""
    port = free_port()
    url = f"http://127.0.0.1:{port}{server.path}"
    environment = os.environ | {"PYTHONPATH": "src:.", "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    environment |= {"MLFLOW_TRACKING_URI": f"sqlite:///{project}/mlflow.db"}
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # where MLflow looks
    with log.open("wb") as output:
        words = [*server.words, str(port)]
        process = subprocess.Popen(
            words, cwd=project, env=environment, stdout=output, stderr=output, start_new_session=True
        )
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                said = str(ask(url, server.body))
                break
            except HTTPError as error:
                raise RuntimeError(error.read().decode()) from error
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(log.read_text(errors="replace")[-2000:]) from None
                time.sleep(0.2)
        assert server.answer in said, said
        yield url
    finally:
        os.killpg(process.pid, signal.SIGTERM)  # MLflow leaves the work to a child
        process.wait(60)


def load(url: str, script: Path, clients: int) -> Answered:
    """Ask as fast as a number of clients can, each for itself."""
    words = ["wrk", "--threads=1", f"--connections={clients}", f"--duration={SECONDS}s", "--latency", "--timeout=10s"]
    said = subprocess.run([*words, f"--script={script}", url], check=True, capture_output=True, text=True).stdout
    assert "Non-2xx" not in said, said
    found = re.search(r"99% +([\d.]+)(us|ms|s)\n.*Requests/sec: +([\d.]+)", said, re.DOTALL)
    assert found, said
    number, unit, rate = found.groups()
    return Answered(float(rate), float(number) * {"us": 0.001, "ms": 1, "s": 1000}[unit])


def main() -> None:
    told: dict[tuple[str, int], list[Answered]] = {}
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        cookiecutter(str(ROOT), no_input=True, output_dir=name)
        project = folder / "my-ml-project"
        (project / "plain.py").write_text(PLAIN, encoding="utf-8")
        environment = os.environ | {"PYTHONPATH": "src", "MLFLOW_TRACKING_URI": f"sqlite:///{project}/mlflow.db"}
        for words in (["-m", "my_ml_project.prepare"], ["-m", "my_ml_project.train"], ["-c", SAVE]):
            subprocess.run([sys.executable, *words], cwd=project, env=environment, check=True)
        urls, scripts = {}, {}
        for label, server in servers(sys.executable).items():
            urls[label] = stack.enter_context(started(server, project, folder / f"{label}.log"))
            scripts[label] = folder / f"{label}.lua"
            scripts[label].write_text(POST.format(json.dumps(server.body)), encoding="utf-8")
        for _ in range(ROUNDS):
            for clients in CLIENTS:
                for label, url in urls.items():
                    told.setdefault((label, clients), []).append(load(url, scripts[label], clients))
    report(told)


def report(told: dict[tuple[str, int], list[Answered]]) -> None:
    packages = ("fastapi", "uvicorn", "onnxruntime", "scikit-learn", "mlflow")
    print(", ".join(f"{package} {version(package)}" for package in packages))
    print(f"{'':20} {'clients':>7} {'req/s':>8} {'p99 ms':>8} {'serve answers':>14}")
    middle = {key: Answered(*map(statistics.median, zip(*runs, strict=True))) for key, runs in told.items()}
    for (label, clients), (rate, slow) in middle.items():
        times = middle["serve", clients].rate / rate
        print(f"{label:20} {clients:7} {rate:8.0f} {slow:8.1f} {times:8.1f} times")


if __name__ == "__main__":
    main()
