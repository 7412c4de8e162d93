"""A GitLab project's pipeline is what GitLab accepts, and its jobs do what they should, each in its container."""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from urllib.request import urlopen

import pytest
import yaml
from conftest import CHOICES, CONTEXTS, Listen, Render
from containers import Engine, store
from runner import Runner, cluster, recorder, stand_ins
from specs import calls
from test_audit import NOWHERE, Vulnerabilities, looked_up_at
from test_pipeline_ci import Exchange
from test_polyaxon import Api
from test_runai import KEY, NAMES, Console

pytestmark = [pytest.mark.xdist_group("gitlab"), pytest.mark.timeout(1800)]


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    if os.geteuid():
        pytest.skip("containers need root: sudo .ci/run")
    with store() as made:
        yield made


@pytest.fixture
def runner(render: Render, tmp_path: Path, engine: Engine) -> Callable[..., Runner]:
    def make(**choices: str) -> Runner:
        return Runner(Path(shutil.copytree(render(**choices), tmp_path / "project")), engine)

    return make


def test_the_resolved_pipeline_of_every_combination_is_valid(render: Render, tmp_path: Path, engine: Engine) -> None:
    distinct = {}
    for context in CONTEXTS:
        if context["ci"] == "gitlab":
            project = render(**context)
            files = [project / ".gitlab-ci.yml", *sorted((project / ".gitlab").iterdir())]
            distinct["".join(file.read_text(encoding="utf-8") for file in files)] = project
    for number, project in enumerate(distinct.values()):
        copy = Path(shutil.copytree(project, tmp_path / str(number)))
        assert not Runner(copy, engine).faults()


CIRCLE = "one: {stage: test, needs: [two], script: echo}\ntwo: {stage: test, needs: [one], script: echo}\n"

