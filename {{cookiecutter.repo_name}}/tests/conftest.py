"""Projects in a temporary folder, made from the sample data that conf/data/table.yaml names."""

import shutil
from collections.abc import Callable
from copy import deepcopy
from functools import cache
from pathlib import Path

import polars as pl
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from {{ cookiecutter.src_package_name }} import CONF, data, plan, plots, query, reader, storage
from {{ cookiecutter.src_package_name }}.columns import COLUMNS, TASK
from {{ cookiecutter.src_package_name }}.data import REASON
from {{ cookiecutter.src_package_name }}.kinds import Kind
from {{ cookiecutter.src_package_name }}.plan import Plan
from {{ cookiecutter.src_package_name }}.predictor import Loaded
from {{ cookiecutter.src_package_name }}.prepare import prepare
from {{ cookiecutter.src_package_name }}.tracking import Tracker
from {{ cookiecutter.src_package_name }}.train import Outcome, train
from {{ cookiecutter.src_package_name }}.versions import Versions

ROOT = CONF.parent
Configure = Callable[..., DictConfig]

# The quickest model of each kind: what is tested is the road, not how good the model is.
QUICK = {"classification": "logistic", "regression": "ridge"}[TASK]

# What makes it a model that has learned next to nothing.
POOR = {"logistic": "model.params.C=1e-6", "ridge": "model.params.alpha=1e9"}[QUICK]

# Take rows from the files below data/raw, whatever database conf/data/table.yaml asks for them.
NO_QUERY = "data.query=null"

# Split rows by their id or, where there is none, by what they hold, whatever conf/data/table.yaml has decided.
BY_ROW = [f"data.split.{way}=null" for way in ("by", "time", "given", "files")]

# The same for a table that number() has been at.
NUMBERED = ["data.id=row_id", "data.split.valid=0.15", "data.split.test=0.15", *BY_ROW]


def configure(verb: str, *overrides: str) -> DictConfig:
    """Compose a command's configuration as its command line does."""
    return deepcopy(_composed(verb, overrides))


@cache
def _composed(verb: str, overrides: tuple[str, ...]) -> DictConfig:
    """Compose once for all tests, which takes Hydra as long as a small fit; variables are looked up at each use."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(verb, [NO_QUERY, *overrides])


def able(task: str) -> list[str]:
    """List the models in conf/model/ that can do a task."""
    names = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))
    return [name for name in names if task in configure("train", f"model={name}").model.estimator]


# Every model that can do what the schema asks for.
MODELS = able(TASK)


def small(name: str, verb: str = "train") -> list[str]:
    """Name a model, and let it have ten trees or rounds where it has such."""
    return [f"model={name}", *(f"model.params.{rounds}=10" for rounds in grows(name, verb))]


def grows(name: str, verb: str = "train") -> list[str]:
    """Find the parameter that counts a model's trees or rounds, if it has such."""
    settings = configure(verb, f"model={name}").model
    steps = settings.get("steps")
    return [steps or "n_estimators"] if steps or "n_estimators" in settings.params else []


def tracker() -> Tracker:
    """Connect to where the current folder's runs are recorded."""
    config = configure("train").tracking
    return Tracker(config.uri, config.experiment)


def versions() -> Versions:
    """Find the versions of the model in the current folder."""
    config = configure("train").tracking
    return Versions(tracker(), config.model, config.alias)


def retrain(*overrides: str) -> Outcome:
    """Train the quickest model, or another, in the current folder."""
    return train(configure("train", f"model={QUICK}", *overrides), tracker())


def raw_files(folder: Path) -> list[Path]:
    """Find the raw files below a project's folder: one, or those of a folder."""
    found = storage.files(folder / "data" / str(configure("prepare").data.raw))
    return [Path(file) for file in found.values()]


