"""The CI pipeline is valid, runs once for each push, and its scripts do what they should."""

import base64
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
import yaml
from conftest import CHOICES, CONTEXTS, ROOT, Listen, Render, run

TOOLS = Path(os.environ.get("TOOLS", ROOT / ".venv-tools")) / "bin"  # of `make tools`
GLOBAL = {"include", "stages", "variables", "workflow", "default"}

Pipeline = dict[str, Any]


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
        text = (project / part["local"]).read_text(encoding="utf-8")
        for name, value in part.get("inputs", {}).items():
            text = text.replace(f"$[[ inputs.{name} ]]", value)
        whole = merge(whole, [*yaml.safe_load_all(text)][-1])  # behind the inputs' description, if there is one
    whole.pop("include", None)  # GitLab's own templates
    whole.pop("container_scanning", None)  # which one of them completes
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
        if " != " in text:
            return not term(text.replace(" != ", " == "))
        left, equals, right = text.partition(" == ")
        return value(left) == value(right) if equals else bool(value(left))

    return all(term(text) for text in condition.split(" && "))


def outcome(rules: list[Pipeline], variables: dict[str, str]) -> str:
    """Say what the first rule that holds decides."""
    return next(
        (rule.get("when", "on_success") for rule in rules if holds(rule.get("if", "$ALWAYS"), variables)), "never"
    )


GITHUB = [context for context in CONTEXTS if context["ci"] == "github"]


def test_workflows_pin_what_they_use_and_may_little(render: Render) -> None:
    """Every action is pinned to a commit, and no workflow may write unless a job says so."""
    files = [file for context in GITHUB for file in (render(**context) / ".github" / "workflows").glob("*.yml")]
    for file in files:
        text = file.read_text(encoding="utf-8")
        used = re.findall(r"uses: (\S+)", text)
        assert all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}|\./\S+", name) for name in used), file
        assert text.count("actions/checkout") == text.count("persist-credentials: false"), file
        workflow = yaml.safe_load(text)
        assert workflow.get("permissions") == {"contents": "read"} or file.name == "image.yml"


@pytest.fixture(scope="session")
def pipeline(render: Render) -> Pipeline:
    return merged(render())


@pytest.mark.parametrize("platform", CHOICES["platform"])
def test_jobs_know_what_they_name(render: Render, platform: str) -> None:
    """Stages, needed jobs, make targets and container files exist."""
    project = render(platform=platform)
    pipeline = merged(project)
    targets = set(re.findall(r"^(\w[\w-]*):", (project / "Makefile").read_text(encoding="utf-8"), re.M))
    for name, found in jobs(pipeline).items():
        assert found["stage"] in pipeline["stages"], name
        needed = {need["job"] if isinstance(need, dict) else need for need in found.get("needs", [])}
        assert needed <= jobs(pipeline).keys(), name
        for line in found["script"]:
            assert not line.startswith("make ") or set(line.split()[1:]) <= targets, line
        for axes in found.get("parallel", {}).get("matrix", []):
            for role in axes["ROLE"]:
                assert (project / "docker" / f"{role}.Dockerfile").exists(), role


PUSH = {"CI_PIPELINE_SOURCE": "push"}
CHECKS = {"check", "specs", "docs"}


@pytest.mark.parametrize(
    ("event", "starts"),
    [
        ({"CI_COMMIT_BRANCH": "topic"}, True),
        ({**PUSH, "CI_COMMIT_BRANCH": "topic", "CI_OPEN_MERGE_REQUESTS": "team/project!1"}, False),
        ({"CI_PIPELINE_SOURCE": "schedule", "CI_COMMIT_BRANCH": "main"}, True),
        ({"CI_PIPELINE_SOURCE": "web", "CI_COMMIT_BRANCH": "main", "CI_OPEN_MERGE_REQUESTS": "x!1"}, True),
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
        ({"CI_COMMIT_BRANCH": "topic"}, CHECKS | {"audit", "sbom"}),
        ({"CI_PIPELINE_SOURCE": "merge_request_event"}, CHECKS | {"audit", "sbom"}),
        ({"CI_COMMIT_BRANCH": "main"}, CHECKS | {"audit", "sbom", "build", "train", "staging", "pages"}),
        ({"CI_PIPELINE_SOURCE": "schedule", "CI_COMMIT_BRANCH": "topic"}, CHECKS | {"audit", "sbom"}),
        ({"CI_COMMIT_TAG": "1.0.0"}, CHECKS | {"audit", "sbom", "build", "notes", "release"}),
    ],
)
def test_only_what_is_kept_is_published(pipeline: Pipeline, event: dict[str, str], expected: set[str]) -> None:
    event = event | {"CI_DEFAULT_BRANCH": "main"}
    event |= {"ALWAYS": "1"}  # what a rule without a condition asks for; files are taken to have changed
    outcomes = {n: outcome(j.get("rules", [{}]), event) for n, j in jobs(pipeline).items()}
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


