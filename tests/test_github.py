"""A GitHub project's workflows are sound and safe, and their jobs do what they should."""

import itertools
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import CONTEXTS, Render, run
from runner import KUBECTL
from specs import TOOLS, calls, stand_in
from test_audit import NOWHERE, looked_up_at

pytestmark = pytest.mark.xdist_group("github")

KEEP = Path(__file__).with_name("github") / "keep"  # in place of the actions that upload
UPLOADS = r"actions/(?:upload-artifact|upload-pages-artifact|deploy-pages)@\w+"


@pytest.fixture
def project(render: Render, tmp_path: Path) -> Path:
    return checked_out(render(ci="github"), tmp_path / "project")


def checked_out(project: Path, to: Path) -> Path:
    """A copy that is a repository, as a runner finds it."""
    shutil.copytree(project, to)
    for words in (
        ["init", "--quiet", "--initial-branch=main"],
        ["add", "--all"],
        ["commit", "--quiet", "--message=First"],
    ):
        who = ["-c", "user.name=ci", "-c", "user.email=ci@example.invalid"]
        subprocess.run(["git", *who, *words], cwd=to, check=True)
    return to


def faults(project: Path) -> str:
    """What GitHub's schema, two linters and a runner have to say against the workflows."""
    files = sorted((project / ".github" / "workflows").glob("*.yml"))
    verdicts = [
        run(TOOLS / "check-jsonschema", "--builtin-schema", "vendor.github-workflows", *files, cwd=project),
        run(TOOLS / "actionlint", "-shellcheck", TOOLS.absolute() / "shellcheck", *files, cwd=project),
        run(TOOLS / "zizmor", "--offline", "--quiet", "--strict-collection", ".", cwd=project),
        run(TOOLS / "act", "--validate", "--strict", cwd=project),
    ]
    return "\n".join(done.stdout + done.stderr for done in verdicts if done.returncode)


def test_the_workflows_of_every_combination_are_sound(render: Render, tmp_path: Path) -> None:
    projects = [render(**context) for context in CONTEXTS if context["ci"] == "github"]
    texts = [tuple(file.read_text() for file in sorted((p / ".github" / "workflows").iterdir())) for p in projects]
    for number, project in enumerate(dict(zip(texts, projects, strict=True)).values()):
        assert not faults(checked_out(project, tmp_path / str(number)))


