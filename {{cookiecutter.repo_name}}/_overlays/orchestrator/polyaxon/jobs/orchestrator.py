"""Send jobs to Polyaxon by its Python client, which answers with a number where the command line has only prose."""

import json
import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from request import FIXED, JOBS, SCHEDULES, Failed, Refused, Request, Sent, follow, require_secret

PRESET = JOBS / "presets" / "pod.yaml"
# The command line, of the same version and environment as this script's client.
COMMAND = os.path.relpath(Path(sys.executable).with_name("polyaxon"))
PATIENCE = 20  # seconds in which the server has to answer
ENDED = ("failed", "upstream_failed", "stopped", "skipped", "succeeded")
ANSWERS = {
    401: f"Polyaxon at %(host)s does not know you: run `{COMMAND} login`",
    403: f"Polyaxon at %(host)s does not let you run jobs in %(project)s: run `{COMMAND} login`, or ask for access",
    404: f"there is no project %(project)s at %(host)s: run `{COMMAND} project create --name=%(project)s`, "
    "or set POLYAXON_PROJECT in jobs/settings.env",
}


def compose(request: Request) -> list[dict[str, Any]]:
    """Complete the job's file; the preset that Polyaxon lays over it comes second."""
    [job] = request.documents()
    run = job.get("component", job)["run"]
    container = run["container"]
    for step in (*(first["container"] for first in run.get("init", [])), container):
        step["image"] = request.image(step["image"])
    container["args"] += [_literal(word) for word in request.overrides]
    if model := request.model():
        container["env"] = [*container.get("env", []), *model]
    if "matrix" in job:
        workers = request.workers()
        # A worker is given its number and, if the file has a name for that too, how many they are.
        names = job["matrix"]["values"][0]
        values = [dict(zip(names, (number, workers), strict=False)) for number in range(workers)]
        job["matrix"] |= {"concurrency": workers, "values": values}
    return [job, yaml.safe_load(PRESET.read_text(encoding="utf-8"))]


def _literal(word: str) -> str:
    """Keep a word as it was typed: to Kubernetes $(NAME) is a variable, and to Polyaxon two braces are a template."""
    word = word.replace("$", "$$")
    if any("{" + mark in word for mark in ("{", "%")):
        return "{" * 2 + f" {json.dumps(word, ensure_ascii=False)} " + "}" * 2
    return word


def check(request: Request, documents: list[dict[str, Any]]) -> str:
    """See that Polyaxon can read the file, and knows this login and the project."""
    _require_secret(request)
    project = request.settings["POLYAXON_PROJECT"]
    with _client(project) as make:
        _read(documents, request.job)
        make().list(limit=1)
    return f"Polyaxon can read {request.job}, and knows this login and the project {project}"


def send(request: Request, documents: list[dict[str, Any]]) -> Sent:
    """Make a run of the job, and say how to follow it."""
    _require_secret(request)
    project = request.settings["POLYAXON_PROJECT"]
    with _client(project) as make:
        if request.job == "dask" and make().list(query="name:dask, status:running", limit=1).results:
            raise Refused(f"dask runs in {project} already, and two cannot share its address: stop that run first")
        uuid = str(make().create(content=_read(documents, request.job)).uuid)
    run = f"--project={project} --uid={uuid}"
    lines = [
        f"sent   {project} {uuid}",
        f"watch  {COMMAND} ops statuses {run} --watch",
        f"logs   {COMMAND} ops logs {run}",
        f"stop   {COMMAND} ops stop {run}",
    ]
    job = documents[0]
    if "matrix" in job or "schedule" in job:
        lines.append(f'runs   {COMMAND} ops ls --project={project} --query="pipeline:{uuid}"')
    elif job["run"]["kind"] == "service":
        lines.append(f"open   {COMMAND} ops service {run}")
    return Sent([uuid], "\n".join(lines))


