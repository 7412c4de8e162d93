"""Send a job to Polyaxon: what jobs/submit.sh runs."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

JOBS = Path(__file__).parent
USAGE = "usage: jobs/submit.sh <job> [key=value …] [--dry-run], where <job> is one of"
WATCH = """\
watch  polyaxon ops statuses --watch {run}
logs   polyaxon ops logs {run}
stop   polyaxon ops stop {run}"""


def main(words: list[str]) -> str | None:
    """Submit the job, or print it; give back what went wrong, if anything did."""
    jobs = sorted(file.stem for file in JOBS.glob("*.yaml"))
    job, *overrides = [word for word in words if word != "--dry-run"] or [""]
    if job not in jobs:
        return f"{USAGE}: {' '.join(jobs)}"
    if overrides and job in ("serve", "workspace"):
        return f"jobs/submit.sh: {job} takes no arguments; change jobs/{job}.yaml instead"
    if any("{" + mark in word for word in overrides for mark in ("{", "%", "#")):
        return "jobs/submit.sh: Polyaxon would take two braces, or a brace with % or #, for a template of its own"
    chosen = settings()
    document = yaml.safe_load((JOBS / f"{job}.yaml").read_text(encoding="utf-8"))
    text = yaml.safe_dump(
        complete(document, overrides, chosen["IMAGE_TAG"]), sort_keys=False, allow_unicode=True, width=1000
    )
    if "--dry-run" in words:
        print(text, end="")
        return None
    return send(job, text, chosen["POLYAXON_PROJECT"])


def settings() -> dict[str, str]:
    """Read jobs/settings.env; the environment's variable of the same name wins."""
    lines = (JOBS / "settings.env").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("=", 1) for line in lines if line and not line.startswith("#"))
    return {key: os.environ.get(key, value) for key, value in pairs}


def complete(document: dict[str, Any], overrides: list[str], tag: str) -> dict[str, Any]:
    """Give the image its tag, and the command its overrides."""
    run = document.get("component", document)["run"]
    run["container"]["image"] += f":{tag}"
    if run["kind"] == "job":
        run["container"]["args"] += [word.replace("$", "$$") for word in overrides]  # $$: Kubernetes expands $(NAME)
    return document


def send(job: str, text: str, project: str) -> str | None:
    """Hand the operation to Polyaxon's client, and say how to follow what it starts."""
    if not shutil.which("polyaxon"):
        return "jobs/submit.sh: polyaxon is not on the PATH; docs/guide/jobs.md says how to install it"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, f"{job}.yaml")
        file.write_text(text, encoding="utf-8")
        command = ["polyaxon", "run", f"--project={project}", f"--file={file}"]
        sent = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    print(sent.stdout, end="")
    if sent.returncode:
        return "jobs/submit.sh: polyaxon run failed; docs/guide/jobs.md says what a job needs"
    found = re.search(r"\b[0-9a-f]{32}\b", sent.stdout)
    run = f"--project={project}" + (f" --uid={found[0]}" if found else "")
    print(WATCH.format(run=run))
    if job in ("serve", "workspace"):
        print(f"open   polyaxon ops service {run}")
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
