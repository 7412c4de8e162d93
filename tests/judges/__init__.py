"""Judge job specs by each orchestrator's own code, and say in one form what they ask for.

Those tools need older libraries than the suite does: `make tools` gives them an environment of their own, whose
Python runs `-m judges` with the orchestrator's name. It reads a JSON list of specs, each as submit.sh prints it, and
writes for each {"faults": [[layer, what is wrong], …], "asks": …}.
"""

from collections.abc import Iterable
from typing import Any

Tree = dict[str, Any]
Fault = tuple[str, str]  # the layer that refuses, and why


def layer(name: str, faults: Iterable[str]) -> list[Fault]:
    """Say which layer found faults."""
    return [(name, fault) for fault in faults]
