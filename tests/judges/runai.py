"""Run:ai's bodies: the models of its own client, which drop unknown keys without a word, and what they let through."""

import shlex
import typing
from collections.abc import Iterator
from typing import Any

import yaml

from . import Fault, Tree, layer
from .pods import DNS, resource_faults


def judge(text: str) -> tuple[list[Fault], Tree]:
    bodies = list(yaml.safe_load_all(text))
    faults = [fault for body in bodies for fault in body_faults(body)]
    return faults, {} if faults else runai_asks(bodies[0])


def body_faults(body: Tree) -> list[Fault]:
    from pydantic import ValidationError
    from runai import models

    spec = body.get("spec", {})
    kind = "Inference" if "servingPort" in spec else "Workspace" if "exposedUrls" in spec else "Training"
    model = getattr(models, f"{kind}CreationRequest")
    faults = layer("keys", (f"{path}: unknown" for path in unknown(model, body)))
    try:
        model.model_validate(body)
    except ValidationError as error:
        faults += layer("models", (f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()))
    return faults or layer("server", runai_faults(body))


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
