"""From raw data to predictions: one module for each command, and the parts they share."""

from pathlib import Path

CONF = Path(__file__).resolve().parents[2] / "conf"