COMMIT = {"ROLE": "serve", "VERSION": "1.2.0", "CI_COMMIT_SHA": "0123456789abcdef", "CI_COMMIT_SHORT_SHA": "01234567"}
FAKE = 'echo "$(basename "$0") $*" >> "$RECORD"; cat "$DOCKER_CONFIG/config.json" >> "$RECORD" 2> /dev/null; exit 0'
ROBOT = {"REGISTRY_USER": "robot$ci", "REGISTRY_PASSWORD": "hush"}

Executed = Callable[..., tuple[subprocess.CompletedProcess[str], list[str]]]


@pytest.fixture
def execute(render: Render, tmp_path: Path) -> Executed:
    """Run a job's scripts, with stand-ins for what would reach a registry, and give what those were told."""
    for name in ("buildah", "docker", "buildctl-daemonless.sh"):
        (tmp_path / name).write_text(f"#!/bin/sh\n{FAKE}\n")
        (tmp_path / name).chmod(0o755)

    def executed(
        platform: str, name: str, builder: str = "buildah", **variables: str
    ) -> tuple[subprocess.CompletedProcess[str], list[str]]:
        project = render(platform=platform)
        pipeline = merged(project)
        pipeline[".image"]["extends"] = f".{builder}"
        found = job(pipeline, name)
        texts = {
            key: value for key, value in {**pipeline["variables"], **found["variables"]}.items() if key != "OVERRIDES"
        }
        record = tmp_path / f"record-{builder}"
        given = {**texts, **variables, "RECORD": str(record), "DOCKER_CONFIG": str(tmp_path / "login")}
        path = os.pathsep.join([str(tmp_path), os.environ["PATH"]])
        done = subprocess.run(
            [shutil.which("bash") or "bash", "-e"],
            input="\n".join([*found["before_script"], *found["script"]]),
            cwd=project,
            env={"PATH": path, "no_proxy": "*"} | given,
            capture_output=True,
            text=True,
        )
        return done, record.read_text().splitlines() if record.exists() else []

    return executed


@pytest.mark.parametrize("builder", ["buildah", "buildkit", "docker"])
def test_an_image_is_built_and_pushed(execute: Executed, builder: str) -> None:
    done, told = execute("onprem", "build", builder, **ROBOT, **COMMIT)
    assert done.returncode == 0, done.stderr
    text = "\n".join(told)
    assert "docker/serve.Dockerfile" in text or "filename=serve.Dockerfile" in text
    assert "REVISION=0123456789abcdef" in text
    assert "VERSION=1.2.0" in text
    image = "registry.example.com/my-team/my-ml-project/serve"
    assert f"{image}:01234567" in text
    assert f"{image}:1.2.0" in text
    assert "push" in text
    [login] = {line for line in told if line.startswith("{")}
    auth = json.loads(login)["auths"]["registry.example.com"]["auth"]
    assert base64.b64decode(auth).decode() == "robot$ci:hush"
    assert "hush" not in done.stdout + done.stderr + "\n".join(line for line in told if not line.startswith("{"))


def test_a_missing_login_is_named(execute: Executed) -> None:
    done, told = execute("onprem", "build", **COMMIT)
    assert done.returncode == 1
    assert "REGISTRY_USER and REGISTRY_PASSWORD are not set" in done.stderr
    assert not told


@pytest.mark.parametrize("host", ["docker.io", "ghcr.io", "registry.example.com:5000"])
def test_builders_find_the_login_to_any_registry(render: Render, tmp_path: Path, host: str) -> None:
    project = render(registry_project_path=f"{host}/my-team/my-ml-project")
    done = run("ci/login.sh", cwd=project, DOCKER_CONFIG=str(tmp_path), **ROBOT)
    assert done.returncode == 0, done.stderr
    found = run("buildah", "login", "--get-login", "--authfile", tmp_path / "config.json", host, cwd=tmp_path)
    assert found.stdout.strip() == ROBOT["REGISTRY_USER"], found.stderr
    # docker asks for the login to its own Hub by an address, and for all others by their host.
    hub = {"docker.io": "https://index.docker.io/v1/"}
    assert json.loads((tmp_path / "config.json").read_text())["auths"].keys() == {hub.get(host, host)}


class Exchange(BaseHTTPRequestHandler):
    """Google's exchange of tokens, which trusts one of them."""

    def do_POST(self) -> None:
        form = dict(parse_qsl(self.rfile.read(int(self.headers["Content-Length"])).decode()))
        known = (form["subject_token"], form["audience"]) == ("a.jwt", "//iam.googleapis.com/p")
        self.send_response(200 if known else 400)
        self.end_headers()
        token = {"access_token": "ya29.token", "token_type": "Bearer", "expires_in": 3599}
        self.wfile.write(json.dumps(token if known else {"error": "invalid_target"}, indent=2).encode())

    def log_message(self, *words: object) -> None:
        pass


