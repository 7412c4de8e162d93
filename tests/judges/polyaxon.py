"""Polyaxonfiles: Polyaxon's own reader, then the pods that its own converter makes of what was read."""

import json
import re
from collections.abc import Iterator

import yaml

from . import Fault, Tree, layer
from .pods import asks, pod_faults, schema


def judge(text: str) -> tuple[list[Fault], Tree]:
    import tempfile
    from pathlib import Path

    from polyaxon.polyaxonfile import check_polyaxonfile

    tree = yaml.safe_load(text)
    faults = layer("templates", template_faults(tree))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "job.yaml")
        file.write_text(text)
        try:
            operation = check_polyaxonfile(polyaxonfile=str(file), verbose=False, is_cli=False)
            pods = [pod for run in runs(operation.to_dict()) for pod in polyaxon_pods(run)]
        except Exception as error:  # Polyaxon raises many kinds, and tells the reason in the cause
            return [*faults, ("reader", f"{type(error).__name__}: {error.__cause__ or error}")], {}
    for pod in pods:
        faults += layer("schema", schema({"apiVersion": "v1", "kind": "Pod", "spec": pod}))
        faults += layer("server", pod_faults(pod))
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
