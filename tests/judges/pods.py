"""Pods: the schemas of the newest three releases of Kubernetes, what its server checks beyond them, and a policy."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator

import kubernetes_validate

from . import Tree

KUBERNETES = ("1.35", "1.36", "1.37")
QUANTITY = re.compile(r"(\d+(?:\.\d+)?)(m|k|M|G|T|Ki|Mi|Gi|Ti|)")
UNITS = {"m": 1e-3, "": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
UNITS |= {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
DNS = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
LABEL = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
IMAGE = re.compile(
    r"[a-z0-9.-]+(:\d+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64})?"
)
# What the schemas call any text, though the server takes only these.
WORDS = {
    "restartPolicy": {"Always", "OnFailure", "Never"},
    "imagePullPolicy": {"Always", "IfNotPresent", "Never"},
    "terminationMessagePolicy": {"File", "FallbackToLogsOnError"},
    "fsGroupChangePolicy": {"OnRootMismatch", "Always"},
    "completionMode": {"Indexed", "NonIndexed"},
    "concurrencyPolicy": {"Allow", "Forbid", "Replace"},
    "whenUnsatisfiable": {"DoNotSchedule", "ScheduleAnyway"},
    "effect": {"NoSchedule", "PreferNoSchedule", "NoExecute"},
    "operator": {"Exists", "Equal", "In", "NotIn", "DoesNotExist", "Gt", "Lt"},
    "accessModes": {"ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod"},
    "policyTypes": {"Ingress", "Egress"},
    "protocol": {"TCP", "UDP", "SCTP"},
}
FIELDS = re.compile(
    r"metadata\.(name|namespace|uid|(labels|annotations)\['[^']+'\])|spec\.(nodeName|serviceAccountName)"
    r"|status\.(hostIP|podIP|hostIPs|podIPs)"
)
HANDLERS = ("httpGet", "tcpSocket", "exec", "grpc", "sleep")
SECRETIVE = re.compile(r"PASSWORD|PASSWD|SECRET|TOKEN|CREDENTIAL|PRIVATE|(ACCESS|API)_?KEY", re.I)


def schema(document: Tree) -> Iterator[str]:
    # The validator wants a name to report by, which what is sent by `kubectl create` need not have.
    named = {**document, "metadata": {"name": "unnamed", **(document.get("metadata") or {})}}
    if not {"apiVersion", "kind"} <= document.keys():
        yield "apiVersion or kind: missing"
        return
    for version in KUBERNETES:
        try:
            kubernetes_validate.validate(named, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            yield f"{version}: {'.'.join(map(str, error.path))}: {error.message}"
        except kubernetes_validate.SchemaNotFoundError as error:
            yield error.message


def template(document: Tree) -> Tree | None:
    """Give the pod template of a workload."""
    spec = document.get("spec") or {}
    found: Tree | None = spec.get("jobTemplate", document)["spec"].get("template") if spec else None
    return found


def server(document: Tree) -> Iterator[str]:
    """Find what any document's server refuses; its schema must have been seen to."""
    yield from word_faults(document)
    metadata = document.get("metadata", {})
    yield from label_faults("labels", metadata.get("labels", {}))
    pods = template(document)
    if pods:
        yield from label_faults("template: labels", pods.get("metadata", {}).get("labels", {}))
        yield from pod_faults(pods["spec"])


def word_faults(tree: object) -> Iterator[str]:
    """Find words where the server knows all that there may be."""
    if isinstance(tree, list):
        for item in tree:
            yield from word_faults(item)
    elif isinstance(tree, dict):
        for key, value in tree.items():
            words = value if isinstance(value, list) else [value]
            wrong = [word for word in words if isinstance(word, str) and word not in WORDS.get(key, words)]
            yield from (f"{key}: {word!r} is not one of {', '.join(sorted(WORDS[key]))}" for word in wrong)
            yield from word_faults(value)


def label_faults(where: str, labels: Tree) -> Iterator[str]:
    yield from (f"{where}: {key}: {value!r} is no label" for key, value in labels.items() if not LABEL.fullmatch(value))


def twice(where: str, names: Iterable[object]) -> Iterator[str]:
    yield from (f"{where}: {name} is there twice" for name, count in Counter(names).items() if count > 1)


