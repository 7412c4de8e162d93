"""Lay the chosen overlays over the project, drop the others and say what comes next.

_overlays/<question>/<choice>/ mirrors the project's own folders. No question and no choice
is named here: a new one is a new folder. Standard library only; no network, clock or chance.
"""

import json
import os
import shutil
from pathlib import Path

NEXT = """\
{name} is ready. Next:

    cd {name}
    make setup       # a virtual environment with everything in it
    make pipeline    # from the raw data to a trained, registered model
    git init && git add . && git commit -m "Start from the template"

README.md says the rest, and how to work without make."""


def lay(project: Path, answers: dict[str, str]) -> None:
    """Copy each chosen overlay onto project, then remove them all.

    Of two renders into one folder at the same time, one takes the overlays; the other finds none and leaves it to that.
    """
    taken = project / f"_overlays.{os.getpid()}"
    try:
        (project / "_overlays").rename(taken)
    except FileNotFoundError:
        return
    for question in taken.glob("*"):
        shutil.copytree(question / answers[question.name], project, dirs_exist_ok=True)
    shutil.rmtree(taken)


if __name__ == "__main__":
    answers = json.loads(r"""{{ cookiecutter | tojson }}""")
    lay(Path.cwd(), answers)
    # cruft runs this for every update too, where these words would be wrong.
    if "_output_dir" in answers:
        print(NEXT.format(name=answers["repo_name"]))
