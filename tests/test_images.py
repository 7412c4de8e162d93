"""The images are built and run as a cluster runs them: as nobody, on a file system that can only be read."""

import http.client
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from conftest import CHOICES, ROOT, Render
from containers import PYTHON, Engine
from servers import answers, process

from tools import demo

pytestmark = [pytest.mark.xdist_group("images"), pytest.mark.timeout(1800)]

# What a pod of jobs/ has: no root, no writable root file system, no capability, limits to memory and processors.
CONFINED = ["--read-only", "--tmpfs=/tmp:size=512m", "--cap-drop=all", "--security-opt=no-new-privileges"]
LIMITS = ["--memory=2g", "--cpus=1"]
LABELS = {"REVISION": "5c1a9e0", "VERSION": "1.2.0", "SOURCE": "https://git.example.com/my-team/my-ml-project"}
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

    def name(self, role: str, tag: str = "latest") -> str:
        return f"localhost/{self.project.parent.name}/{role}:{tag}"

    def build(self, role: str, context: str = ".", tag: str = "latest", **arguments: str) -> str:
        """Build an image; gives what the builder said."""
        words = [f"--build-arg={name}={value}" for name, value in {**LABELS, **arguments}.items()]
        file = self.project / f"docker/{role}.Dockerfile"
        return self.engine.run(
            "buildah", "build", "--pull-never", "--layers", *words,
            f"--tag={self.name(role, tag)}", f"--file={file}", self.project / context,
        )  # fmt: skip

    def look(self, role: str, path: str, tag: str = "latest") -> str:
        """Look something up in the description of an image."""
        return self.engine.run("podman", "image", "inspect", f"--format={{{{{path}}}}}", self.name(role, tag))

    def size(self, role: str) -> int:
        """The image's size in MB."""
        return int(self.look(role, ".Size")) // 10**6

    def words(self, role: str, *options: str, **variables: str) -> list[str]:
        known = {"MLFLOW_TRACKING_URI": self.mlflow, "STORAGE_ROOT": "/data", **variables}
        env = [f"--env={name}={value}" for name, value in known.items()]
        return ["podman", "run", "--network=host", *CONFINED, *LIMITS, *env, *options, self.name(role)]

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

    def volume(self) -> str:
        """The option that mounts a copy of the project's data, for any user to write to."""
        folder = self.project.parent / "volume"
        if not folder.exists():
            shutil.copytree(self.project / "data", folder)
            for path in (folder, *folder.rglob("*")):
                path.chmod(0o777 if path.is_dir() else 0o666)
        return f"--volume={folder}:/data"

    def pipeline(self) -> None:
        """Take raw data to a champion, in containers."""
        for verb, words in {"prepare": [], "train": ["experiment=small"]}.items():
            command = ["python", "-m", f"my_ml_project.{verb}", *words]
            self.told.append(self.run("pipeline", *command, options=(self.volume(),)))


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
    made.pipeline()
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
    assert re.search(r"^train +\d+ rows ", images.told[0], re.M)
    assert "promoted to champion" in images.told[1]
    (line,) = [line for line in images.told[1].splitlines() if line.startswith("run ")]
    run = json.loads(
        subprocess.check_output(["curl", "-s", f"{mlflow}/api/2.0/mlflow/runs/get?run_id={line.rpartition('/')[2]}"])
    )
    tags = {tag["key"]: tag["value"] for tag in run["run"]["data"]["tags"]}
    assert tags["mlflow.source.git.commit"] == "5c1a9e0"


def test_an_image_says_where_it_is_from(images: Images) -> None:
    for role in ("pipeline", "serve"):
        labels = json.loads(images.look(role, "json .Labels"))
        prefix = "org.opencontainers.image."
        told = {name.removeprefix(prefix): text for name, text in labels.items() if name.startswith(prefix)}
        assert told == {**{name.lower(): text for name, text in LABELS.items()}, "title": f"my-ml-project/{role}"}
        assert images.look(role, ".User") == "10001:10001"


def test_an_image_of_another_commit_says_so(images: Images) -> None:
    """Even if that commit changed nothing of what the image holds, and all else comes out of the builder's cache."""
    for role in ("pipeline", "serve"):
        said = images.build(role, tag="later", REVISION="0ff1ce0")
        assert said.count("--> Using cache") > 10
        (large,) = [step for step in said.split("STEP ") if ": COPY --from=environment" in step]
        assert "--> Using cache" in large
        labels = json.loads(images.look(role, "json .Labels", "later"))
        assert labels["org.opencontainers.image.revision"] == "0ff1ce0"
    assert '"REVISION=0ff1ce0"' in images.look("pipeline", "json .Config.Env", "later")


