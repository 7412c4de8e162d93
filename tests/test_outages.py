"""What the commands and the doctor say when a server is down, or is asked in the wrong way: the cause, and the fix."""

import json
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import CHOICES
from cryptography.hazmat.primitives.asymmetric import rsa
from pods import Ended, Machine, Pod, Process, pods
from servers import BUCKET, LOCKED, account, secret
from sites import Site

pytestmark = pytest.mark.xdist_group("servers")

Change = Callable[[Site, Path], dict[str, str]]  # what a fault changes in the secret of the jobs


def examined(site: Site, folder: Path, *checks: str, **changed: str) -> dict[str, Any]:
    """What the doctor finds from inside a pod, by the name of the check."""
    machine = Machine(site.project, folder / "machine", site.environment)
    (pod,) = pods(site.project, "doctor")
    asked = replace(pod, command=[*pod.command, "--json", "--only", *checks])
    ended = machine.start(asked, **changed).end()
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
    assert findings["data"]["text"] == "not looked at, because the storage cannot be used"


@pytest.mark.parametrize("platform", CHOICES["platform"])
def test_the_doctor_knows_that_a_store_is_down(platform: str, site: Callable[[str], Site], tmp_path: Path) -> None:
    there = site(platform)
    with there.store.line.down():
        text = examined(there, tmp_path, "storage")["storage"]["text"]
    assert "is the network (VPN) up" in text


TRACKING: dict[str, tuple[str, Change, str]] = {
    "wrong password": (
        *("mlflow", lambda site, _: {"MLFLOW_TRACKING_PASSWORD": secret()}),
        "refuses the login: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
    ),
    "no login": (
        *("mlflow", lambda site, _: {"MLFLOW_TRACKING_USERNAME": "", "MLFLOW_TRACKING_PASSWORD": ""}),
        "refuses the login: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
    ),
    "another server": (
        *("mlflow", lambda site, _: {"MLFLOW_TRACKING_URI": site.store.url}),
        "MLFLOW_TRACKING_URI=http://127.0.0.1:",
    ),
    "wrong database password": (
        *("study", lambda site, _: {"OPTUNA_STORAGE": site.environment["OPTUNA_STORAGE"].replace("hush", "hash")}),
        "password authentication failed",
    ),
    "no database": ("study", lambda site, _: {"OPTUNA_STORAGE": site.environment["OPTUNA_STORAGE"] + "x"}, "not exist"),
}


@pytest.mark.parametrize("fault", TRACKING)
def test_the_doctor_knows_what_is_wrong_with_a_server(fault: str, site: Callable[[str], Site], tmp_path: Path) -> None:
    there = site("onprem")
    check, change, fix = TRACKING[fault]
    changed = change(there, tmp_path)
    finding = examined(there, tmp_path, check, **changed)[check]
    assert fix in finding["text"]
    assert not [value for value in changed.values() if "hash-" in value and value in finding["text"]]


@pytest.mark.parametrize(("check", "variable"), [("mlflow", "MLFLOW_TRACKING_URI"), ("study", "OPTUNA_STORAGE")])
def test_the_doctor_knows_that_a_server_is_down(
    check: str, variable: str, site: Callable[[str], Site], tmp_path: Path
) -> None:
    there = site("onprem")
    with (there.tracking if check == "mlflow" else there.database).line.down():
        text = examined(there, tmp_path, check)[check]["text"]
    assert text.startswith(f"{variable}=")


@pytest.mark.parametrize(
    ("job", "changed", "fix"),
    [
        ("prepare", STORE["denied"][0], "the account may not do this"),
        ("prepare", STORE["wrong key"][0], "refuses the key"),
        ("train", TRACKING["wrong password"][1], "refuses the login"),
        ("train", STORE["no bucket"][0], "no such bucket"),
        ("infer", TRACKING["wrong password"][1], "refuses the login"),
        ("serve", TRACKING["wrong password"][1], "refuses the login"),
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
SIZE = 40  # MiB, which no client sends in one piece


def uploading(there: Site, folder: Path, name: str, size: int) -> Process:
    """A process of the project's that writes a file of so many MiB to the bucket."""
    machine = Machine(there.project, folder / f"machine-{size}", there.environment)
    code = UPLOAD.format(package=there.project.name.replace("-", "_"))
    words = ["python", "-c", code, f"{there.store.scheme}://{BUCKET}/{name}", str(size)]
    return machine.start(Pod("upload", words, {}))


@pytest.mark.parametrize("platform", CHOICES["platform"])
def test_an_upload_survives_a_restart_of_the_store(platform: str, site: Callable[[str], Site], tmp_path: Path) -> None:
    there = site(platform)
    cuts = there.store.line.cuts
    there.store.line.cut(after=12 * 2**20, seconds=2)
    ended = uploading(there, tmp_path, "large.bin", SIZE).end()
    assert ended.status == 0, ended.said
    assert there.store.line.cuts == cuts + 1
    assert there.store.get(BUCKET, "large.bin") == bytes(range(256)) * (4096 * SIZE)


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
