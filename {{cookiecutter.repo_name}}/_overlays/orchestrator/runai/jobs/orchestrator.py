"""Run:ai: the body of a request to its REST API is completed, and posted by its own Python client."""

import json
import logging
import os
import shlex
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from request import (
    FIXED,
    HOLDER,
    JOBS,
    NAME,
    SCHEDULES,
    Failed,
    Refused,
    Request,
    Sent,
    follow,
    require_secret,
    variables,
)

KINDS = {"serve": "inference", "workspace": "workspace", "jupyter": "workspace"}  # all others are trainings
NEEDED = ("RUNAI_URL", "RUNAI_PROJECT", "RUNAI_CLUSTER", "RUNAI_CLIENT_ID", "RUNAI_CLIENT_SECRET")
# What can be changed of an inference that is there.
VARIABLES = "environmentVariables"
CHANGEABLE = (VARIABLES, "args", "autoscaling", "command", "compute", "image", "imagePullSecrets", "probes")
ENDED = ("Completed", "Deleting", "Failed", "Stopped")
ADVICE = {
    400: "it cannot read the body",
    401: "RUNAI_CLIENT_ID or RUNAI_CLIENT_SECRET is wrong, or the access key has expired",
    403: "the access key may not do this in the project",
    404: "RUNAI_URL is not the address of a Run:ai console",
    409: "there is a workload of this name already: delete it first, as `runai workload list` shows it",
    422: "it does not accept the body",
}
WATCH = """\
sent   {name}
watch  runai {kind} describe {name} --project {project}
logs   runai {kind} logs {name} --project {project} --follow
stop   runai {kind} delete {name} --project {project}"""
# Of manifests, which Run:ai hands on to Kubernetes
STEPS = """\
sent   {name}
watch  kubectl --namespace={namespace} get pods --watch --selector=batch.kubernetes.io/job-name={name}
logs   kubectl --namespace={namespace} logs --follow job/{name} --container=prepare    # then --container=train
stop   kubectl --namespace={namespace} delete job/{name}"""
SCHEDULED = """\
sent   {name}
watch  kubectl --namespace={namespace} get jobs --watch
stop   kubectl --namespace={namespace} delete cronjob/{name}"""


def compose(request: Request) -> list[dict[str, Any]]:
    """Complete the job's body, once for each worker: Run:ai gives the pods of one workload no number of their own.

    The body holds the names of project and cluster; Run:ai needs their ids, which are looked up when it is sent.
    """
    if request.job == "pipeline" or request.job in SCHEDULES:
        return [_manifest(request)]
    workers = request.workers()
    return [_complete(request, _words(request.job, worker, workers)) for worker in range(workers)]


def _words(job: str, worker: int, workers: int) -> list[str]:
    if job == "tune":
        return [f"study.worker={worker}"]
    return [f"worker.index={worker}", f"worker.count={workers}"] if job == "infer" else []


def _complete(request: Request, words: list[str]) -> dict[str, Any]:
    [body] = request.documents()
    spec = body["spec"]
    spec["image"] = request.image(spec["image"])
    # $$, because Kubernetes expands $(NAME); quoted, because Run:ai splits the line as a shell does.
    quoted = [shlex.quote(word.replace("$", "$$")) for word in [*words, *request.overrides]]
    spec["args"] = " ".join([spec["args"], *quoted])
    names = variables(JOBS.parent / ".env.example")
    # By which jobs/cluster.yaml knows who may talk to Dask.
    spec["labels"] = [*spec.get("labels", []), {"name": "repository", "value": NAME}]
    spec["environmentVariables"] += request.model()
    spec["environmentVariables"] += [{"name": name, "secret": {"name": HOLDER, "key": name}} for name in names]
    return {**body, **_place(request)}


def _manifest(request: Request) -> dict[str, Any]:
    """Complete what Run:ai hands on to Kubernetes: a schedule, or a Job, which gets a name of its own at each run."""
    [manifest] = request.documents()
    template = manifest["spec"].get("jobTemplate", manifest)["spec"]["template"]
    template["metadata"]["labels"]["runai/queue"] = request.settings["RUNAI_PROJECT"]
    for step in (*template["spec"].get("initContainers", []), *template["spec"]["containers"]):
        step["image"] = request.image(step["image"])
    template["spec"]["containers"][0]["args"] += [word.replace("$", "$$") for word in request.overrides]
    own = {} if request.job in SCHEDULES else {"useGivenNameAsPrefix": True}
    return {"metadata": {"name": manifest["metadata"]["name"], **own, **_place(request)}, "manifest": manifest}