# Faults of different kinds: the workflow, what to change, into what, and of what a complaint must speak.
BROKEN = {
    "an unknown key": ("check", "runs-on:", "run-on:", "run-on"),
    "no steps": ("check", "    steps:\n      - uses", "    stepz:\n      - uses", "stepz"),
    "an unknown need": ("deliver", "needs: image", "needs: images", "images"),
    "an unknown event": ("check", "pull_request:", "pull_requests:", "pull_requests"),
    "an unknown context": ("image", "github.token", "gihub.token", "gihub"),
    "an unknown output": ("pages", "steps.deploy.outputs", "steps.depoy.outputs", "depoy"),
    "an unknown input": ("deliver", "{version: latest}", "{versoin: latest}", "versoin"),
    "a schedule that never comes": ("check", '"17 4 * * 1"', '"17 25 * * 1"', "25"),
    "a missing workflow": ("release", "workflows/image.yml", "workflows/images.yml", "images.yml"),
    "an action by its tag": ("check", "@3d3c42e5aac5ba805825da76410c181273ba90b1", "@v7", "unpinned-uses"),
    "credentials left behind": ("check", "with: {persist-credentials: false}", "with: {fetch-depth: 0}", "artipacked"),
    "text run as code": ("image", "docker/$ROLE.Docker", "docker/${{ inputs.version }}.Docker", "template-injection"),
    "all permissions": ("check", "permissions:\n  contents: read", "permissions: write-all", "excessive-permissions"),
    "a dangerous event": ("check", "pull_request:", "pull_request_target:", "dangerous-triggers"),
    "an unquoted variable": ("image", '--file "docker/$ROLE.Dockerfile"', "--file docker/$ROLE.Dockerfile", "SC2086"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_workflow_is_refused(project: Path, kind: str) -> None:
    name, old, new, complaint = BROKEN[kind]
    file = project / ".github" / "workflows" / f"{name}.yml"
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf-8")
    assert complaint in faults(project)


def act(
    project: Path, workflow: str, job: str, *words: str, event: str = "push", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a job of a workflow on this machine."""
    text = (project / ".github" / "workflows" / f"{workflow}.yml").read_text(encoding="utf-8")
    uploads = {f"{name}={KEEP}" for name in re.findall(UPLOADS, text)}
    path = f"{environment.pop('PATH', os.environ['PATH'])}:{TOOLS.absolute()}"
    return run(
        TOOLS / "act", event, "--workflows", f".github/workflows/{workflow}.yml", "--job", job,
        *("--platform", "ubuntu-24.04=-self-hosted", "--no-cache-server", "--pull=false"),
        *[word for upload in uploads for word in ("--local-repository", upload)],
        *words,
        cwd=project,
        PATH=path,
        HOME=str(project.parent),  # not within the project, whose copies act keeps there
        **environment,
    )  # fmt: skip


def test_the_specs_of_jobs_are_kept(project: Path) -> None:
    done = act(project, "check", "specs")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Job succeeded" in done.stdout


@pytest.mark.nightly
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("job", ["check", "docs"])
def test_a_job_passes_on_a_runner(project: Path, job: str) -> None:
    done = act(project, "check", job)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Job succeeded" in done.stdout


@pytest.mark.nightly
@pytest.mark.timeout(2400)
def test_the_guide_is_built_and_handed_over(project: Path) -> None:
    done = act(project, "pages", "pages")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\| site$", done.stdout, re.M)


@pytest.mark.nightly
def test_an_audit_that_could_look_nothing_up_is_red(project: Path) -> None:
    done = act(project, "check", "audit", **looked_up_at(NOWHERE))
    assert done.returncode
    assert "pip-audit --strict" in done.stdout


ROBOT = ("--secret", "REGISTRY_USER=robot$ci", "--secret", "REGISTRY_PASSWORD=hush")
IMAGE = "registry.example.com/my-team/my-ml-project"


def built(docker: dict[str, str]) -> dict[str, set[str]]:
    """The tags under which images were built and pushed, by container file."""
    builds = [words for words, _ in calls(docker) if words[:3] == ["buildx", "build", "--push"]]
    tags = [{word for before, word in itertools.pairwise(words) if before == "--tag"} for words in builds]
    return dict(zip([words[words.index("--file") + 1] for words in builds], tags, strict=True))


def test_images_are_built_and_pushed(project: Path, tmp_path: Path) -> None:
    docker = stand_in(tmp_path, "docker", "")
    done = act(project, "deliver", "image", *ROBOT, **docker)
    assert done.returncode == 0, done.stdout + done.stderr
    sha = head(project)[:8]
    assert built(docker) == {
        f"docker/{role}.Dockerfile": {f"{IMAGE}/{role}:{sha}", f"{IMAGE}/{role}:latest"}
        for role in ("pipeline", "serve")
    }
    assert "logged in to registry.example.com as ***" in done.stdout
    assert "hush" not in done.stdout


def test_a_tag_is_released_with_its_images(project: Path, tmp_path: Path) -> None:
    stand_in(tmp_path, "gh", "")
    docker = stand_in(tmp_path, "docker", "")
    subprocess.run(["git", "tag", "v1.2.0"], cwd=project, check=True)
    (event := tmp_path / "event.json").write_text(json.dumps({"ref": "refs/tags/v1.2.0"}))
    # Both record to the same folder.
    done = act(project, "release", "release", *ROBOT, "--eventpath", str(event), **docker)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{IMAGE}/serve:v1.2.0" in built(docker)["docker/serve.Dockerfile"]
    assert ["release", "create", "v1.2.0", "--verify-tag", "--generate-notes"] in [words for words, _ in calls(docker)]


def head(project: Path) -> str:
    return subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=project, text=True).strip()


@pytest.fixture
def kubectl(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "kubectl").write_text(KUBECTL)
    (tmp_path / "kubectl").chmod(0o755)
    (tmp_path / "calls").mkdir()
    real = str((TOOLS / "kubectl").absolute())
    return {"PATH": f"{tmp_path}:{os.environ['PATH']}", "RECORD": str(tmp_path / "calls"), "REAL": real}


def sent(kubectl: dict[str, str]) -> list[tuple[str, Any]]:
    """The login and the first document of each thing that was sent, in turn."""
    parts = [text.split("\n---\n", 1) for _, text in calls(kubectl) if text]
    return [(login.strip(), next(yaml.safe_load_all(documents))) for login, documents in parts]


def trained(project: Path, kubectl: dict[str, str]) -> subprocess.CompletedProcess[str]:
    given = ["--secret", "CLUSTER_LOGIN=a login", "--input", "overrides=model=forest 'note=it is'"]
    deliver = project / ".github" / "workflows" / "deliver.yml"
    deliver.write_text(deliver.read_text().replace("    needs: image\n", ""))  # which were there before
    return act(project, "deliver", "train", *given, event="workflow_dispatch", **kubectl)


def test_a_training_is_sent_and_waited_for_once_the_tables_are_made(project: Path, kubectl: dict[str, str]) -> None:
    done = trained(project, kubectl)
    assert done.returncode == 0, done.stdout + done.stderr
    [(login, job)] = sent(kubectl)
    assert login == "a login"
    pod = job["spec"]["template"]["spec"]
    [prepare], [train] = pod["initContainers"], pod["containers"]
    assert (prepare["name"], "args" in prepare) == ("prepare", False)
    assert (train["name"], train["args"]) == ("train", ["model=forest", "note=it is"])
    assert prepare["image"] == train["image"]
    assert train["image"].endswith(f"/pipeline:{head(project)[:8]}")
    assert "a login" not in done.stdout


def test_nothing_is_trained_on_tables_that_could_not_be_made(project: Path, kubectl: dict[str, str]) -> None:
    done = trained(project, {**kubectl, "FAILS": "pipeline"})
    assert done.returncode, done.stdout + done.stderr
    assert "2 bad row(s), nothing written" in done.stdout
    assert "job.batch/my-ml-project-pipeline-x7k2p failed in prepare: BackoffLimitExceeded" in done.stdout


def test_a_version_is_deployed_and_tried(project: Path, kubectl: dict[str, str], served: Any) -> None:
    served.version = "7"
    words = {"environment": "production", "image_tag": "01234567", "model": "models:/my-ml-project/7"}
    given = [word for pair in words.items() for word in ("--input", "=".join(pair))]
    given += ["--secret", "CLUSTER_LOGIN=a login", "--var", "JOB_SETTINGS=ENVIRONMENT=prod\nNAMESPACE=live"]
    done = act(project, "deploy", "deploy", *given, event="workflow_dispatch", SERVICE_PORT=str(served.port), **kubectl)
    assert done.returncode == 0, done.stdout + done.stderr
    [(_, deployment)] = sent(kubectl)
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    assert container["image"].endswith("/serve:01234567")
    assert {"name": "SERVE_MODEL", "value": "models:/my-ml-project/7"} in container["env"]
    assert all("--namespace=live" in words for words, _ in calls(kubectl) if "kustomize" not in words)
    assert "SERVE_MODEL=models:/my-ml-project/7" in done.stdout