# Faults of different kinds: the file, what to change, into what, and of what a complaint must speak.
BROKEN = {
    "an unknown keyword": (".gitlab-ci.yml", "interruptible: true", "interuptible: true", "interuptible"),
    "too many retries": (".gitlab-ci.yml", "max: 1", "max: 9", "retry"),
    "an unknown stage": (".gitlab/publish.yml", "stage: publish", "stage: pulbish", "stage:pulbish"),
    "an unknown need": (
        ".gitlab/publish.yml",
        "needs: [docs]",
        "needs: [guide]",
        "[guide] for pages could not be found",
    ),
    "a need of a later stage": (".gitlab/check.yml", "docs:\n", "docs:\n  needs: [pages]\n", "in a future stage"),
    "an unknown base": (".gitlab/check.yml", "extends: .python", "extends: .pyton", ".pyton"),
    "a missing file": (".gitlab-ci.yml", ".gitlab/check.yml", ".gitlab/chekc.yml", "chekc.yml"),
    "no script": (".gitlab/publish.yml", "script:\n    - test", "before_script:\n    - test", "script"),
    "a condition that cannot be read": (
        ".gitlab/publish.yml",
        "$CI_COMMIT_TAG\n",
        "$CI_COMMIT_TAG ==\n",
        "attempting to evaluate",
    ),
    "an unknown report": (".gitlab/check.yml", "junit: report.xml", "junits: report.xml", "junits"),
    "an unknown when": (".gitlab/images.yml", "when: manual", "when: by hand", "by hand"),
    "an unknown builder": (".gitlab-ci.yml", "builder: buildah ", "builder: kaniko ", "kaniko"),
    "a need that other events lack": (".gitlab/publish.yml", "needs: [docs]", "needs: [docs, notes]", "notes"),
    "jobs in a circle": (".gitlab/check.yml", "docs:\n", f"{CIRCLE}docs:\n", "one needs two needs one"),
    "rules beside only": (".gitlab/publish.yml", "pages: true", "pages: true\n  only: [main]", "pages"),
    "the same job twice": (".gitlab/check.yml", "docs:\n", "specs:\n", "duplicated mapping key"),
    "not YAML": (".gitlab/check.yml", "artifacts:", "artifacts: [", "YAML"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_pipeline_is_refused(runner: Callable[..., Runner], kind: str) -> None:
    name, old, new, complaint = BROKEN[kind]
    made = runner()
    text = (made.project / name).read_text(encoding="utf-8")
    assert old in text
    (made.project / name).write_text(text.replace(old, new), encoding="utf-8")
    assert complaint in " ".join(made.faults().values())


ROBOT = {"REGISTRY_USER": "robot$ci", "REGISTRY_PASSWORD": "hush"}
IMAGE = "registry.example.com/my-team/my-ml-project"
SCANS = {
    "semgrep-sast": "/analyzer run",
    "secret_detection": "/analyzer run",
    "dependency-scanning": "/analyzer run *.txt",
    "container_scanning": "/usr/local/bin/gtcs scan",
}
LATER = ("check", "docs", "sbom", "pages")

Told = Callable[[str, object], None]


def test_the_light_jobs_of_a_pipeline_run(runner: Callable[..., Runner], tmp_path: Path, record_property: Told) -> None:
    """All that install nothing large and send nothing to the cluster; the others are for `make test-all`."""
    made = runner()
    stand_ins(made.engine, made.preview())
    made.volumes |= recorder(tmp_path, "buildah") | cluster(tmp_path)
    made.variables |= ROBOT | looked_up_at(NOWHERE)
    jobs = [name for name in made.jobs() if name not in (*LATER, *DELIVERY)]
    assert {*jobs, *LATER, *DELIVERY} == {*made.jobs()}
    done = made.run(*jobs)
    assert done.passed == {name: name != "audit" for name in jobs}, done.text
    # What could look nothing up must not be green.
    assert "pip-audit --strict" in done.said("audit")
    assert "make: *** [Makefile" in done.said("audit")
    for name, command in SCANS.items():
        assert done.said(name) == command
    assert "buildah: yes" in done.said("builder")
    told = [words for words, _ in calls({"RECORD": str(tmp_path / "buildah")})]
    sha = made.git("rev-parse", "--short=8", "HEAD")
    roles = ("pipeline", "pipeline-gpu", "serve", "workspace")
    assert {words[-1] for words in told if "push" in words} == {
        f"{IMAGE}/{role}:{tag}" for role in roles for tag in (sha, "latest")
    }
    built = {words[words.index("--file") + 1] for words in told if "build" in words}
    assert built == {f"docker/{role}.Dockerfile" for role in roles}
    specs = {file.stem for file in (made.project / "specs").iterdir()}
    assert specs == {file.stem for file in (made.project / "jobs").glob("*.yaml")} - {"cluster", "kustomization"}
    record_property(
        "told", f"GitLab, {len(jobs)} light jobs in containers: {len(jobs) - 1} pass, audit is red as it must be"
    )


DELIVERY = ("train", "staging", "production")
LOGINS = {"*": "login of the team", "production": "login of production"}


def test_a_model_is_delivered(
    runner: Callable[..., Runner], tmp_path: Path, served: Any, record_property: Told
) -> None:
    """Data prepared, a model trained with overrides, deployed as champion to staging, as that version to production."""
    served.version = "7"
    made = runner()
    stand_ins(made.engine, made.preview())
    made.volumes |= cluster(tmp_path)
    made.variables |= {"SERVICE_PORT": str(served.port), "OVERRIDES": "model=forest 'note=it is'"}
    made.files |= {"CLUSTER_LOGIN": LOGINS}
    assert [made.jobs()[name] for name in DELIVERY] == ["on_success", "on_success", "manual"]
    done = made.run(*DELIVERY)
    assert done.passed == dict.fromkeys(DELIVERY, True), done.text
    assert "promoted to champion" in done.said("train")
    sent = [text for _, text in calls({"RECORD": str(tmp_path / "kubectl")}) if text]
    logins, documents = zip(*[text.split("\n---\n", 1) for text in sent], strict=True)
    assert logins == (*[LOGINS["*"]] * 2, LOGINS["production"])
    job, staging, production = [next(yaml.safe_load_all(text)) for text in documents]
    sha = made.git("rev-parse", "--short=8", "HEAD")
    [prepared] = job["spec"]["template"]["spec"]["initContainers"]
    assert prepared["name"] == "prepare"
    assert "args" not in prepared
    assert container(job)["name"] == "train"
    assert container(job)["args"] == ["model=forest", "note=it is"]
    assert container(job)["image"] == f"{IMAGE}/pipeline:{sha}"
    assert container(staging)["image"] == container(production)["image"] == f"{IMAGE}/serve:{sha}"
    assert "SERVE_MODEL" not in names(staging)
    assert {"name": "SERVE_MODEL", "value": "models:/my-ml-project/7"} in container(production)["env"]
    # Whoever rolls back runs this job of an older pipeline again, and nothing else than its version will do.
    served.version = "8"
    done = made.run("production")
    assert done.passed == {"production": False}
    assert "answers with models:/my-ml-project/8, not with SERVE_MODEL=models:/my-ml-project/7" in done.said(
        "production"
    )
    record_property("told", "GitLab, delivery in containers: train, staging and production, the same version in both")


def test_nothing_is_trained_on_tables_that_could_not_be_made(runner: Callable[..., Runner], tmp_path: Path) -> None:
    made = runner()
    stand_ins(made.engine, made.preview())
    made.volumes |= cluster(tmp_path)
    made.variables |= {"FAILS": "pipeline"}
    made.files |= {"CLUSTER_LOGIN": LOGINS}
    done = made.run("train")
    assert done.passed == {"train": False}, done.text
    assert "2 bad row(s), nothing written" in done.said("train")
    assert "job.batch/my-ml-project-pipeline-x7k2p failed in prepare: BackoffLimitExceeded" in done.said("train")


def container(document: Any) -> Any:
    return document["spec"]["template"]["spec"]["containers"][0]


def names(document: Any) -> set[str]:
    return {variable["name"] for variable in container(document)["env"]}


class OnRunai(Console):
    """Run:ai with room for everything: jobs are completed at once, and the service runs once it was posted."""

    def do_GET(self) -> None:  # noqa: N802 - as http.server wants it
        query = parse_qs(urlsplit(self.path).query)
        if urlsplit(self.path).path != "/api/v1/workloads":
            super().do_GET()
            return
        [name] = [text.removeprefix("name==") for text in query["filterBy"] if text.startswith("name==")]
        posted = [path for path, _, _ in self.received if path == "/api/v1/workloads/inferences"]
        found = {"name": name, "id": "an-id", "phase": "Running" if name.endswith("-serve") else "Completed"}
        self.answer(200, {"workloads": [found] if posted or not name.endswith("-serve") else []})


class OnPolyaxon(Api):
    """Polyaxon with room for everything: the run that was made last has ended, or runs if it serves."""

    def answer(self, status: int, content: Any) -> None:
        posted = [body["content"] for verb, path, body in self.received if verb == "POST" and path.endswith("/runs")]
        serves = bool(posted) and json.loads(posted[-1])["component"]["run"]["kind"] == "service"
        self.states[:] = ["running" if serves else "succeeded"]
        super().answer(status, content)


def served_by(orchestrator: str, made: Runner, listen: Listen) -> Any:
    """Have a pipeline's jobs meet a server that answers as the orchestrator does; gives None where that is kubectl."""
    if orchestrator == "runai":
        handler, url = listen(OnRunai, received=[], states=[""])
        made.files |= {"CLUSTER_LOGIN": {"*": "".join(f"{name}={value}\n" for name, value in KEY.items())}}
        made.variables |= {**NAMES, "RUNAI_URL": url}
        return handler
    if orchestrator == "polyaxon":
        handler, url = listen(OnPolyaxon, received=[], states=[""])
        made.files |= {"CLUSTER_LOGIN": {"*": f"POLYAXON_HOST={url}\nPOLYAXON_AUTH_TOKEN=hush-hush\n"}}
        return handler
    return None


@pytest.mark.parametrize("orchestrator", ["runai", "polyaxon"])
def test_an_orchestrator_prepares_before_it_trains(
    runner: Callable[..., Runner], listen: Listen, orchestrator: str
) -> None:
    made = runner(orchestrator=orchestrator)
    stand_ins(made.engine, made.preview())
    made.variables |= {"PAUSE": "0.1", "OVERRIDES": "model=forest"}
    handler = served_by(orchestrator, made, listen)
    done = made.run("train")
    assert done.passed == {"train": True}, done.text
    bodies = [json.dumps(call[-1]) for call in handler.received if "my_ml_project." in json.dumps(call[-1])]
    [found] = [re.findall(r"my_ml_project\.(\w+)|(model=forest)", body) for body in bodies]
    assert sorted(found) == [("", "model=forest"), ("prepare", ""), ("train", "")]


TAGGED = {"CI_COMMIT_TAG": "v3", "CI_COMMIT_BRANCH": ""}
BUILDS = ("build: [pipeline]", "build: [serve]")
LARGE = ("build-large: [pipeline-gpu]", "build-large: [workspace]")
# What stands in for what cannot be had here, by the job that meets it, and why. All else is real.
STAND_INS = {
    **dict.fromkeys(SCANS, "a scanner that says what it was asked, since GitLab's images cannot be pulled here"),
    **dict.fromkeys(
        LARGE, "a buildah that records, since CUDA is gigabytes and code-server's image cannot be pulled here"
    ),
    "audit": "a list of known vulnerabilities on loopback, since the world's cannot be reached here",
    "pages": "no publishing, which is GitLab's part",
    "release": "no release but its notes, which is GitLab's part",
}
CLUSTERS = {
    "none": "a kubectl that records and answers, but for its kustomize, which is real",
    "runai": "a server on loopback that answers as Run:ai does; its client is real",
    "polyaxon": "a server on loopback that answers as Polyaxon does; its client is real",
}
MIRROR = """\
unqualified-search-registries = ["docker.io"]
[[registry]]
prefix = "docker.io"
location = "{0}"
insecure = true
[[registry]]
location = "{0}"
insecure = true
"""


@pytest.fixture(scope="session")
def registry(engine: Engine) -> Iterator[str]:
    with engine.registry() as place:
        engine.run("podman", "push", "--tls-verify=false", engine.python(), f"{place}/library/python:3.13-slim-trixie")
        yield place


@pytest.mark.nightly
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("platform", CHOICES["platform"])
@pytest.mark.parametrize("orchestrator", CHOICES["orchestrator"])
def test_every_job_of_a_pipeline_runs(
    runner: Callable[..., Runner],
    tmp_path: Path,
    registry: str,
    served: Any,
    listen: Listen,
    record_property: Told,
    orchestrator: str,
    platform: str,
) -> None:
    served.version = "7"
    path = f"{registry}/my-team/my-ml-project"
    made = runner(orchestrator=orchestrator, platform=platform, registry_project_path=path)
    stand_ins(made.engine, made.preview())
    (tmp_path / "registries.conf").write_text(MIRROR.format(registry))
    made.volumes |= {tmp_path / "registries.conf": "/etc/containers/registries.conf:ro"} | cluster(tmp_path)
    made.variables |= {"SERVE_URL": f"http://127.0.0.1:{served.port}", "PAUSE": "0.1"} | looked_up_at(
        listen(Vulnerabilities, known={}, asked=set())[1]
    )
    made.files |= {"CLUSTER_LOGIN": {"*": "a kubeconfig"}}
    handler = served_by(orchestrator, made, listen)
    if platform == "gcp":
        exchange = {"TOKEN_EXCHANGE": listen(Exchange)[1], "IDENTITY_PROVIDER": "//iam.googleapis.com/p"}
        made.variables |= {**exchange, "IDENTITY_TOKEN": "a.jwt"}
    else:
        made.variables |= ROBOT
    every = {*made.jobs()}
    done = made.run(*every - {*LARGE})
    assert done.passed == dict.fromkeys(every - {*LARGE}, True), done.text[-8000:]
    assert "coverage" in done.text
    with urlopen(f"http://{registry}/v2/my-team/my-ml-project/serve/tags/list") as answer:
        assert {made.git("rev-parse", "--short=8", "HEAD"), "latest"} <= {*json.load(answer)["tags"]}
    if orchestrator == "runai":
        assert [p.rpartition("/")[2] for p, _, _ in handler.received if "workloads" in p] == [
            "workloads", "inferences", "an-id",
        ]  # fmt: skip
    elif orchestrator == "polyaxon":
        posts = [path for verb, path, _ in handler.received if verb == "POST"]
        assert [path.rpartition("/")[2] for path in posts] == ["runs", "runs", "stop", "runs", "stop"]
    # After an edit of the source the registry's cache has all that was installed.
    with (made.project / "src" / "my_ml_project" / "serve.py").open("a") as source:
        source.write("# an edit\n")
    made.git("commit", "--quiet", "--all", "--message=Edit")
    again = made.run(*BUILDS)
    assert again.passed == dict.fromkeys(BUILDS, True), again.text[-8000:]
    for build in BUILDS:
        assert "Cache pulled" in again.said(build)
        assert "Collecting" not in again.said(build)
    made.volumes |= recorder(tmp_path, "buildah")
    large = made.run(*LARGE)
    assert large.passed == dict.fromkeys(LARGE, True), large.text[-8000:]
    for event, name in ({}, "a push"), (TAGGED, "a tag"):
        record_property("told", f"GitLab, {orchestrator} on {platform}, the jobs of {name}:")
        for job in sorted(made.jobs(event)):
            stands = CLUSTERS[orchestrator] if job in DELIVERY else STAND_INS.get(job)
            record_property("told", f"  {job:30} {f'with {stands}' if stands else 'run'}")


def test_a_tag_is_released_with_its_notes(runner: Callable[..., Runner]) -> None:
    made = runner()
    stand_ins(made.engine, made.preview())
    for number, title in enumerate(("Add a model", "Mend the model"), 1):
        made.git("tag", f"v{number}")
        made.git("commit", "--allow-empty", "--quiet", f"--message={title}")
    made.git("tag", "v3")
    assert {"notes", "release", "check", "build: [serve]"} <= made.jobs(TAGGED).keys()
    assert not {"train", "pages"} & made.jobs(TAGGED).keys()
    done = made.run("notes", "release", event=TAGGED)
    assert done.passed == {"notes": True, "release": True}, done.text
    notes = (made.project / "notes.md").read_text()
    assert "Mend the model" in notes
    assert "Add a model" not in notes
