"""The CI pipeline is valid, runs once for each push, and its scripts do what they should."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import CHOICES, CONTEXTS, ROOT, Render, run

TOOLS = Path(os.environ.get("TOOLS", ROOT / ".venv-tools")) / "bin"  # of `make tools`
GLOBAL = {"include", "stages", "variables", "workflow", "default"}

Pipeline = dict[str, Any]

# Faults of different kinds: what to change in the merged pipeline, and into what.
BROKEN = [
    ("  interruptible: true", "  interuptible: true"),
    ("build:", "image:"),
    ("junit: report.xml", "junits: report.xml"),
    ("max: 1", "max: 9"),
    ("- if: $CI_COMMIT_TAG", "- iff: $CI_COMMIT_TAG"),
    ("when: manual", "when: by hand"),
    ("matrix:", "matrices:"),
]


def merge(base: Any, above: Any) -> Any:
    """Lay one part over another as GitLab does: maps are merged, all else is replaced."""
    if isinstance(base, dict) and isinstance(above, dict):
        return base | {key: merge(base.get(key), value) for key, value in above.items()}
    return above


def merged(project: Path) -> Pipeline:
    """The pipeline with its includes resolved."""
    main = yaml.safe_load((project / ".gitlab-ci.yml").read_text(encoding="utf-8"))
    whole: Pipeline = {}
    for part in main.pop("include"):
        whole = merge(whole, yaml.safe_load((project / part["local"]).read_text(encoding="utf-8")))
    result: Pipeline = merge(whole, main)
    return result


def job(pipeline: Pipeline, name: str) -> Pipeline:
    """A job with all that it extends."""
    own = pipeline[name]
    whole: Pipeline = merge(job(pipeline, own["extends"]), own) if "extends" in own else own
    return whole


def jobs(pipeline: Pipeline) -> dict[str, Pipeline]:
    return {name: job(pipeline, name) for name in pipeline if name not in GLOBAL and name[0] != "."}


def holds(condition: str, variables: dict[str, str]) -> bool:
    """Decide a rule of the form $A == "b" && $C."""

    def value(word: str) -> str:
        return variables.get(word[1:], "") if word.startswith("$") else word.strip('"')

    def term(text: str) -> bool:
        left, equals, right = text.partition(" == ")
        return value(left) == value(right) if equals else bool(value(left))

    return all(term(text) for text in condition.split(" && "))


def outcome(rules: list[Pipeline], variables: dict[str, str]) -> str:
    """Say what the first rule that holds decides."""
    return next((rule.get("when", "on_success") for rule in rules if holds(rule["if"], variables)), "never")


def schema_check(*files: Path) -> subprocess.CompletedProcess[str]:
    schema = ["--builtin-schema", "vendor.gitlab-ci", "--data-transform", "gitlab-ci"]
    return run(TOOLS / "check-jsonschema", *schema, *files, cwd=files[0].parent)


@pytest.fixture(scope="session")
def pipeline(render: Render) -> Pipeline:
    return merged(render())


def test_every_pipeline_is_valid(render: Render, tmp_path: Path) -> None:
    files = [tmp_path / f"{'-'.join(context.values())}.json" for context in CONTEXTS]
    for file, context in zip(files, CONTEXTS, strict=True):
        file.write_text(json.dumps(merged(render(**context))))
    done = schema_check(*files)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(("old", "new"), BROKEN)
def test_a_broken_pipeline_is_refused(pipeline: Pipeline, tmp_path: Path, old: str, new: str) -> None:
    text = yaml.safe_dump(pipeline, sort_keys=False)
    assert old in text
    (tmp_path / "broken.yml").write_text(text.replace(old, new, 1))
    assert schema_check(tmp_path / "broken.yml").returncode


@pytest.mark.parametrize("platform", CHOICES["platform"])
def test_jobs_know_what_they_name(render: Render, platform: str) -> None:
    """Stages, needed jobs, make targets and container files exist."""
    project = render(platform=platform)
    pipeline = merged(project)
    targets = set(re.findall(r"^(\w[\w-]*):", (project / "Makefile").read_text(encoding="utf-8"), re.M))
    for name, found in jobs(pipeline).items():
        assert found["stage"] in pipeline["stages"], name
        assert set(found.get("needs", [])) <= jobs(pipeline).keys(), name
        for line in found["script"]:
            assert not line.startswith("make ") or set(line.split()[1:]) <= targets, line
        for axes in found.get("parallel", {}).get("matrix", []):
            for role in axes["ROLE"]:
                assert (project / "docker" / f"{role}.Dockerfile").exists(), role


@pytest.mark.parametrize(
    ("event", "starts"),
    [
        ({"CI_COMMIT_BRANCH": "topic"}, True),
        ({"CI_COMMIT_BRANCH": "topic", "CI_OPEN_MERGE_REQUESTS": "team/project!1"}, False),
        ({"CI_PIPELINE_SOURCE": "merge_request_event"}, True),
        ({"CI_COMMIT_TAG": "1.0.0"}, True),
        ({}, False),
    ],
)
def test_a_push_starts_one_pipeline(pipeline: Pipeline, event: dict[str, str], starts: bool) -> None:
    assert (outcome(pipeline["workflow"]["rules"], event) != "never") is starts


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ({"CI_COMMIT_BRANCH": "topic"}, {"check", "docs"}),
        ({"CI_PIPELINE_SOURCE": "merge_request_event"}, {"check", "docs"}),
        ({"CI_COMMIT_BRANCH": "main"}, {"check", "docs", "build", "pages"}),
        ({"CI_COMMIT_TAG": "1.0.0"}, {"check", "docs", "build"}),
    ],
)
def test_only_what_is_kept_is_published(pipeline: Pipeline, event: dict[str, str], expected: set[str]) -> None:
    event = event | {"CI_DEFAULT_BRANCH": "main"}
    always = [{"if": "$ALWAYS"}]
    outcomes = {n: outcome(j.get("rules", always), event | {"ALWAYS": "1"}) for n, j in jobs(pipeline).items()}
    assert {name for name, decided in outcomes.items() if decided == "on_success"} == expected
    assert (outcomes["build-large"] == "manual") is ("build" in expected)


@pytest.mark.parametrize("platform", CHOICES["platform"])
def test_the_scripts_are_sound(render: Render, tmp_path: Path, platform: str) -> None:
    for name, found in jobs(merged(render(platform=platform))).items():
        script = tmp_path / f"{name}.sh"
        lines = [*found.get("before_script", []), *found["script"]]
        script.write_text("\n".join(["#!/bin/bash", *lines, ""]))
        # GitLab sets the variables (2154), and reports a failure of any of the lines (2164).
        done = run(TOOLS / "shellcheck", "--exclude=SC2154,SC2164", script, cwd=tmp_path)
        assert done.returncode == 0, done.stdout


FAKES = {  # keep a line of what they are told, by words and by standard input
    "buildah": 'case $* in *-stdin*) given=$(cat) ;; esac; echo "buildah $*${given:+ $given}" >> "$RECORD"',
    "curl": 'echo "curl $* $(cat)" >> "$RECORD"; printf %s "$ANSWER"; exit "${STATUS:-0}"',
}

Executed = Callable[..., tuple[subprocess.CompletedProcess[str], list[str]]]


@pytest.fixture
def execute(render: Render, tmp_path: Path) -> Executed:
    """Run a job's scripts, with stand-ins for what would reach a registry, and give what those were told."""
    for name, script in FAKES.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    record = tmp_path / "record"

    def executed(platform: str, name: str, **variables: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
        pipeline = merged(render(platform=platform))
        found = job(pipeline, name)
        given = {**pipeline["variables"], **found["variables"], **variables}
        path = os.pathsep.join([str(tmp_path), os.environ["PATH"]])
        done = subprocess.run(
            [shutil.which("bash") or "bash", "-e"],
            input="\n".join([*found["before_script"], *found["script"]]),
            env={"PATH": path, "RECORD": str(record), **given},
            capture_output=True,
            text=True,
        )
        return done, record.read_text().splitlines() if record.exists() else []

    return executed


COMMIT = {"ROLE": "serve", "VERSION": "1.2.0", "CI_COMMIT_SHA": "0123456789abcdef", "CI_COMMIT_SHORT_SHA": "01234567"}


def test_an_image_is_built_and_pushed(execute: Executed) -> None:
    done, told = execute("onprem", "build", REGISTRY_USER="robot$ci", REGISTRY_PASSWORD="hush", **COMMIT)
    assert done.returncode == 0, done.stderr
    login, build, *pushes = told
    assert login == "buildah login --username robot$ci --password-stdin registry.example.com hush"
    assert "--file docker/serve.Dockerfile" in build
    assert "--build-arg REVISION=0123456789abcdef --build-arg VERSION=1.2.0" in build
    image = "registry.example.com/my-team/my-ml-project/serve"
    assert pushes == [f"buildah push {image}:01234567", f"buildah push {image}:1.2.0"]


def test_a_missing_login_is_named(execute: Executed) -> None:
    done, told = execute("onprem", "build", **COMMIT)
    assert done.returncode == 1
    assert "REGISTRY_USER and REGISTRY_PASSWORD are not set" in done.stdout
    assert not told


GCP = {"WORKLOAD_IDENTITY_PROVIDER": "projects/1/locations/global/workloadIdentityPools/p/providers/g"}
TOKEN = '{\n  "access_token": "ya29.token",\n  "token_type": "Bearer",\n  "expires_in": 3599\n}'


def test_a_pipeline_proves_who_it_is_without_a_key(execute: Executed) -> None:
    done, told = execute("gcp", "build", GITLAB_TOKEN="a.jwt", ANSWER=TOKEN, **GCP, **COMMIT)
    assert done.returncode == 0, done.stderr
    exchange, login = told[:2]
    assert f"audience=//iam.googleapis.com/{GCP['WORKLOAD_IDENTITY_PROVIDER']}" in exchange
    assert exchange.endswith("subject_token=a.jwt")
    assert login == "buildah login --username oauth2accesstoken --password-stdin registry.example.com ya29.token"
    assert "ya29" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "WORKLOAD_IDENTITY_PROVIDER is not set"),
        ({**GCP, "ANSWER": '{"error": "invalid_target"}', "STATUS": "22"}, "invalid_target"),
    ],
)
def test_a_refused_identity_is_told(execute: Executed, given: dict[str, str], said: str) -> None:
    done, told = execute("gcp", "build", GITLAB_TOKEN="a.jwt", **given, **COMMIT)
    assert done.returncode == 1
    assert said in done.stdout
    assert not any(line.startswith("buildah") for line in told)
