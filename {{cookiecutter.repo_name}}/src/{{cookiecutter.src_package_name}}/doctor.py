"""Is this laptop or pod able to work? One line for each check, with what to do where it fails."""

import argparse
import importlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from . import CONF
from .errors import Problem, explain, is_failure, mistake, redacted

NEEDED = ("python", "packages", "storage", "data", "mlflow", "study")
PATIENCE = 30  # seconds; a client that tries for minutes is no help here
MODULES = ("hydra", "mlflow", "onnxruntime", "optuna", "polars", "skl2onnx", "sklearn", "skops")


@dataclass(frozen=True)
class Finding:
    """The result of a check: what was seen or, if it is not well, what is wrong and how to correct it."""

    name: str
    well: bool
    needed: bool
    text: str
    page: str


def check_python(_: Any) -> str:
    """Check that the version is one that every dependency supports."""
    number = ".".join(map(str, sys.version_info[:3]))
    if not (3, 11) <= sys.version_info < (3, 14):
        raise Problem(f"Python {number}: install 3.11, 3.12 or 3.13, then run `make setup`")
    return f"Python {number}"


def check_packages(_: Any) -> str:
    """Check that what the commands import is installed."""
    missing = []
    for name in MODULES:
        try:
            importlib.import_module(name)
        except ImportError as error:
            missing.append(f"{name} ({error})")
    if missing:
        raise Problem(f"cannot import {', '.join(missing)}: run `make setup`")
    return f"{len(MODULES)} libraries can be imported"


def check_data(config: Any) -> str:
    """Check that the raw files are there, or that the database answers, with the columns of the schema."""
    from . import data, query
    from .prepare import rule_for, sources
    from .shards import SCHEMA

    if config.data.query is not None:
        data.require(SCHEMA, query.names(config), "the answer to data.query")
        return f"{config.data.database} answers data.query, with the columns of schema.py"
    files = sources(config)
    rule_for(config, files)
    return f"{len(files)} raw file(s) in {config.storage.root}, with the columns of schema.py"


def check_mlflow(config: Any) -> str:
    """Check that a run can be written, read back and deleted."""
    from .tracking import Tracker

    Tracker(config.tracking.uri, config.tracking.experiment).rehearse()
    return f"{config.tracking.uri} keeps parameters, metrics and files"


def check_storage(config: Any) -> str:
    """Check that a file can be put, got and deleted."""
    from . import storage

    location = storage.locate(config.storage.root, f"doctor-{os.getpid()}.txt")
    with storage.publish(location) as draft:
        draft.write_text("well")
    try:
        with storage.fetched(location) as file:
            kept = file.read_text()
        if kept != "well":
            raise Problem(f"{location} does not hold what was written to it")
    finally:
        location.unlink()
    return f"{config.storage.root} can be written, read and cleaned"


def check_study(config: Any) -> str:
    """Check that the file or database that tuning's workers share can be reached."""
    from .study import meet

    address = config.study.storage
    if "://" in address:
        meet(address).get_all_studies()
        return f"workers can meet in the database {redacted(address)}"
    folder = Path(address).absolute().parent
    if not os.access(folder, os.W_OK):
        raise Problem(f"OPTUNA_STORAGE={address}: {folder} cannot be written to")
    return f"workers can meet in {address}"


def check_images(config: Any) -> str:
    """Check for a login to the image registry."""
    host = config.images.split("/")[0]
    folder = Path(os.environ.get("DOCKER_CONFIG", Path.home() / ".docker"))
    try:
        known = json.loads((folder / "config.json").read_text())
    except FileNotFoundError:
        known = {}
    names = {host, "https://index.docker.io/v1/"} if host == "docker.io" else {host}
    if not names & {*known.get("auths", {}), *known.get("credHelpers", {})}:
        raise Problem(f"no login to {host}: run `docker login {host}`")
    return f"there is a login to {host}"


def check_cluster(config: Any) -> str:
    """Check, with the command that sends jobs, that the cluster would take one."""
    command = ["powershell", "-File", "jobs/submit.ps1"] if os.name == "nt" else ["jobs/submit.sh"]
    if not Path(command[-1]).exists():
        raise Problem(f"there is no {command[-1]} here: ask where jobs are sent from, in the project's folder")
    command += [config.cluster, "--check"]
    seconds = PATIENCE - 5  # so that it ends before the caller gives up
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        raise Problem("the cluster does not answer: is the network (VPN) up?") from None
    if done.returncode:
        printed = done.stderr.strip().splitlines() or [f"`{' '.join(command)}` prints no reason"]
        raise Problem(printed[-1].removeprefix("jobs/submit.sh: "))
    return done.stdout.strip()


