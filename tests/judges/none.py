"""Kubernetes manifests."""

from collections.abc import Iterator

import yaml

from . import Fault, Tree, layer
from .pods import asks, schema, server


def judge(text: str) -> tuple[list[Fault], Tree]:
    documents = list(yaml.safe_load_all(text))
    faults = [
        fault
        for document in documents
        for fault in layer("schema", schema(document)) + layer("server", server(document))
    ]
    if faults:
        return faults, {}
    workload = documents[0]
    faults = [fault for service in documents[1:] for fault in layer("server", service_faults(service, workload))]
    return faults, asks(workload["spec"]["template"]["spec"])


def service_faults(service: Tree, workload: Tree) -> Iterator[str]:
    template = workload["spec"]["template"]
    if not service["spec"]["selector"].items() <= template["metadata"]["labels"].items():
        yield "Service: selects none of the pods"
    ports = {port["name"] for container in template["spec"]["containers"] for port in container.get("ports", [])}
    yield from (
        f"Service: no port {p['targetPort']!r}"
        for p in service["spec"].get("ports", [])
        if p["targetPort"] not in ports
    )
