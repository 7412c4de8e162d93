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
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
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
    assert list((folder / "data/predictions").glob("*/part-*.parquet"))
    assert not list(folder.glob("*.log"))


def test_an_answer_over_http_and_a_clean_end(service: tuple[str, "subprocess.Popen[bytes]"]) -> None:
    url, process = service
    answer = ask(f"{url}/predict", {"rows": [EXAMPLE]})
    assert len(answer["predictions"]) == 1
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) in {0, -signal.SIGTERM}


def test_the_end_waits_for_what_is_in_work(service: tuple[str, "subprocess.Popen[bytes]"]) -> None:
    """Every request that was taken before SIGTERM is answered."""
    url, process = service
    body = {"rows": [EXAMPLE] * 1000}
    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(ask, f"{url}/predict", body) for _ in range(3)]
        time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        errors = [request.exception(20) for request in waiting]
        answered = [request for request, error in zip(waiting, errors, strict=True) if error is None]
    assert all(len(request.result()["predictions"]) == 1000 for request in answered)
    # The others came after the end: nobody took them.
    assert all(isinstance(error, URLError | None) and not isinstance(error, HTTPError) for error in errors)
    assert answered
    assert process.wait(20) in {0, -signal.SIGTERM}


def test_a_problem_is_one_line_without_a_traceback(folder: Path) -> None:
    done = run("train")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("train: ")
    assert "make prepare" in done.stderr
    assert "Traceback" not in done.stderr


def end(verb: str, *arguments: str) -> Any:
    """Run a command in this process; give what it exits with: nothing, a status, or what Python prints for 1."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(sys, "argv", [verb, *arguments])
        try:
            import_module(f"{PACKAGE}.{verb}").main()
        except SystemExit as exits:
            return exits.code
    return None


@pytest.mark.parametrize(
    ("verb", "arguments", "says"),
    [
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
