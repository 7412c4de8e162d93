"""MLflow's file: several commands may make it at once, a kill leaves none by halves, and it moves with its project."""

import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from {{ cookiecutter.src_package_name }} import database
from {{ cookiecutter.src_package_name }}.errors import Problem
from {{ cookiecutter.src_package_name }}.tracking import Tracker

from .conftest import enter, retrain, tracker, versions

CODE = f"""
from {database.__package__}.tracking import Tracker
print(Tracker("sqlite:///mlflow.db", "first").create("run"))
"""


def begin(folder: Path) -> "subprocess.Popen[str]":
    """Record a run in a folder, in a process of its own."""
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", CODE], cwd=folder, stdout=pipe, stderr=pipe, text=True)


def places(folder: Path) -> list[str]:
    """List the paths that the database of a folder names."""
    with sqlite3.connect(folder / "mlflow.db") as connection:
        return [
            place
            for table, column in database.PLACES.items()
            for (place,) in connection.execute(f"SELECT {column} FROM {table}")
        ]


def files(folder: Path) -> dict[str, float]:
    """List what a folder holds, and when it was written."""
    return {str(path): path.stat().st_mtime for path in folder.rglob("*")}


def test_several_may_use_an_empty_folder_first(tmp_path: Path) -> None:
    workers = [begin(tmp_path) for _ in range(4)]
    said = [worker.communicate(timeout=300) for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * 4, said
    runs = Tracker(f"sqlite:///{tmp_path}/mlflow.db", "first").client.search_runs(["1"])
    assert sorted(run.info.run_id for run in runs) == sorted(out.strip() for out, _ in said)
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db"]


def test_a_kill_while_it_is_made_leaves_no_half_of_it(tmp_path: Path) -> None:
    """At moments from the first table to the last."""
    for part in range(6):
        worker = begin(tmp_path)
        while worker.poll() is None and not list(tmp_path.glob("mlflow.db.*/mlflow.db")):
            time.sleep(0.005)
        time.sleep(0.2 * part)
        worker.kill()
        assert worker.wait() in (0, -signal.SIGKILL)
        for draft in tmp_path.glob("mlflow.db.*"):
            shutil.rmtree(draft)
        if (tmp_path / "mlflow.db").exists():
            database.ready(f"sqlite:///{tmp_path}/mlflow.db")  # and so it is whole
            (tmp_path / "mlflow.db").unlink()
    last = begin(tmp_path)
    assert last.wait(timeout=300) == 0, last.communicate()


@pytest.mark.parametrize("broken", ["half", "other", "text", "empty"])
def test_a_broken_one_is_named_with_what_to_do(broken: str, folder: Path) -> None:
    file = folder / "mlflow.db"
    if broken == "half":
        tracker()
        with sqlite3.connect(file) as connection:
            connection.execute("DROP TABLE logged_models")
            connection.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")
        file = file.rename(folder / "other.db")
    elif broken == "other":
        file = folder / "other.db"
        sqlite3.connect(file).execute("CREATE TABLE t (a)").connection.close()
    else:
        file.write_text({"text": "no database\n" * 100, "empty": ""}[broken])
    with pytest.raises(Problem, match=rf"{file.name}.* cannot be used: .*move it away, and the next command makes"):
        Tracker(f"sqlite:///{file}", "any")


def test_a_project_that_is_renamed_goes_on(trained: Path, undrawn: None, monkeypatch: pytest.MonkeyPatch) -> None:
    retrain("gate.champion=none")
    new = trained.rename(trained.with_name("renamed"))
    enter(new, monkeypatch)
    assert versions().load(versions().address).version == "2"
    outcome = retrain()
    assert not trained.exists()
    assert all(Path(place).is_relative_to(new) for place in places(new))
    assert (new / "mlruns" / "1" / outcome.run_id / "artifacts" / "config.yaml").exists()


def test_a_copy_writes_nothing_in_the_original(trained: Path, undrawn: None, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker()
    before = files(trained)
    copy = trained.with_name("copy")
    shutil.copytree(trained, copy)
    enter(copy, monkeypatch)
    outcome = retrain("gate.champion=none")
    assert versions().load(versions().address).version == outcome.version
    assert files(trained) == before
    assert all(Path(place).is_relative_to(copy) for place in places(copy))


def test_files_that_are_kept_elsewhere_stay_there(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A database that two projects share, each with its files beside itself."""
    other = tmp_path_factory.mktemp("other") / "mlruns" / "1"
    here = tracker()
    here.client.create_experiment("other", str(other))
    run = here.client.create_run("1").info
    here.client.log_text(run.run_id, "text", "text.txt")
    tracker()
    assert here.client.get_run(run.run_id).info.artifact_uri == run.artifact_uri
    assert run.artifact_uri.startswith(str(other))


def test_no_address_but_a_files_is_looked_at() -> None:
    for uri in ("http://127.0.0.1:9", "postgresql://me@127.0.0.1:9/x", "sqlite://", "sqlite:///:memory:"):
        database.ready(uri)
