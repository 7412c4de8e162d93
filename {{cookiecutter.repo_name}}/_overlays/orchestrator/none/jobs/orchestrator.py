"""Kubernetes: a job is taken out of its environment, completed, and given to kubectl."""

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import yaml
from request import FIXED, JOBS, NAME, Failed, Refused, Request, Sent, follow, kubectl, require_secret

COMPONENT = "app.kubernetes.io/component"
ENVIRONMENTS = JOBS.parent / "environments"

WATCH = {
    "Job": """\
watch  {kubectl} get pods --watch --selector={selector}
logs   {kubectl} logs --follow --prefix --tail=-1 --max-log-requests=99 --selector={selector}{step}
stop   {kubectl} delete {name}""",
    "CronJob": """\
watch  {kubectl} get jobs --watch --selector={selector}
logs   {kubectl} logs --prefix --tail=-1 --selector={selector}
run    {kubectl} create job --from={name} {short}-now
stop   {kubectl} delete {name}""",
    "Deployment": """\
watch  {kubectl} rollout status {name}
logs   {kubectl} logs --follow --prefix --max-log-requests=99 --selector={selector}
open   {kubectl} port-forward {name} 8000    # then http://localhost:8000/docs
renew  {kubectl} rollout restart {name}    # for a new champion
stop   {kubectl} delete {all}""",
    "StatefulSet": """\
watch  {kubectl} rollout status {name}
logs   {kubectl} logs --follow {name}
open   {kubectl} port-forward {name} {port}    # then http://localhost:{port}{page}
stop   {kubectl} delete {all}""",
}

# Why a container cannot start, where waiting does not help.
STUCK = {
    "CreateContainerConfigError": "a secret, or a name in it, is missing: run `make secrets`",
    "ErrImagePull": "its image cannot be pulled: was it pushed under this tag, and is the pull secret right?",
    "ImagePullBackOff": "its image cannot be pulled: was it pushed under this tag, and is the pull secret right?",
    "InvalidImageName": "its image's name cannot be one: look at IMAGE_TAG",
}


def compose(request: Request) -> list[dict[str, Any]]:
    """Give the job's documents of the environment, with images, workers and overrides in place."""
    documents = [part for part in _environment(request) if _component(part) == request.job]
    if not documents:
        raise Refused(f"jobs/kustomization.yaml lists no file with the label {COMPONENT}: {request.job}")
    for document in documents:
        for container in _steps(document):
            container["image"] = request.image(container["image"])
            container.setdefault("env", []).extend(request.model())
        if document["kind"] == "Job":
            _complete(document, request)
    return documents


def check(request: Request, documents: list[dict[str, Any]]) -> str:
    """Let the cluster judge the documents by its rules and this account's rights, and start nothing.

    Quotas of processors and memory count pods, which only a job that runs asks for.
    """
    _hand(request, documents, "--dry-run=server")
    return f"the cluster would take {request.job}"


def send(request: Request, documents: list[dict[str, Any]]) -> Sent:
    """Hand the documents to kubectl, and say how to follow what they start."""
    kind = documents[0]["kind"]
    if kind == "Deployment":  # as `kubectl rollout restart` does: new pods look up the champion anew
        now = datetime.now(UTC).isoformat(timespec="seconds")
        documents[0]["spec"]["template"]["metadata"]["annotations"] = {"kubectl.kubernetes.io/restartedAt": now}
    names = _hand(request, documents)
    short = names[0].partition("/")[2]
    pods = f"batch.kubernetes.io/job-name={short}" if kind == "Job" else _selector(request)
    lines = WATCH[kind].format(
        kubectl=_kubectl(request),
        name=names[0],  # such as job.batch/penguins-train-x7k2p
        short=short,
        all=" ".join(names),
        selector=pods,
        port={"dask": 8787, "workspace": 8080, "jupyter": 8888}.get(request.job),
        page={"dask": "/info/main/workers.html"}.get(request.job, ""),
        step=" --container=prepare    # then --container=train" if request.job == "pipeline" else "",
    )
    return Sent(names[:1], f"sent   {names[0]}\n{lines}")


