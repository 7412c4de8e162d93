"""What the tests of job specs share: submitting, and asking the orchestrators' own code for a verdict."""

import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from conftest import ROOT, run

# Where `make tools` puts the orchestrators' clients, whose dependencies are not the suite's.
TOOLS = Path(os.environ.get("TOOLS", ROOT / ".venv-tools")) / "bin"

VERBS = ("prepare", "train", "train-gpu", "train-fraction", "pipeline", "tune", "infer", "doctor")
SERVICES = ("serve", "workspace", "jupyter")
DASK = ("dask", "dask-workers")
SCHEDULES = ("infer-schedule", "pipeline-schedule")
JOBS = (*VERBS, *SERVICES, *DASK, *SCHEDULES)
# Of all that a shell, YAML, Kubernetes' $(NAME) or Polyaxon's templates might take for their own.
NOTE = """it's a "test" of $HOME, $$, ${x} and $(id), {{ y }} and {% z"""
OVERRIDES = ["model=forest", '+note="{}"'.format(NOTE.replace('"', '\\"')), "+a={b: [1, 2]}"]
SENT = ["note=it's $(id)", "model=forest"]

Verdict = dict[str, Any]  # of one spec: {"faults": [[layer, what is wrong], …], "asks": …}
Stand = Callable[..., dict[str, str]]


def submit(project: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Call jobs/submit.sh of a render."""
    venv = Path(sys.executable).parents[1]
    # The tools' kubectl comes last, for machines that have none.
    path = os.pathsep.join([environment.pop("PATH", os.environ["PATH"]), str(TOOLS.absolute())])
    return run("jobs/submit.sh", *words, cwd=project, VENV=str(venv), PATH=path, **environment)


@functools.cache
def dry_run(project: Path, job: str) -> str:
    """What would be sent for a job, with difficult overrides where it takes any."""
    done = submit(project, job, *(OVERRIDES if job in VERBS else []), "--dry-run")
    assert done.returncode == 0, done.stderr
    return done.stdout


@functools.cache
def judge(orchestrator: str, *texts: str) -> list[Verdict]:
    """Have specs judged, all in one process: the clients' imports are slow."""
    assert TOOLS.exists(), f"{TOOLS.parent} is missing: run `make tools` first"
    done = subprocess.run(
        [TOOLS / "python", "-m", "judges", orchestrator],
        input=json.dumps(texts),
        cwd=ROOT / "tests",
        env=os.environ | {"POLYAXON_NO_OP": "true", "PATH": os.pathsep.join([str(TOOLS), os.environ["PATH"]])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    verdicts: list[Verdict] = json.loads(done.stdout)
    return verdicts


STAND_IN = """\
#!/bin/sh
# Keeps each call's words and what it is given, and answers as it is told to, by the first word where that matters.
case $1 in kustomize) exec "$REAL" "$@" ;; esac
number=0    # the first that no other call has taken, since jobs run side by side
until (set -C; : > "$RECORD/words-$number") 2> /dev/null; do number=$((number + 1)); done
printf '%s\\n' "$@" > "$RECORD/words-$number"
for word; do case $word in --file=*) cat "${word#--file=}" > "$RECORD/sent-$number" ;; esac; done
case "$*" in *--filename=-*) cat > "$RECORD/sent-$number" ;; esac
for word; do
  if [ -e "$RECORD/refuse-$word" ]; then cat "$RECORD/refuse-$word" >&2; exit 1; fi
done
printf '%s\\n' "$ANSWER"
"""


def stand_in(folder: Path, name: str, answer: str, refuse: dict[str, str] | None = None) -> dict[str, str]:
    """Put a stand-in for a command-line client on the PATH of the environment that is returned.

    `refuse` maps a word, such as get, to what the client says when it fails a call with that word in it.
    """
    record = folder / f"{name}-calls"
    record.mkdir(exist_ok=True)
    for word, text in (refuse or {}).items():
        (record / f"refuse-{word}").parent.mkdir(exist_ok=True)
        (record / f"refuse-{word}").write_text(text)
    (folder / name).write_text(STAND_IN)
    (folder / name).chmod(0o755)
    path = os.pathsep.join([str(folder), os.environ["PATH"]])
    real = str((TOOLS / name).absolute())  # does what needs no cluster
    return {"PATH": path, "RECORD": str(record), "ANSWER": answer, "REAL": real}


def calls(environment: dict[str, str]) -> list[tuple[list[str], str]]:
    """The calls of a stand-in: the words of each, and what it was given."""
    record = Path(environment["RECORD"])
    found = sorted(record.glob("words-*"), key=lambda file: int(file.name.partition("-")[2]))
    sent = [record / file.name.replace("words", "sent") for file in found]
    return [(w.read_text().splitlines(), s.read_text() if s.exists() else "") for w, s in zip(found, sent, strict=True)]
