"""Polyaxonfiles: Polyaxon's own reader, then the pods that its own agent would make of what was read.

Both are lenient where a name is wrong: an unknown variable is rendered as nothing, a worker's value that no input takes
is dropped, and so is a word of a command that comes out empty. Here these are faults.
"""

import json
import re
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import jinja2
from kubernetes.client import ApiClient
from polyaxon import settings
from polyaxon._polyaxonfile.specs.libs import engine
from polyaxon.client import AgentConfig
from polyaxon.k8s import Executor
from polyaxon.polyaxonfile import (
    OperationSpecification,
    check_polyaxonfile,
    get_op_from_schedule,
    get_ops_from_suggestions,
)
from polyaxon.schemas import V1ClaimConnection, V1CompiledOperation, V1Connection, V1ConnectionKind

from . import Fault, Tree, layer
from .pods import asks, kai_faults, label_faults, pod_faults, policy, schema, twice, word_faults

MAIN = "polyaxon-main"  # what Polyaxon calls a job's own container, among those that it puts beside it

# An agent, as an administrator sets it up, with a store for what runs leave behind.
STORE = V1Connection(
    name="artifacts",
    kind=V1ConnectionKind.VOLUME_CLAIM,
    schema_=V1ClaimConnection(volume_claim="artifacts", mount_path="/artifacts"),
)
settings.set_agent_config(AgentConfig(namespace="polyaxon", artifacts_store=STORE, connections=[]))


def strict_engine() -> jinja2.Environment:
    """Polyaxon's engine for templates, for which an unknown name is an error."""
    return jinja2.Environment(undefined=jinja2.StrictUndefined)


engine.get_engine = strict_engine


def judge(text: str) -> tuple[list[Fault], Tree]:
    try:
        operation = read(text)
    except Exception as error:  # Polyaxon raises many kinds, and tells the reason in the cause
        return [("reader", f"{type(error).__name__}: {error.__cause__ or error}")], {}
    faults = layer("operation", operation_faults(operation))
    run = compile_operation(operation).run.to_dict()
    container = run["container"]
    for one in (*(first["container"] for first in run.get("init") or []), container):
        faults += layer("operation", twice("env", [variable["name"] for variable in one.get("env") or []]))
    try:
        made = resources(operation)
    except Exception as error:
        return [*faults, ("compiler", f"{type(error).__name__}: {error}")], {}
    for resource in made:
        faults += resource_faults(resource, words(container))
    if faults:
        return faults, {}
    pod = template(made[0])
    return [], asks(own(pod["spec"]), pod["metadata"]["annotations"])


def read(text: str) -> Tree:
    """Read a job, and what is laid over it, as Polyaxon's client does before it sends them."""
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for number, document in enumerate(re.split(r"^---\n", text, flags=re.M)):
            files.append(str(Path(folder, f"{number}.yaml")))
            Path(files[-1]).write_text(document, encoding="utf-8")
        operation = check_polyaxonfile(polyaxonfile=files, verbose=False, is_cli=False, strict_params=True)
    tree: Tree = operation.to_dict()
    return tree


def compile_operation(operation: Tree) -> V1CompiledOperation:
    """Lay the preset over the job."""
    return OperationSpecification.compile_operation(OperationSpecification.read(operation))


def words(container: Tree) -> int:
    return len(container.get("command") or []) + len(container.get("args") or [])


def operation_faults(operation: Tree) -> Iterator[str]:
    """Find what Polyaxon takes without a word, and does something else with."""
    component = operation.get("component", {})
    inputs = [item["name"] for item in component.get("inputs") or []]
    yield from twice("inputs", inputs)
    run = json.dumps(component.get("run"))
    yield from (f"inputs: {name} is used nowhere" for name in inputs if not re.search(r"{{\s*" + name + r"\b", run))
    matrix, schedule = operation.get("matrix") or {}, operation.get("schedule") or {}
    entries = [json.dumps(entry, sort_keys=True) for entry in matrix.get("values") or []]
    yield from twice("matrix", entries)
    if matrix and not 0 < matrix.get("concurrency", 0) <= len(entries):
        yield f"matrix: concurrency: {matrix.get('concurrency')} of {len(entries)} runs"
    if schedule.get("kind") == "cron":
        yield from cron_faults(schedule["cron"])
    cache = operation.get("cache") or component.get("cache") or {}
    if (matrix or schedule) and cache.get("disable") is not True:
        yield "cache: not disabled, so that a run like one before is not run at all"


