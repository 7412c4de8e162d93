"""What the model sees beyond the columns of a row: a function for each input that is worked out from columns.

A function takes whole columns, by the names of their fields in schema.py, and says by its return type what it makes:

    def bill_ratio(bill_length_mm: Numbers, bill_depth_mm: Numbers) -> Numbers:
        return bill_length_mm / bill_depth_mm

    DERIVED = [bill_ratio]

Training, tuning, serving and batch inference all go through it. What is learnt from data, such as a scale, is a step
in conf/inputs/. The service has NumPy and no pandas, Polars or scikit-learn, so this file imports nothing else.
"""

from collections.abc import Callable
from typing import Any

DERIVED: list[Callable[..., Any]] = []
