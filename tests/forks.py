"""Python programs as forks of one process that has imported what they need, which takes longer than most of them do.

A program finds its words, folder, environment and streams as if it had been started by itself. What is imported before
must not look at the environment by then: Polyaxon's settings do, and are left to each program.
"""

import json
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Forks:
    """A process of an environment's Python that has imported some modules."""

    def __init__(self, python: Path, modules: list[str], **environment: str) -> None:
        self._server = subprocess.Popen(
            [python, __file__, *modules],
            env=os.environ | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: object, cwd: Path, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """Run what `python *words` would, a script or -m and a module, to its end."""
        assert self._server.stdin
        assert self._server.stdout
        with tempfile.TemporaryDirectory() as folder:
            said = [Path(folder) / name for name in ("stdout", "stderr")]
            order = {"words": list(map(str, words)), "cwd": str(cwd), "env": dict(env), "streams": list(map(str, said))}
            self._server.stdin.write(f"{json.dumps(order)}\n")
            self._server.stdin.flush()
            status = int(self._server.stdout.readline())
            return subprocess.CompletedProcess(words, status, *(file.read_text(encoding="utf-8") for file in said))

    def close(self) -> None:
        """End it, so that contextlib.closing can."""
        self._server.communicate()


def serve() -> None:
    """Fork for each order; the fork returns from here as another program, and ends as that does."""
    for line in sys.stdin:
        child = os.fork()
        if not child:
            become(json.loads(line))
            return
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def become(order: dict[str, Any]) -> None:
    """Run another program in this process."""
    os.chdir(order["cwd"])
    for number, name in enumerate([os.devnull, *order["streams"]]):
        os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | os.O_APPEND), number)
    os.environ.clear()
    os.environ.update(order["env"])
    sys.dont_write_bytecode = "PYTHONDONTWRITEBYTECODE" in os.environ
    paths = [str(Path(path).absolute()) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    flag, *rest = order["words"]
    if flag == "-m":
        sys.path[:1] = [order["cwd"], *paths]
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.path[:1] = [str(Path(flag).parent.absolute()), *paths]
        sys.argv = [flag, *rest]
        runpy.run_path(flag, run_name="__main__")


if __name__ == "__main__":
    for module in sys.argv[1:]:
        __import__(module)
    serve()