def pod_faults(pod: Tree) -> Iterator[str]:
    volumes = [volume["name"] for volume in pod.get("volumes") or []]
    containers = [*(pod.get("initContainers") or []), *pod.get("containers", [])]
    mounted = {mount["name"] for container in containers for mount in container.get("volumeMounts") or []}
    yield from twice("volumes", volumes)
    yield from twice("containers", [container.get("name") for container in containers])
    yield from (f"volumes: {name!r} is mounted nowhere" for name in volumes if name not in mounted)
    for volume in pod.get("volumes") or []:
        if len(volume) != 2:
            yield f"volumes: {volume['name']!r} must have one source"
        limit = (volume.get("emptyDir") or {}).get("sizeLimit", "1Gi")
        if not QUANTITY.fullmatch(str(limit)):
            yield f"volumes: {volume['name']}: {limit!r} is not a quantity"
    names = [*volumes, *(container.get("name", "") for container in containers)]
    names += [secret.get("name", "") for secret in pod.get("imagePullSecrets") or []]
    yield from (f"{name!r} is not a DNS name" for name in names if not DNS.fullmatch(name) or len(name) > 63)
    for container in containers:
        where = container.get("name")
        yield from (f"{where}: {fault}" for fault in container_faults(container, volumes))
        stop = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        if stop >= (pod.get("terminationGracePeriodSeconds") or 30):
            yield f"{where}: preStop sleeps longer than terminationGracePeriodSeconds"


def container_faults(container: Tree, volumes: list[str]) -> Iterator[str]:
    if not IMAGE.fullmatch(container.get("image") or ""):
        yield f"image: {container.get('image')!r} is no image"
    mounts = container.get("volumeMounts") or []
    yield from (f"no volume {mount['name']!r}" for mount in mounts if mount["name"] not in volumes)
    yield from twice("volumeMounts", [mount["mountPath"] for mount in mounts])
    yield from (f"mountPath: {m['mountPath']!r} is not absolute" for m in mounts if not m["mountPath"].startswith("/"))
    yield from variable_faults(container)
    yield from port_faults(container)
    yield from resource_faults(container.get("resources") or {})


def variable_faults(container: Tree) -> Iterator[str]:
    variables = container.get("env") or []
    yield from twice("env", [variable["name"] for variable in variables])
    for variable in variables:
        name, source = variable["name"], variable.get("valueFrom")
        if not re.fullmatch(r"[-._a-zA-Z][-._a-zA-Z0-9]*", name):
            yield f"env: {name!r} is no name of a variable"
        if source is not None and (len(source) != 1 or "value" in variable):
            yield f"env: {name} must have one source"
        path = (source or {}).get("fieldRef", {}).get("fieldPath", "metadata.name")
        if not FIELDS.fullmatch(path):
            yield f"env: {name}: a pod has no {path}"
    for source in container.get("envFrom") or []:
        kinds = source.keys() & {"secretRef", "configMapRef"}
        if len(kinds) != 1 or not all((source[kind] or {}).get("name") for kind in kinds):
            yield "envFrom: an entry must name one secret or config map"


def port_faults(container: Tree) -> Iterator[str]:
    ports = container.get("ports") or []
    named = {port.get("name") for port in ports}
    yield from twice("ports", [port["containerPort"] for port in ports])
    yield from (f"ports: {name!r} is no name of a port" for name in named - {None} if not port_name(name))
    yield from (f"ports: {p['containerPort']} is no port" for p in ports if not 0 < p["containerPort"] < 65536)
    for key in ("startupProbe", "readinessProbe", "livenessProbe"):
        probe = container.get(key)
        if probe is None:
            continue
        if sum(handler in probe for handler in HANDLERS) != 1:
            yield f"{key}: one of {', '.join(HANDLERS[:-1])} is needed"
        port = probe.get("httpGet", {}).get("port")
        if isinstance(port, str) and port not in named:
            yield f"{key}: no port {port!r}"
        periods = {name: value for name, value in probe.items() if isinstance(value, int)}
        yield from (f"{key}: {name}: {value} is below 1" for name, value in periods.items() if value < 1)


