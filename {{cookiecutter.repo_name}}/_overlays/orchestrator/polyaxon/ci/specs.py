"""Have Polyaxon's own reader judge what would be sent.

.venv-jobs/bin/python ci/specs.py specs/*.yaml
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import yaml
from polyaxon.exceptions import PolyaxonException
from polyaxon.polyaxonfile import get_op_specification, get_specification


def faults(file: Path) -> Iterator[str]:
    """Find what Polyaxon would refuse."""
    operation, *presets = yaml.safe_load_all(file.read_text(encoding="utf-8"))
    try:
        get_op_specification(get_specification(operation), preset_files=presets)
    except (PolyaxonException, ValueError) as error:
        yield f"{file}: {' '.join(str(error.__cause__ or error).split())}"


if __name__ == "__main__":
    found = [fault for name in sys.argv[1:] for fault in faults(Path(name))]
    sys.exit("\n".join(found) or None)
