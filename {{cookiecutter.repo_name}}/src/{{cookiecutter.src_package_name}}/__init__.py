"""From raw data to predictions: one module for each command, and the parts they share."""

import os
import sys
from pathlib import Path
from types import TracebackType

from .errors import Problem, mistake

# Said before ONNX Runtime is imported: it would report its use to its makers, and keep a file in /tmp for that.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# Said before MLflow is imported, because it looks only then: no bar for each of a model's few small files, and no word
# to its makers about who trains what.
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # commands print where a run is, first of all

CONF = Path(__file__).resolve().parents[2] / "conf"


def _tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Tell a problem in a line, whenever it is met: a mistake in a file that a team writes may be met in imports."""
    if isinstance(error, Problem):
        print(error, file=sys.stderr)
    elif line := mistake(error):
        print(line, file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _tell
