"""Judge job specs by each orchestrator's own code, and say in one form what they ask for.

Those tools need older libraries than the suite does: `make tools` gives them an environment of
their own, whose Python runs this file with the orchestrator's name. It reads a JSON list of specs
and writes one of {"faults": …, "asks": …}.
"""

import json
import re
import shlex
import sys
import typing
from collections.abc import Callable, Iterator
from typing import Any

import kubernetes_validate
import yaml

Tree = dict[str, Any]
Verdict = tuple[list[str], Tree]

KUBERNETES = ("1.35", "1.36", "1.37")
QUANTITY = re.compile(r"(\d+(?:\.\d+)?)(m|k|M|G|T|Ki|Mi|Gi|Ti|)")
UNITS = {"m": 1e-3, "": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
UNITS |= {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
DNS = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


# Kubernetes: the schemas of the newest three releases, then what the API server checks beyond them.


def kubernetes(text: str) -> Verdict:
    documents = list(yaml.safe_load_all(text))
    faults = [fault for document in documents for fault in [*schema(document), *server(document)]]
    if faults:
        return faults, {}
    workload = documents[0]
    faults = [fault for service in documents[1:] for fault in service_faults(service, workload)]
    return faults, asks(workload["spec"]["template"]["spec"])


def schema(document: Tree) -> Iterator[str]:
    # The validator wants a name to report by, which what is sent by `kubectl create` need not have.
    named = {**document, "metadata": {"name": "unnamed", **(document.get("metadata") or {})}}
    for version in KUBERNETES:
        try:
            kubernetes_validate.validate(named, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            yield f"{version}: {'.'.join(map(str, error.path))}: {error.message}"
        except kubernetes_validate.SchemaNotFoundError as error:
            yield error.message


def server(document: Tree) -> Iterator[str]:
    kind, metadata, spec = (
        document.get("kind"),
        document.get("metadata", {}),
        document.get("spec", {}),
    )
    name = metadata.get("name") or metadata.get("generateName", "").removesuffix("-")
    if not DNS.fullmatch(name) or len(name) > 52:
        yield f"metadata.name: {name!r} is not a DNS name of at most 52 characters"
    template = spec.get("template") if isinstance(spec, dict) else None
    if not isinstance(template, dict):
        return
    yield from pod_faults(template.get("spec", {}))
    if kind == "Job" and template["spec"].get("restartPolicy") not in ("Never", "OnFailure"):
        yield "restartPolicy: a Job's is Never or OnFailure"
    wanted = spec.get("selector", {}).get("matchLabels", {}).items()
    if not wanted <= template.get("metadata", {}).get("labels", {}).items():
        yield "selector.matchLabels: differ from the template's labels"


def pod_faults(pod: Tree) -> Iterator[str]:
    volumes = {volume["name"] for volume in pod.get("volumes") or []}
    for container in [*(pod.get("initContainers") or []), *pod.get("containers", [])]:
        where = container.get("name")
        if not container.get("image"):
            yield f"{where}: no image"
        yield from (
            f"{where}: no volume {m['name']!r}" for m in container.get("volumeMounts") or [] if m["name"] not in volumes
        )
        names = [variable["name"] for variable in container.get("env") or []]
        yield from (f"{where}: {name} is set twice" for name in set(names) if names.count(name) > 1)
        ports = {port.get("name") for port in container.get("ports") or []}
        probes = [probe for key, probe in container.items() if key.endswith("Probe") and "httpGet" in probe]
        named = [probe["httpGet"]["port"] for probe in probes if isinstance(probe["httpGet"]["port"], str)]
        yield from (f"{where}: no port {port!r}" for port in named if port not in ports)
        yield from (f"{where}: {fault}" for fault in resource_faults(container.get("resources") or {}))


def resource_faults(resources: Tree) -> Iterator[str]:
    sizes: dict[str, dict[str, float]] = {"requests": {}, "limits": {}}
    for kind, found in sizes.items():
        for key, quantity in (resources.get(kind) or {}).items():
            match = QUANTITY.fullmatch(str(quantity))
            if match:
                found[key] = float(match[1]) * UNITS[match[2]]
            else:
                yield f"{kind}.{key}: {quantity!r} is not a quantity"
    for key, request in sizes["requests"].items():
        if request > sizes["limits"].get(key, request):
            yield f"{key}: more requested than the limit"


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


def asks(pod: Tree) -> Tree:
    """Say what a pod's first container asks for, as a job of any orchestrator does."""
    container = pod["containers"][0]
    user = {**pod.get("securityContext", {}), **container.get("securityContext", {})}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}
    return {
        "image": container["image"],
        "command": [word.replace("$$", "$") for word in [*container["command"], *container.get("args", [])]],
        "pull": [secret["name"] for secret in pod["imagePullSecrets"]],
        "env": sorted(source["secretRef"]["name"] for source in container["envFrom"]),
        "user": [user.get("runAsUser"), user.get("runAsGroup"), user.get("runAsNonRoot")],
        "read_only": user.get("readOnlyRootFilesystem"),
        "escalation": user.get("allowPrivilegeEscalation"),
        "data": mounts["/data"]["persistentVolumeClaim"]["claimName"],
        "files": mounts["/secrets"]["secret"]["secretName"],
        "scratch": "emptyDir" in mounts["/tmp"],
        "limits": sorted(container["resources"]["limits"]),
    }


# Polyaxon: its own reader, then the pods that its own converter makes of what was read.


def polyaxon(text: str) -> Verdict:
    import tempfile
    from pathlib import Path

    from polyaxon.polyaxonfile import check_polyaxonfile

    tree = yaml.safe_load(text)
    faults = list(template_faults(tree))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "job.yaml")
        file.write_text(text)
        try:
            operation = check_polyaxonfile(polyaxonfile=str(file), verbose=False, is_cli=False)
            pods = [pod for run in runs(operation.to_dict()) for pod in polyaxon_pods(run)]
        except Exception as error:  # Polyaxon raises many kinds, and tells the reason in the cause
            return [*faults, f"{type(error).__name__}: {error.__cause__ or error}"], {}
    for pod in pods:
        faults += [*schema({"apiVersion": "v1", "kind": "Pod", "spec": pod}), *pod_faults(pod)]
    return faults, {} if faults else asks(pods[0])


def template_faults(tree: Tree) -> Iterator[str]:
    component = tree.get("component", tree)
    inputs = {item["name"] for item in component.get("inputs", [])}
    used = re.findall(r"{{\s*(\w+)", json.dumps(component.get("run")))
    yield from (f"{{{{ {name} }}}} is not an input" for name in used if name not in inputs | {"globals"})
    varied = {name for values in tree.get("matrix", {}).get("values", []) for name in values}
    yield from (f"matrix: {name} is not an input" for name in varied - inputs)


def runs(operation: Tree) -> Iterator[Tree]:
    """Give the runs that an operation stands for: one, or one for each entry of its matrix."""
    matrix = operation.pop("matrix", None)
    for values in matrix["values"] if matrix else [{}]:
        yield operation | {"params": {name: {"value": value} for name, value in values.items()}}


def polyaxon_pods(run: Tree) -> Iterator[Tree]:
    import uuid

    from kubernetes.client import ApiClient
    from polyaxon import settings
    from polyaxon._schemas.agent import AgentConfig
    from polyaxon.k8s import Executor
    from polyaxon.schemas import V1ClaimConnection, V1Connection, V1ConnectionKind

    claim = V1ClaimConnection(volume_claim="artifacts", mount_path="/artifacts")
    store = V1Connection(name="artifacts", kind=V1ConnectionKind.VOLUME_CLAIM, schema_=claim)
    settings.set_agent_config(AgentConfig(namespace="polyaxon", artifacts_store=store, connections=[]))
    resource = ApiClient().sanitize_for_serialization(
        Executor.make_and_convert(
            owner_name="team",
            project_name="project",
            run_name="run",
            run_uuid=uuid.uuid4().hex,
            content=json.dumps(run),
            default_auth=True,
        )
    )
    for key in ("batchJobSpec", "serviceSpec"):
        if key in resource:
            pod = resource[key]["template"]["spec"]
            # The job's own container first, whatever Polyaxon puts beside it.
            yield pod | {"containers": sorted(pod["containers"], key=lambda c: c["name"] != "polyaxon-main")}


# Run:ai: the models of its own client, which would drop unknown keys without a word, and what they let through.


def runai(text: str) -> Verdict:
    bodies = list(yaml.safe_load_all(text))
    faults = [fault for body in bodies for fault in body_faults(body)]
    return faults, {} if faults else runai_asks(bodies[0])


def body_faults(body: Tree) -> list[str]:
    from pydantic import ValidationError
    from runai import models

    spec = body.get("spec", {})
    kind = "Inference" if "servingPort" in spec else "Workspace" if "exposedUrls" in spec else "Training"
    model = getattr(models, f"{kind}CreationRequest")
    faults = [f"{path}: unknown" for path in unknown(model, body)]
    try:
        model.model_validate(body)
    except ValidationError as error:
        faults += [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
    return faults or list(runai_faults(body))


def unknown(model: Any, data: Any, path: str = "") -> Iterator[str]:
    """Find the keys that the model does not have."""
    fields = {field.alias or name: field.annotation for name, field in model.model_fields.items()}
    for key, value in data.items() if isinstance(data, dict) else ():
        inner = next((part for part in parts(fields.get(key)) if hasattr(part, "model_fields")), None)
        if key not in fields:
            yield path + key
        elif inner:
            for item in value if isinstance(value, list) else [value]:
                yield from unknown(inner, item, f"{path}{key}.")


def parts(annotation: Any) -> Iterator[Any]:
    """Take an annotation such as Optional[List[Model]] apart."""
    yield annotation
    for argument in typing.get_args(annotation):
        yield from parts(argument)


def runai_faults(body: Tree) -> Iterator[str]:
    spec, compute = body["spec"], body["spec"].get("compute", {})
    if not DNS.fullmatch(body["name"]) or len(body["name"]) > 52:
        yield f"name: {body['name']!r} is not a DNS name of at most 52 characters"
    if not spec.get("image"):
        yield "spec.image: missing"
    if ("gpuPortionRequest" in compute) != (compute.get("gpuRequestType") == "portion"):
        yield "compute: gpuPortionRequest and gpuRequestType: portion belong together"
    for key in ("cpuCore", "cpuMemory"):
        resources = {
            "requests": {key: compute.get(f"{key}Request", 0)},
            "limits": {key: compute.get(f"{key}Limit", 0)},
        }
        yield from resource_faults(resources)
    names = [variable["name"] for variable in spec.get("environmentVariables", [])]
    yield from (f"{name} is set twice" for name in set(names) if names.count(name) > 1)


def runai_asks(body: Tree) -> Tree:
    spec = body["spec"]
    security, storage = spec["security"], spec["storage"]
    words = shlex.split(f"{spec['command']} {spec.get('args', '')}")
    return {
        "image": spec["image"],
        "command": [word.replace("$$", "$") for word in words],
        "pull": [secret["name"] for secret in spec["imagePullSecrets"]],
        "env": sorted({v["secret"]["name"] for v in spec["environmentVariables"] if "secret" in v}),
        "user": [security["runAsUid"], security["runAsGid"], security["runAsNonRoot"]],
        "read_only": security["readOnlyRootFilesystem"],
        "escalation": security.get("allowPrivilegeEscalation", False),  # an inference has no such key
        "data": {volume["path"]: volume["claimName"] for volume in storage["pvc"]}["/data"],
        "files": {volume["mountPath"]: volume["secret"] for volume in storage["secretVolume"]}["/secrets"],
        "scratch": "/tmp" in {volume["path"] for volume in storage["emptyDirVolume"]},
        "limits": sorted(
            {"cpuCoreLimit": "cpu", "cpuMemoryLimit": "memory"}.get(k, "") for k in spec["compute"] if "Limit" in k
        ),
    }


JUDGES: dict[str, Callable[[str], Verdict]] = {
    "none": kubernetes,
    "polyaxon": polyaxon,
    "runai": runai,
}


if __name__ == "__main__":
    judge = JUDGES[sys.argv[1]]
    verdicts = [dict(zip(("faults", "asks"), judge(text), strict=True)) for text in json.load(sys.stdin)]
    json.dump(verdicts, sys.stdout)