def _place(request: Request) -> dict[str, str]:
    return {"projectId": request.settings["RUNAI_PROJECT"], "clusterId": request.settings["RUNAI_CLUSTER"]}


def check(request: Request, _: list[dict[str, Any]]) -> str:
    """Check that Run:ai knows the access key, the project and its cluster: without a job it can check no more."""
    chosen = _chosen(request)
    _require_secret(_namespace(chosen))
    with _client(chosen) as client:
        _ids(client, chosen["RUNAI_PROJECT"], chosen["RUNAI_CLUSTER"])
    return f"Run:ai knows this access key, and the project {chosen['RUNAI_PROJECT']} on {chosen['RUNAI_CLUSTER']}"


def send(request: Request, documents: list[dict[str, Any]]) -> Sent:
    """Post the bodies, and say how to follow what they start."""
    chosen = _chosen(request)
    project, namespace = chosen["RUNAI_PROJECT"], _namespace(chosen)
    _require_secret(namespace)
    kind = KINDS.get(request.job, "training")
    names, lines = [], []
    with _client(chosen) as client:
        ids = _ids(client, project, chosen["RUNAI_CLUSTER"])
        for body in documents:
            if "manifest" in body:
                answer = client.call_api("POST", "/api/v2/workloads", body=body | {"metadata": body["metadata"] | ids})
                name = answer.data.get("name") or body["metadata"]["name"]
                told = SCHEDULED if request.job in SCHEDULES else STEPS
                lines.append(told.format(name=name, namespace=namespace))
            else:
                answer = _put(client, kind, body | ids)
                name = answer["name"]
                lines.append(WATCH.format(kind=kind, name=name, project=project))
            names.append(name)
    return Sent(names, "\n".join(lines))


def _namespace(chosen: dict[str, str]) -> str:
    return chosen["NAMESPACE"] or f"runai-{chosen['RUNAI_PROJECT']}"


def _require_secret(namespace: str) -> None:
    if shutil.which("kubectl") and (os.environ.get("KUBECONFIG") or Path("~/.kube/config").expanduser().exists()):
        require_secret(namespace)  # Run:ai would take the job, and its pods would never start


def _put(client: Any, kind: str, body: dict[str, Any]) -> Any:
    """Make a workload or, of a service that is there, a new revision, whose pods look up the champion anew."""
    if kind == "inference" and (known := _find(client, body["projectId"], body["name"])):
        now = datetime.now(UTC).isoformat(timespec="seconds")
        spec = {name: value for name, value in body["spec"].items() if name in CHANGEABLE}
        spec[VARIABLES] = [*spec[VARIABLES], {"name": "RESTARTED_AT", "value": now}]
        client.call_api("PATCH", f"/api/v1/workloads/inferences/{known['id']}", body={"spec": spec})
        return known
    return client.call_api("POST", f"/api/v1/workloads/{kind}s", body=body).data


def _find(client: Any, project: str, name: str) -> Any:
    query = [("filterBy", f"name=={name}"), ("filterBy", f"projectId=={project}")]
    found = client.call_api("GET", "/api/v1/workloads", query_params=query).data["workloads"]
    return next((workload for workload in found if workload["name"] == name), None)


def wait(request: Request, sent: Sent, say: Callable[[str], None]) -> None:
    """Wait until all workloads have ended, or what stays runs; raises Failed if one went wrong."""
    if request.job in SCHEDULES:
        return
    chosen = _chosen(request)
    kind = KINDS.get(request.job, "training")
    good = "Running" if request.job in FIXED else "Completed"

    def look() -> tuple[str, bool]:
        with _client(chosen) as client:
            project = _ids(client, chosen["RUNAI_PROJECT"], chosen["RUNAI_CLUSTER"])["projectId"]
            found = {name: _find(client, project, name) for name in sent.names}
        phases = {name: workload["phase"] if workload else "Deleting" for name, workload in found.items()}
        for name, phase in phases.items():
            if phase != good and phase in ENDED:
                reason = (found[name] or {}).get("phaseMessage") or "it gives no reason"
                command = f"runai {kind} logs {name} --project {chosen['RUNAI_PROJECT']}"
                if request.job == "pipeline":
                    command = f"kubectl --namespace={_namespace(chosen)} logs job/{name} --all-containers"
                raise Failed(f"{name} failed: {phase}: {reason}; `{command}` shows its last lines")
        return ", ".join(phases.values()), all(phase == good for phase in phases.values())

    follow(look, say)


