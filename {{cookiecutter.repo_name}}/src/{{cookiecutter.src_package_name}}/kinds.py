"""The words for what a column holds, and the arrays that functions in features.py take and give."""

from enum import StrEnum
from typing import Annotated

import numpy as np
from numpy.typing import NDArray


class Kind(StrEnum):
    """What a column holds. Its type says so, unless a mark says otherwise, as in Annotated[int, Kind.CATEGORY]."""

    NUMBER = "number"  # float, int
    CATEGORY = "category"  # str, Literal: one of some values that come again
    BOOLEAN = "boolean"  # bool
    DATE = "date"  # datetime.date
    TIME = "time"  # datetime.datetime; without a zone it counts as UTC
    TEXT = "text"  # words, by a mark only


# Marks a column that the model does not see: a group to split by, a weight, or what only features.py looks at.
ASIDE = "aside"

# Whole columns, as arrays of shape (rows,). A missing value is NaN, NaT or "". Booleans are numbers: 0 and 1.
Numbers = Annotated[NDArray[np.float64], Kind.NUMBER]
Categories = Annotated[NDArray[np.object_], Kind.CATEGORY]
Texts = Annotated[NDArray[np.object_], Kind.TEXT]
Dates = NDArray[np.datetime64]
