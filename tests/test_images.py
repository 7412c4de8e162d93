"""The images are built and run as a cluster runs them: as nobody, on a file system that can only be read."""

import http.client
import json
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import CHOICES, Render
from containers import PYTHON, Engine
from servers import answers, process

from tools import demo

pytestmark = pytest.mark.xdist_group("images")

# What a pod of jobs/ has: no root, no writable root file system, no capability, a limit to its memory.
CONFINED = ["--read-only", "--tmpfs=/tmp:size=512m", "--cap-drop=all", "--security-opt=no-new-privileges"]
COMBINATIONS = [(o, p) for o in CHOICES["orchestrator"] for p in CHOICES["platform"]]
CUDA = "docker.io/nvidia/cuda:13.0.2-runtime-ubuntu24.04"
CODE_SERVER = "docker.io/codercom/code-server:4.129.0"
EDITOR = f"""\
FROM {PYTHON}
RUN mkdir -p /usr/lib/code-server/bin && ln -s /bin/true /usr/lib/code-server/bin/code-server
"""


@dataclass
class Images:
    """The images of a project."""

    project: Path
    engine: Engine
    mlflow: str  # the server that its containers record to
    told: list[str]

    def name(self, role: str) -> str:
        return f"localhost/{self.project.parent.name}/{role}"

    def build(self, role: str, context: str = ".", **arguments: str) -> str:
        """Build an image; gives what the builder said."""
        words = [f"--build-arg={name}={value}" for name, value in {"REVISION": "5c1a9e0", **arguments}.items()]
        file = self.project / f"docker/{role}.Dockerfile"
        return self.engine.run(
            "buildah", "build", "--pull-never", "--layers", *words,
            f"--tag={self.name(role)}", f"--file={file}", self.project / context,
        )  # fmt: skip

    def size(self, role: str) -> int:
        """The image's size in MB."""
        return int(self.engine.run("podman", "image", "inspect", "--format={{.Size}}", self.name(role))) // 10**6

    def words(self, role: str, *options: str, **variables: str) -> list[str]:
        known = {"MLFLOW_TRACKING_URI": self.mlflow, "STORAGE_ROOT": "/data", "OMP_NUM_THREADS": "1", **variables}
        env = [f"--env={name}={value}" for name, value in known.items()]
        return ["podman", "run", "--network=host", *CONFINED, "--memory=2g", *env, *options, self.name(role)]

    def run(self, role: str, *command: str, options: tuple[str, ...] = (), **variables: str) -> str:
        """Run a container to its end."""
        return self.engine.run(*self.words(role, "--rm", *options, **variables), *command)

    @contextmanager
    def running(self, role: str, *command: str, options: tuple[str, ...] = (), **variables: str) -> Iterator[str]:
        """Run a container as long as the block lasts; gives its id."""
        container = self.engine.run(*self.words(role, "--detach", *options, **variables), *command)
        try:
            yield container
        finally:
            self.engine.run("podman", "rm", "--force", "--time=0", container)


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An MLflow server that keeps models in a folder."""
    folder, port = tmp_path_factory.mktemp("mlflow"), demo.free_port()
    words = ["mlflow", "server", "--host=127.0.0.1", f"--port={port}", "--workers=1"]
    places = [f"--backend-store-uri=sqlite:///{folder}/mlflow.db", f"--artifacts-destination={folder}/models"]
    quiet = {"HOME": str(folder), "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with process(folder / "log", lambda: answers(port), *words, *places, **quiet):
        yield f"http://127.0.0.1:{port}"


def imaged(render: Render, folder: Path, engine: Engine, mlflow: str, **choices: str) -> Images:
    folder.mkdir(parents=True, exist_ok=True)
    project = Path(shutil.copytree(render(**choices), folder / "project"))
    return Images(project, engine, mlflow, [])


@pytest.fixture(scope="module")
def images(render: Render, engine: Engine, mlflow: str, tmp_path_factory: pytest.TempPathFactory) -> Images:
    """The two images that every project needs, and a champion that the pipeline image trained."""
    made = imaged(render, tmp_path_factory.mktemp("images"), engine, mlflow, orchestrator="none")
    for role in ("pipeline", "serve"):
        made.build(role)
    volume = Path(shutil.copytree(made.project / "data", made.project.parent / "volume"))
    for path in (volume, *volume.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)
    mounted = (f"--volume={volume}:/data",)
    for verb, words in {"prepare": [], "train": ["experiment=small"]}.items():
        made.told.append(made.run("pipeline", "python", "-m", f"my_ml_project.{verb}", *words, options=mounted))
    return made


def ask(port: int, path: str, body: Any = None, seconds: float = 30) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=seconds)
    headers = {"Content-Type": "application/json"}
    connection.request("POST" if body else "GET", path, json.dumps(body) if body else None, headers)
    answer = connection.getresponse()
    data = answer.read()
    return answer.status, json.loads(data) if data else None


def ready(port: int, path: str = "/readyz") -> float:
    """Wait until a service is ready; gives the seconds that took."""
    started = time.monotonic()
    while time.monotonic() < started + 120:
        with suppress(OSError, http.client.HTTPException):
            if ask(port, path)[0] == 200:
                return time.monotonic() - started
        time.sleep(0.05)
    raise TimeoutError(path)


def example(port: int) -> Any:
    return ask(port, "/openapi.json")[1]["components"]["schemas"]["Rows"]["examples"][0]


def test_the_pipeline_image_trains(images: Images, mlflow: str) -> None:
    assert "train       241 rows" in images.told[0]
    assert "promoted to champion" in images.told[1]
    (line,) = [line for line in images.told[1].splitlines() if line.startswith("run ")]
    run = json.loads(
        subprocess.check_output(["curl", "-s", f"{mlflow}/api/2.0/mlflow/runs/get?run_id={line.rpartition('/')[2]}"])
    )
    tags = {tag["key"]: tag["value"] for tag in run["run"]["data"]["tags"]}
    assert tags["mlflow.source.git.commit"] == "5c1a9e0"


def test_the_service_takes_its_model_from_the_registry(
    images: Images, record_property: Callable[[str, object], None]
) -> None:
    port = demo.free_port()
    with images.running("serve", SERVE_PORT=str(port)) as container:
        took = ready(port)
        status, said = ask(port, "/predict", example(port))
        assert (status, said["model"]) == (200, {"name": "my-ml-project", "version": "1"})
        user = images.engine.run("podman", "exec", container, "id", "-u")
        assert user == "10001"
        wrote = images.engine.run("podman", "diff", container)
        assert not [line for line in wrote.splitlines() if line.split()[-1].startswith("/app")]
    megabytes = ", ".join(f"{role} {images.size(role)} MB" for role in ("pipeline", "serve"))
    record_property("told", f"images: {megabytes}; serve was ready {took:.1f} s after its container")


def test_the_health_check_knows_a_service_that_answers(images: Images) -> None:
    with images.running("serve", SERVE_PORT="8000") as container:
        ready(8000)
        images.engine.run("podman", "healthcheck", "run", container)


def test_a_model_can_be_baked_in(images: Images, mlflow: str, tmp_path: Path) -> None:
    environment = {"MLFLOW_TRACKING_URI": mlflow, "HOME": str(tmp_path), "PATH": "/usr/bin"}
    words = ["--artifact-uri", "models:/my-ml-project@champion", "--dst-path", images.project / "baked/model"]
    program = shutil.which("mlflow", path=str(demo.TOOLS))
    subprocess.run([program, "artifacts", "download", *words], check=True, env=environment, capture_output=True)
    images.build("baked", "baked", SERVE=images.name("serve"))
    port = demo.free_port()
    with images.running("baked", SERVE_PORT=str(port), MLFLOW_TRACKING_URI="http://127.0.0.1:9"):
        ready(port)
        assert ask(port, "/predict", example(port))[0] == 200


def test_an_edit_of_the_source_installs_nothing_again(images: Images) -> None:
    file = next(images.project.glob("src/*/serve.py"))
    file.write_text(file.read_text() + "# edited\n")
    for role in ("serve", "pipeline"):
        said = images.build(role)
        steps = said.split("STEP ")
        (install,) = [step for step in steps if ": RUN pip install" in step]
        assert "--> Using cache" in install
        assert "Collecting" not in said
        (copy,) = [step for step in steps if ": COPY src src" in step]
        assert "Using cache" not in copy, "the edit must be noticed"


def test_the_serve_image_holds_what_serving_takes_and_no_more(images: Images) -> None:
    script = """
