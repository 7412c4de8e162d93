"""Scikit-learn's own objects, kept by skops: it loads the types that are trusted and no others."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import skops.io

from ..errors import Problem
from ..inputs import Tensors
from ..model import frame, outputs
from ..predictor import Card
from . import Reader

NEEDS = ("scikit-learn", "skops", "numpy", "skl2onnx")
FILE = "model.skops"


def example(inputs: Tensors) -> Any:
    """Give a table, as the pipeline takes it."""
    return frame(inputs)


def write(pipeline: Any, _: Card, folder: Path, trusted: Sequence[str], **described: Any) -> None:
    """Keep a pipeline; raises Problem if it holds types that are not trusted."""
    import mlflow.sklearn

    strangers = sorted(set(skops.io.get_untrusted_types(data=skops.io.dumps(pipeline))) - set(trusted))
    if strangers:
        raise Problem(f"export.trusted lacks {', '.join(strangers)}; add what you know to be safe to conf/export.yaml")
    mlflow.sklearn.save_model(
        pipeline, str(folder), serialization_format="skops", skops_trusted_types=list(trusted), **described
    )


def read(folder: Path, _: int, trusted: Sequence[str]) -> Reader:
    """Load a pipeline; raises Problem if it holds types that are not trusted."""
    strangers = sorted(set(skops.io.get_untrusted_types(file=folder / FILE)) - set(trusted))
    if strangers:
        raise Problem(f"{FILE} holds types that are not trusted: {', '.join(strangers)}; see conf/export.yaml")
    return partial(outputs, skops.io.load(folder / FILE, trusted=list(trusted)))