def as_text(*files: Path) -> pl.DataFrame:
    """Read files as a CSV file has them: every cell is text."""
    written = reader.dialect(configure("prepare", "data.missing=[]").data)
    shards = [(file, shard) for file in files for shard in reader.shards(file, written, 10**9)]
    tables = [batch for file, shard in shards for batch in reader.batches(file, written, shard)]
    return pl.concat([table.drop(REASON, strict=False).cast(pl.String) for table in tables], how="diagonal")


def rewrite(folder: Path, change: Callable[[pl.DataFrame], pl.DataFrame]) -> pl.DataFrame:
    """Change the raw table of a project, which is one file of text from then on; gives the table."""
    file, *others = files = raw_files(folder)
    table = change(as_text(*files))
    for other in others:
        other.unlink()
    if file.suffix == ".csv":
        table.write_csv(file, separator=configure("prepare").data.csv.delimiter)
    else:  # where no text is no value, too
        table.with_columns(pl.col(pl.String).replace("", None)).write_parquet(file)
    return table


def spoil(row: int, column: str, value: str) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """Put a value in a cell; rows count from 1."""
    number = pl.int_range(1, pl.len() + 1)
    return lambda table: table.with_columns(pl.when(number == row).then(pl.lit(value)).otherwise(column).alias(column))


def number(folder: Path) -> pl.DataFrame:
    """Give each row of the raw file an id, and give the table."""
    return rewrite(folder, lambda table: table.with_row_index("row_id").cast(pl.String))


def a_number() -> str:
    """Name a column that is a number."""
    return next(name for name, column in COLUMNS.items() if column.kind == Kind.NUMBER)


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with the sample data, and with MLflow's tables, which take seconds to make; for copying only."""
    folder = tmp_path_factory.mktemp("empty")
    passed = shutil.ignore_patterns("prepared", "predictions", query.NEWEST)
    shutil.copytree(ROOT / "data", folder / "data", ignore=passed)
    with pytest.MonkeyPatch.context() as monkeypatch:
        enter(folder, monkeypatch)
        tracker()
    return folder


@pytest.fixture
def folder(empty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project with the sample data, which is the current folder."""
    shutil.copytree(empty, tmp_path, dirs_exist_ok=True)
    return enter(tmp_path, monkeypatch)


def enter(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder, away from the settings of whoever runs the tests."""
    monkeypatch.chdir(folder)
    for name in ("MLFLOW_RUN_ID", "STORAGE_ROOT", "OPTUNA_STORAGE", "RAW_DATABASE"):
        monkeypatch.delenv(name, raising=False)
    # MLflow keeps a store for each address that it has met, so each folder needs an address of its own.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
    return folder


@pytest.fixture(scope="session")
def finished(empty: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a champion; for reading only."""
    folder = tmp_path_factory.mktemp("finished")
    shutil.copytree(empty, folder, dirs_exist_ok=True)
    with pytest.MonkeyPatch.context() as monkeypatch:
        enter(folder, monkeypatch)
        prepare(configure("prepare"))
        retrain()
    return folder


@pytest.fixture
def trained(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a champion, which is the current folder."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    return enter(tmp_path, monkeypatch)


@pytest.fixture(scope="session")
def champion(finished: Path) -> Loaded:
    """The champion of that project, which answers and remembers nothing of it."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        enter(finished, monkeypatch)
        return versions().load(versions().address)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train without figures, which take more time than all the rest of a small training."""
    monkeypatch.setattr(plots, "draw", lambda *_: [])


@pytest.fixture(scope="session")
def tables(finished: Path) -> dict[str, pl.DataFrame]:
    """The prepared tables of the sample data."""
    return {name: pl.read_parquet(finished / f"data/prepared/parts/*/{name}-*.parquet") for name in data.SPLITS}


@pytest.fixture(scope="session")
def planned(finished: Path) -> Plan:
    """The plan of training the quickest model on the sample data."""
    return plan.make(configure("train", f"model={QUICK}", f"storage.root={finished}/data"))