def port_name(name: str) -> bool:
    return bool(DNS.fullmatch(name)) and len(name) <= 15 and bool(re.search("[a-z]", name)) and "--" not in name


def resource_faults(resources: Tree) -> Iterator[str]:
    sizes: dict[str, dict[str, float]] = {"requests": {}, "limits": {}}
    for kind, found in sizes.items():
        for key, quantity in (resources.get(kind) or {}).items():
            match = QUANTITY.fullmatch(str(quantity))
            if match:
                found[key] = float(match[1]) * UNITS[match[2]]
                yield from size_faults(f"{kind}.{key}: {quantity}", key, found[key])
            else:
                yield f"{kind}.{key}: {quantity!r} is not a quantity"
    for key, request in sizes["requests"].items():
        limit = sizes["limits"].get(key)
        if "/" in key and request != limit:
            yield f"{key}: a limit is needed, and a request must be equal to it"
        elif limit is not None and request > limit:
            yield f"{key}: more requested than the limit"


def size_faults(where: str, key: str, size: float) -> Iterator[str]:
    if "/" in key and not size.is_integer():
        yield f"{where} is not a whole number"
    if key == "cpu" and size > 1024:
        yield f"{where} is more than any node has: a unit of memory?"
    if key == "memory" and size < 2**20:
        yield f"{where} is less than a mebibyte: its unit?"
    if "/" not in key and key not in ("cpu", "memory", "ephemeral-storage") and not key.startswith("hugepages-"):
        yield f"{where}: no such resource"


def kai_faults(pod: Tree, labels: Tree, annotations: Tree) -> Iterator[str]:
    """Find what the KAI scheduler refuses, or never schedules."""
    scheduler = pod.get("schedulerName", "default-scheduler")
    shares = annotations.keys() & {"gpu-fraction", "gpu-memory"}
    if scheduler not in ("default-scheduler", "kai-scheduler"):
        yield f"schedulerName: {scheduler!r} is neither kai-scheduler nor the default"
    if scheduler == "kai-scheduler" and not labels.get("kai.scheduler/queue"):
        yield "kai-scheduler needs the label kai.scheduler/queue"
    if shares and scheduler != "kai-scheduler":
        yield "a part of a GPU needs schedulerName: kai-scheduler"
    if len(shares) == 2:
        yield "gpu-fraction and gpu-memory exclude each other"
    if shares and any("nvidia.com/gpu" in c.get("resources", {}).get("limits", {}) for c in pod["containers"]):
        yield "a part of a GPU and nvidia.com/gpu exclude each other"
    fraction = annotations.get("gpu-fraction", "0.5")
    if not re.fullmatch(r"0?\.\d*[1-9]\d*", fraction):
        yield f"gpu-fraction: {fraction!r} is not a number between 0 and 1"


def policy(pod: Tree) -> Iterator[str]:
    """Find what a careful cluster refuses: root, ways out of the pod, no limits, secrets for all to read."""
    yield from (f"{key}: true" for key in ("hostNetwork", "hostPID", "hostIPC") if pod.get(key))
    yield from (f"volumes: {v['name']} is of the node" for v in pod.get("volumes") or [] if "hostPath" in v)
    if not pod.get("imagePullSecrets"):
        yield "imagePullSecrets: missing"
    for container in [*(pod.get("initContainers") or []), *pod["containers"]]:
        user = {**(pod.get("securityContext") or {}), **(container.get("securityContext") or {})}
        where = container["name"]
        yield from (f"{where}: {fault}" for fault in user_faults(user))
        yield from (f"{where}: {fault}" for fault in open_faults(container))
        told = {variable["name"]: variable.get("value") for variable in container.get("env") or []}
        words = [*(container.get("command") or []), *(container.get("args") or [])]
        yield from (f"{where}: {fault}" for fault in dask_faults(words, told))