CHECKS: dict[str, tuple[Callable[[Any], str], str]] = {
    "python": (check_python, "docs/index.md"),
    "packages": (check_packages, "docs/index.md"),
    "storage": (check_storage, "docs/guide/platform.md"),
    "data": (check_data, "docs/guide/prepare.md"),
    "mlflow": (check_mlflow, "docs/guide/mlflow.md"),
    "study": (check_study, "docs/guide/tune.md"),
    "images": (check_images, "docs/guide/platform.md"),
    "cluster": (check_cluster, "docs/guide/jobs.md"),
}


def examine(names: list[str], needed: set[str], overrides: list[str]) -> Iterator[Finding]:
    """Run the checks one after the other; a check that fails does not stop the others."""
    ill: set[str] = set()
    for name in names:
        check, page = CHECKS[name]
        if name == "data" and "storage" in ill:
            well, text = False, "not checked, because the storage cannot be used"
        elif name in ("python", "packages"):
            well, text = _attempt(check)
        else:
            _load()
            well, text = _within(PATIENCE, check, _config(overrides))
        if not well:
            ill.add(name)
        yield Finding(name, well, name in needed, text, page)


def _attempt(check: Callable[[Any], str], config: Any = None) -> tuple[bool, str]:
    try:
        return True, check(config)
    except Problem as problem:
        return False, str(problem)
    except Exception as error:  # whatever it is, it is a finding, and the other checks go on
        if is_failure(error):
            return False, explain(error)
        return False, mistake(error) or redacted(f"{type(error).__name__}: {error}")


def _load() -> None:
    """Import what the checks use: on a busy machine that alone may take longer than a check is given."""
    for module in ("storage", "study", "tracking"):
        with suppress(ImportError, Problem):  # the check that needs it reports it
            importlib.import_module(f".{module}", __package__)


def _within(seconds: float, check: Callable[[Any], str], config: Any) -> tuple[bool, str]:
    found: list[tuple[bool, str]] = []
    thread = threading.Thread(target=lambda: found.append(_attempt(check, config)), daemon=True)
    thread.start()
    thread.join(seconds)
    return found[0] if found else (False, f"no answer within {seconds} seconds: is the network (VPN) up?")


def _config(overrides: list[str]) -> Any:
    from hydra import compose, initialize_config_dir

    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("doctor", overrides)


def _require(overrides: list[str]) -> None:
    """Refuse settings that there are not, before anything is looked at."""
    from hydra.errors import HydraException

    from .cli import unreadable

    try:
        _config(overrides)
    except HydraException as error:
        sys.exit(f"doctor: {unreadable(error)}")


def _line(finding: Finding) -> str:
    mark = "ok  " if finding.well else "FAIL" if finding.needed else "no  "
    return f"{mark} {finding.name:9} {finding.text}" + ("" if finding.well else f"  (see {finding.page})")


def main(argv: list[str] | None = None) -> None:
    """Examine, report, and exit with 1 if something needed is not well."""
    parser = argparse.ArgumentParser(prog="doctor", description=__doc__)
    parser.add_argument("overrides", nargs="*", help="settings as for the other commands, such as storage.root=…")
    parser.add_argument("--json", action="store_true", help="print findings as JSON")
    parser.add_argument("--only", nargs="+", choices=CHECKS, metavar="CHECK", help=f"some of {', '.join(CHECKS)}")
    parser.add_argument("--need", nargs="+", choices=CHECKS, default=[], metavar="CHECK", help="fail without these")
    options = parser.parse_args(argv)
    if options.overrides:
        _require(options.overrides)
    for name in ("AWS_MAX_ATTEMPTS", "MLFLOW_HTTP_REQUEST_MAX_RETRIES"):
        os.environ.setdefault(name, "2")  # jobs try longer, in case a server restarts
    findings = []
    for finding in examine(options.only or list(CHECKS), {*NEEDED, *options.need}, options.overrides):
        findings.append(finding)
        if not options.json:
            print(_line(finding), flush=True)
    if options.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    sys.exit(any(finding.needed and not finding.well for finding in findings))


if __name__ == "__main__":
    main()
