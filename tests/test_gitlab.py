"""A GitLab project's pipeline is what GitLab accepts, and its jobs do what they should, each in its container."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import CONTEXTS, Render
from containers import Engine
from runner import Runner

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
