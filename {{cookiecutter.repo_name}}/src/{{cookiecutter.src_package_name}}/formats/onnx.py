"""ONNX: small, fast, and read by ONNX Runtime without any training library."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnxruntime

from ..inputs import Tensors, kinds
from ..predictor import Card, Outputs
from . import Reader

NEEDS = ("onnx", "onnxruntime", "numpy")
FILE = "model.onnx"


def example(inputs: Tensors) -> Any:
    """Give the arrays as they are."""
    return inputs


def write(pipeline: Any, card: Card, folder: Path, _: Sequence[str], **described: Any) -> None:
    """Keep a pipeline; raises Problem if a step of it has no ONNX form."""
    import mlflow.onnx

    from ..convert import to_onnx

    graph = to_onnx(pipeline, kinds(card.inputs), None if card.classes is None else len(card.classes))
    mlflow.onnx.save_model(graph, str(folder), onnx_execution_providers=["CPUExecutionProvider"], **described)


def read(folder: Path, threads: int, _: Sequence[str]) -> Reader:
    """Load a model into ONNX Runtime."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(folder / FILE, options, providers=["CPUExecutionProvider"])

    def answer(inputs: Tensors) -> Outputs:
        found = session.run(None, inputs)
        return found[0], found[1] if len(found) > 1 else None

    return answer
