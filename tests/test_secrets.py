"""Secrets reach the cluster whole, and nobody else; a list that has drifted apart is refused."""

import base64
import json
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from conftest import CHOICES, Render, run
from specs import TOOLS, calls, stand_in

LOGIN = {"REGISTRY_USER": "robot$team", "REGISTRY_PASSWORD": "hush-registry"}


@pytest.fixture(params=CHOICES["platform"])
def project(render: Render, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A render with an .env that is filled in, and a file to keep."""
    copy = Path(shutil.copytree(render(platform=request.param), tmp_path / "project"))
    lines = (copy / ".env.example").read_text(encoding="utf-8").splitlines()
    filled = [f"{line}hush-{line[:-1].lower()}=$x" if line.endswith("=") else line for line in lines]
    (copy / ".env").write_text("\n".join(filled) + "\n", encoding="utf-8")
    (copy / "secrets").mkdir()
    (copy / "secrets" / "ca.crt").write_text("hush-certificate\n", encoding="utf-8")
    return copy


def secrets(project: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return run("python", "jobs/credentials.py", *words, cwd=project, **environment)


def opened(manifest: dict[str, Any]) -> dict[str, str]:
    return {name: base64.b64decode(value).decode() for name, value in manifest["data"].items()}


def names(file: Path) -> set[str]:
    lines = file.read_text(encoding="utf-8").splitlines()
    return {line.partition("=")[0] for line in lines if line and not line.startswith("#")}


def test_they_arrive_by_standard_input_only(project: Path, tmp_path: Path) -> None:
    environment = stand_in(tmp_path, "kubectl", "secret/x serverside-applied") | LOGIN | {"NAMESPACE": "team"}
    done = secrets(project, **environment)
    assert done.returncode == 0, done.stderr
    env, files, registry = [json.loads(text) for _, text in calls(environment)]
    assert [m["metadata"]["name"] for m in (env, files, registry)] == [
        "my-ml-project-env",
        "my-ml-project-files",
        "my-ml-project-registry",
    ]
    assert opened(env) == {name: f"hush-{name.lower()}=$x" for name in names(project / ".env.example")}
    assert opened(files) == {"ca.crt": "hush-certificate\n"}
    [(host, login)] = json.loads(opened(registry)[".dockerconfigjson"])["auths"].items()
    assert (host, base64.b64decode(login["auth"]).decode()) == ("registry.example.com", "robot$team:hush-registry")
    for words, _ in calls(environment):
        assert words[:3] == ["--namespace=team", "apply", "--server-side"]
        assert "hush" not in " ".join(words)
    assert "hush" not in done.stdout + done.stderr


def test_the_lines_of_kubectl_hold_no_value(project: Path, tmp_path: Path) -> None:
    environment = stand_in(tmp_path, "kubectl", "")
    done = secrets(project, "--dry-run", **environment)
    assert done.stdout.splitlines()[:2] == [
        "kubectl create secret generic my-ml-project-env --from-env-file=.env",
        "kubectl create secret generic my-ml-project-files --from-file=secrets/ca.crt",
    ]
    assert "hush" not in done.stdout
    assert not calls(environment)


def test_the_lines_of_kubectl_make_the_same_secrets(project: Path, tmp_path: Path) -> None:
    """By the real kubectl, which needs no cluster to say what it would send."""
    (project / "config.json").write_text('{"auths": {}}', encoding="utf-8")
    environment = stand_in(tmp_path, "kubectl", "") | LOGIN
    secrets(project, **environment)
    applied = [json.loads(text) for _, text in calls(environment)]
    for line, other in zip(secrets(project, "--dry-run").stdout.splitlines(), applied, strict=True):
        words = shlex.split(line.replace("<config.json of a docker login>", "config.json"))
        done = run(TOOLS / "kubectl", *words[1:], "--dry-run=client", "--output=json", cwd=project)
        assert done.returncode == 0, done.stderr
        made = json.loads(done.stdout)
        assert (made["metadata"]["name"], made.get("type", "Opaque")) == (other["metadata"]["name"], other["type"])
        assert made["data"].keys() == other["data"].keys()
        assert made["data"] == other["data"] or made["type"] != "Opaque"


def test_a_file_may_hold_any_bytes(project: Path, tmp_path: Path) -> None:
    (project / "secrets" / "store.p12").write_bytes(bytes(range(256)))
    environment = stand_in(tmp_path, "kubectl", "") | LOGIN
    assert secrets(project, **environment).returncode == 0
    data = json.loads(calls(environment)[1][1])["data"]
    assert base64.b64decode(data["store.p12"]) == bytes(range(256))


@pytest.mark.parametrize(
    ("old", "new", "advice"),
    [
        ("STORAGE_ROOT=", "STORAGE_ROOTS=", "STORAGE_ROOT is not in .env; STORAGE_ROOTS is not in .env.example"),
        ("OPTUNA_STORAGE=hush-optuna_storage=$x", "OPTUNA_STORAGE=", "OPTUNA_STORAGE is empty"),
        (
            "=hush-mlflow_tracking_password=$x",
            '="hush"',
            "MLFLOW_TRACKING_PASSWORD has quotes around it, which would become",
        ),
        ("hush-mlflow_tracking_password=$x", " hush", "MLFLOW_TRACKING_PASSWORD has a blank around it"),
        ("hush-mlflow_tracking_password=$x", "hush ", "MLFLOW_TRACKING_PASSWORD has a blank around it"),
        ("hush-mlflow_tracking_password=$x", "hush  # the team", "MLFLOW_TRACKING_PASSWORD has a comment behind it"),
        ("OPTUNA_STORAGE=", "OPTUNA_STORAGE=hush-a\nOPTUNA_STORAGE=", "OPTUNA_STORAGE has a value already: delete one"),
        ("MLFLOW_TRACKING_PASSWORD=", "MLFLOW_TRACKING_PASSWORD ", "NAME=value is needed"),
        ("MLFLOW_TRACKING_PASSWORD=", "export MLFLOW_TRACKING_PASSWORD=", "NAME=value is needed"),
    ],
)
def test_what_has_drifted_apart_is_refused(project: Path, tmp_path: Path, old: str, new: str, advice: str) -> None:
    text = (project / ".env").read_text(encoding="utf-8")
    assert old in text
    (project / ".env").write_text(text.replace(old, new, 1), encoding="utf-8")
    environment = stand_in(tmp_path, "kubectl", "") | LOGIN
    done = secrets(project, **environment)
    assert done.returncode == 1
    assert advice in done.stderr
    assert "hush" not in done.stderr
    assert done.stderr.count("\n") == 1
    assert not calls(environment)


def test_a_file_of_windows_is_read_or_told_how_to_save(project: Path) -> None:
    text = (project / ".env").read_text(encoding="utf-8").replace("\n", "\r\n")
    (project / ".env").write_bytes(text.encode("utf-8-sig"))
    done = secrets(project, "--dry-run", "--no-registry")
    assert (done.returncode, done.stderr) == (0, "")
    for encoding, name in (("utf-16", "UTF-16"), ("latin-1", "another encoding")):
        (project / ".env").write_bytes(f"# clé\n{text}".encode(encoding))
        done = secrets(project, "--dry-run", "--no-registry")
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert f"make secrets: .env is in {name}: save it as UTF-8" in done.stderr


def test_a_missing_file_and_a_refusal_get_one_line(project: Path, tmp_path: Path) -> None:
    refuse = {"apply": "error: You must be logged in to the server (Unauthorized)"}
    done = secrets(project, **stand_in(tmp_path, "kubectl", "", refuse), **LOGIN)
    assert done.returncode == 1
    assert "make secrets: the cluster does not know you" in done.stderr
    nobody = secrets(project, **stand_in(tmp_path, "kubectl", ""))
    assert nobody.stderr.endswith("set REGISTRY_USER and REGISTRY_PASSWORD, or add --no-registry\n")
    (project / ".env").unlink()
    done = secrets(project, **LOGIN)
    assert done.stderr == "make secrets: there is no .env: copy .env.example to .env, and fill it in\n"


def test_the_guide_explains_every_name(project: Path) -> None:
    page = (project / "docs" / "guide" / "platform.md").read_text(encoding="utf-8")
    for name in names(project / ".env.example") - {"MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"}:
        assert f"`{name}`" in page, name
