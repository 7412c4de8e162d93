"""Render the default answers into build/, and take that project from raw data to a prediction."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

ROOT = Path(__file__).resolve().parents[1]
TOOLS = Path(sys.executable).parent
PACKAGE = "my_ml_project"
READY_WITHIN = 120  # seconds
STOPPED_WITHIN = 30


class Failure(Exception):
    """A step did not work."""


def here(path: Path) -> str:
    return os.path.relpath(path)


def environment() -> dict[str, str]:
    """This environment, and none of the settings of a server that the project could write to."""
    foreign = ("MLFLOW_", "OPTUNA_", "SERVE_", "STORAGE_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return kept | {"PYTHONPATH": "src", "PYTHONUNBUFFERED": "1"}


class Demo:
    """Steps that are told in a line each, and logged in a file each."""

    def __init__(self, build: Path) -> None:
        self.project = build / "my-ml-project"
        self.logs = build / "log"
        self.log = self.logs
        self.number = 0
        self.name = ""

    @contextmanager
    def step(self, name: str, text: str) -> Iterator[list[str]]:
        """Tell the step and how long it took, and under it what the block wants to say."""
        self.number, self.name = self.number + 1, name
        said: list[str] = []
        print(f"{self.number}. {text:<54}", end=" ", flush=True)
        started = time.monotonic()
        try:
            yield said
        except (Failure, OSError, subprocess.TimeoutExpired) as error:
            print("failed")
            raise Failure(f"Step {self.number}, {name}, failed: {error}") from error
        print(f"{time.monotonic() - started:5.1f} s")
        for line in said:
            print(f"     {line}")

    def start(self, command: list[str], folder: Path, **variables: str) -> subprocess.Popen[bytes]:
        """Start a command, and keep what it prints in this step's log."""
        self.log = self.logs / f"{self.number:02}-{self.name}.log"
        with self.log.open("wb") as log:
            return subprocess.Popen(command, cwd=folder, env=environment() | variables, stdout=log, stderr=log)

    def run(self, command: list[str], folder: Path) -> list[str]:
        """Run a command to its end, and give the lines that it printed."""
        code = self.start(command, folder).wait()
        if code != 0:
            raise Failure(f"{Path(command[0]).name} {' '.join(command[1:])} ended with {code}")
        return self.log.read_text(encoding="utf-8").splitlines()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ask(url: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = Request(url, data, {"Content-Type": "application/json"})
    with urlopen(request, timeout=30) as answer:
        return json.load(answer)


def wait_until_ready(service: subprocess.Popen[bytes], url: str, probe: str = "/readyz") -> None:
    deadline = time.monotonic() + READY_WITHIN
    while time.monotonic() < deadline:
        if service.poll() is not None:
            raise Failure(f"the service ended with {service.returncode} before it was ready")
        try:
            urlopen(url + probe, timeout=30).close()
            return
        except OSError:
            time.sleep(0.2)
    raise Failure(f"the service was not ready within {READY_WITHIN} seconds")


def example(url: str) -> Any:
    """The request that the service's own documentation shows."""
    schemas = ask(f"{url}/openapi.json")["components"]["schemas"]
    return schemas["Rows"]["examples"][0]


def brief(said: Any) -> str:
    """JSON in one line, with as many digits as anyone reads."""
    return json.dumps(json.loads(json.dumps(said), parse_float=lambda digits: round(float(digits), 4)))


def make(demo: Demo) -> None:
    """From nothing to a promoted model."""
    with demo.step("render", f"Render the default answers into {here(demo.project)}"):
        shutil.rmtree(demo.project, ignore_errors=True)
        cookiecutter = str(TOOLS / "cookiecutter")
        demo.run([cookiecutter, str(ROOT), "--no-input", "-o", str(demo.project.parent)], ROOT)
    with demo.step("prepare", "Prepare the data: check every row, split") as said:
        lines = demo.run([sys.executable, "-m", f"{PACKAGE}.prepare"], demo.project)
        said += [line for line in lines if line.endswith(".parquet")]
    with demo.step("train", "Train a model, and promote it") as said:
        lines = demo.run([sys.executable, "-m", f"{PACKAGE}.train"], demo.project)
        said += [line for line in lines if line.startswith("accuracy")] + lines[-1:]


def serve(demo: Demo) -> None:
    """From the promoted model to an answer over HTTP."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with demo.step("serve", f"Start the service at {url}"):
        variables = {"SERVE_HOST": "127.0.0.1", "SERVE_PORT": str(port)}
        service = demo.start([sys.executable, "-m", f"{PACKAGE}.serve"], demo.project, **variables)
        try:
            wait_until_ready(service, url)
        except BaseException:
            service.kill()
            raise
    try:
        with demo.step("predict", "Ask it for a prediction") as said:
            body = example(url)
            answer = ask(f"{url}/predict", body)
            said += [f"asked     {brief(body['rows'][0])}", f"answered  {brief(answer['predictions'][0])}"]
            said += [f"with      {answer['model']['name']} version {answer['model']['version']}"]
    finally:
        with demo.step("stop", "Stop the service"):
            service.terminate()
            code = service.wait(STOPPED_WITHIN)
            # uvicorn ends what is in work and then lets the signal through.
            if code not in (0, -signal.SIGTERM):
                raise Failure(f"the service ended with {code}")


NEXT = """
Where to look next:
  cd {project}
  export PYTHONPATH=src VENV={tools}
  make ui       the run, its measures and plots, and the model: http://127.0.0.1:5000
  make serve    the service and its documentation: http://127.0.0.1:8000/docs
  make docs     the guide: http://127.0.0.1:8001
"""


def main(build: Path) -> int:
    """Run the demo in a folder, and tell how it went as a program's exit code."""
    demo = Demo(build)
    shutil.rmtree(demo.logs, ignore_errors=True)
    demo.logs.mkdir(parents=True)
    try:
        make(demo)
        serve(demo)
    except Failure as failure:
        last = demo.log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:]
        print("\n".join(["", f"{failure}. The end of {here(demo.log)}:", *(f"  {line}" for line in last)]))
        return 1
    print(NEXT.format(project=here(demo.project), tools=TOOLS.parent))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if sys.argv[1:] else "build").resolve()))
