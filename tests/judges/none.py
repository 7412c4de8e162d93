"""Kubernetes manifests: the schemas, what the server checks beyond them, what belongs together, and a policy."""

from collections.abc import Iterator

import yaml

from . import Fault, Tree, layer, pods


def judge(text: str) -> tuple[list[Fault], Tree]:
    documents = list(yaml.safe_load_all(text))
    faults = [fault for document in documents for fault in layer("schema", pods.schema(document))]
    if faults:
        return faults, {}
    for document in documents:
        faults += layer("server", [*pods.server(document), *name_faults(document), *kind_faults(document)])
        faults += layer("policy", pods.rule_faults(document))
        if template := pods.template(document):
            labels, notes = (template.get("metadata", {}).get(key, {}) for key in ("labels", "annotations"))
            faults += layer("scheduler", pods.kai_faults(template["spec"], labels, notes))
            faults += layer("policy", [*pods.policy(template["spec"]), *account_faults(template["spec"])])
    faults += layer("selectors", group_faults(documents))
    if faults:
        return faults, {}
    workload = documents[0]
    template = pods.template(workload) or {}
    asked = pods.asks(template["spec"], template.get("metadata", {}).get("annotations"))
    return [], asked | {"workers": workload["spec"].get("completions", 1)}


def name_faults(document: Tree) -> Iterator[str]:
    metadata = document.get("metadata", {})
    name = metadata.get("name") or metadata.get("generateName", "").removesuffix("-")
    # 63, less what Kubernetes adds: to the jobs of a schedule, to the labels of a StatefulSet's pods, to a Job's name.
    limit = {"CronJob": 52, "StatefulSet": 52, "Job": 57}.get(document["kind"], 63)
    if not pods.DNS.fullmatch(name) or len(name) > limit:
        yield f"metadata.name: {name!r} is not a DNS name of at most {limit} characters"


def kind_faults(document: Tree) -> Iterator[str]:
    kind, spec = document["kind"], document["spec"]
    template = pods.template(document) or {}
    if kind in ("Job", "CronJob") and template["spec"].get("restartPolicy") not in ("Never", "OnFailure"):
        yield "restartPolicy: a Job's is Never or OnFailure"
    if kind in ("Job", "CronJob"):
        job = spec if kind == "Job" else spec["jobTemplate"]["spec"]
        yield from (f"{key}: missing" for key in ("activeDeadlineSeconds",) if key not in job)
        if spec.get("completionMode") != "Indexed" and "backoffLimitPerIndex" in spec:
            yield "backoffLimitPerIndex: only of an Indexed job"
    if kind == "CronJob" and not all(part.strip("*/,-").isalnum() or part == "*" for part in cron(spec["schedule"])):
        yield f"schedule: {spec['schedule']!r} is not five fields"
    if kind == "HorizontalPodAutoscaler" and spec.get("minReplicas", 1) > spec["maxReplicas"]:
        yield "minReplicas: more than maxReplicas"
    if kind in ("Deployment", "StatefulSet"):
        wanted = spec["selector"].get("matchLabels", {}).items()
        if not wanted <= template.get("metadata", {}).get("labels", {}).items():
            yield "selector.matchLabels: differ from the template's labels"


def cron(schedule: str) -> list[str]:
    """Split a schedule into its fields, or give one that is none."""
    fields = schedule.split()
    return fields if len(fields) == 5 else ["?"]


def account_faults(pod: Tree) -> Iterator[str]:
    if pod.get("automountServiceAccountToken") is not False:
        yield "automountServiceAccountToken: must be false"


def expressed(selector: Tree, labels: Tree) -> bool:
    """Whether labels have one of the values that each expression of a selector lists."""
    wanted = selector.get("matchExpressions", [])
    return all(labels.get(one["key"]) in one["values"] for one in wanted if one["operator"] == "In")


def group_faults(documents: list[Tree]) -> Iterator[str]:
    """Find what points at nothing among the documents of a job."""
    workload = documents[0]
    pod = pods.template(workload) or {}
    labels = pod.get("metadata", {}).get("labels", {}).items()
    ports = {port["name"] for container in pod["spec"]["containers"] for port in container.get("ports", [])}
    numbers = {port["containerPort"] for container in pod["spec"]["containers"] for port in container.get("ports", [])}
    services = {document["metadata"]["name"] for document in documents if document["kind"] == "Service"}
    for document in documents[1:]:
        kind, spec = document["kind"], document["spec"]
        chosen = {"Service": "selector", "PodDisruptionBudget": "selector", "NetworkPolicy": "podSelector"}.get(kind)
        selector = spec.get(chosen, {}) if chosen else {}
        chosen_labels = selector.get("matchLabels", selector if kind == "Service" else {})
        if not chosen_labels.items() <= labels or not expressed(selector, dict(labels)):
            yield f"{kind}: selects none of the pods"
        if kind == "Service":
            wrong = [port["targetPort"] for port in spec.get("ports", []) if port["targetPort"] not in ports | numbers]
            yield from (f"Service: no port {port!r}" for port in wrong)
        if kind == "NetworkPolicy":
            open_ports = [port["port"] for rule in spec.get("ingress", []) for port in rule.get("ports", [])]
            yield from (f"NetworkPolicy: no port {port!r}" for port in open_ports if port not in ports | numbers)
        target = spec.get("scaleTargetRef", {})
        if target and (target["kind"], target["name"]) != (workload["kind"], workload["metadata"]["name"]):
            yield f"{kind}: there is no {target['kind']} {target['name']}"
    words = [word for container in pod["spec"]["containers"] for word in container["command"]]
    if words == ["dask", "scheduler"] and not any(document["kind"] == "NetworkPolicy" for document in documents):
        yield "NetworkPolicy: missing, so that anybody may have Dask run something"
    if workload["kind"] == "StatefulSet" and workload["spec"]["serviceName"] not in services:
        yield f"serviceName: there is no Service {workload['spec']['serviceName']}"
