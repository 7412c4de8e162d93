"""The reference names everything that can be set, called and asked, as the code itself says it."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from blocks import whole
from conftest import CONTEXTS, Render, run


def table(page: str, heading: str) -> dict[str, list[str]]:
    """The first table below a heading: its other cells, by the first one."""
    rows = re.findall(r"^\| (.*) \|$", page.partition(f"\n## {heading}\n")[2].partition("\n## ")[0], re.M)
    return {first: rest for first, *rest in (row.split(" | ") for row in rows[1:])}


def unexplained(text: str) -> Iterator[str]:
    """The keys of a file without a comment behind them or on the line above, if what they belong to has none either."""
    explained: list[tuple[int, bool]] = []  # the keys that the present one is below: their indents, and whether
    above = False
    header = True
    for line in text.splitlines():
        header = header and line.startswith("#")
        if key := re.match(r"( *)(\w+):", line):
            explained = [(indent, is_so) for indent, is_so in explained if indent < len(key[1])]
            own = above or "#" in line or any(is_so for _, is_so in explained)
            explained.append((len(key[1]), own))
            if not own and not line.endswith(":") and "defaults" not in line:
                yield key[2]
        above = line.lstrip().startswith("#") and not header


def test_every_setting_is_explained_and_on_the_page(project: Path) -> None:
    page = whole(project, "docs/settings.md")
    for file in sorted((project / "conf").rglob("*.yaml")):
        name = file.relative_to(project).as_posix()
        assert f'--8<-- "{name}"' in page, name
        text = file.read_text(encoding="utf-8")
        assert list(unexplained(text)) == [], name


def test_settings_that_nobody_explains_are_noticed() -> None:
    text = "# What it is for.\na: 1\nb: 2    # two\nc:\n  d: 3\n# all of it\ne:\n  f: 4\n"
    assert list(unexplained(text)) == ["a", "d"]


# Imports what serves a model of skops, from nothing but the service's packages, named ones, and what those need.
SKOPS = """
import re, sys
from importlib.metadata import PackageNotFoundError, packages_distributions, requires

def plain(name):
    return re.sub("[-_.]+", "-", name).lower()

pinned = [line.split("==")[0] for line in open("requirements/serve.txt") if "==" in line]
found, waiting = set(), [*sys.argv[1:], *pinned]
while waiting:
    name = plain(waiting.pop().strip())
    if name not in found:
        found.add(name)
        try:
            waiting += [re.match(r"[\\w.-]+", each)[0] for each in requires(name) or [] if "extra ==" not in each]
        except PackageNotFoundError:  # for another system
            pass
known = packages_distributions()

class Absent:
    def find_spec(self, name, *_):
        packages = known.get(name.partition(".")[0], [])
        if packages and found.isdisjoint(map(plain, packages)):
            raise ModuleNotFoundError(f"{name} is absent")

sys.meta_path.insert(0, Absent())
import my_ml_project.serve, my_ml_project.formats.skops, skl2onnx.sklapi
"""


def test_a_service_of_skops_models_needs_what_the_page_says(render: Render) -> None:
    page = whole(render(), "docs/guide/add-model.md")
    lines = re.search(r"add the lines\s+(.*?)\s+of `requirements/pipeline.in` to `requirements/serve.in`", page, re.S)
    named = re.findall(r"`([\w-]+)`", lines[1])
    assert set(named) <= set(re.findall(r"^[\w-]+", (render() / "requirements/pipeline.in").read_text(), re.M))
    for packages, works in ((named, True), (["skops", "scikit-learn", "skl2onnx"], False)):
        done = run(sys.executable, "-c", SKOPS, *packages, cwd=render(), PYTHONPATH="src")
        assert (done.returncode == 0) is works, done.stderr


def test_every_target_of_make_is_listed(project: Path) -> None:
    targets = re.findall(r"^([a-z]+):.*##", (project / "Makefile").read_text(encoding="utf-8"), re.M)
    listed = table(whole(project, "docs/reference.md"), "Targets of make")
    assert sorted(re.findall(r"`([a-z]+)`", " ".join(listed))) == sorted(targets)


def test_every_variable_that_is_read_is_named(project: Path) -> None:
    page = whole(project, "docs/reference.md")
    for name in re.findall(r'^--8<-- "(\S+)"$', page, re.M):
        page += (project / name).read_text(encoding="utf-8")
    read = set()
    for file in [
        *(project / "conf").rglob("*.yaml"),
        *(project / "jobs").glob("*.py"),
        *(project / "src").rglob("*.py"),
    ]:
        text = file.read_text(encoding="utf-8")
        read |= set(re.findall(r"oc\.env:(\w+)", text)) | set(re.findall(r'environ(?:\.get\(|\[)"(\w+)"', text))
    for name in read - INTERNAL:
        assert name in page, name


# What others set: the platform of containers, the orchestrator, the forge, and tests that cannot wait.
INTERNAL = {"DOCKER_CONFIG", "GITLAB_USER_LOGIN", "JOB", "PAUSE", "REVISION", "SMOKE_SECONDS", "SSL_CERT_FILE"} | {
    "KUBECONFIG"
}

SAY = """
import json
from my_ml_project.serve import create_app
from my_ml_project.settings import Settings
fields = {name: [field.description, repr(field.default)] for name, field in Settings.model_fields.items()}
print(json.dumps([fields, create_app(Settings()).openapi()]))
"""


@pytest.fixture(scope="module")
def service(render: Render) -> tuple[dict[str, list[str]], dict[str, Any]]:
    """What the service's settings and its interface are, by its own word."""
    project = render(**CONTEXTS[0])
    done = run(sys.executable, "-c", SAY, cwd=project, PYTHONPATH=str(project / "src"))
    assert done.returncode == 0, done.stderr
    fields, interface = json.loads(done.stdout)
    return fields, interface


def test_the_service_s_settings_are_those_of_its_class(service: Any, render: Render) -> None:
    listed = table(whole(render(**CONTEXTS[0]), "docs/reference.md"), "Settings of the service")
    fields = {f"`{name}`": values for name, values in service[0].items() if name != "tracking_uri"}
    assert listed.keys() == fields.keys()
    for name, (description, default) in fields.items():
        assert listed[name][0] == description, name
        assert listed[name][1].strip("`") == ("the champion" if name == "`model`" else default.strip("'")), name


def test_the_interface_is_that_of_the_service(service: Any, render: Render) -> None:
    listed = table(whole(render(**CONTEXTS[0]), "docs/http.md"), "Requests and answers")
    said = {
        f"`{method.upper()} {path}`": operation
        for path, methods in service[1]["paths"].items()
        for method, operation in methods.items()
    }
    assert listed.keys() == {*said, "`GET /metrics`"}  # which Prometheus' library adds, and documents nowhere
    for name, operation in said.items():
        answers, does = listed[name]
        assert does == operation["description"], name
        assert set(answers.split(", ")) >= set(operation["responses"]), name