def test_a_pipeline_proves_who_it_is_without_a_key(execute: Executed, listen: Listen) -> None:
    _, exchange = listen(Exchange)
    identity = {"IDENTITY_PROVIDER": "//iam.googleapis.com/p", "IDENTITY_TOKEN": "a.jwt", "TOKEN_EXCHANGE": exchange}
    done, told = execute("gcp", "build", **identity, **COMMIT)
    assert done.returncode == 0, done.stderr
    [login] = {line for line in told if line.startswith("{")}
    auth = json.loads(login)["auths"]["registry.example.com"]["auth"]
    assert base64.b64decode(auth).decode() == "oauth2accesstoken:ya29.token"
    assert "ya29" not in done.stdout + done.stderr


def test_a_refused_identity_is_told(execute: Executed, listen: Listen) -> None:
    _, exchange = listen(Exchange)
    done, told = execute("gcp", "build", **COMMIT)
    assert "IDENTITY_PROVIDER and IDENTITY_TOKEN are not set" in done.stderr
    identity = {"IDENTITY_PROVIDER": "//iam.googleapis.com/q", "IDENTITY_TOKEN": "a.jwt", "TOKEN_EXCHANGE": exchange}
    done, told = execute("gcp", "build", **identity, **COMMIT)
    assert done.returncode == 1
    assert "no token for this pipeline from //iam.googleapis.com/q" in done.stderr
    assert "invalid_target" in done.stderr
    assert not told


@pytest.mark.parametrize("orchestrator", CHOICES["orchestrator"])
def test_a_command_finds_the_login_of_the_cluster(render: Render, tmp_path: Path, orchestrator: str) -> None:
    login = tmp_path / "login"
    login.write_text("WHO='robot of the team'\n")
    seen = 'echo "$WHO|$KUBECONFIG|$*"'
    words = ["sh", "-c", seen, "sh", "model=forest", "a b"]
    project = render(orchestrator=orchestrator)
    done = run(
        "ci/cluster.sh", *words, cwd=project, CLUSTER_LOGIN=str(login), PATH=f"{os.environ['PATH']}:{TOOLS.absolute()}"
    )
    assert done.returncode == 0, done.stderr
    expected = f"|{login}|" if orchestrator == "none" else "robot of the team||"
    assert done.stdout == f"{expected}model=forest a b\n"


def test_the_scripts_of_pipelines_are_sound(render: Render) -> None:
    for context in CONTEXTS:
        files = sorted((render(**context) / "ci").glob("*.sh"))
        done = run(TOOLS / "shellcheck", *files, cwd=files[0].parent)
        assert done.returncode == 0, done.stdout


def test_the_page_names_what_can_be_set_and_nothing_else(render: Render) -> None:
    """What GitLab or GitHub sets is not the reader's to set; what scripts hand on to each other neither."""
    theirs = r"(CI|GITHUB|ACTIONS|AST|CS|GH|GIT|PIP|PYTEST)_\w+|RUNNER_TEMP|DOCKER_TLS_CERTDIR"
    between = {"IDENTITY_TOKEN", "REGISTRY_AUTH_FILE", "STORAGE_DRIVER", "BUILDAH_ISOLATION", "BUILDAH_FORMAT",
               "BUILDKITD_FLAGS", "DOCKER_CONFIG", "TOKEN_EXCHANGE", "KUBECTL_VERSION"}  # fmt: skip
    for ci, folder in (("gitlab", ".gitlab"), ("github", ".github")):
        project = render(ci=ci)
        files = [*project.glob(".gitlab-ci.yml"), *(project / folder).rglob("*.yml"), *(project / "ci").iterdir()]
        text = "\n".join(re.sub(r"#.*", "", file.read_text(encoding="utf-8")) for file in files)
        settings = set(re.findall(r"^(\w+)=", (project / "jobs" / "settings.env").read_text(), re.M)) | {"SERVE_TOKEN"}
        used = set(re.findall(r"(?:\$\{?|secrets\.|vars\.)([A-Z]+(?:_[A-Z]+)+)\b", text))
        used |= set(re.findall(r"^ {2,}([A-Z]+(?:_[A-Z]+)+):", text, re.M))
        used = {name for name in used if not re.fullmatch(theirs, name)} - between
        page = (project / "docs" / "guide" / "ci.md").read_text(encoding="utf-8")
        named = set(re.findall(r"`([A-Z]+(?:_[A-Z]+)+)[`=]", page))
        assert used - named - settings == set(), ci
        assert named - used - settings == set(), ci