def wait(request: Request, sent: Sent, say: Callable[[str], None]) -> None:
    """Wait until the run has ended, what stays runs, or the service is replaced; raises Failed if not."""
    if request.job in SCHEDULES:
        return
    project, [uuid] = request.settings["POLYAXON_PROJECT"], sent.names
    good = "running" if request.job in FIXED else "succeeded"

    def look() -> tuple[str, bool]:
        with _client(project) as make:
            run = make(run_uuid=uuid)
            run.refresh_data(load_conditions=True)
            status = str(run.run_data.status)
            if status != good and status in ENDED:
                last = (run.run_data.status_conditions or [None])[-1]
                reason = _line((last and (last.message or last.reason)) or "it gives no reason")
                logs = f"{COMMAND} ops logs --project={project} --uid={uuid}"
                raise Failed(f"{project} {uuid} failed: {status}: {reason}; `{logs}` shows its last lines")
        return status, status == good

    follow(look, say)
    if request.job == "serve":
        _retire(project, uuid)


@contextmanager
def reach(request: Request) -> Iterator[tuple[str, dict[str, str]]]:
    """Give the service's address, which is another for each run, and headers to send."""
    if url := request.settings["SERVE_URL"]:
        yield url, {}
        return
    project = request.settings["POLYAXON_PROJECT"]
    with _client(project) as make:
        from polyaxon import settings

        runs = make().list(query="name:serve, status:running", sort="-created_at", limit=1).results
        if not runs:
            raise Refused(f"no run of serve is running in {project}")
        run = make(run_uuid=runs[0].uuid)
        run.refresh_data()
        place = f"{run.run_data.settings.namespace}/{run.owner}/{run.project}/runs/{run.run_uuid}/8000"
        headers = settings.CLIENT_CONFIG.get_full_headers()
        host = settings.CLIENT_CONFIG.host
    yield f"{host}/rewrite-services/v1/{place}", headers


def _retire(project: str, uuid: str) -> None:
    """Stop the services that a new one has replaced."""
    with _client(project) as make:
        for run in make().list(query="name:serve, status:running", limit=100).results or []:
            if run.uuid != uuid:
                make(run_uuid=run.uuid).stop()


def _require_secret(request: Request) -> None:
    if request.settings["NAMESPACE"] and shutil.which("kubectl"):
        require_secret(request.settings["NAMESPACE"])


def _read(documents: list[dict[str, Any]], job: str) -> Any:
    from polyaxon.exceptions import PolyaxonException
    from polyaxon.polyaxonfile import get_op_specification, get_specification

    try:
        return get_op_specification(get_specification(documents[0]), preset_files=documents[1:])
    except (PolyaxonException, ValueError) as error:
        raise Refused(f"Polyaxon cannot read jobs/{job}.yaml: {_line(error)}") from None


@contextmanager
def _client(project: str) -> Iterator[Callable[..., Any]]:
    """Give what makes clients of the project's runs; their errors become one line."""
    try:
        from polyaxon import settings
        from polyaxon.api import LOCALHOST
        from polyaxon.client import RunClient
        from polyaxon.exceptions import ApiException, PolyaxonException
        from urllib3.exceptions import HTTPError
    except ImportError:
        raise Refused("Polyaxon's client is missing: run `make jobs`") from None
    logging.disable()  # when a call fails, the client logs its settings, the token with them
    settings.CLIENT_CONFIG.timeout, settings.CLIENT_CONFIG.retries = PATIENCE, 0
    host = settings.CLIENT_CONFIG.host
    try:
        yield partial(RunClient, project=project, manual_exceptions_handling=True)
    except ApiException as error:
        answer = ANSWERS.get(error.status) or f"Polyaxon at %(host)s answers {error.status}: {_line(error.body)}"
        raise Refused(answer % {"host": host, "project": project}) from None
    except PolyaxonException as error:
        raise Refused(f"POLYAXON_PROJECT={project}: {_line(error)}") from None
    except HTTPError as error:
        known = "Polyaxon does not answer" if host != LOCALHOST else "no address of Polyaxon is set, and nobody answers"
        reason = str(getattr(error, "reason", error)).rpartition(": ")[2]
        raise Refused(
            f"{known} at {host} ({reason}): is the VPN up, or `{COMMAND} port-forward`? "
            f"Another address: `{COMMAND} config set --host=…`"
        ) from None
    except ValueError:
        raise Refused(f"what answers at {host} is not Polyaxon: run `{COMMAND} config set --host=…`") from None


def _line(text: object) -> str:
    return " ".join(str(text).split())
