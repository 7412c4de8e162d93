"""The serve image beside the one that `mlflow models build-docker` makes of the same model, on the same base.

Prints each one's size, the seconds from its start to its first answer, and its memory after a hundred predictions:
medians of some starts, which take turns. It needs root, buildah and podman, as the tests of the images do.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from containers import Engine  # noqa: E402 - the paths come first
from cookiecutter.main import cookiecutter  # noqa: E402

from tools.demo import free_port  # noqa: E402

STARTS = 5
REQUESTS = 100
ROW = {
    "island": "Biscoe",
    "bill_length_mm": 46.1,
    "bill_depth_mm": 13.2,
    "flipper_length_mm": 211,
    "body_mass_g": 4500,
    "sex": "female",
}
JSON = {"Content-Type": "application/json"}


def ours(engine: Engine, project: Path, model: Path) -> str:
    """Build the project's service, with the model baked in."""
    build = ["buildah", "build", "--pull-never", "--quiet"]
    engine.run(*build, "--tag=localhost/serve", f"--file={project}/docker/serve.Dockerfile", project)
    (model.parent / "baked").mkdir()
    model.rename(model.parent / "baked/model")
    file = f"--file={project}/docker/baked.Dockerfile"
    engine.run(*build, "--build-arg=SERVE=localhost/serve", "--tag=localhost/ours", file, model.parent / "baked")
    return "localhost/ours"


def theirs(engine: Engine, folder: Path) -> str:
    """Build what MLflow's container file says, on the base that it asks for: the same one, under its name."""
    base = (folder / "Dockerfile").read_text(encoding="utf-8").split("FROM ")[1].split()[0]
    # It replaces pip, as the official image's allows and Debian's does not.
    own = f"FROM {engine.python()}\nRUN pip install --quiet --no-cache-dir --ignore-installed pip\n"
    engine.build(f"docker.io/library/{base}", own)
    engine.run("buildah", "build", "--pull-never", "--quiet", "--tag=localhost/theirs", folder)
    return "localhost/theirs"


def post(url: str, body: object) -> bytes:
    with urlopen(Request(url, json.dumps(body).encode(), JSON), timeout=30) as answer:
        data: bytes = answer.read()
        return data


def memory(root: int) -> int:
    """MB of a process and its descendants, what they share counted once: proportional set size."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(stat.parent.name))
    found, total = [root], 0
    for process in found:
        found += children.get(process, [])
        text = Path(f"/proc/{process}/smaps_rollup").read_text()
        total += int(text.split("\nPss:")[1].split()[0])
    return total * 1024 // 10**6


def start(engine: Engine, image: str, options: list[str], ask: Callable[[], object]) -> tuple[float, int]:
    """Run an image; gives the seconds until it answered a prediction, and its memory in MB after many."""
    began = time.monotonic()
    container = engine.run("podman", "run", "--detach", "--network=host", "--env=OMP_NUM_THREADS=1", *options, image)
    try:
        while True:
            try:
                ask()
                break
            except OSError as error:
                if isinstance(error, HTTPError) and error.code < 500:
                    raise RuntimeError(error.read().decode()) from error
                if time.monotonic() > began + 180:
                    raise TimeoutError(engine.run("podman", "logs", container)) from None
                time.sleep(0.05)
        took = time.monotonic() - began
        for _ in range(REQUESTS):
            ask()
        return took, memory(int(engine.run("podman", "inspect", "--format={{.State.Pid}}", container)))
    finally:
        engine.run("podman", "rm", "--force", "--time=5", container)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cookiecutter(str(ROOT), no_input=True, output_dir=str(folder))
        project = folder / "my-ml-project"
        environment = os.environ | {"PYTHONPATH": "src", "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}

        def run(*words: str) -> None:
            subprocess.run([sys.executable, "-m", *words], cwd=project, env=environment, check=True)

        champion = "models:/my-ml-project@champion"
        run("my_ml_project.prepare")
        run("my_ml_project.train")
        run("mlflow", "artifacts", "download", "--artifact-uri", champion, "--dst-path", str(folder / "model"))
        run("mlflow", "models", "generate-dockerfile", "--model-uri", champion, "--output-directory", f"{folder}/peer")
        engine = Engine(folder / "engine")
        try:
            engine.python()
            images = {"serve": ours(engine, project, folder / "model"), "build-docker": theirs(engine, folder / "peer")}
            port = free_port()
            confined = ["--read-only", "--tmpfs=/tmp", f"--env=SERVE_PORT={port}"]
            columns = {key: [[value]] for key, value in ROW.items()}
            asks: dict[str, tuple[list[str], Callable[[], object]]] = {
                "serve": (confined, lambda: post(f"http://127.0.0.1:{port}/predict", {"rows": [ROW]})),
                "build-docker": ([], lambda: post("http://127.0.0.1:8080/invocations", {"inputs": columns})),
            }
            told: dict[str, list[tuple[float, int]]] = {name: [] for name in images}
            for _ in range(STARTS):
                for name, image in images.items():
                    told[name].append(start(engine, image, *asks[name]))
            sizes = {
                name: int(engine.run("podman", "image", "inspect", "--format={{.Size}}", image)) // 10**6
                for name, image in images.items()
            }
        finally:
            engine.remove()
    packages = ("mlflow", "onnxruntime", "fastapi")
    print(", ".join(f"{package} {version(package)}" for package in packages))
    rows = {name: (sizes[name], *map(statistics.median, zip(*told[name], strict=True))) for name in images}
    print(f"{'':13} {'size MB':>9} {'ready s':>9} {'memory MB':>10}")
    for name, (size, ready, used) in rows.items():
        print(f"{name:13} {size:9} {ready:9.2f} {used:10.0f}")
    mine, other = rows.values()
    print(f"{'times as much':13} " + " ".join(f"{theirs / our:9.1f}" for our, theirs in zip(mine, other, strict=True)))


if __name__ == "__main__":
    main()
