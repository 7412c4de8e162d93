"""Read a Grafana dashboard by Grafana's own types, and print what they do not know: nothing, if all is well.

.venv-tools/bin/python tests/judges/dashboard.py monitoring/dashboard.json
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard


def lost(given: Any, kept: Any, place: str = "") -> Iterator[str]:
    """Name what was given and is not kept, or not as it was."""
    if isinstance(given, dict) and isinstance(kept, dict):
        for key, value in given.items():
            yield from lost(value, kept[key], f"{place}/{key}") if key in kept else [f"{place}/{key}: unknown"]
    elif isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        for number, (one, other) in enumerate(zip(given, kept, strict=True)):
            yield from lost(one, other, f"{place}/{number}")
    elif given != kept:
        yield f"{place}: {given!r} is read as {kept!r}"


if __name__ == "__main__":
    plugins.register_default_plugins()
    given = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    faults = list(lost(given, json.loads(JSONEncoder().encode(Dashboard.from_json(given)))))
    print("\n".join(faults))
    sys.exit(bool(faults))
