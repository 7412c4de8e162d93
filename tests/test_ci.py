"""The template's own pipelines are valid, and call nothing but its make targets."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import CHOICES, OVERLAYS, ROOT, TEMPLATE, Render, run
from specs import TOOLS

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))


def gitlab() -> dict[str, Any]:
    whole: dict[str, Any] = yaml.safe_load((ROOT / ".gitlab-ci.yml").read_text(encoding="utf-8"))
    return {name: job for name, job in whole.items() if isinstance(job, dict) and "script" in job}


def commands() -> list[str]:
    """The lines of all jobs."""
    steps = [
        step
        for file in WORKFLOWS
        for job in yaml.safe_load(file.read_text(encoding="utf-8"))["jobs"].values()
        for step in job["steps"]
    ]
    scripts = [job["script"] for job in gitlab().values()] + [step["run"] for step in steps if "run" in step]
    return [line.strip() for script in scripts for line in script.strip().splitlines()]


@pytest.mark.parametrize(
    "words",
    [
        ["check-jsonschema", "--builtin-schema", "vendor.gitlab-ci", ".gitlab-ci.yml"],
        ["check-jsonschema", "--builtin-schema", "vendor.github-workflows", *WORKFLOWS],
        ["actionlint", *WORKFLOWS],
        ["zizmor", "--offline", "--quiet", "--strict-collection", *WORKFLOWS],
        ["shellcheck", ROOT / ".ci" / "run"],
    ],
    ids=["gitlab", "github", "actionlint", "zizmor", "shellcheck"],
)
def test_pipelines_are_valid(words: list[str | Path]) -> None:
    done = run(TOOLS.absolute() / words[0], *words[1:], cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_pipelines_call_make() -> None:
    """Publishing is the exception, which a laptop cannot try."""
    others = ("test -f", 'echo "release', "gh release create")
    called = [line for line in commands() if not line.startswith(others)]
    assert called
    for line in called:
        found = re.fullmatch(
            r'(?:sudo (?:--\S+ )?)?(?:\.ci/run|make --silent) ([a-z -]+|"\$TARGET")(?: >.*|  +#.*)?', line
        )
        assert found, line
        assert set(found[1].split()) <= TARGETS | {'"$TARGET"'}, line


def test_every_proof_has_its_hour() -> None:
    text = "\n".join([(ROOT / ".gitlab-ci.yml").read_text(), *[file.read_text() for file in WORKFLOWS]])
    for target in ("lint", "test", "test-all", "canary", "site", "notes"):
        assert target in TARGETS
        assert re.search(rf"\b{target}\b", text)


def test_a_release_tells_what_the_changelog_says() -> None:
    done = run("make", "--silent", "notes", cwd=ROOT)
    newest = re.split(r"^## .*\n", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.M)[1]
    assert done.stdout.strip() == newest.strip()


@pytest.mark.parametrize("ci", CHOICES["ci"])
def test_renovate_is_told_what_there_is(render: Render, ci: str) -> None:
    project = render(ci=ci)
    settings = ["--builtin-schema", "vendor.renovate"]
    done = run(
        TOOLS.absolute() / "check-jsonschema", *settings, ROOT / "renovate.json", project / "renovate.json", cwd=ROOT
    )
    assert done.returncode == 0, done.stdout
    # It repeats the command that it finds at the top of a lock, and knows a few options, with an equals sign.
    rules = run("make", "--dry-run", "lock", "BIN=bin", cwd=project).stdout
    for file in sorted((project / "requirements").glob("*.txt")):
        command = file.read_text(encoding="utf-8").splitlines()[1].removeprefix("#    ")
        known = r"--(universal|generate-hashes|python-version=3\.11|constraint=\S+|output-file=\S+)"
        assert all(re.fullmatch(known, word) for word in command.split() if word.startswith("--")), command
        target = rules.replace("$name", file.stem)
        assert command.replace("uv pip compile", "bin/uv pip compile --quiet --upgrade") in target, command


def test_renovate_finds_the_images_that_are_named_in_passing() -> None:
    """Those in variables of pipelines and, in the template, where Jinja keeps Renovate from reading YAML."""
    compose = [TEMPLATE / "compose.yaml", *sorted(OVERLAYS.glob("platform/*/docker/store.yaml"))]
    pipelines = [OVERLAYS / "ci/gitlab/.gitlab-ci.yml", ROOT / ".gitlab-ci.yml"]
    found = {
        (file, match["depName"], match["currentValue"])
        for manager in json.loads((ROOT / "renovate.json").read_text(encoding="utf-8"))["customManagers"]
        for file in (*compose, *pipelines)
        if any(re.search(pattern.strip("/"), str(file)) for pattern in manager["managerFilePatterns"])
        for text in manager["matchStrings"]
        for match in re.finditer(text.replace("(?<", "(?P<"), file.read_text(encoding="utf-8"))
    }
    services = [yaml.safe_load(re.sub("{{.*?}}", "x", file.read_text()))["services"].values() for file in compose]
    named = [service["image"] for part in services for service in part if "image" in service]
    variables = [yaml.safe_load(re.sub("{{.*?}}", "x", file.read_text()))["variables"] for file in pipelines]
    named += [value for part in variables for name, value in part.items() if name.endswith("_IMAGE")]
    ours = {name for name in named if name.startswith("x/")}
    assert {f"{name}:{version}" for _, name, version in found} == {*named} - ours