def _hand(request: Request, documents: list[dict[str, Any]], *flags: str) -> list[str]:
    namespace = request.settings["NAMESPACE"]
    require_secret(namespace)
    _require_cluster(request)
    verb = "create" if documents[0]["kind"] == "Job" else "apply"  # a run of a Job is a new one; the rest there is once
    text = yaml.safe_dump_all(documents, sort_keys=False)
    return kubectl(verb, "--filename=-", "--output=name", *flags, namespace=namespace, text=text).split()


def wait(request: Request, sent: Sent, say: Callable[[str], None]) -> None:
    """Wait until a Job has ended, or what stays is ready; raises Failed if it went wrong."""
    kind, _, short = sent.names[0].partition("/")
    if kind == "job.batch":
        selector = f"batch.kubernetes.io/job-name={short}"
        try:
            follow(lambda: _job(request, sent.names[0], selector), say)
        finally:
            steps = ("--all-containers", "--ignore-errors")  # a step after one that failed has no log
            logs = ("logs", "--prefix", "--tail=20", "--max-log-requests=99", *steps, f"--selector={selector}")
            with suppress(Refused):  # there is no pod yet
                say("its last lines\n" + kubectl(*logs, namespace=request.settings["NAMESPACE"]).rstrip())
    elif kind != "cronjob.batch":
        follow(lambda: _rollout(request, sent.names[0]), say)


