"""A job's pods, as processes: what Kubernetes makes of a spec, on a machine that has nothing but the image's files."""

import atexit
import math
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from forks import Forks
from servers import BIN, THRIFT
from specs import submit

HELD = ("conf", "src")  # what docker/pipeline.Dockerfile copies
PATIENCE = 300  # seconds for a command
# What most commands import, and what MLflow looks for when it is imported, as the project sets it.
LIBRARIES = ["mlflow", "mlflow.store.tracking.sqlalchemy_store", "optuna", "sklearn.ensemble", "boto3", "cloudpathlib"]
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}


@cache
def libraries() -> Forks:
    """Import the libraries of the project once."""
    made = Forks(Path(sys.executable), LIBRARIES, **THRIFT, **QUIET)
    atexit.register(made.close)
    return made


@dataclass(frozen=True)
class Pod:
    """The command of a pod's container, the variables that its spec gives it, and the containers before it."""

    name: str
    command: list[str]
    environment: dict[str, str]
    before: tuple["Pod", ...] = ()


def pods(project: Path, job: str, *overrides: str, **settings: str) -> list[Pod]:
    """The pods of a job, a pod for each of its workers, from what jobs/submit.sh would send."""
    done = submit(project, job, *overrides, "--dry-run", **settings)
    assert done.returncode == 0, done.stderr
    sent = [document for document in yaml.safe_load_all(done.stdout) if "template" in document.get("spec", {})]
    (spec,) = [document["spec"] for document in sent]
    pod = spec["template"]["spec"]
    names = [(index, f"{project.name}-{job}-{index}") for index in range(spec.get("completions", 1))]
    before = [tuple(_pod(name, one, index) for one in pod.get("initContainers", [])) for index, name in names]
    return [_pod(name, pod["containers"][0], index, before[index]) for index, name in names]


def _pod(name: str, container: dict[str, Any], index: int, before: tuple[Pod, ...] = ()) -> Pod:
    known = {"JOB_COMPLETION_INDEX": str(index)}
    for variable in container.get("env", []):
        known[variable["name"]] = _value(name, container, variable)
    words = [*container["command"], *container.get("args", [])]
    return Pod(name, [_expand(word, known) for word in words], known, before)


def _value(name: str, container: dict[str, Any], variable: dict[str, Any]) -> str:
    source = variable.get("valueFrom", {})
    if "resourceFieldRef" in source:
        limit = container["resources"]["limits"][source["resourceFieldRef"]["resource"].removeprefix("limits.")]
        return str(math.ceil(float(limit.removesuffix("m")) / (1000 if limit.endswith("m") else 1)))
    return name if "fieldRef" in source else variable["value"]


def _expand(word: str, known: dict[str, str]) -> str:
    """Put variables for $(NAME); $$ stands for a dollar, and a name that is not known for itself."""

    def value(found: re.Match[str]) -> str:
        return "$" if found[0] == "$$" else known.get(found[1], found[0])

    return re.sub(r"\$\$|\$\((\w+)\)", value, word)


@dataclass
class Ended:
    """How a command ended, and all that it printed."""

    status: int
    said: str


@dataclass
class Machine:
    """A folder with what an image holds, an empty scratch, and nothing in the environment but what is put there."""

    project: Path
    folder: Path
    environment: dict[str, str]

    def __post_init__(self) -> None:
        for name in ("app", "tmp", "logs"):
            (self.folder / name).mkdir(parents=True)
        for name in HELD:
            shutil.copytree(self.project / name, self.folder / "app" / name)

    def untouched(self) -> bool:
        """Whether the image holds what it held: in a pod its file system can only be read."""
        image = self.folder / "app"
        held = {path.relative_to(image) for path in image.rglob("*")}
        return all(path.parts[0] in HELD and (self.project / path).exists() for path in held)

    def environ(self, pod: Pod, **more: str) -> dict[str, str]:
        """All variables of a pod's command."""
        image = {
            "PATH": os.pathsep.join([str(BIN), "/usr/bin", "/bin"]),
            "PYTHONPATH": str(self.folder / "app" / "src"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOME": str(self.folder / "tmp"),  # the only folder that can be written to
            "TMPDIR": str(self.folder / "tmp"),
        }
        return image | THRIFT | pod.environment | self.environment | more

    def start(self, pod: Pod, **more: str) -> "Process":
        """Start a pod's command."""
        log = self.folder / "logs" / f"{len(list((self.folder / 'logs').iterdir())):02}-{pod.name}.log"
        return Process(pod, self.folder / "app", self.environ(pod, **more), log)

    def finish(self, pod: Pod, **more: str) -> Ended:
        """Run a pod's command to its end, whatever that is; what it printed as errors comes last."""
        python, *words = pod.command
        assert python == "python"
        done = libraries().run(*words, cwd=self.folder / "app", env=self.environ(pod, **more))
        return Ended(done.returncode, done.stdout + done.stderr)

    def attempt(self, job: str, *overrides: str, **more: str) -> Ended:
        """Run a job of one pod to its end, whatever that is."""
        (pod,) = pods(self.project, job, *overrides)
        return self.finish(pod, **more)

    def run(self, job: str, *overrides: str, **settings: str) -> str:
        """Run all pods of a job at once; all must succeed. Gives what they printed."""
        found = pods(self.project, job, *overrides, **settings)
        ended = [self.finish(step) for pod in found for step in pod.before]
        if not any(step.status for step in ended):
            ended += [process.end() for process in [self.start(pod) for pod in found]]
        assert not any(pod.status for pod in ended), "\n".join(pod.said[-4000:] for pod in ended)
        return "".join(pod.said for pod in ended)


class Process:
    """A pod that runs."""

    def __init__(self, pod: Pod, folder: Path, environment: dict[str, str], log: Path) -> None:
        self.log = log
        with log.open("wb") as stream:
            self.running = subprocess.Popen(pod.command, cwd=folder, env=environment, stdout=stream, stderr=stream)

    def end(self) -> Ended:
        """Wait for its end."""
        try:
            status = self.running.wait(PATIENCE)
        finally:
            self.running.kill()
        return Ended(status, self.log.read_text(encoding="utf-8"))
