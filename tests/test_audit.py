"""`make audit` finds known vulnerabilities in pinned packages, and `make sbom` lists what is installed."""

import json
import re
import shutil
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from conftest import Listen, Render, run

pytestmark = pytest.mark.xdist_group("audit")

NOWHERE = "http://127.0.0.1:9"
VULNERABILITY = {
    "id": "GHSA-0000-0000-0000",
    "summary": "A vulnerability",
    "affected": [
        {
            "package": {"ecosystem": "PyPI", "name": "fastapi"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "999.1"}]}],
        }
    ],
}


class Vulnerabilities(BaseHTTPRequestHandler):
    """A list of known vulnerabilities, asked as OSV's is; `known` are those of a package."""

    protocol_version = "HTTP/1.1"
    known: dict[str, Any]
    asked: set[str]

    def do_POST(self) -> None:
        name = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["package"]["name"]
        self.asked.add(name)
        answer = json.dumps({"vulns": [self.known[name]]} if name in self.known else {}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *words: object) -> None:
        pass


def looked_up_at(url: str) -> dict[str, str]:
    """What has pip-audit ask there instead of PyPI."""
    return {"PIP_AUDIT_VULNERABILITY_SERVICE": "osv", "PIP_AUDIT_OSV_URL": url}


@pytest.fixture(scope="module")
def project(render: Render, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project for Run:ai, because its client pins other versions of packages that the project has, too."""
    return Path(shutil.copytree(render(orchestrator="runai"), tmp_path_factory.mktemp("audit") / "project"))


def pinned(*files: Path) -> dict[str, str]:
    """The packages that requirements pin, without those of other systems, and their versions."""
    lines = "\n".join(file.read_text(encoding="utf-8") for file in files)
    return {name: pin for name, pin, rest in re.findall(r"^([\w.-]+)==(\S+)(.*)$", lines, re.M) if ";" not in rest}


def test_an_audit_sees_all_that_is_pinned(project: Path, listen: Listen) -> None:
    handler, url = listen(Vulnerabilities, known={}, asked=set())
    done = run("make", "audit", cwd=project, **looked_up_at(url))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No known vulnerabilities found" in done.stderr
    assert handler.asked >= pinned(*(project / "requirements").glob("*.txt")).keys()


def test_a_known_vulnerability_is_named_with_what_fixes_it(project: Path, listen: Listen) -> None:
    _, url = listen(Vulnerabilities, known={"fastapi": VULNERABILITY}, asked=set())
    done = run("make", "audit", cwd=project, **looked_up_at(url))
    assert done.returncode
    version = pinned(project / "requirements/serve.txt")["fastapi"]
    assert re.search(rf"^fastapi +{version} +GHSA-0000-0000-0000 +999\.1 *$", done.stdout, re.M), done.stdout


def test_an_audit_that_could_look_nothing_up_fails(project: Path) -> None:
    done = run("make", "audit", cwd=project, **looked_up_at(NOWHERE))
    assert done.returncode
    assert "No known vulnerabilities" not in done.stdout + done.stderr


def test_the_list_of_what_is_installed_is_whole_and_the_same_each_time(project: Path) -> None:
    assert run("make", ".venv-audit/installed", cwd=project).returncode == 0
    offline = dict.fromkeys(("http_proxy", "https_proxy"), NOWHERE) | {"no_proxy": ""}
    texts = []
    for _ in range(2):
        done = run("make", "sbom", "VENV=.venv-audit", cwd=project, **offline)  # the smallest environment there is
        assert done.returncode == 0, done.stdout + done.stderr
        texts.append((project / "sbom.json").read_text(encoding="utf-8"))
    assert texts[0] == texts[1]
    listed = json.loads(texts[0])
    assert (listed["bomFormat"], listed["metadata"]["component"]["name"]) == ("CycloneDX", "my-ml-project")
    versions = {re.sub("[-_.]+", "-", part["name"].lower()): part["version"] for part in listed["components"]}
    assert versions.items() >= pinned(project / "requirements/audit.txt").items()
    licensed = [part for part in listed["components"] if "licenses" in part]
    assert len(licensed) > 0.9 * len(versions)
