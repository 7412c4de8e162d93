"""What the commands and the doctor say when a server is down, or is asked in the wrong way: the cause, and the fix."""

import hashlib
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from conftest import CHOICES
from cryptography.hazmat.primitives.asymmetric import rsa
from pods import Ended, Machine, Pod, Process, pods
from servers import BUCKET, LOCKED, Door, account, encrypted, secret
from sites import Site

pytestmark = pytest.mark.xdist_group("servers")

Change = Callable[[Site, Path], dict[str, str]]  # what a fault changes in the secret of the jobs


def examined(site: Site, folder: Path, *checks: str, **changed: str) -> dict[str, Any]:
    """What the doctor finds from inside a pod, by the name of the check."""
    machine = Machine(site.project, folder / "machine", site.environment)
    (pod,) = pods(site.project, "doctor")
    asked = replace(pod, command=[*pod.command, "--json", "--only", *checks])
    ended = machine.finish(asked, **changed)
    discreet(site, ended)
    assert machine.untouched()
    findings = {finding["name"]: finding for finding in json.loads(ended.said)}
    assert ended.status == any(not finding["well"] for finding in findings.values())
    return findings


def discreet(site: Site, ended: Ended) -> None:
    assert not [value for value in site.secrets() if value in ended.said]


def other_key(site: Site, folder: Path) -> dict[str, str]:
    """A key that the store does not know."""
    if site.platform == "onprem":
        return {"AWS_SECRET_ACCESS_KEY": "not-the-key"}
    known = json.loads(Path(site.environment["GOOGLE_APPLICATION_CREDENTIALS"]).read_text())
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    (folder / "key.json").write_text(account(stranger, known["token_uri"]))
    return {"GOOGLE_APPLICATION_CREDENTIALS": str(folder / "key.json")}


