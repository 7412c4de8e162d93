"""A GitLab project's pipeline is what GitLab accepts, and its jobs do what they should, each in its container."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from conftest import CONTEXTS, Render
from containers import Engine
from runner import Runner, recorder, stand_ins
from specs import calls

pytestmark = pytest.mark.xdist_group("gitlab")


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    made = Engine(tmp_path_factory.mktemp("engine"))
    yield made
    made.remove()


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
SCANS = {
    "semgrep-sast": "/analyzer run",
    "secret_detection": "/analyzer run",
    "dependency-scanning": "/analyzer run *.txt",
    "container_scanning": "/usr/local/bin/gtcs scan",
}
LATER = (
    "check",
    "docs",
    "sbom",
    "pages",
    "build: [pipeline]",
    "build-large: [pipeline-gpu]",
    "build-large: [workspace]",
)

Told = Callable[[str, object], None]


def test_the_light_jobs_of_a_pipeline_run(runner: Callable[..., Runner], tmp_path: Path, record_property: Told) -> None:
    """All that install nothing large; the others are for `make test-all`."""
    made = runner()
    whole = made.preview()
    stand_ins(made.engine, whole)
    sent = "job.batch/my-ml-project-train-x7k2p"
    made.volumes |= recorder(tmp_path, "buildah") | recorder(tmp_path, "kubectl", sent)
    made.variables |= {**ROBOT, "OVERRIDES": "model=forest 'note=it is'"}
    jobs = [name for name in made.jobs() if name not in LATER]
    assert {*jobs, *LATER} == {*made.jobs()}
    done = made.run(*jobs)
    assert done.passed == {name: name != "audit" for name in jobs}, done.text
    # No registry here has a list of known holes; without --strict this would have been green.
    assert "pip-audit --strict" in done.said("audit")
    assert "make: *** [Makefile" in done.said("audit")
    for name, command in SCANS.items():
        assert done.said(name) == command
    assert "buildah: yes" in done.said("builder")
    built = [words for words, _ in calls({"RECORD": str(tmp_path / "buildah")})]
    sha = made.git("rev-parse", "--short=8", "HEAD")
    image = "registry.example.com/my-team/my-ml-project/serve"
    assert [words[-1] for words in built] == [".", f"{image}:{sha}", f"{image}:latest"]
    assert f"sent   {sent}" in done.said("train")
    [job] = [yaml.safe_load(text) for words, text in calls({"RECORD": str(tmp_path / "kubectl")}) if "create" in words]
    [container] = job["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["model=forest", "note=it is"]
    assert container["image"].endswith(f"/pipeline:{sha}")
    specs = {file.stem for file in (made.project / "specs").iterdir()}
    assert specs == {file.stem for file in (made.project / "jobs").glob("*.yaml")} - {"cluster", "kustomization"}
    record_property(
        "told", f"GitLab, {len(jobs)} light jobs in containers: {len(jobs) - 1} pass, audit is red as it must be"
    )


def test_a_tag_is_released_with_its_notes(runner: Callable[..., Runner]) -> None:
    made = runner()
    stand_ins(made.engine, made.preview())
    for number, title in enumerate(("Add a model", "Mend the model"), 1):
        made.git("tag", f"v{number}")
        made.git("commit", "--allow-empty", "--quiet", f"--message={title}")
    made.git("tag", "v3")
    event = {"CI_COMMIT_TAG": "v3", "CI_COMMIT_BRANCH": ""}
    assert {"notes", "release", "check", "build: [serve]"} <= made.jobs(event).keys()
    assert not {"train", "pages"} & made.jobs(event).keys()
    done = made.run("notes", "release", event=event)
    assert done.passed == {"notes": True, "release": True}, done.text
    notes = (made.project / "notes.md").read_text()
    assert "Mend the model" in notes
    assert "Add a model" not in notes
