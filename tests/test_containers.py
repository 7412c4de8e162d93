"""Container files are sound, install what is pinned, and let in what they need and no more."""

import itertools
import os
import re
from pathlib import Path

import pytest
from conftest import CONTEXTS, ROOT, TEMPLATE, Render, run

TOOLS = Path(os.environ.get("TOOLS", ROOT / ".venv-tools")) / "bin"  # of `make tools`
ROLES = sorted(file.stem for file in (TEMPLATE / "docker").glob("*.Dockerfile") if file.stem != "baked")

# What hadolint must go on refusing: what to change in a file that it accepts, and into what.
BROKEN = {
    "DL3007": ("ARG BASE=python:3.13-slim-trixie\n\nFROM ${BASE} AS environment", "FROM python:latest AS environment"),
    "DL3002": ("USER ${UID}:${UID}", "USER root"),
    "DL3025": ('CMD ["python", "-m", "my_ml_project.serve"]', "CMD python -m my_ml_project.serve"),
    "DL3042": ("pip install --no-cache-dir", "pip install"),
    "DL3000": ("WORKDIR /app", "WORKDIR app"),
    "DL3020": ("COPY src src", "ADD src src"),
}


def instructions(file: Path) -> list[str]:
    """The instructions of a Dockerfile, each on a line of its own, without comments."""
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")]
    return [re.sub(r"\s+", " ", line) for line in "\n".join(lines).replace("\\\n", " ").splitlines() if line]


@pytest.fixture(scope="session")
def docker(render: Render) -> Path:
    return render() / "docker"


def test_the_files_are_sound(docker: Path) -> None:
    done = run(TOOLS / "hadolint", "--failure-threshold=style", *sorted(docker.glob("*.Dockerfile")), cwd=docker)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("rule", BROKEN)
def test_a_broken_file_is_refused(docker: Path, tmp_path: Path, rule: str) -> None:
    old, new = BROKEN[rule]
    text = (docker / "serve.Dockerfile").read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "Dockerfile").write_text(text.replace(old, new), encoding="utf-8")
    done = run(TOOLS / "hadolint", "Dockerfile", cwd=tmp_path)
    assert done.returncode
    assert rule in done.stdout


def test_an_ignored_rule_has_its_reason(docker: Path) -> None:
    for file in docker.glob("*.Dockerfile"):
        lines = file.read_text(encoding="utf-8").splitlines()
        for above, line in itertools.pairwise(lines):
            assert "hadolint ignore" not in line or above.startswith("# "), f"{file.name}: {line}"


@pytest.mark.parametrize("role", ROLES)
def test_an_image_runs_as_the_jobs_want_it_to(docker: Path, role: str) -> None:
    steps = instructions(docker / f"{role}.Dockerfile")
    users = [step for step in steps if step.startswith("USER")]
    assert users == ["USER ${UID}:${UID}"]
    assert not any("useradd" in step for step in steps[steps.index(users[0]) :])
    (command,) = [step for step in steps if step.startswith("CMD")]
    assert command.startswith("CMD [")
    assert not any(step.startswith("ENTRYPOINT") for step in steps), "a job's command replaces CMD"
    assert "ARG UID=10001" in steps, "the number that jobs/ names"
    for label in ("title", "source", "revision", "version"):
        assert any(f"org.opencontainers.image.{label}=" in step for step in steps)


@pytest.mark.parametrize("role", ROLES)
def test_bases_are_arguments_with_a_pinned_default(docker: Path, role: str) -> None:
    steps = instructions(docker / f"{role}.Dockerfile")
    stages = {step.split(" AS ")[1] for step in steps if " AS " in step}
    arguments = {match[1] for step in steps if (match := re.fullmatch(r"ARG (\w+)=[\w./-]+:[\w.-]*\d[\w.-]*", step))}
    for step in steps:
        if step.startswith("FROM"):
            base = step.split()[1]
            assert base in stages or base.strip("${}") in arguments, step


@pytest.mark.parametrize("role", ROLES)
def test_what_is_installed_is_pinned_and_precedes_the_source(docker: Path, role: str) -> None:
    steps = instructions(docker / f"{role}.Dockerfile")
    installs = [number for number, step in enumerate(steps) if "pip install" in step]
    assert len(installs) == 1
    assert "--require-hashes" in steps[installs[0]]
    sources = [number for number, step in enumerate(steps) if step == "COPY src src"]
    assert all(number > installs[0] for number in sources)
    assert bool(sources) == (role not in ("workspace", "mlflow")), "a workspace's source is on its volume"


@pytest.mark.parametrize("role", ROLES)
def test_what_differs_between_commits_spoils_no_cached_layer(docker: Path, role: str) -> None:
    steps = instructions(docker / f"{role}.Dockerfile")
    arguments = {f"ARG {name}=unknown" for name in ("REVISION", "VERSION", "SOURCE")}
    declared = min(number for number, step in enumerate(steps) if step in arguments)
    # An argument is compared by the steps that run with it. One does nothing else: Buildah sees by it what changed.
    assert [step for step in steps[declared:] if step.startswith("RUN")] == ['RUN : "${REVISION} ${VERSION} ${SOURCE}"']
    last = steps.index('RUN : "${REVISION} ${VERSION} ${SOURCE}"')
    assert not any("REVISION}" in step or "VERSION}" in step or "SOURCE}" in step for step in steps[:last])
    assert all(step.startswith(("ENV", "LABEL")) for step in steps[last + 1 :])


@pytest.mark.parametrize("role", ROLES)
def test_few_steps_come_after_what_is_large(docker: Path, role: str) -> None:
    """Buildah with vfs, which works on any runner, keeps a copy of the whole image for each step until it is done."""
    steps = instructions(docker / f"{role}.Dockerfile")
    after = steps[steps.index("COPY --from=environment /opt/venv /opt/venv") + 1 :]
    assert [step.split()[0] for step in after if step.split()[0] not in ("COPY", "RUN", "ENV", "LABEL")] == []
    assert len(after) <= 4


def test_what_is_copied_exists_in_every_render(render: Render) -> None:
    for context in CONTEXTS:
        project = render(**context)
        for role in ROLES:
            for step in instructions(project / "docker" / f"{role}.Dockerfile"):
                if step.startswith("COPY") and "--from" not in step:
                    *sources, _ = step.split()[1:]
                    assert all((project / source).exists() for source in sources), step


def test_serving_takes_nothing_that_only_training_needs(docker: Path) -> None:
    copies = [
        step for step in instructions(docker / "serve.Dockerfile") if step.startswith("COPY") and "--" not in step
    ]
    assert copies == [
        "COPY requirements/serve.txt requirements/storage.txt /requirements/",
        "COPY conf/serve.yaml conf/export.yaml conf/",
        "COPY src src",
    ]
    assert any(step.startswith("HEALTHCHECK") for step in instructions(docker / "serve.Dockerfile"))


def test_builds_see_what_is_copied_and_nothing_else(docker: Path) -> None:
    """No data, models, secrets or history can get in, since everything is ignored that is not named."""
    lines = (docker.parent / ".dockerignore").read_text(encoding="utf-8").splitlines()
    first, *others = [line for line in lines if line and not line.startswith("#")]
    assert first == "*"
    named = {line[1:] for line in others if line.startswith("!")}
    steps = [step for role in ROLES for step in instructions(docker / f"{role}.Dockerfile")]
    copies = [step.split()[1:-1] for step in steps if step.startswith("COPY") and "--from" not in step]
    assert named == {source.split("/")[0] for sources in copies for source in sources}
