"""How much memory there is, and how much a training takes at least."""

import os
from contextlib import suppress
from pathlib import Path

GIB = 2**30
BASE = 0.5 * GIB  # of a training on hardly any rows: libraries, mostly
CELL = 75  # bytes for each row and input, measured on numbers and short categories; words of texts take much more

# Where Linux keeps a container's limit, in versions 2 and 1 of its control groups.
LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def available() -> float | None:
    """Give the bytes that this container or machine has in all; None where the system does not say, as on Windows."""
    found = []
    with suppress(AttributeError, ValueError):  # there is no sysconf on Windows
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for file in LIMITS:
        with suppress(OSError, ValueError):  # without a limit it says max
            found.append(int(file.read_text()))
    return min(found, default=None)


def shortage(rows: int, of_them: int, inputs: int) -> str | None:
    """Say in a line that rows take more memory than there is, and how many may fit; None if they seem to fit.

    `rows` are those of all splits, and `of_them` those of the training split, which can be a sample.
    """
    have, need = available(), BASE + rows * inputs * CELL
    if have is None or need <= have:
        return None
    fit = int((have - BASE) / (inputs * CELL)) - (rows - of_them)
    advice = f"learn from a sample of the training split, such as rows={_rounded(fit)}"
    if fit < 1:
        advice = "give the other splits smaller shares, data.split.valid and data.split.test, since these stay whole"
    return f"{rows} rows take at least {need / GIB:.1f} GiB to train on, and there are {have / GIB:.1f}: {advice}"


def _rounded(rows: int) -> int:
    """Round down to one digit."""
    digits = str(rows)
    return int(digits[0] + "0" * len(digits[1:]))
