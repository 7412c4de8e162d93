"""What the tests share: the questions, every combination of choices, and a render of each."""

import functools
import itertools
import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from containers import engine  # noqa: F401 - a fixture, for whoever builds images
from pytest_cookies.plugin import Cookies
from servers import THRIFT
from sites import database, logs, site  # noqa: F401 - fixtures, for whoever needs servers

ROOT = Path(__file__).parents[1]
TEMPLATE = ROOT / "{{cookiecutter.repo_name}}"
OVERLAYS = TEMPLATE / "_overlays"

ANSWERS = json.loads((ROOT / "cookiecutter.json").read_text(encoding="utf-8"))
CHOICES: dict[str, list[str]] = {k: v for k, v in ANSWERS.items() if k[0] != "_" and isinstance(v, list)}
CONTEXTS = [dict(zip(CHOICES, picked, strict=True)) for picked in itertools.product(*CHOICES.values())]

# Test runs leave these behind in the template; they belong to no project.
LEFTOVERS = {"__pycache__", ".pytest_cache", ".ruff_cache", ".mypy_cache", ".hypothesis"}

Render = Callable[..., Path]
Listen = Callable[..., tuple[Any, str]]


def files(folder: Path) -> set[str]:
    """The files under folder, relative to it."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and not LEFTOVERS.intersection(path.parts)
    }


def state(folder: Path) -> set[tuple[str, int]]:
    """The files under folder, and when each was last written, in nanoseconds."""
    return {(name, (folder / name).stat().st_mtime_ns) for name in files(folder)}


def texts(folder: Path) -> dict[str, str]:
    """The text files under folder and what they hold."""
    held = {name: (folder / name).read_bytes() for name in files(folder)}
    return {name: data.decode() for name, data in held.items() if b"\0" not in data}


def surroundings(cwd: Path, **more: str) -> dict[str, str]:
    """The environment of a program of this one that works in a folder."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    # The variables of the make that started the tests are not for the make of a render.
    of_make = {"MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "ARGS", "JOBS"}
    kept = {name: value for name, value in os.environ.items() if name not in of_make}
    return kept | {"PATH": path, "HOME": str(cwd)} | THRIFT | more


def run(*command: object, cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a program of this environment and keep what it says."""
    return subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=surroundings(cwd, **more),
        capture_output=True,
        text=True,
        timeout=2400,
    )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures that tests recorded as "told", and what became of the guide's "blocks", over all pages."""
    recorded = [pair for report in terminalreporter.getreports("passed") for pair in report.user_properties]
    told = [text for name, text in recorded if name == "told"]
    blocks = Counter(kind for name, kinds in recorded if name == "blocks" for kind in kinds)
    if blocks:
        pages = sum(name == "blocks" for name, _ in recorded)
        told.append(
            f"guide: {blocks.total()} different command blocks on {pages} pages in {len(CONTEXTS)} combinations: "
            f"{blocks['run'] + blocks['served']} run, {blocks['parsed']} parsed and checked with a reason, "
            f"{blocks['shown']} contents of files, 0 unaccounted for"
        )
    if told:
        terminalreporter.section("figures")
        terminalreporter.write_line("\n".join(map(str, told)))


@pytest.fixture(scope="session")
def render(cookies_session: Cookies) -> Iterator[Render]:
    """Render answers, each set of them once: look at the folder, but copy it before writing."""
    made: dict[Path, set[tuple[str, int]]] = {}

    @functools.cache
    def rendered(**answers: str) -> Path:
        result = cookies_session.bake(extra_context=answers)
        assert result.exception is None, result.exception
        made[result.project_path] = state(result.project_path)
        return result.project_path

    yield rendered
    changed = [change for folder, was in made.items() for change in was ^ state(folder)]
    assert not changed, "a test wrote into a folder that all share"


@pytest.fixture(scope="session", params=CONTEXTS, ids=lambda choices: "-".join(choices.values()))
def choices(request: pytest.FixtureRequest) -> dict[str, str]:
    """One combination of choices; a test that asks for it runs for all of them."""
    return request.param


@pytest.fixture(scope="session")
def project(render: Render, choices: dict[str, str]) -> Path:
    """The project rendered with these choices."""
    return render(**choices)


@pytest.fixture(scope="session")
def template_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template's own site, with every guide: for tests of the xdist group "site"."""
    folder = tmp_path_factory.mktemp("site")
    built = run("mkdocs", "build", "--strict", "--site-dir", folder, cwd=ROOT, NO_MKDOCS_2_WARNING="1")
    assert built.returncode == 0, built.stderr
    return folder


@pytest.fixture
def listen() -> Iterator[Listen]:
    """Answer on loopback as a handler does; gives the handler, with what it shall know, and its address."""
    servers = []

    def start(kind: type[BaseHTTPRequestHandler], **known: object) -> tuple[Any, str]:
        handler = type("Fresh", (kind,), known)
        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return handler, f"http://127.0.0.1:{servers[-1].server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def served() -> Iterator[Any]:
    """A service as jobs/smoke.py finds it, at its `port`; its `version` is that of the model."""
    from test_wait import Service  # which imports this file

    handler = type("Fresh", (Service,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    handler.port = server.server_port
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield handler
    server.shutdown()
    server.server_close()
