"""What a namespace needs once, whatever sends jobs there: a claim, an account, rules of the network, a pod."""

import yaml

from . import Fault, Tree, layer, pods


def judge(text: str) -> tuple[list[Fault], Tree]:
    documents = list(yaml.safe_load_all(text))
    faults = [fault for document in documents for fault in layer("schema", pods.schema(document))]
    for document in documents if not faults else ():
        kind, name, spec = document["kind"], document["metadata"]["name"], document.get("spec", {})
        faults += layer("server", pods.server(document))
        if not pods.DNS.fullmatch(name) or len(name) > 63:
            faults += layer("server", [f"metadata.name: {name!r} is not a DNS name"])
        faults += layer("policy", pods.rule_faults(document))
        if kind == "PersistentVolumeClaim":
            size = spec["resources"]["requests"]["storage"]
            faults += layer("server", [] if pods.QUANTITY.fullmatch(size) else [f"storage: {size!r} is not a quantity"])
        if kind == "Pod":
            faults += [*layer("server", pods.pod_faults(spec)), *layer("policy", pods.policy(spec))]
        if kind in ("Pod", "ServiceAccount") and (spec or document).get("automountServiceAccountToken") is not False:
            faults += layer("policy", ["automountServiceAccountToken: must be false"])
    return faults, {document["kind"]: document["metadata"]["name"] for document in documents}
