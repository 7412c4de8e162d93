"""The commands as people and jobs start them: from the raw file to an answer over HTTP."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from runpy import run_module
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import pytest

from {{ cookiecutter.src_package_name }} import CONF, cli
from {{ cookiecutter.src_package_name }}.columns import EXAMPLE

from .conftest import QUICK, ROOT

PACKAGE = cli.__package__


def command(verb: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", f"{PACKAGE}.{verb}", *arguments]


def environment(**variables: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT / "src"), **variables}


def run(verb: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(verb, *arguments), capture_output=True, text=True, check=False, env=environment(**variables)
    )


def ask(url: str, body: Any = None) -> Any:
    request = Request(url, json.dumps(body).encode() if body else None, {"content-type": "application/json"})
    with urlopen(request, timeout=20) as answer:
        return json.load(answer)


@pytest.fixture
def service(trained: Path) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with subprocess.Popen(command("serve", "--port", str(port)), env=environment()) as process:
        url = f"http://127.0.0.1:{port}"
        for _ in range(600):
            try:
                ask(f"{url}/readyz")
                break
            except (URLError, HTTPError):
                assert process.poll() is None, "the service has ended"
                time.sleep(0.1)
        yield url, process
        process.kill()


def test_from_the_raw_file_to_predictions(folder: Path) -> None:
    """From a folder with nothing but data, as a new project is; test_tune.py starts tune."""
    said = ""
    (folder / "mlflow.db").unlink()
    for verb, *arguments in (["prepare"], ["train", f"model={QUICK}"], ["infer", "threads=0"]):
        done = run(verb, *arguments)
        assert done.returncode == 0, done.stderr
        said += done.stdout
    assert "promoted to champion" in said
    assert re.search(r"rows scored by \S+/\d", said)
    assert list((folder / "data/predictions").glob("*/*/part-*.parquet"))
    assert not list(folder.glob("*.log"))


def test_an_answer_over_http_and_a_clean_end(service: tuple[str, "subprocess.Popen[bytes]"]) -> None:
    url, process = service
    answer = ask(f"{url}/predict", {"rows": [EXAMPLE]})
    assert len(answer["predictions"]) == 1
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) in {0, -signal.SIGTERM}


def begin(address: tuple[str, int], body: bytes) -> HTTPConnection:
    """Send a request without its body, and wait until the service asks for that."""
    request = HTTPConnection(*address, timeout=20)
    headers = {"content-type": "application/json", "content-length": str(len(body)), "expect": "100-continue"}
    request.request("POST", "/predict", headers=headers)
    assert request.sock.recv(1000).startswith(b"HTTP/1.1 100 ")
    return request


def refused(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, 20).close()
    except ConnectionRefusedError:
        return True
    return False


def test_the_end_waits_for_what_is_in_work(service: tuple[str, "subprocess.Popen[bytes]"]) -> None:
    """Every request that was taken before SIGTERM is answered."""
    url, process = service
    address, body = ("127.0.0.1", urlsplit(url).port or 0), json.dumps({"rows": [EXAMPLE] * 1000}).encode()
    taken = [begin(address, body) for _ in range(3)]
    process.send_signal(signal.SIGTERM)
    while not refused(address):
        time.sleep(0.05)
    for request in taken:
        request.send(body)
    for request in taken:
        assert len(json.load(request.getresponse())["predictions"]) == 1000
    assert process.wait(20) in {0, -signal.SIGTERM}


def end(verb: str, *arguments: str) -> Any:
    """Run a command in this process; give what it exits with: nothing, a status, or what Python prints for 1."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(sys, "argv", [verb, *arguments])
        try:
            run_module(f"{PACKAGE}.{verb}", run_name="__main__")
        except SystemExit as exits:
            return exits.code
    return None


@pytest.mark.parametrize(
    ("verb", "arguments", "says"),
    [
        ("train", [], "make prepare"),
        ("infer", [], "make train"),
        ("serve", [], "make train"),
        ("serve", ["--port", "many"], "port='many': Input should be a valid integer"),
        ("prepare", ["data.raw=raw/nothing.csv"], "no such file"),
        ("train", ["tracking.uri=http://127.0.0.1:1"], "MLFLOW_TRACKING_URI"),
    ],
)
def test_every_command_exits_with_what_is_wrong(folder: Path, verb: str, arguments: list[str], says: str) -> None:
    line = str(end(verb, *arguments))
    assert line.startswith(f"{verb}: ")
    assert says in line
    assert len(line.splitlines()) == 1


def test_a_port_that_is_taken_is_told_at_once(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        line = str(end("serve", "--port", port))
    assert line.startswith(f"serve: cannot listen on 127.0.0.1 port {port}: ")


@pytest.mark.parametrize("verb", ["prepare", "train", "tune", "infer", "serve", "doctor"])
def test_help_helps(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert not end(verb, "--help")
    assert len(capsys.readouterr().out.splitlines()) > 5
    assert (CONF / f"{verb}.yaml").exists()


def test_the_doctor_is_a_command() -> None:
    """The others are started elsewhere."""
    assert run("doctor", "--help").returncode == 0