def test_a_build_sees_no_data_models_secrets_or_history(images: Images) -> None:
    project = images.project
    for name in (".env", ".git/config", "baked/model/model.onnx", "jobs/.env", "src/my_ml_project/__pycache__/a.pyc"):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text("not for an image")
    command = ["buildah", "build", "--pull-never", "--file=-", project]
    said = images.engine.run(*command, text=f"FROM {PYTHON}\nCOPY . /seen\nRUN cd /seen && find . -type f -print")
    seen = {line[2:] for line in said.splitlines() if line.startswith("./")}
    kept = {file for folder in ("conf", "requirements", "src") for file in (project / folder).rglob("*")}
    assert seen == {str(file.relative_to(project)) for file in kept if file.is_file() and file.suffix != ".pyc"}


def test_threads_follow_the_limit_of_the_container(images: Images) -> None:
    script = """
import joblib, polars
from sklearn.utils._openmp_helpers import _openmp_effective_n_threads
print(joblib.cpu_count(), polars.thread_pool_size(), _openmp_effective_n_threads())
"""
    assert images.run("pipeline", "python", "-c", script) == "1 1 1"


def test_a_job_that_is_stopped_ends_its_run(images: Images, mlflow: str) -> None:
    def runs(status: str) -> list[Any]:
        """The runs with a status that have got as far as their settings."""
        search = {"experiment_ids": ["1"], "filter": f"attributes.status = '{status}'"}
        found = requests.post(f"{mlflow}/api/2.0/mlflow/runs/search", json=search, timeout=30).json().get("runs", [])
        return [run for run in found if run["data"].get("params")]

    train = ("python", "-m", "my_ml_project.train", "model.params.max_iter=10000000")
    with images.running("pipeline", *train, options=(images.volume(),)) as container:
        deadline = time.monotonic() + 120
        while not runs("RUNNING"):
            assert time.monotonic() < deadline, images.engine.run("podman", "logs", container)
            time.sleep(0.1)
        started = time.monotonic()
        images.engine.run("podman", "stop", "--time=60", container)
        assert time.monotonic() - started < 30, "a pod has 30 seconds"
        assert images.engine.run("podman", "inspect", "--format={{.State.ExitCode}}", container) == "143"
    assert not runs("RUNNING")
    assert len(runs("FAILED")) == 1


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
    port = str(demo.free_port())
    with images.running("serve", SERVE_PORT=port) as container:
        ready(int(port))
        images.engine.run("podman", "healthcheck", "run", container)
    with (
        images.running("serve", "sleep", "60", SERVE_PORT=port) as container,
        pytest.raises(AssertionError, match="healthcheck"),
    ):
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
    for role, user in {"serve": "20002", "pipeline": "10001"}.items():
        said = images.build(role, tag="edited", REVISION="0ddba11", UID=user)
        steps = said.split("STEP ")
        (install,) = [step for step in steps if ": RUN pip install" in step]
        assert "--> Using cache" in install
        assert "Collecting" not in said
        (copy,) = [step for step in steps if ": COPY src src" in step]
        assert "Using cache" not in copy, "the edit must be noticed"
        assert images.engine.run("podman", "run", "--rm", images.name(role, "edited"), "id", "-u") == user


def test_the_serve_image_holds_what_serving_takes_and_no_more(images: Images) -> None:
    script = """
import importlib.util as u, os, pathlib, shutil
heavy = "sklearn xgboost lightgbm skl2onnx optuna polars pandas matplotlib flask sqlalchemy pytest"
for name in heavy.split():
    try: assert u.find_spec(name) is None, name
    except ModuleNotFoundError: pass
for name in ("gcc", "cc", "make", "git"): assert shutil.which(name) is None, name
for place in ("/tmp/.cache", "/root/.cache"): assert not os.path.exists(place), place
print(sorted(str(p) for p in pathlib.Path("/app").iterdir()))
"""
    assert images.run("serve", "python", "-c", script) == "['/app/conf', '/app/src']"


