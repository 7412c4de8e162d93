"""Have the models of Run:ai's client judge what would be sent.

.venv-jobs/bin/python ci/specs.py specs/*.yaml
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from runai import models


def faults(file: Path) -> Iterator[str]:
    """Find what Run:ai would refuse, and the keys that its client would drop without a word."""
    for body in yaml.safe_load_all(file.read_text(encoding="utf-8")):
        try:
            known = _model(body).model_validate(body).model_dump(by_alias=True, exclude_unset=True)
        except ValidationError as error:
            yield from (f"{file}: {'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        else:
            yield from (f"{file}: {place}: unknown" for place in _lost(body, known))


def _model(body: dict[str, Any]) -> Any:
    if "manifest" in body:
        return models.WorkloadV2CreateRequest
    if "servingPort" in body["spec"]:
        return models.InferenceCreationRequest
    return models.WorkspaceCreationRequest if "exposedUrls" in body["spec"] else models.TrainingCreationRequest


def _lost(given: Any, kept: Any, place: str = "") -> Iterator[str]:
    if isinstance(given, dict):
        for key, value in given.items():
            if key in kept:
                yield from _lost(value, kept[key], f"{place}.{key}")
            else:
                yield f"{place}.{key}".removeprefix(".")
    elif isinstance(given, list):
        for number, (value, other) in enumerate(zip(given, kept, strict=True)):
            yield from _lost(value, other, f"{place}.{number}")


if __name__ == "__main__":
    found = [fault for name in sys.argv[1:] for fault in faults(Path(name))]
    sys.exit("\n".join(found) or None)
