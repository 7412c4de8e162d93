"""Send a job to Kubernetes: what jobs/submit.sh runs."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

JOBS = Path(__file__).parent
USAGE = "usage: jobs/submit.sh <job> [key=value …] [--dry-run], where <job> is one of"
WATCH = {
    "job": """\
watch  {kubectl} get {name} --watch
logs   {kubectl} logs --follow --prefix --selector=job-name={short}
stop   {kubectl} delete {name}""",
    "deployment": """\
watch  {kubectl} rollout status {name}
logs   {kubectl} logs --follow --prefix --selector=app.kubernetes.io/component=serve
open   {kubectl} port-forward {name} 8000    # then http://localhost:8000/docs
stop   {kubectl} delete {name} service/{short}""",
    "statefulset": """\
watch  {kubectl} rollout status {name}
logs   {kubectl} logs --follow {name}
open   {kubectl} port-forward {name} 8080    # then http://localhost:8080
stop   {kubectl} delete {name} service/{short}""",
}


def main(words: list[str]) -> str | None:
    """Submit the job, or print it; give back what went wrong, if anything did."""
    jobs = sorted(file.stem for file in JOBS.glob("*.yaml"))
    job, *overrides = [word for word in words if word != "--dry-run"] or [""]
    if job not in jobs:
        return f"{USAGE}: {' '.join(jobs)}"
    if overrides and job in ("serve", "workspace"):
        return f"jobs/submit.sh: {job} takes no arguments; change jobs/{job}.yaml instead"
    chosen = settings()
    documents = yaml.safe_load_all((JOBS / f"{job}.yaml").read_text(encoding="utf-8"))
    text = yaml.safe_dump_all(
        [complete(document, overrides, chosen["IMAGE_TAG"]) for document in documents],
        sort_keys=False,
        allow_unicode=True,
        width=1000,
    )
    if "--dry-run" in words:
        print(text, end="")
        return None
    return send(text, chosen["NAMESPACE"])


def settings() -> dict[str, str]:
    """Read jobs/settings.env; the environment's variable of the same name wins."""
    lines = (JOBS / "settings.env").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("=", 1) for line in lines if line and not line.startswith("#"))
    return {key: os.environ.get(key, value) for key, value in pairs}


def complete(document: dict[str, Any], overrides: list[str], tag: str) -> dict[str, Any]:
    """Give the image its tag, the command its overrides, and each run of a job a name of its own."""
    if document["kind"] == "Service":
        return document
    container = document["spec"]["template"]["spec"]["containers"][0]
    container["image"] += f":{tag}"
    if document["kind"] == "Job":
        document["metadata"]["generateName"] = document["metadata"].pop("name") + "-"
        container["args"] += [word.replace("$", "$$") for word in overrides]  # $$: Kubernetes expands $(NAME)
    return document


def send(text: str, namespace: str) -> str | None:
    """Hand the documents to kubectl, and say how to follow what they start."""
    if not shutil.which("kubectl"):
        return "jobs/submit.sh: kubectl is not on the PATH; see https://kubernetes.io/docs/tasks/tools"
    kubectl = ["kubectl", f"--namespace={namespace}"] if namespace else ["kubectl"]
    verb = "create" if "generateName" in text else "apply"
    command = [*kubectl, verb, "--filename=-", "--output=name"]
    sent = subprocess.run(command, input=text, stdout=subprocess.PIPE, text=True, check=False)
    if sent.returncode:
        return f"jobs/submit.sh: kubectl {verb} failed; docs/guide/jobs.md says what a job needs"
    name = sent.stdout.split()[0]  # such as job.batch/penguins-train-x7k2p
    kind, short = name.split("/")
    print(f"sent   {name}")
    print(WATCH[kind.split(".")[0]].format(kubectl=" ".join(kubectl), name=name, short=short))
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
