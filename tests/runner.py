"""GitLab's runner, played by gitlab-ci-local: it runs a project's jobs in containers, whose images are stand-ins.

What a job would tell a cluster or a registry is recorded by what stands in for their clients.
"""

import graphlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from conftest import run
from containers import TOOLBOX, Engine
from specs import STAND_IN, TOOLS

NODE = TOOLS / "node"
PROGRAM = TOOLS.parent / "node_modules" / "gitlab-ci-local" / "dist" / "index.js"
TEMPLATES = Path(__file__).with_name("gitlab")
SEEDS = ".gitlab-ci-local/includes/gitlab.com/gitlab-org/gitlab/-/raw/HEAD/lib/gitlab/ci/templates/Jobs"

# Stand-ins of analysers and of GitLab's command line only answer with what they were asked.
HELPER = "docker.io/firecow/gitlab-ci-local-util:latest"
ANALYZER = """\
FROM {base}
RUN printf '#!/bin/sh\\necho "$0 $*"\\n' > /analyzer && chmod +x /analyzer && cp /analyzer /usr/local/bin/gtcs
"""


@dataclass(frozen=True)
class Outcome:
    """How a run of jobs ended: what the runner printed, and of each job whether it passed."""

    code: int
    text: str
    passed: dict[str, bool]

    def said(self, job: str) -> str:
        """What a job's scripts printed."""
        lines = re.findall(rf"^{re.escape(job)} +> (.*)$", self.text, re.M)
        return "\n".join(lines)


