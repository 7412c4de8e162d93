"""Have Kubernetes' schemas judge what would be sent.

.venv-jobs/bin/python ci/specs.py specs/*.yaml
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import kubernetes_validate
import yaml

KUBERNETES = "1.36"  # the release that the cluster runs


def faults(file: Path) -> Iterator[str]:
    """Find what the server would refuse or, worse, drop without a word."""
    for document in yaml.safe_load_all(file.read_text(encoding="utf-8")):
        try:
            kubernetes_validate.validate(document, KUBERNETES, strict=True)
        except kubernetes_validate.ValidationError as error:
            place = ".".join(map(str, error.path))
            yield f"{file}: {document['kind']} {document['metadata'].get('name', '')}: {place}: {error.message}"


if __name__ == "__main__":
    found = [fault for name in sys.argv[1:] for fault in faults(Path(name))]
    sys.exit("\n".join(found) or None)