def user_faults(user: Tree) -> Iterator[str]:
    wanted = {"runAsNonRoot": True, "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True}
    yield from (f"{key}: must be {str(value).lower()}" for key, value in wanted.items() if user.get(key) is not value)
    if not user.get("runAsUser"):
        yield "runAsUser: must be a number, and not root's"
    if user.get("privileged"):
        yield "privileged: must not be"
    capabilities = user.get("capabilities") or {}
    if capabilities.get("drop") != ["ALL"] or capabilities.get("add"):
        yield "capabilities: all must be dropped, and none added"
    if (user.get("seccompProfile") or {}).get("type") not in ("RuntimeDefault", "Localhost"):
        yield "seccompProfile: must be RuntimeDefault"


def open_faults(container: Tree) -> Iterator[str]:
    limits = (container.get("resources") or {}).get("limits") or {}
    yield from (f"limits.{key}: missing" for key in ("cpu", "memory") if key not in limits)
    yield from (f"ports: {p['hostPort']} is the node's" for p in container.get("ports") or [] if p.get("hostPort"))
    literal = [variable["name"] for variable in container.get("env") or [] if variable.get("value")]
    yield from (f"env: {name} is for all to read" for name in literal if SECRETIVE.search(name))
    words = [*(container.get("command") or []), *(container.get("args") or [])]
    told = [word for word in words if re.search(rf"({SECRETIVE.pattern})[^=]*=[^$]|://[^/]*:[^/]*@", word, re.I)]
    yield from (f"args: {word!r} is for all to read" for word in told)


def dask_faults(words: list[str], variables: Tree) -> Iterator[str]:
    """Find where a command of Dask's lets others in, never ends, or has its workers fight over processors."""
    if "dask" not in words:
        return
    options = {name: value for name, _, value in (word.partition("=") for word in words if word.startswith("--"))}
    told = variables | dict(word.split("=", 1) for word in words if re.match("[A-Z_]+=", word))
    if not options.get("--dashboard-address", "").startswith("127.0.0.1:"):
        yield "dask: the dashboard is open to all"
    if "scheduler" in words and "--idle-timeout" not in options:
        yield "dask: --idle-timeout: missing, so that workers stay for ever"
    if "worker" in words:
        wanted = {"--nworkers": "-1", "--nthreads": "1"}
        yield from (f"dask: {key}: must be {value}" for key, value in wanted.items() if options.get(key) != value)
        yield from (
            f"dask: {key}: must be 1" for key in ("OMP_NUM_THREADS", "POLARS_MAX_THREADS") if told.get(key) != "1"
        )
        if not options.get("--death-timeout", "").isdecimal():
            yield "dask: --death-timeout: missing, so that it waits for a scheduler for ever"


def rule_faults(document: Tree) -> Iterator[str]:
    """Find network policies that let in anybody."""
    rules = document["spec"].get("ingress", []) if document["kind"] == "NetworkPolicy" else []
    yield from ("NetworkPolicy: a rule without from lets in anybody" for rule in rules if not rule.get("from"))


def asks(pod: Tree, annotations: Tree | None = None) -> Tree:
    """Say what a pod's first container asks for, as a job of any orchestrator does, and what runs before it."""
    before = [_asks(pod, container, annotations) for container in pod.get("initContainers") or []]
    return _asks(pod, pod["containers"][0], annotations) | {"before": before}


def _asks(pod: Tree, container: Tree, annotations: Tree | None) -> Tree:
    user = {**pod.get("securityContext", {}), **container.get("securityContext", {})}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}
    limits = container["resources"]["limits"]
    return {
        "image": container["image"],
        "command": [word.replace("$$", "$") for word in [*container["command"], *container.get("args", [])]],
        "pull": [secret["name"] for secret in pod["imagePullSecrets"]],
        "env": sorted(source["secretRef"]["name"] for source in container["envFrom"]),
        "job": "JOB" in [variable["name"] for variable in container.get("env") or []],
        "user": [user.get("runAsUser"), user.get("runAsGroup"), user.get("runAsNonRoot")],
        "read_only": user.get("readOnlyRootFilesystem"),
        "escalation": user.get("allowPrivilegeEscalation"),
        "data": mounts["/data"]["persistentVolumeClaim"]["claimName"],
        "files": mounts["/secrets"]["secret"]["secretName"],
        "scratch": "emptyDir" in mounts["/tmp"],
        "limits": sorted(key for key in limits if "/" not in key),
        "gpu": int(limits.get("nvidia.com/gpu", 0)) or float((annotations or {}).get("gpu-fraction", 0)),
    }