def no_key(site: Site, _: Path) -> dict[str, str]:
    """No key at all, and no machine that would hand one out."""
    if site.platform == "onprem":
        return {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_EC2_METADATA_DISABLED": "true"}
    return {"GOOGLE_APPLICATION_CREDENTIALS": "/nowhere.json"}


STORE: dict[str, tuple[Change, str]] = {
    "no bucket": (lambda site, _: {"STORAGE_ROOT": f"{site.store.scheme}://no-such-bucket/x"}, "no such bucket"),
    "denied": (lambda site, _: {"STORAGE_ROOT": f"{site.store.scheme}://{LOCKED}/x"}, "the account may not do this"),
    "wrong key": (other_key, "refuses the key"),
    "no key": (no_key, "no key to the store"),
}


@pytest.mark.parametrize("platform", CHOICES["platform"])
def test_all_is_well_where_it_is(platform: str, site: Callable[[str], Site], tmp_path: Path) -> None:
    findings = examined(site(platform), tmp_path, "storage", "data", "mlflow", "study")
    assert all(finding["well"] for finding in findings.values()), findings


@pytest.mark.parametrize("platform", CHOICES["platform"])
@pytest.mark.parametrize("fault", STORE)
def test_the_doctor_knows_what_is_wrong_with_a_store(
    platform: str, fault: str, site: Callable[[str], Site], tmp_path: Path
) -> None:
    there = site(platform)
    change, fix = STORE[fault]
    findings = examined(there, tmp_path, "storage", "data", **change(there, tmp_path))
    assert fix in findings["storage"]["text"]
    assert findings["data"]["text"] == "not checked, because the storage cannot be used"


@pytest.mark.parametrize("platform", CHOICES["platform"])
def test_the_doctor_knows_that_a_store_is_down(platform: str, site: Callable[[str], Site], tmp_path: Path) -> None:
    there = site(platform)
    with there.store.line.down():
        text = examined(there, tmp_path, "storage")["storage"]["text"]
    assert "is the network (VPN) up" in text


ANSWERS = {
    "a key that has expired": (400, "<Error><Code>ExpiredToken</Code></Error>", "refuses the key"),
    "a web site": (200, "<html>Welcome</html>", "does not hold what was written to it"),
    "another service": (405, "Method Not Allowed", "what answers there is no store: correct AWS_ENDPOINT_URL"),
    "a proxy": (404, "<html>No such site</html>", "there is no such bucket"),
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_the_doctor_knows_what_else_may_answer_for_a_store(
    answer: str, site: Callable[[str], Site], tmp_path: Path
) -> None:
    status, text, fix = ANSWERS[answer]
    with answering(status, text) as url:
        finding = examined(site("onprem"), tmp_path, "storage", AWS_ENDPOINT_URL=url)["storage"]
    assert fix in finding["text"]


@contextmanager
def answering(status: int, text: str) -> Iterator[str]:
    """A server that says the same to everything."""

    class Fresh(Door):
        def handle_any(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.say(status, text.encode())

    server = ThreadingHTTPServer(("127.0.0.1", 0), Fresh)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("url", "fix"),
    [
        ("http://no-such-host.invalid", "is the network (VPN) up, and its address right?"),
        ("storage.example.com", "cannot be opened: Invalid endpoint: storage.example.com"),
    ],
)
def test_the_doctor_knows_a_wrong_address(url: str, fix: str, site: Callable[[str], Site], tmp_path: Path) -> None:
    assert fix in examined(site("onprem"), tmp_path, "storage", AWS_ENDPOINT_URL=url)["storage"]["text"]


def test_a_store_may_have_a_certificate_of_its_own_and_a_profile(site: Callable[[str], Site], tmp_path: Path) -> None:
    """By a host's name, where boto3 could put the bucket's name before it."""
    there = site("onprem")
    keys = {name: there.environment[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    with encrypted(tmp_path, there.store.line.port) as (url, certificate, asked):
        lines = [f"{name.lower()} = {value}" for name, value in keys.items()]
        (tmp_path / "config").write_text("\n".join(["[profile team]", f"endpoint_url = {url}", *lines]))
        profile = {"AWS_CONFIG_FILE": str(tmp_path / "config"), "AWS_PROFILE": "team"}
        names = [*keys, "AWS_ENDPOINT_URL"]
        refused = examined(without(there, *names), tmp_path / "refused", "storage", **profile)["storage"]
        assert "certificate is not trusted: set AWS_CA_BUNDLE" in refused["text"]
        assert not asked
        bundle = {"AWS_CA_BUNDLE": str(certificate)}
        taken = examined(without(there, *names), tmp_path / "taken", "storage", "data", **profile, **bundle)
    assert all(finding["well"] for finding in taken.values()), taken
    assert all(path.startswith(f"/{BUCKET}") for path in asked)


def without(site: Site, *names: str) -> Site:
    """A site whose jobs are given less."""
    return replace(site, environment={name: value for name, value in site.environment.items() if name not in names})


def test_a_pod_is_let_in_by_its_own_identity(site: Callable[[str], Site], tmp_path: Path) -> None:
    there = without(site("gcp"), "GOOGLE_APPLICATION_CREDENTIALS")
    host = there.store.url.removeprefix("http://")
    node = {"GCE_METADATA_HOST": host, "GCE_METADATA_IP": host}
    findings = examined(there, tmp_path / "known", "storage", "data", **node)
    assert all(finding["well"] for finding in findings.values()), findings
    nobody = examined(there, tmp_path / "unknown", "storage", NO_GCE_CHECK="true")["storage"]
    assert "there is no key to the store" in nobody["text"]
    assert "gcloud auth application-default login" in nobody["text"]


TRACKING: dict[str, tuple[str, Change, str]] = {
    "wrong password": (
        *("mlflow", lambda site, _: {"MLFLOW_TRACKING_PASSWORD": secret()}),
        "refuses the login: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
    ),
    "no login": (
        *("mlflow", lambda site, _: {"MLFLOW_TRACKING_USERNAME": "", "MLFLOW_TRACKING_PASSWORD": ""}),
        "refuses the login: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
    ),
    "no right": (
        *("mlflow", lambda site, _: site.tracking.guest()),
        "the account may not do this: ask whoever runs the server",
    ),
    "wrong database password": (
        *("study", lambda site, _: {"OPTUNA_STORAGE": site.environment["OPTUNA_STORAGE"].replace("hush", "hash")}),
        "cannot be used: correct the password in it (",
    ),
    "no database": (
        *("study", lambda site, _: {"OPTUNA_STORAGE": site.environment["OPTUNA_STORAGE"] + "x"}),
        "cannot be used: create that database, or correct its name (",
    ),
    "no driver": (
        *("study", lambda *_: {"OPTUNA_STORAGE": "mysql://jobs:hash-hash@127.0.0.1/study"}),
        "cannot be used: install the driver that it names (",
    ),
    "no address": (
        "study",
        lambda site, _: {"OPTUNA_STORAGE": "postgres:// "},
        "an address such as postgresql+psycopg:",
    ),
}


@pytest.mark.parametrize("fault", TRACKING)
def test_the_doctor_knows_what_is_wrong_with_a_server(fault: str, site: Callable[[str], Site], tmp_path: Path) -> None:
    there = site("onprem")
    check, change, fix = TRACKING[fault]
    changed = change(there, tmp_path)
    finding = examined(there, tmp_path, check, **changed)[check]
    assert fix in finding["text"]
    assert not [value for value in changed.values() if "hash-" in value and value in finding["text"]]


def test_the_doctor_knows_another_server_from_mlflow(site: Callable[[str], Site], tmp_path: Path) -> None:
    with answering(404, "Not Found") as url:
        finding = examined(site("onprem"), tmp_path, "mlflow", MLFLOW_TRACKING_URI=url)["mlflow"]
    assert "cannot be used: what answers there is not MLflow: correct MLFLOW_TRACKING_URI (" in finding["text"]


@pytest.mark.parametrize(("check", "variable"), [("mlflow", "MLFLOW_TRACKING_URI"), ("study", "OPTUNA_STORAGE")])
def test_the_doctor_knows_that_a_server_is_down(
    check: str, variable: str, site: Callable[[str], Site], tmp_path: Path
) -> None:
    there = site("onprem")
    with (there.tracking if check == "mlflow" else there.database).line.down():
        text = examined(there, tmp_path, check)[check]["text"]
    assert text.startswith(f"{variable}=")
    assert "is the network (VPN) up, and the " in text


@pytest.mark.parametrize(
    ("job", "changed", "fix"),
    [
        ("prepare", STORE["denied"][0], "the account may not do this"),
        ("prepare", STORE["wrong key"][0], "refuses the key"),
        ("train", TRACKING["wrong password"][1], "refuses the login"),
        ("train", STORE["no bucket"][0], "no such bucket"),
        ("infer", TRACKING["wrong password"][1], "refuses the login"),
        ("serve", TRACKING["wrong password"][1], "refuses the login"),
        ("infer", TRACKING["no right"][1], "the account may not do this"),
    ],
)
@pytest.mark.parametrize("platform", CHOICES["platform"])
def test_a_command_says_it_in_a_line_and_writes_nothing(
    platform: str, job: str, changed: Change, fix: str, site: Callable[[str], Site], tmp_path: Path
) -> None:
    there = site(platform)
    before = {bucket: there.store.names(bucket) for bucket in (BUCKET, LOCKED)}
    if changed is STORE["denied"][0]:  # the bucket that may only be read has the raw file
        environment = {"STORAGE_ROOT": f"{there.store.scheme}://{BUCKET}/penguins"}
        words = [f"data.prepared={there.store.scheme}://{LOCKED}/prepared"]
    else:
        environment, words = changed(there, tmp_path), []
    machine = Machine(there.project, tmp_path / "machine", there.environment)
    ended = machine.attempt(job, *words, **environment)
    discreet(there, ended)
    last = ended.said.strip().splitlines()[-1]
    assert (ended.status, last.startswith(f"{job}: "), fix in last) == (1, True, True), ended.said
    assert "Traceback" not in ended.said
    assert {bucket: there.store.names(bucket) for bucket in (BUCKET, LOCKED)} == before


UPLOAD = """
import sys
from {package} import storage
with storage.publish(storage.locate(sys.argv[1])) as draft:
    draft.write_bytes(bytes(range(256)) * (4096 * int(sys.argv[2])))
"""
MIB = bytes(range(256)) * 4096
SIZE = 40  # MiB, which no client sends in one piece


def running(there: Site, folder: Path, code: str, name: str, *words: str) -> Process:
    """A process of the project's that does something with a file of the bucket."""
    machine = Machine(there.project, folder / "machine", there.environment)
    code = code.format(package=there.project.name.replace("-", "_"))
    return machine.start(Pod("code", ["python", "-c", code, f"{there.store.scheme}://{BUCKET}/{name}", *words], {}))


def uploading(there: Site, folder: Path, name: str, size: int) -> Process:
    """A process that writes a file of so many MiB."""
    return running(there, folder, UPLOAD, name, str(size))


# A file, after how much of it the store restarts, and how much may be sent again: boto3 sends parts of 8 MiB, ten at a
# time, so the whole of the small file, and a part once more if a busy store lets it wait. Google's client sends parts
# of 100 MB.
LARGE = [(SIZE, 24, 2 * SIZE), pytest.param(240, 150, 110, marks=pytest.mark.nightly)]


@pytest.mark.parametrize("platform", CHOICES["platform"])
@pytest.mark.parametrize(("size", "cut", "most"), LARGE)
def test_an_upload_survives_a_restart_of_the_store(
    platform: str,
    size: int,
    cut: int,
    most: int,
    site: Callable[[str], Site],
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    there = site(platform)
    line = there.store.line
    cuts, carried = line.cuts, line.carried
    line.cut(after=cut * 2**20, seconds=2)
    ended = uploading(there, tmp_path, "large.bin", size).end()
    assert ended.status == 0, ended.said
    assert line.cuts == cuts + 1
    again = (line.carried - carried) / 2**20 - size
    assert again < most
    assert there.store.get(BUCKET, "large.bin") == MIB * size
    record_property("told", f"{platform}: of {size} MiB, {again:.0f} were sent again after a restart at {cut}")


DOWNLOAD = """
import sys
from {package} import storage
with storage.fetched(storage.locate(sys.argv[1])) as file:
    print(storage.digest(file))
"""


@pytest.mark.parametrize("platform", CHOICES["platform"])
def test_a_download_survives_a_restart_of_the_store(platform: str, site: Callable[[str], Site], tmp_path: Path) -> None:
    there = site(platform)
    there.store.put("large.bin", MIB * SIZE)
    cuts = there.store.line.cuts
    there.store.line.cut(after=24 * 2**20, seconds=2)
    ended = running(there, tmp_path, DOWNLOAD, "large.bin").end()
    assert (ended.status, ended.said) == (0, f"{hashlib.sha256(MIB * SIZE).hexdigest()}\n")
    assert there.store.line.cuts == cuts + 1


@pytest.mark.parametrize("platform", CHOICES["platform"])
def test_an_upload_that_is_killed_leaves_what_was_there(
    platform: str, site: Callable[[str], Site], tmp_path: Path
) -> None:
    there = site(platform)
    there.store.put("kept.bin", b"as it was")
    cuts = there.store.line.cuts
    there.store.line.cut(after=12 * 2**20, seconds=5)
    upload = uploading(there, tmp_path, "kept.bin", SIZE)
    deadline = time.monotonic() + 60
    while there.store.line.cuts == cuts and time.monotonic() < deadline:
        time.sleep(0.1)
    upload.running.kill()
    assert upload.end().status == -signal.SIGKILL
    time.sleep(5)  # until the line is open again
    assert there.store.get(BUCKET, "kept.bin") == b"as it was"


MEETING = """
import pathlib, sys, time
from {package}.study import meet
storage = meet(sys.argv[2])
print("met", len(storage.get_all_studies()), flush=True)
while not pathlib.Path(sys.argv[3]).exists():
    time.sleep(0.1)
print("met", len(storage.get_all_studies()))
"""


def test_a_worker_outlives_a_restart_of_the_database(site: Callable[[str], Site], tmp_path: Path) -> None:
    """Between two trials: its connection, which was good before, is gone."""
    there = site("onprem")
    worker = running(there, tmp_path, MEETING, "", there.environment["OPTUNA_STORAGE"], str(tmp_path / "go"))
    deadline = time.monotonic() + 60
    while "met" not in worker.log.read_text() and time.monotonic() < deadline:
        time.sleep(0.1)
    with there.database.line.down():
        time.sleep(0.5)
    (tmp_path / "go").touch()
    ended = worker.end()
    assert (ended.status, ended.said.count("met ")) == (0, 2), ended.said