@contextmanager
def reach(request: Request) -> Iterator[tuple[str, dict[str, str]]]:
    """Open a way to the service for as long as the block lasts, and give its address and headers to send."""
    if url := request.settings["SERVE_URL"]:
        yield url, {}
        return
    words = [*_kubectl(request).split(), "port-forward", f"service/{NAME}-serve", ":80"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as tunnel:
        try:
            printed = tunnel.stdout.readline() if tunnel.stdout else ""
            if not (port := re.search(r"127\.0\.0\.1:(\d+)", printed)):
                raise Refused(f"kubectl port-forward: {printed.strip() or 'it printed no reason'}")
            yield f"http://127.0.0.1:{port[1]}", {}
        finally:
            tunnel.terminate()


def _job(request: Request, name: str, selector: str) -> tuple[str, bool]:
    status = _get(request, name).get("status", {})
    for condition in status.get("conditions", []):
        if condition["type"] == "Failed" and condition["status"] == "True":
            step = _failed_step(request, selector)
            raise Failed(f"{name} failed{step}: {condition.get('reason')}: {condition.get('message')}")
        if condition["type"] == "Complete" and condition["status"] == "True":
            return f"{status.get('succeeded', 0)} succeeded", True
    _require_unstuck(request, name, selector)
    if request.job in FIXED and status.get("ready", 0) == request.workers():
        return f"{request.workers()} ready", True
    counts = [f"{status[key]} {key}" for key in ("active", "succeeded", "failed") if status.get(key)]
    return ", ".join(counts) or "pending", False


def _failed_step(request: Request, selector: str) -> str:
    """Name the step of a pipeline that failed; empty if it is known no more, or the job has one step."""
    if request.job != "pipeline":
        return ""
    with suppress(Refused):
        for container in _containers(request, selector):
            if container.get("state", {}).get("terminated", {}).get("exitCode"):
                return f" in {container['name']}"
    return ""


def _rollout(request: Request, name: str) -> tuple[str, bool]:
    found = _get(request, name)
    wanted, status = found["spec"].get("replicas", 1), found.get("status", {})
    selector = _selector(request)
    for condition in status.get("conditions", []):
        if condition.get("reason") == "ProgressDeadlineExceeded":
            why = _last_words(request, selector) or "Its pods' logs say why."
            raise Failed(f"{name} failed: {condition['message']} {why}")
    if status.get("observedGeneration", 0) < found["metadata"]["generation"]:
        return "seen", False
    _require_unstuck(request, name, selector)
    fresh, ready = status.get("updatedReplicas", 0), status.get("readyReplicas", 0)
    # An old pod that is still there is ready, too: so there must be no more than are wanted.
    return f"{fresh} of {wanted} new, {ready} ready", fresh == ready == status.get("replicas") == wanted


def _require_unstuck(request: Request, name: str, selector: str) -> None:
    for container in _containers(request, selector):
        waiting = container.get("state", {}).get("waiting", {})
        if advice := STUCK.get(waiting.get("reason", "")):
            raise Failed(f"{name} failed: {advice} ({waiting.get('message', waiting['reason'])})")


def _last_words(request: Request, selector: str) -> str:
    """Give the last line of a container that ended, as terminationMessagePolicy keeps it; empty if there is none."""
    for container in _containers(request, selector):
        if container.get("ready"):
            continue
        for state in ("state", "lastState"):
            if lines := container.get(state, {}).get("terminated", {}).get("message", "").strip().splitlines():
                return str(lines[-1])
    return ""


def _containers(request: Request, selector: str) -> Iterator[dict[str, Any]]:
    """Look at the states of all containers of a job's pods."""
    words = ("get", "pods", f"--selector={selector}", "--output=json")
    for pod in json.loads(kubectl(*words, namespace=request.settings["NAMESPACE"]))["items"]:
        status = pod.get("status", {})
        yield from status.get("initContainerStatuses", [])
        yield from status.get("containerStatuses", [])


def _get(request: Request, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(kubectl("get", name, "--output=json", namespace=request.settings["NAMESPACE"]))
    return found


def _environment(request: Request) -> list[dict[str, Any]]:
    chosen = request.settings["ENVIRONMENT"]
    known = sorted(folder.name for folder in ENVIRONMENTS.iterdir())
    if chosen not in known:
        raise Refused(f"ENVIRONMENT={chosen}: one of {', '.join(known)} is needed")
    return list(yaml.safe_load_all(kubectl("kustomize", str(ENVIRONMENTS / chosen))))


def _steps(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Give the containers of a workload in the order in which they run; none of what runs nothing."""
    pod = document["spec"].get("jobTemplate", document)["spec"].get("template", {}).get("spec", {})
    return [*pod.get("initContainers", []), *pod.get("containers", [])]


def _component(document: dict[str, Any]) -> str | None:
    label: str | None = document["metadata"].get("labels", {}).get(COMPONENT)
    return label


def _complete(job: dict[str, Any], request: Request) -> None:
    """Give a run of a Job a name of its own, its workers and its overrides."""
    job["metadata"]["generateName"] = job["metadata"].pop("name") + "-"
    words = job["spec"]["template"]["spec"]["containers"][0]["args"]
    if request.job in ("tune", "infer", "dask-workers"):
        job["spec"] |= {"completions": request.workers(), "parallelism": request.workers()}
    if request.job == "infer":
        words.append(f"worker.count={request.workers()}")
    words += [word.replace("$", "$$") for word in request.overrides]  # or Kubernetes would expand $(NAME)


def _require_cluster(request: Request) -> None:
    """Check that jobs/cluster.yaml was applied: without its account no pod starts, and no message says so."""
    needed = (f"serviceaccount/{NAME}", f"persistentvolumeclaim/{NAME}-data")
    try:
        kubectl("get", *needed, "--output=name", namespace=request.settings["NAMESPACE"])
    except Refused as refused:
        if "NotFound" in str(refused):
            environment = f"environments/{request.settings['ENVIRONMENT']}"
            apply = f"{_kubectl(request)} apply --kustomize={environment} --selector={COMPONENT}=cluster"
            raise Refused(f"the namespace lacks what jobs need: run `{apply}` ({refused})") from None
        if "Forbidden" not in str(refused):
            raise


def _selector(request: Request) -> str:
    """Select all pods of a job, whichever run they are of."""
    return f"app.kubernetes.io/name={NAME},{COMPONENT}={request.job}"


def _kubectl(request: Request) -> str:
    namespace = request.settings["NAMESPACE"]
    return f"kubectl --namespace={namespace}" if namespace else "kubectl"
