"""Run:ai's bodies: the models of its own client, which drop unknown keys without a word, and what they let through."""

import re
import shlex
import typing
from collections.abc import Iterator
from typing import Any

import yaml

from . import Fault, Tree, layer, pods

MEMORY = re.compile(r"\d+(\.\d+)?([KMGT]i?)?")
CLOSED = {"uidGidSource": "custom", "runAsNonRoot": True, "readOnlyRootFilesystem": True}


def judge(text: str) -> tuple[list[Fault], Tree]:
    bodies = list(yaml.safe_load_all(text))
    faults = [fault for body in bodies for fault in (manifest_faults if "manifest" in body else body_faults)(body)]
    if faults:
        return faults, {}
    if "manifest" in bodies[0]:
        return [], pods.asks(pods.template(bodies[0]["manifest"])["spec"])  # type: ignore[index]
    return [], asks(bodies[0]) | {"workers": len(bodies)}


def body_faults(body: Tree) -> list[Fault]:
    spec = body.get("spec", {})
    kind = "Inference" if "servingPort" in spec else "Workspace" if "exposedUrls" in spec else "Training"
    faults = model_faults(f"{kind}CreationRequest", body)
    return faults or [*layer("server", server(body)), *layer("policy", policy(spec, kind))]


def manifest_faults(body: Tree) -> list[Fault]:
    """Judge what Run:ai hands on to Kubernetes."""
    manifest = body["manifest"]
    faults = [*model_faults("WorkloadV2CreateRequest", body), *layer("schema", pods.schema(manifest))]
    if faults:
        return faults
    template = pods.template(manifest) or {}
    faults = [*layer("server", pods.server(manifest)), *layer("policy", pods.policy(template["spec"]))]
    if manifest["kind"] == "CronJob" and len(str(manifest["spec"]["schedule"]).split()) != 5:
        faults += layer("server", ["schedule: five fields are needed"])
    if (
        template["spec"].get("schedulerName") != "runai-scheduler"
        or "runai/queue" not in template["metadata"]["labels"]
    ):
        faults += layer("server", ["Run:ai's scheduler and a queue are needed"])
    return faults


def model_faults(name: str, body: Tree) -> list[Fault]:
    from pydantic import ValidationError
    from runai import models

    model = getattr(models, name)
    faults = layer("keys", (f"{path}: unknown" for path in unknown(model, body)))
    try:
        model.model_validate(body)
    except ValidationError as error:
        faults += layer("models", (f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()))
    return faults


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


def server(body: Tree) -> Iterator[str]:
    """Find what the models let through, and Run:ai or the cluster would not."""
    spec = body["spec"]
    if not pods.DNS.fullmatch(body["name"]) or len(body["name"]) > 57:  # Run:ai adds a suffix
        yield f"name: {body['name']!r} is not a DNS name of at most 57 characters"
    if not pods.IMAGE.fullmatch(spec.get("image") or ""):
        yield f"image: {spec.get('image')!r} is no image"
    yield from pods.word_faults({"restartPolicy": spec.get("restartPolicy", "Never")})
    yield from compute_faults(spec.get("compute", {}))
    yield from pods.twice("environmentVariables", [v["name"] for v in spec.get("environmentVariables", [])])
    for variable in spec.get("environmentVariables", []):
        if len(variable.keys() & {"value", "secret", "configMap", "podFieldRef", "userCredential"}) != 1:
            yield f"{variable['name']} must have one source"
    storage = spec.get("storage", {})
    mounts = [v.get("path") or v.get("mountPath") for kind in storage.values() for v in kind]
    yield from pods.twice("storage", mounts)
    yield from (f"storage: {path!r} is not absolute" for path in mounts if not str(path).startswith("/"))
    yield from (
        f"pvc: {v.get('claimName')!r} is not said to exist" for v in storage.get("pvc", []) if not v.get("existingPvc")
    )
    scaling = spec.get("autoscaling", {})
    if scaling.get("minReplicas", 1) > scaling.get("maxReplicas", scaling.get("minReplicas", 1)):
        yield "autoscaling: minReplicas is more than maxReplicas"
    if scaling.get("minReplicas", 1) < scaling.get("maxReplicas", 1) and "metric" not in scaling:
        yield "autoscaling: a metric is needed"
    port = spec.get("servingPort", {}).get("container")
    probe = spec.get("probes", {}).get("readiness", {}).get("handler", {}).get("httpGet", {}).get("port")
    if port != probe:
        yield f"probes: port {probe} is not the serving port {port}"


