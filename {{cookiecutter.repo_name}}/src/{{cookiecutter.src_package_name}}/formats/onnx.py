"""ONNX: small, fast, and read by ONNX Runtime without any training library."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as runtime

from ..errors import Problem
from ..inputs import Tensors, kinds
from ..predictor import Card, Outputs
from . import Reader

FILE = "model.onnx"
NEEDS = ("onnx", "onnxruntime", "numpy")

# What ONNX Runtime raises for a model that it cannot load, or rows that it cannot pass through one.
FAILURES = (
    *(runtime.Fail, runtime.InvalidArgument, runtime.InvalidGraph, runtime.InvalidProtobuf),
    *(runtime.NotImplemented, runtime.RuntimeException),
)


def example(inputs: Tensors) -> Any:
    """Give the arrays as they are."""
    return inputs


def write(pipeline: Any, card: Card, folder: Path, _: Sequence[str], **described: Any) -> None:
    """Keep a pipeline; raises Problem if a step of it has no ONNX form."""
    import mlflow.onnx

    from ..convert import to_onnx  # which needs the training libraries

    graph = to_onnx(pipeline, kinds(card.inputs), None if card.classes is None else len(card.classes))
    mlflow.onnx.save_model(graph, str(folder), onnx_execution_providers=["CPUExecutionProvider"], **described)


def read(folder: Path, threads: int, _: Sequence[str]) -> Reader:
    """Load a model into ONNX Runtime; raises Problem, as its answers do, if the file is damaged."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # it warns of what was converted as it is
    try:
        session = onnxruntime.InferenceSession(folder / FILE, options, providers=["CPUExecutionProvider"])
    except FAILURES as error:
        raise Problem(f"{FILE} cannot be loaded: is it whole? ({_reason(error)})") from error

    def answer(inputs: Tensors) -> Outputs:
        try:
            found = session.run(None, inputs)
        except FAILURES as error:
            raise Problem(f"{FILE} cannot answer ({_reason(error)}); keep it with export.format=skops") from error
        return found[0], found[1] if len(found) > 1 else None

    return answer


def _reason(error: Exception) -> str:
    return str(error).splitlines()[0].rsplit(" : ", 1)[-1][:200]