@dataclass
class Slow:
    """A request for a prediction that is sent in two halves."""

    port: int
    body: bytes

    def begin(self) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        self.connection.putrequest("POST", "/predict")
        self.connection.putheader("Content-Type", "application/json")
        self.connection.putheader("Content-Length", str(len(self.body)))
        self.connection.endheaders(self.body[: len(self.body) // 2])

    def end(self) -> int:
        self.connection.send(self.body[len(self.body) // 2 :])
        return self.connection.getresponse().status


def in_work(port: int, number: int) -> list[Slow]:
    """Begin requests, and see to it that the service has them: later ones are answered."""
    begun = [Slow(port, json.dumps(example(port)).encode()) for _ in range(number)]
    for request in begun:
        request.begin()
    for _ in range(3):
        assert ask(port, "/livez")[0] == 200
    return begun


def test_a_service_that_is_stopped_answers_what_it_was_asked(
    images: Images, record_property: Callable[[str, object], None]
) -> None:
    port = demo.free_port()
    with images.running("serve", SERVE_PORT=str(port)) as container:
        ready(port)
        begun = in_work(port, 100)
        images.engine.run("podman", "kill", "--signal=TERM", container)
        while answers(port):
            time.sleep(0.01)
        answered = [request.end() for request in begun]
        assert answered == [200] * 100
        assert images.engine.run("podman", "wait", container) == "0"
    record_property("told", f"SIGTERM: {len(begun)} requests in flight, {len(answered)} answered afterwards, none lost")


def test_a_request_that_does_not_end_holds_up_the_stop_no_longer_than_the_grace(images: Images) -> None:
    port = demo.free_port()
    with images.running("serve", SERVE_PORT=str(port), SERVE_GRACE="3") as container:
        ready(port)
        unfinished = in_work(port, 1)
        started = time.monotonic()
        images.engine.run("podman", "stop", "--time=60", container)
        assert 3 < time.monotonic() - started < 30
        assert unfinished
        assert images.engine.run("podman", "inspect", "--format={{.State.ExitCode}}", container) == "0"


@pytest.mark.nightly
@pytest.mark.parametrize(("orchestrator", "platform"), COMBINATIONS)
def test_every_image_of_every_combination_runs(
    render: Render,
    engine: Engine,
    mlflow: str,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
    orchestrator: str,
    platform: str,
) -> None:
    engine.run("buildah", "tag", PYTHON, CUDA)  # the same Python, and no CUDA: nothing here calls it
    if not engine.has(CODE_SERVER):
        engine.build(CODE_SERVER, EDITOR)
    made = imaged(render, tmp_path / "made", engine, mlflow, orchestrator=orchestrator, platform=platform)
    roles = ("pipeline", "pipeline-gpu", "serve", "workspace")
    for role in roles:
        made.build(role)
    made.pipeline()
    assert "champion" in made.told[-1]
    doctor = ("python", "-m", "my_ml_project.doctor", "--only", "python", "packages", "storage", "mlflow")
    said = made.run("pipeline-gpu", *doctor, options=(made.volume(),))
    assert said.count("ok ") == 4, said
    port = demo.free_port()
    with made.running("serve", SERVE_PORT=str(port)):
        took = ready(port)
        assert ask(port, "/predict", example(port))[0] == 200
    lab = ("jupyter-lab", "--ip=127.0.0.1", f"--port={port}", "--no-browser", "--IdentityProvider.token=", "/data")
    with made.running("workspace", *lab, options=(made.volume(),), HOME="/data/home") as container:
        ready(port, "/api/status")
        engine.run("podman", "stop", "--time=60", container)
        assert engine.run("podman", "inspect", "--format={{.State.ExitCode}}", container) == "0"
    sizes = ", ".join(f"{role} {made.size(role)} MB" for role in roles)
    record_property("told", f"images, {orchestrator} on {platform}: {sizes}; serve ready after {took:.1f} s")
    for role in roles:
        engine.run("podman", "rmi", "--force", made.name(role))


@pytest.mark.nightly
def test_the_service_takes_less_than_what_mlflow_builds(record_property: Callable[[str, object], None]) -> None:
    done = subprocess.run([sys.executable, ROOT / "benchmarks/images.py"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    *rows, times = done.stdout.splitlines()[-4:]
    assert min(map(float, times.removeprefix("times as much").split())) > 1.5
    record_property("told", "\n".join([*rows, times]))