@contextmanager
def reach(request: Request) -> Iterator[tuple[str, dict[str, str]]]:
    """Give the service's address, and headers to send."""
    if url := request.settings["SERVE_URL"]:
        yield url, {}
        return
    chosen = _chosen(request)
    [body] = request.documents()
    with _client(chosen) as client:
        project = _ids(client, chosen["RUNAI_PROJECT"], chosen["RUNAI_CLUSTER"])["projectId"]
        found = _find(client, project, body["name"])
        if not found or not found.get("urls"):
            raise Refused(f"{body['name']} has no address yet: does it run? SERVE_URL may name one")
        headers = {"Authorization": client.default_headers["authorization"]}
    yield found["urls"][0], headers


def _chosen(request: Request) -> dict[str, str]:
    chosen = {**{name: os.environ.get(name, "") for name in NEEDED}, **request.settings}
    missing = [name for name in NEEDED if not chosen[name]]
    if missing:
        raise Refused(f"{', '.join(missing)} not set; docs/guide/jobs.md says where each comes from")
    return chosen


@contextmanager
def _client(chosen: dict[str, str]) -> Iterator[Any]:
    """Log in; errors from there on become one line."""
    try:
        from runai.api_client import ApiClient
        from runai.configuration import Configuration
        from runai.exceptions import ApiException
        from urllib3.exceptions import HTTPError
    except ImportError:
        raise Refused("Run:ai's client is missing: run `make jobs`") from None
    logging.disable()  # the client logs in several lines what becomes one below
    url = chosen["RUNAI_URL"]
    if not url.startswith(("http://", "https://")):
        raise Refused(f"RUNAI_URL={url}: an address is needed, such as https://my-team.run.ai")
    try:
        with ApiClient(
            Configuration(
                client_id=chosen["RUNAI_CLIENT_ID"],
                client_secret=chosen["RUNAI_CLIENT_SECRET"],
                runai_base_url=url,
                ssl_ca_cert=os.environ.get("SSL_CERT_FILE"),
                retry_enabled=False,  # a post that was answered late would be sent twice
                auto_refresh_token=False,
            )
        ) as client:
            yield client
    except ApiException as error:
        raise Refused(f"Run:ai answered {error.status}: {_advice(error.status, error.data)}") from None
    except HTTPError as error:
        reason = str(getattr(error, "reason", error)).rpartition(": ")[2]
        raise Refused(f"{url} does not answer ({reason}): is the VPN up, and RUNAI_URL right?") from None
    except json.JSONDecodeError:
        raise Refused(f"{url} does not answer as Run:ai does: is RUNAI_URL right?") from None
    except ValueError:  # the client's way to say that there was no token in the answer
        raise Refused(f"Run:ai answered 401: {ADVICE[401]}") from None


def _advice(status: int, data: Any) -> str:
    message = data.get("message") if isinstance(data, dict) else None
    return ": ".join(filter(None, [ADVICE.get(status), message])) or "try again later"


def _ids(client: Any, project: str, cluster: str) -> dict[str, str]:
    """Find the ids that Run:ai gave a project and its cluster."""
    clusters = {item["name"]: item["uuid"] for item in client.call_api("GET", "/api/v1/clusters").data}
    if cluster not in clusters:
        raise Refused(f"RUNAI_CLUSTER={cluster}: there is no such cluster; there is {_list(clusters)}")
    query = [("filterBy", f"clusterId=={clusters[cluster]}"), ("limit", 500)]
    found = client.call_api("GET", "/api/v1/org-unit/projects", query_params=query).data
    projects = {item["name"]: item["id"] for item in found["projects"]}
    if project not in projects:
        raise Refused(f"RUNAI_PROJECT={project}: there is no such project on {cluster}; there is {_list(projects)}")
    return {"projectId": str(projects[project]), "clusterId": clusters[cluster]}


def _list(names: dict[str, Any]) -> str:
    return ", ".join(sorted(names)) or "none that this access key may see"