def cron_faults(cron: str) -> Iterator[str]:
    limits = {"minute": (0, 59), "hour": (0, 23), "day": (1, 31), "month": (1, 12), "weekday": (0, 7)}
    fields = cron.split()
    if len(fields) != len(limits):
        yield f"cron: {cron!r} has {len(fields)} fields and not {len(limits)}"
        return
    for (name, (low, high)), field in zip(limits.items(), fields, strict=True):
        if not re.fullmatch(r"(\*|\d+(-\d+)?)(/[1-9]\d*)?(,(\*|\d+(-\d+)?)(/[1-9]\d*)?)*", field):
            yield f"cron: {field!r} is no {name}"
        elif not all(low <= int(number) <= high for number in re.findall(r"(?<!/)\b\d+", field)):
            yield f"cron: {field!r} is no {name} from {low} to {high}"


def resources(operation: Tree) -> list[Tree]:
    """Give what the agent would hand to the cluster: one resource, or one for each entry of a matrix."""
    content, compiled = json.dumps(operation), compile_operation(operation)
    if compiled.schedule:
        runs = [get_op_from_schedule(content, compiled)]
    elif compiled.matrix:
        runs = list(get_ops_from_suggestions(content, compiled, compiled.matrix.values))
    else:
        runs = [OperationSpecification.read(operation)]
    return [resource(run.to_json()) for run in runs]


def resource(content: str) -> Tree:
    made = Executor.make_and_convert(
        owner_name="team",
        project_name="project",
        run_name="run",
        run_uuid=uuid.uuid4().hex,
        content=content,
        default_auth=True,
    )
    found: Tree = ApiClient().sanitize_for_serialization(made)
    return found


def template(resource: Tree) -> Tree:
    """Give the pod of a resource, the job's own container first."""
    spec = resource.get("batchJobSpec") or resource["serviceSpec"]
    pod: Tree = spec["template"]
    pod["spec"]["containers"].sort(key=lambda container: container["name"] != MAIN)
    return pod


def own(pod: Tree) -> Tree:
    """Give a pod without Polyaxon's own containers, which are as its administrators have set them up."""
    first = [one for one in pod.get("initContainers") or [] if not one["name"].startswith("polyaxon-")]
    return pod | {"containers": pod["containers"][:1], "initContainers": first}


def resource_faults(resource: Tree, written: int) -> list[Fault]:
    pod = template(resource)
    metadata, spec = pod["metadata"], pod["spec"]
    document = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
    faults = layer("schema", schema(document))
    if faults:
        return faults
    main = spec["containers"][0]
    if words(main) != written:
        faults.append(("compiler", "a word of the command comes out as nothing"))
    faults += layer("server", word_faults(spec))
    faults += layer("server", label_faults("labels", metadata["labels"]))
    faults += layer("server", pod_faults(spec))
    faults += layer("server", kind_faults(resource, spec))
    faults += layer("kai", kai_faults(spec, metadata["labels"], metadata["annotations"]))
    return faults + layer("policy", policy(own(spec)))


def kind_faults(resource: Tree, pod: Tree) -> Iterator[str]:
    """Find what fits neither a job nor a service."""
    kind = resource["kind"]
    if kind == "Job" and pod.get("restartPolicy") not in ("Never", "OnFailure"):
        yield "restartPolicy: a job's is Never or OnFailure"
    if kind == "Job" and not resource.get("termination", {}).get("activeDeadlineSeconds"):
        yield "termination: timeout: missing"
    if kind == "Service" and pod.get("restartPolicy", "Always") != "Always":
        yield "restartPolicy: a service's is Always"
    if kind == "Service":
        main = pod["containers"][0]
        ports = resource["serviceSpec"].get("ports") or []
        if not ports:
            yield "ports: missing, so that nobody reaches the service"
        probes = [
            probe["httpGet"]["port"] for key, probe in main.items() if key.endswith("Probe") and "httpGet" in probe
        ]
        yield from (f"ports: {port} is probed, but not open" for port in set(probes) - set(ports))


if __name__ == "__main__":
    # The pods of each job of a JSON list, for whoever wants to run their commands.
    compiled = [[template(made) for made in resources(read(text))] for text in json.load(sys.stdin)]
    json.dump(compiled, sys.stdout)
