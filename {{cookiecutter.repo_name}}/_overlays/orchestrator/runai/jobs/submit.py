"""Send a job to Run:ai by its REST interface: what jobs/submit.sh runs."""

import json
import os
import shlex
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import yaml

JOBS = Path(__file__).parent
NAMES = JOBS.parent / ".env.example"  # of the variables that this secret holds:
HOLDER = "{{ cookiecutter.repo_name }}-env"
USAGE = "usage: jobs/submit.sh <job> [key=value …] [--dry-run], where <job> is one of"
KINDS = {"workspace": "workspace", "serve": "inference"}  # all others are trainings
NEEDED = ("RUNAI_URL", "RUNAI_PROJECT_ID", "RUNAI_CLUSTER_ID", "RUNAI_CLIENT_ID", "RUNAI_CLIENT_SECRET")
ADVICE = {
    401: "the client id or secret is wrong",
    403: "the access key may not submit to this project",
    404: "RUNAI_URL is not the address of a Run:ai console",
    409: "a workload of this name exists already",
}
WATCH = """\
sent   {name}
watch  runai {kind} describe {name}
logs   runai {kind} logs {name} --follow
stop   runai {kind} delete {name}"""


def main(words: list[str]) -> str | None:
    """Submit the job, or print it; give back what went wrong, if anything did."""
    jobs = sorted(file.stem for file in JOBS.glob("*.yaml"))
    job, *overrides = [word for word in words if word != "--dry-run"] or [""]
    if job not in jobs:
        return f"{USAGE}: {' '.join(jobs)}"
    if overrides and job in ("serve", "workspace"):
        return f"jobs/submit.sh: {job} takes no arguments; change jobs/{job}.yaml instead"
    chosen = settings()
    text = (JOBS / f"{job}.yaml").read_text(encoding="utf-8")
    workers = [[f"study.worker={n}"] for n in range(int(chosen["TUNE_WORKERS"]))] if job == "tune" else [[]]
    bodies = [complete(yaml.safe_load(text), [*worker, *overrides], chosen) for worker in workers]
    if "--dry-run" in words:
        print(yaml.safe_dump_all(bodies, sort_keys=False, allow_unicode=True, width=1000), end="")
        return None
    return send(KINDS.get(job, "training"), bodies, chosen)


def settings() -> dict[str, str]:
    """Read jobs/settings.env; the environment's variable of the same name wins."""
    pairs = variables(JOBS / "settings.env")
    secret = {name: os.environ.get(name, "") for name in NEEDED[-2:]}
    return secret | {key: os.environ.get(key, value) for key, value in pairs.items()}


def variables(file: Path) -> dict[str, str]:
    """Read the lines NAME=value of a file."""
    lines = file.read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def complete(body: dict[str, Any], overrides: list[str], chosen: dict[str, str]) -> dict[str, Any]:
    """Add the project, the image's tag, the overrides, and each variable of the secret by its name."""
    spec = body["spec"]
    spec["image"] += ":" + chosen["IMAGE_TAG"]
    spec["args"] = " ".join([spec["args"], *(shlex.quote(word.replace("$", "$$")) for word in overrides)])
    held = [{"name": name, "secret": {"name": HOLDER, "key": name}} for name in variables(NAMES)]
    spec["environmentVariables"] += held
    return {**body, "projectId": chosen["RUNAI_PROJECT_ID"], "clusterId": chosen["RUNAI_CLUSTER_ID"]}


def send(kind: str, bodies: list[dict[str, Any]], chosen: dict[str, str]) -> str | None:
    """Post the bodies, and say how to follow what they start."""
    missing = [name for name in NEEDED if not chosen[name]]
    if missing:
        return f"jobs/submit.sh: {', '.join(missing)} not set; docs/guide/jobs.md says where each comes from"
    key = {"clientId": chosen["RUNAI_CLIENT_ID"], "clientSecret": chosen["RUNAI_CLIENT_SECRET"]}
    url = chosen["RUNAI_URL"].rstrip("/") + "/api/v1/"
    try:
        token = post(url + "token", {"grantType": "client_credentials", **key})["accessToken"]
        for body in bodies:
            made = post(url + f"workloads/{kind}s", body, {"Authorization": f"Bearer {token}"})
            print(WATCH.format(kind=kind, name=made["name"]))
    except urllib.error.HTTPError as error:
        answer = error.read().decode(errors="replace")
        return f"jobs/submit.sh: Run:ai answered {error.code}: {ADVICE.get(error.code, error.reason)}\n{answer}"
    except (OSError, ValueError) as error:  # no connection, no address, or no JSON
        return f"jobs/submit.sh: {chosen['RUNAI_URL']} does not answer as Run:ai does: {error}"
    return None


def post(url: str, body: dict[str, Any], headers: dict[str, str] | None = None) -> dict[str, Any]:
    """Post JSON and read the JSON that comes back."""
    headers = {"Content-Type": "application/json", **(headers or {})}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers, method="POST")  # noqa: S310 - the team's
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        result: dict[str, Any] = json.load(answer)
    return result


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
