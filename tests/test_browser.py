"""The sites as readers see them: in Chromium, light and dark, on a telephone and on a wide screen.

tools/look.py looks, with the tools' Python, and says what is wrong; `make screenshots` keeps its pictures.
"""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, Render, run
from specs import TOOLS
from test_site import faults

pytestmark = pytest.mark.xdist_group("site")

Tell = Callable[[str, object], None]


def look(site: Path, *options: str) -> list[dict[str, Any]]:
    """What was looked at, and what is wrong with it."""
    done = run(TOOLS.absolute() / "python", ROOT / "tools" / "look.py", site, *options, cwd=site.parent)
    assert done.returncode == 0, done.stderr
    looks: list[dict[str, Any]] = json.loads(done.stdout)
    return looks


def told(looks: list[dict[str, Any]]) -> list[str]:
    """The faults, one a line."""
    return [f"{seen['view']}, {seen['width']} {seen['scheme']}: {fault}" for seen in looks for fault in seen["faults"]]


@pytest.fixture(scope="session")
def own_site(render: Render, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site of a project, as its team builds it."""
    folder = tmp_path_factory.mktemp("own")
    project = render(platform="gcp", orchestrator="polyaxon", ci="github", organisation="aisg")
    built = run("mkdocs", "build", "--strict", "--site-dir", folder, cwd=project, NO_MKDOCS_2_WARNING="1")
    assert built.returncode == 0, built.stderr
    return folder


def test_nothing_is_wrong_with_the_template_s_site(template_site: Path, record_property: Tell) -> None:
    looks = look(template_site)
    assert told(looks) == []
    assert {seen["view"] for seen in looks} >= {"home", "tutorial", "components", "jobs", "serve", "reference", "menu"}
    record_property("told", f"browser, the template's site: {len(looks)} views, no fault")


def test_nothing_is_wrong_with_a_project_s_site(own_site: Path, record_property: Tell) -> None:
    looks = look(own_site)
    assert told(looks) == []
    record_property("told", f"browser, a project's site: {len(looks)} views, no fault")


@pytest.mark.timeout(900)
def test_versions_are_published_side_by_side(tmp_path: Path) -> None:
    """By `make publish`, on a branch and then on its tag."""
    template = tmp_path / "template"
    left_out = shutil.ignore_patterns(".git", ".venv*", "build", "site", ".*cache", "__pycache__")
    shutil.copytree(ROOT, template, ignore=left_out)
    who = {f"GIT_{role}_{what}": "ada@example.com" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    venv = f"VENV={Path(sys.executable).parents[1]}"

    def does(*words: str) -> str:
        done = run(*words, cwd=template, **who)
        assert done.returncode == 0, done.stderr
        return done.stdout

    for command in ("git init --quiet", "git add --all", "git commit --quiet --message=x"):
        does(*command.split())
    does("make", "--assume-old=setup", "publish", venv)
    assert json.loads((template / "site" / "versions.json").read_text()) == [
        {"version": "dev", "title": "dev", "aliases": []}
    ]
    does("git", "tag", "v9.8.7")
    does("make", "--assume-old=setup", "publish", venv)
    site = template / "site"
    published = json.loads((site / "versions.json").read_text())
    assert {version["version"]: version["aliases"] for version in published} == {"9.8.7": ["latest"], "dev": []}
    assert faults(site) == ["index.html links to latest/: no such file"]  # a folder, whose index a server shows
    assert told(look(site)) == []


@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_nothing_is_wrong_at_any_width_in_any_scheme(template_site: Path, own_site: Path) -> None:
    assert told(look(template_site, "--full")) == []
    assert told(look(own_site, "--full", "--pages=**/*.html")) == []
    assert told(look(template_site, "--pages=guide/*/guide/*.html")) == []


FAULTS = {
    '<p style="width: 2000px">wide</p>': "the page is",
    '<div style="overflow-x: hidden"><table><tr><td style="min-width: 2000px">x</td></tr></table></div>': "sticks out",
    '<pre style="overflow-x: hidden; width: 90px">a line that is longer than that</pre>': "is clipped",
    '<img src="none.png" alt="nothing">': "the picture none.png is not shown",
    '<div class="mermaid"></div>': "is not drawn",
    '<script src="http://example.invalid/x.js"></script>': "asks another host: http://example.invalid/x.js",
    "<script>missing()</script>": "script: missing is not defined",
    '<p style="color: #eee">faint</p>': "color-contrast (serious)",
    '<img src="data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA=">': "image-alt (critical)",
}


def test_what_is_wrong_is_found(tmp_path: Path) -> None:
    """Or the tests above would look for nothing."""
    head = '<!doctype html><html lang="en"><title>x</title><link rel="icon" href="data:,">'
    for number, fault in enumerate(FAULTS):
        (tmp_path / f"{number}.html").write_text(f"{head}<main><article>{fault}</article></main>", encoding="utf-8")
    (tmp_path / "search").mkdir()
    looks = look(tmp_path, "--pages=*.html")
    for number, expected in enumerate(FAULTS.values()):
        found = [fault for seen in looks if seen["view"] == str(number) for fault in seen["faults"]]
        assert any(expected in fault for fault in found), (expected, found)
    search = next(seen for seen in looks if seen["view"] == "search from a folder")
    assert search["faults"], "a site without a search was searched"


@pytest.mark.nightly
@pytest.mark.timeout(1800)
def test_zensical_builds_both_sites(tmp_path: Path) -> None:
    venv = f"VENV={Path(sys.executable).parents[1]}"
    done = run("make", "--assume-old=setup", "zensical", venv, cwd=ROOT, HOME=str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    built = ROOT / "build" / "zensical"
    for site, page in (("template", "guide/gcp-polyaxon/guide/jobs.html"), ("my-ml-project", "guide/jobs.html")):
        assert "jobs/submit.sh" in (built / site / "site" / page).read_text(encoding="utf-8")
    assert done.stderr.count("No issues found") == 2
