"""MLflow's file in place of a server: made whole or not at all, and at home wherever its project's folder is."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from sqlalchemy.engine import make_url

from .errors import Problem

WAIT = 30  # seconds, while another command writes
BROKEN = "it was not made to its end, or is damaged: move it away, and the next command makes another"
DAMAGE = (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

# Where MLflow keeps paths of files, each of them absolute.
PLACES = {
    "experiments": "artifact_location",
    "runs": "artifact_uri",
    "logged_models": "artifact_location",
    "model_versions": "storage_location",
}


def ready(uri: str) -> None:
    """Have the file at an address ready to be used, if it is one; a server sees to its own database.

    Several commands may do so at once, for the first time, too.

    Raises:
        Problem: If what lies there is no database of MLflow's, or one that was not made to its end.
    """
    file = _file(uri)
    if file is not None:
        if not file.exists():
            _make(file)
        _settle(file)


def _file(uri: str) -> Path | None:
    if not uri.startswith("sqlite"):
        return None
    name = make_url(uri).database
    return None if name in (None, "", ":memory:") else Path(str(name)).absolute()


def _make(file: Path) -> None:
    """Make the database aside and link it into its place: whoever is first has made it, and a kill leaves nothing."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f"{file.name}.", dir=file.parent) as folder:
        draft = Path(folder, file.name)
        store: Any = SqlAlchemyStore  # which has no types
        store(f"sqlite:///{draft.as_posix()}", str(_home(file))).engine.dispose()
        try:
            os.link(draft, file)
        except FileExistsError:
            pass
        except OSError:  # a file system without links
            if not file.exists():
                draft.replace(file)


def _home(file: Path) -> Path:
    """Give the folder beside a database that holds its files."""
    return file.parent.resolve() / "mlruns"


def _settle(file: Path) -> None:
    """Let the paths in a database lead to the files beside it, if the folder of both has been renamed or copied."""
    try:
        with closing(sqlite3.connect(file, timeout=WAIT)) as connection:
            experiments = connection.execute("SELECT experiment_id, artifact_location FROM experiments").fetchall()
            moved = list(_moved(_home(file), experiments))
            if moved:
                with connection:
                    for old, new in moved:
                        _replace(connection, old, new)
    except sqlite3.DatabaseError as error:
        fix = BROKEN if error.sqlite_errorcode in DAMAGE else "can the file be written to, and is it free?"
        raise Problem(f"{file} cannot be used: {fix} ({error})") from error


def _moved(home: Path, experiments: list[tuple[int, str]]) -> Iterator[tuple[str, str]]:
    """Find experiments whose files lie beside the database, while their paths lead elsewhere.

    Files that someone keeps in another folder than the database stay where they are.
    """
    for number, old in experiments:
        before, here = _path(old), home / str(number)
        if before is None or before == here or before.parts[-2:] != here.parts[-2:]:
            continue
        if here.exists() or not before.exists():
            yield old, here.as_uri() if os.name == "nt" else str(here)  # as MLflow writes them


def _path(place: str) -> Path | None:
    if place.startswith("file:"):
        return Path(url2pathname(urlsplit(place).path))
    return None if "://" in place or place.startswith("mlflow-artifacts:") else Path(place)


def _replace(connection: sqlite3.Connection, old: str, new: str) -> None:
    """Change a path, and all that begin with it."""
    for table, column in PLACES.items():
        connection.execute(
            f"UPDATE {table} SET {column} = ? || substr({column}, ?) "  # noqa: S608  both are named above
            f"WHERE {column} = ? OR substr({column}, 1, ?) = ?",
            (new, len(old) + 1, old, len(old) + 1, f"{old}/"),
        )
