"""Pods: the schemas of the newest three releases of Kubernetes, then what its server checks beyond them."""

import re
from collections.abc import Iterator

import kubernetes_validate

from . import Tree

KUBERNETES = ("1.35", "1.36", "1.37")
QUANTITY = re.compile(r"(\d+(?:\.\d+)?)(m|k|M|G|T|Ki|Mi|Gi|Ti|)")
UNITS = {"m": 1e-3, "": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
UNITS |= {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
DNS = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


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
