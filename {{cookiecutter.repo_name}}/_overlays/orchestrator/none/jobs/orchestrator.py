"""Kubernetes: a job is taken out of its environment, completed, and given to kubectl."""

from typing import Any

import yaml
from request import JOBS, Refused, Request, kubectl, require_secret

NAME = "{{ cookiecutter.repo_name }}"
COMPONENT = "app.kubernetes.io/component"
ENVIRONMENTS = JOBS.parent / "environments"

WATCH = {
    "Job": """\
watch  {kubectl} get pods --watch --selector=batch.kubernetes.io/job-name={short}
logs   {kubectl} logs --follow --prefix --tail=-1 --max-log-requests=99 --selector=batch.kubernetes.io/job-name={short}
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
open   {kubectl} port-forward {name} {port}    # then http://localhost:{port}
stop   {kubectl} delete {all}""",
}


def compose(request: Request) -> list[dict[str, Any]]:
    """Give the job's documents of the environment, with images, workers and overrides in place."""
    documents = [part for part in _environment(request) if _component(part) == request.job]
    if not documents:
        raise Refused(f"jobs/kustomization.yaml lists no file with the label {COMPONENT}: {request.job}")
    for document in documents:
        template = document["spec"].get("jobTemplate", document)["spec"].get("template")
        for container in template["spec"]["containers"] if template else []:
            container["image"] = request.image(container["image"])
        if document["kind"] == "Job":
            _complete(document, request)
    return documents


def send(request: Request, documents: list[dict[str, Any]]) -> str:
    """Hand the documents to kubectl, and say how to follow what they start."""
    namespace = request.settings["NAMESPACE"]
    require_secret(namespace)
    _require_cluster(request)
    kind = documents[0]["kind"]
    verb = "create" if kind == "Job" else "apply"  # each run of a Job is another one; the rest there is once
    text = yaml.safe_dump_all(documents, sort_keys=False)
    names = kubectl(verb, "--filename=-", "--output=name", namespace=namespace, text=text).split()
    lines = WATCH[kind].format(
        kubectl=_kubectl(request),
        name=names[0],  # such as job.batch/penguins-train-x7k2p
        short=names[0].partition("/")[2],
        all=" ".join(names),
        selector=f"app.kubernetes.io/name={NAME},{COMPONENT}={request.job}",
        port={"workspace": 8080, "jupyter": 8888}.get(request.job),
    )
    return f"sent   {names[0]}\n{lines}"


def _environment(request: Request) -> list[dict[str, Any]]:
    chosen = request.settings["ENVIRONMENT"]
    known = sorted(folder.name for folder in ENVIRONMENTS.iterdir())
    if chosen not in known:
        raise Refused(f"ENVIRONMENT={chosen}: one of {', '.join(known)} is needed")
    return list(yaml.safe_load_all(kubectl("kustomize", str(ENVIRONMENTS / chosen))))


def _component(document: dict[str, Any]) -> str | None:
    label: str | None = document["metadata"].get("labels", {}).get(COMPONENT)
    return label


def _complete(job: dict[str, Any], request: Request) -> None:
    """Give a run of a Job a name of its own, its workers and its overrides."""
    job["metadata"]["generateName"] = job["metadata"].pop("name") + "-"
    words = job["spec"]["template"]["spec"]["containers"][0]["args"]
    if request.job in ("tune", "infer"):
        job["spec"] |= {"completions": request.workers(), "parallelism": request.workers()}
    if request.job == "infer":
        words.append(f"shard.count={request.workers()}")
    words += [word.replace("$", "$$") for word in request.overrides]  # or Kubernetes would expand $(NAME)


def _require_cluster(request: Request) -> None:
    """See that jobs/cluster.yaml is there: without its account no pod starts, and nobody says so."""
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


def _kubectl(request: Request) -> str:
    namespace = request.settings["NAMESPACE"]
    return f"kubectl --namespace={namespace}" if namespace else "kubectl"
