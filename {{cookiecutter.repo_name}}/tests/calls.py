"""What workers are asked to do, apart from the tests, which import the whole package: each worker imports this anew."""

import os
import signal
from pathlib import Path

from {{ cookiecutter.src_package_name }}.errors import Problem


def square(number: int) -> int:
    return number**2


def process(_: int) -> int:
    return os.getpid()


def refuse(number: int) -> int:
    raise Problem(f"call {number} is refused")


def lose(_: int) -> int:
    """End the worker in the middle of its call, as a machine without memory does."""
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


def lose_once(number: int, folder: Path) -> int:
    try:
        (folder / "lost").touch(exist_ok=False)
    except FileExistsError:
        return number**2
    return lose(number)
