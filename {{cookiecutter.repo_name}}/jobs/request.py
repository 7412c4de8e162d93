"""What a job asks of the cluster, with any orchestrator: the job, its overrides, and jobs/settings.env."""

import os
import subprocess
import time
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

JOBS = Path(__file__).parent
NAMES = sorted(file.stem for file in JOBS.glob("*.yaml") if file.stem not in ("cluster", "kustomization"))
# Changed in their files, not on the command line.
SCHEDULES = ("infer-schedule", "pipeline-schedule")
FIXED = ("dask", "dask-workers", "jupyter", "serve", "workspace", *SCHEDULES)
NAME = "{{ cookiecutter.repo_name }}"
HOLDER = f"{NAME}-env"  # the secret with the jobs' environment variables

PAUSE = float(os.environ.get("PAUSE", "5"))  # seconds between two looks at a job
PATIENCE = 12  # looks in a row that may fail

# What kubectl's last line means to the person who called it; the first that fits.
UNKNOWN = "the cluster does not know you: log in again, or ask for a new kubeconfig"
SILENT = "the cluster does not answer: is the VPN up, and `kubectl config current-context` the right one?"
REASONS = {
    "Unauthorized": UNKNOWN,
    "must be logged in": UNKNOWN,
    "provide credentials": UNKNOWN,
    "localhost:8080": "kubectl knows no cluster: put your kubeconfig at ~/.kube/config, or name it in KUBECONFIG",
    "refused": SILENT,
    "no such host": SILENT,
    "i/o timeout": SILENT,
    "deadline exceeded": SILENT,
    'namespaces "': "there is no such namespace: set NAMESPACE in jobs/settings.env",
}


class Refused(Exception):
    """A job that cannot be sent, or a call that got no answer; the text says why, and what to do."""


class Failed(Exception):
    """A job that was sent, and did not end well; the text says why, and where to look."""


@dataclass(frozen=True)
class Sent:
    """What the cluster accepted: the names or ids that it gave, and how people follow them."""

    names: list[str]
    told: str


@dataclass(frozen=True)
class Request:
    """A job by its name, the overrides of its configuration, and where and how to run it."""

    job: str
    overrides: list[str]
    settings: dict[str, str]

    def documents(self) -> list[dict[str, Any]]:
        """Read the job's file."""
        return list(yaml.safe_load_all((JOBS / f"{self.job}.yaml").read_text(encoding="utf-8")))

    def image(self, path: str) -> str:
        """Give an image the tag or digest that IMAGE_TAG names, unless it has one of its own."""
        if ":" in path.rpartition("/")[2] or "@" in path:
            return path
        tag = self.settings["IMAGE_TAG"]
        return f"{path}@{tag}" if tag.startswith("sha256:") else f"{path}:{tag}"

    def model(self) -> list[dict[str, str]]:
        """Give the environment variable for a model other than the champion, if one was asked for."""
        address = self.settings["SERVE_MODEL"] if self.job == "serve" else ""
        if address and not address.startswith("models:/"):
            raise Refused(f"SERVE_MODEL={address}: an address is needed, such as models:/{NAME}/3")
        return [{"name": "SERVE_MODEL", "value": address}] if address else []

    def workers(self) -> int:
        """Say how many pods share the job."""
        name = {"tune": "TUNE_WORKERS", "infer": "INFER_WORKERS", "dask-workers": "DASK_WORKERS"}.get(self.job)
        if not name:
            return 1
        number = self.settings[name]
        if not number.isdecimal() or int(number) < 1:
            raise Refused(f"{name}={number}: a number of workers, from 1, is needed")
        return int(number)


def follow(look: Callable[[], tuple[str, bool]], say: Callable[[str], None]) -> None:
    """Ask for a state until it is final, and report each that differs from the one before.

    If the cluster does not answer, it is asked again; if it stays silent, the last reason is raised.
    """
    before, silent = "", 0
    while True:
        try:
            state, ended = look()
        except Refused:
            silent += 1
            if silent > PATIENCE:
                raise
        else:
            silent = 0
            if state != before:
                say(state)
            if ended:
                return
            before = state
        time.sleep(PAUSE)


def settings() -> dict[str, str]:
    """Read jobs/settings.env; an environment variable of the same name wins."""
    pairs = variables(JOBS / "settings.env")
    return {name: os.environ.get(name, value) for name, value in pairs.items()}


def variables(file: Path) -> dict[str, str]:
    """Read the lines NAME=value of a file; raises Refused at another kind of line, without quoting the line."""
    found: dict[str, str] = {}
    for number, line in enumerate(_text(file).splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, value = line.partition("=")
        if "=" not in line or not name.isidentifier():
            raise Refused(f"{file.name}, line {number}: NAME=value is needed, and nothing before it")
        if name in found:
            raise Refused(f"{file.name}, line {number}: {name} has a value already: delete one of the lines")
        found[name] = value
    return found


def _text(file: Path) -> str:
    """Read a text in UTF-8, with or without the mark that Windows puts before it."""
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        encoding = "UTF-16" if file.read_bytes()[:2] in (BOM_UTF16_LE, BOM_UTF16_BE) else "another encoding"
        save = f"(Get-Content {file.name}) | Set-Content -Encoding utf8 {file.name}"
        raise Refused(f"{file.name} is in {encoding}: save it as UTF-8, in PowerShell with `{save}`") from None


def kubectl(*words: str, namespace: str = "", text: str | None = None) -> str:
    """Run kubectl on a text, if any, and give what it prints; raises Refused with the reason if it fails."""
    command = ["kubectl", *([f"--namespace={namespace}"] if namespace else []), *words]
    try:
        done = subprocess.run(command, input=text, capture_output=True, encoding="utf-8", check=False)
    except FileNotFoundError:
        raise Refused("kubectl is not on the PATH: see https://kubernetes.io/docs/tasks/tools") from None
    if done.returncode:
        printed = (done.stderr.strip().splitlines() or ["it printed no reason"])[-1]
        reason = next((reason for mark, reason in REASONS.items() if mark in printed), None)
        raise Refused(f"{reason} ({printed})" if reason else f"kubectl {words[0]}: {printed}")
    return done.stdout


def require_secret(namespace: str) -> None:
    """See that the jobs' secret is in the namespace, if this account may look."""
    try:
        kubectl("get", "secret", HOLDER, "--output=name", namespace=namespace)
    except Refused as refused:
        if "Forbidden" in str(refused):
            return
        if "NotFound" not in str(refused):
            raise
        # The same answer where the namespace is missing; in every namespace there is this account.
        where = f"the namespace {namespace}" if namespace else "kubectl's current namespace"
        try:
            kubectl("get", "serviceaccount", "default", "--output=name", namespace=namespace)
        except Refused as missing:
            if "NotFound" in str(missing):
                raise Refused(f"{where} does not exist: set NAMESPACE in jobs/settings.env") from None
            raise
        raise Refused(f"there is no secret {HOLDER} in {where}: run `make secrets`") from None