import importlib.util as u, os, pathlib, shutil
for name in ("sklearn", "optuna", "polars", "pandas", "matplotlib", "flask", "sqlalchemy", "pytest"):
    try: assert u.find_spec(name) is None, name
    except ModuleNotFoundError: pass
for name in ("gcc", "cc", "make", "git"): assert shutil.which(name) is None, name
for place in ("/app/tests", "/app/data", "/app/.git", "/app/docs", "/tmp/.cache"):
    assert not os.path.exists(place), place
print(sorted(str(p) for p in pathlib.Path("/app").iterdir()))
"""
    assert images.run("serve", "python", "-c", script) == "['/app/conf', '/app/src']"


def test_a_service_that_is_stopped_answers_what_it_was_asked(
    images: Images, record_property: Callable[[str, object], None]
) -> None:
    port, lock, statuses = demo.free_port(), threading.Lock(), []
    with images.running("serve", SERVE_PORT=str(port)) as container:
        ready(port)
        body = {"rows": example(port)["rows"] * 300}
        stopping = threading.Event()

        def call() -> None:
            """Send requests until the service is stopped; what was begun by then must be answered."""
            while True:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                try:
                    connection.connect()
                    if stopping.is_set():
                        return
                    connection.request("POST", "/predict", json.dumps(body), {"Content-Type": "application/json"})
                except OSError:
                    assert stopping.is_set()
                    return
                status = connection.getresponse().status
                with lock:
                    statuses.append(status)

        callers = [threading.Thread(target=call) for _ in range(8)]
        for caller in callers:
            caller.start()
        time.sleep(1)
        before = len(statuses)
        stopping.set()
        started = time.monotonic()
        images.engine.run("podman", "stop", "--time=40", container)
        took = time.monotonic() - started
        for caller in callers:
            caller.join()
        code = images.engine.run("podman", "inspect", "--format={{.State.ExitCode}}", container)
    assert (set(statuses), code) == ({200}, "0")
    assert before > 0
    assert took < 35
    record_property(
        "told", f"SIGTERM: {before} requests answered before, {len(statuses) - before} in flight, none lost"
    )


@pytest.mark.nightly
@pytest.mark.parametrize(("orchestrator", "platform"), COMBINATIONS)
def test_every_image_of_every_combination_is_built_and_starts(
    render: Render, engine: Engine, mlflow: str, tmp_path: Path, orchestrator: str, platform: str
) -> None:
    engine.run("buildah", "tag", PYTHON, CUDA)  # the same Python, and no CUDA: nothing here calls it
    if not engine.has(CODE_SERVER):
        engine.build(CODE_SERVER, EDITOR)
    made = imaged(render, tmp_path / "made", engine, mlflow, orchestrator=orchestrator, platform=platform)
    for role in ("pipeline", "pipeline-gpu", "serve", "workspace"):
        made.build(role)
    doctor = ("python", "-m", "my_ml_project.doctor", "--only", "python", "packages")
    for role in ("pipeline", "pipeline-gpu"):
        assert "FAIL" not in made.run(role, *doctor)
    made.run("serve", "python", "-c", "import my_ml_project.serve")
    port = demo.free_port()
    (volume := tmp_path / "volume").mkdir(mode=0o777)
    volume.chmod(0o777)
    lab = ("jupyter-lab", "--ip=127.0.0.1", f"--port={port}", "--no-browser", "--IdentityProvider.token=", "/data")
    with made.running("workspace", *lab, options=(f"--volume={volume}:/data",), HOME="/data/home"):
        ready(port, "/api/status")
    for role in ("pipeline", "pipeline-gpu", "serve", "workspace"):
        engine.run("podman", "rmi", "--force", made.name(role))
