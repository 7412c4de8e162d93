"""From raw data to predictions: one module for each command, and the parts they share."""

import os
from pathlib import Path

# Said before ONNX Runtime is imported: it would report its use to its makers, and keep a file in /tmp for that.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

CONF = Path(__file__).resolve().parents[2] / "conf"