def compute_faults(compute: Tree) -> Iterator[str]:
    portion, kind = compute.get("gpuPortionRequest"), compute.get("gpuRequestType")
    if (portion is not None) != (kind == "portion"):
        yield "compute: gpuPortionRequest and gpuRequestType: portion belong together"
    if portion is not None and not 0 < portion < 1:
        yield f"compute: gpuPortionRequest: {portion} is not between 0 and 1"
    if portion is not None and compute.get("gpuDevicesRequest") != 1:
        yield "compute: a portion is of one device"
    for key in ("cpuCore", "cpuMemory"):
        sizes = {name: compute.get(f"{key}{name}", 0) for name in ("Request", "Limit")}
        wrong = [size for size in sizes.values() if key == "cpuMemory" and not MEMORY.fullmatch(str(size))]
        yield from (f"compute: {key}: {size!r} is not a quantity" for size in wrong)
        if not wrong:
            yield from pods.resource_faults(
                {"requests": {"ephemeral-storage": sizes["Request"]}, "limits": {"ephemeral-storage": sizes["Limit"]}}
            )


def policy(spec: Tree, kind: str) -> Iterator[str]:
    """Find what a careful cluster refuses: root, ways out of the pod, no limits, secrets for all to read."""
    security, compute = spec.get("security", {}), spec.get("compute", {})
    closed = CLOSED if kind == "Inference" else CLOSED | {"allowPrivilegeEscalation": False}
    yield from (f"{key}: must be {value}" for key, value in closed.items() if security.get(key) != value)
    if not security.get("runAsUid"):
        yield "runAsUid: must be a number, and not root's"
    if security.get("seccompProfileType") != "RuntimeDefault" or security.get("capabilities"):
        yield "seccompProfileType must be RuntimeDefault, and no capability added"
    yield from (f"{key}: must not be" for key in ("hostIpc", "hostNetwork") if security.get(key))
    yield from (f"{key}: missing" for key in ("cpuCoreLimit", "cpuMemoryLimit") if key not in compute)
    if not spec.get("imagePullSecrets"):
        yield "imagePullSecrets: missing"
    if spec.get("storage", {}).get("hostPath"):
        yield "hostPath: is of the node"
    ports = [*spec.get("exposedUrls", []), *filter(None, [spec.get("servingPort")])]
    if any(port.get("authorizationType", "public") == "public" for port in ports):
        yield "authorizationType: anybody may come in"
    words = shlex.split(f"{spec.get('command', '')} {spec.get('args', '')}")
    told = {variable["name"]: variable.get("value") for variable in spec.get("environmentVariables", [])}
    yield from pods.dask_faults(words, told)
    for variable in spec.get("environmentVariables", []):
        if "value" in variable and pods.SECRETIVE.search(variable["name"]):
            yield f"{variable['name']} is for all to read"


def asks(body: Tree) -> Tree:
    spec = body["spec"]
    security, storage, compute = spec["security"], spec["storage"], spec["compute"]
    words = shlex.split(f"{spec['command']} {spec.get('args', '')}")
    return {
        "before": [],
        "image": spec["image"],
        "command": [word.replace("$$", "$") for word in words],
        "pull": [secret["name"] for secret in spec["imagePullSecrets"]],
        "env": sorted({v["secret"]["name"] for v in spec["environmentVariables"] if "secret" in v}),
        "job": "JOB" in [variable["name"] for variable in spec["environmentVariables"]],
        "user": [security["runAsUid"], security["runAsGid"], security["runAsNonRoot"]],
        "read_only": security["readOnlyRootFilesystem"],
        "escalation": security.get("allowPrivilegeEscalation", False),  # an inference has no such key
        "data": {volume["path"]: volume["claimName"] for volume in storage["pvc"]}["/data"],
        "files": {volume["mountPath"]: volume["secret"] for volume in storage["secretVolume"]}["/secrets"],
        "scratch": "/tmp" in {volume["path"] for volume in storage["emptyDirVolume"]},
        "limits": sorted(
            name for name, key in (("cpu", "cpuCoreLimit"), ("memory", "cpuMemoryLimit")) if key in compute
        ),
        "gpu": compute.get("gpuPortionRequest") or compute.get("gpuDevicesRequest", 0),
    }