@dataclass
class Runner:
    """A project as a runner finds it, with the state that GitLab would hand it."""

    project: Path
    engine: Engine
    volumes: dict[Path, str] = field(default_factory=dict)  # what is laid over a job's container
    variables: dict[str, str] = field(default_factory=dict)  # what the team has set on GitLab
    files: dict[str, dict[str, str]] = field(default_factory=dict)  # of the type File, by environment

    def __post_init__(self) -> None:
        shutil.copytree(TEMPLATES, self.project / SEEDS)
        for words in (
            ["init", "--quiet", "--initial-branch=main"],
            ["remote", "add", "origin", "git@gitlab.com:acme/my-ml-project.git"],
            ["add", "--all"],
            ["commit", "--quiet", "--message=First"],
            ["update-ref", "refs/remotes/origin/main", "HEAD"],
            ["symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/main"],
        ):
            self.git(*words)

    def git(self, *words: str) -> str:
        who = ["-c", "user.name=ci", "-c", "user.email=ci@example.invalid"]
        done = subprocess.run(["git", *who, *words], cwd=self.project, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def call(self, *words: str, event: Mapping[str, str] = {}) -> subprocess.CompletedProcess[str]:
        """Call gitlab-ci-local. It is killed when late: a circle of needs makes it deaf to anything else."""
        set_ = [word for pair in {**self.variables, **event}.items() for word in ("--variable", "=".join(pair))]
        given = ["--ignore-predefined-vars", ",".join(event)] if event else []
        return subprocess.run(
            [NODE, PROGRAM, "--no-color", *words, *set_, *given],
            cwd=self.project,
            env=os.environ
            | self.engine.environment
            | {"HOME": str(self.project.parent), "EMAIL": "ci@example.invalid"},
            capture_output=True,
            text=True,
            timeout=1800,
        )

    def preview(self) -> dict[str, Any]:
        """The pipeline with includes and extensions resolved."""
        done = self.call("--preview")
        assert done.returncode == 0, done.stderr
        whole: dict[str, Any] = yaml.safe_load(done.stdout)
        return whole

    def faults(self) -> dict[str, str]:
        """What is wrong with the pipeline, by who finds it: GitLab's schema, the runner, or what neither sees."""
        seen = self.call("--preview", "--no-json-schema-validation")
        if seen.returncode:
            return {"runner": seen.stderr}
        whole = yaml.safe_load(seen.stdout)
        file = self.project.with_suffix(".json")
        file.write_text(json.dumps(whole))
        found = {"circle": circle(whole), "two kinds of rules": mixed(whole)}
        done = run(TOOLS / "check-jsonschema", "--builtin-schema", "vendor.gitlab-ci", file, cwd=self.project)
        found["schema"] = done.stdout if done.returncode else ""
        if not found["circle"]:  # which would make this call endless
            chain = self.call("--validate-dependency-chain")
            found["chain"] = chain.stdout + chain.stderr if chain.returncode else ""
        return {layer: text for layer, text in found.items() if text}

    def jobs(self, event: Mapping[str, str] = {}) -> dict[str, str]:
        """The jobs of the pipeline that an event starts, and when each runs."""
        done = self.call("--list-json", "--no-evaluate-rule-changes", event=event)
        assert done.returncode == 0, done.stderr
        return {job["name"]: job["when"] for job in json.loads(done.stdout) if job["when"] != "never"}

    def run(self, *jobs: str, event: Mapping[str, str] = {}) -> Outcome:
        """Run jobs, in the order of their stages."""
        kept = {name: {"type": "file", "values": values} for name, values in self.files.items()}
        (self.project / ".gitlab-ci-local-variables.yml").write_text(yaml.safe_dump(kept))
        laid = [word for pair in self.volumes.items() for word in ("--volume", f"{pair[0]}:{pair[1]}")]
        done = self.call(
            *("--container-executable", "podman", "--pull-policy", "if-not-present", "--network", "host"),
            *("--no-evaluate-rule-changes", *laid, *jobs),
            event=event,
        )
        text = re.sub(r"^.*still running\.\.\.\n", "", done.stdout + done.stderr, flags=re.M)  # on a busy machine
        ended = re.findall(r"^ ?(PASS|FAIL|WARN) +(?:\[.*?\] +)?(.*?)(?: +pre_script| \d+% coverage)?$", text, re.M)
        return Outcome(done.returncode, text, {name.strip(): word == "PASS" for word, name in ended})


def needs(job: Mapping[str, Any]) -> list[str]:
    """The jobs that a job waits for."""
    return [need if isinstance(need, str) else need["job"] for need in job.get("needs") or []]


def circle(pipeline: Mapping[str, Any]) -> str:
    """Say which jobs wait for each other."""
    jobs = {name: job for name, job in pipeline.items() if isinstance(job, dict) and "script" in job}
    try:
        graphlib.TopologicalSorter({name: needs(job) for name, job in jobs.items()}).prepare()
    except graphlib.CycleError as found:
        return " needs ".join(found.args[1])
    return ""


def mixed(pipeline: Mapping[str, Any]) -> str:
    """Say which jobs have rules and also what rules took the place of."""
    jobs = {name: job for name, job in pipeline.items() if isinstance(job, dict)}
    return " ".join(name for name, job in jobs.items() if "rules" in job and job.keys() & {"only", "except"})


def stand_ins(engine: Engine, pipeline: Mapping[str, Any]) -> None:
    """Make an image for each name in the pipeline."""
    engine.with_packages(TOOLBOX, "git", "make", "curl", "rsync", "jq")
    engine.build(HELPER, ANALYZER.format(base=TOOLBOX))
    for name in images(pipeline):
        if "buildah" in name:
            engine.with_packages(name, "buildah", "crun", "netavark", "curl", "git")
        elif not engine.has(name):
            engine.run("podman", "tag", HELPER, name)


def images(pipeline: Mapping[str, Any]) -> set[str]:
    """The images that jobs run in."""
    found = [job["image"] for job in pipeline.values() if isinstance(job, dict) and "image" in job]
    named = {image if isinstance(image, str) else image["name"] for image in found}
    return {pipeline["variables"][name[1:]] if name.startswith("$") else name for name in named}


def recorder(folder: Path, name: str) -> dict[Path, str]:
    """Write a stand-in for a command-line client; gives what to lay over containers so that it records in folder."""
    file, record = folder / f"{name}.sh", folder / name
    record.mkdir()
    file.write_text(STAND_IN.replace("\n", f"\nRECORD=/record/{name} ANSWER=\n", 1))
    file.chmod(0o755)
    return {file: f"/usr/local/bin/{name}:ro", record: f"/record/{name}"}


# A cluster that takes what it is given, finishes every job but the one that FAILS names, which fails in prepare, and
# has a service at the port that SERVICE_PORT names.
KUBECTL = r"""#!/bin/sh
record=${RECORD:-/record/kubectl}
number=0
until (set -C; : > "$record/words-$number") 2> /dev/null; do number=$((number + 1)); done
printf '%s\n' "$@" > "$record/words-$number"
case "$*" in
  kustomize*) exec "${REAL:-/usr/local/lib/kubectl}" "$@" ;;
  *--filename=-*)
    { cat "$KUBECONFIG"; printf '\n---\n'; cat; } > "$record/sent-$number"
    if grep -q '^kind: Job' "$record/sent-$number"
    then echo "job.batch/$(sed -n 's/^  generateName: //p' "$record/sent-$number")x7k2p"
    else echo deployment.apps/my-ml-project-serve
    fi ;;
  *port-forward*) echo "Forwarding from 127.0.0.1:$SERVICE_PORT -> 8000"; exec sleep 60 ;;
  *"get pods"*)
    steps='{"initContainerStatuses": [{"name": "prepare", "state": {"terminated": {"exitCode": 1}}}]}'
    echo "{\"items\": [${FAILS:+{\"status\": $steps\}}]}" ;;
  *"get job.batch/my-ml-project-${FAILS:-none}-"*)
    echo '{"status": {"conditions": [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}]}}' ;;
  *"get job"*) echo '{"status": {"succeeded": 1, "conditions": [{"type": "Complete", "status": "True"}]}}' ;;
  *"get deployment"*)
    echo '{"metadata": {"generation": 1}, "spec": {"replicas": 2},
      "status": {"observedGeneration": 1, "updatedReplicas": 2, "readyReplicas": 2, "replicas": 2}}' ;;
  *"logs"*"${FAILS:-none}-"*) echo "2 bad row(s), nothing written" ;;
  *logs*) echo "my-ml-project version 7: promoted to champion" ;;
esac
"""


def cluster(folder: Path) -> dict[Path, str]:
    """Write a stand-in for kubectl; only what needs no cluster is the real one's."""
    file, record = folder / "kubectl.sh", folder / "kubectl"
    record.mkdir()
    file.write_text(KUBECTL)
    file.chmod(0o755)
    real = (TOOLS / "kubectl").absolute()
    return {file: "/usr/local/bin/kubectl:ro", record: "/record/kubectl", real: "/usr/local/lib/kubectl:ro"}
