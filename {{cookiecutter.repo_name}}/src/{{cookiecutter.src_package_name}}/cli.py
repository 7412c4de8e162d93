"""What the commands have in common: configuration by Hydra, and problems told in a line instead of a traceback."""

import os
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError

from . import CONF, servers, storage
from .errors import Problem, told

AGAIN = 10  # seconds, of the 30 that a pod has
RAISE = "HYDRA_FULL_ERROR"  # the environment variable by which Hydra raises what it otherwise prints, in several lines


def start(name: str) -> NoReturn:
    """Run a command: read conf/<name>.yaml and what the command line changes in it, then call the module's `main`.

    The module is imported in between. Its libraries take seconds, and neither --help nor a setting that does not exist
    nor a server that does not answer is worth them.
    """
    whole = os.environ.get(RAISE)

    def run(config: DictConfig) -> None:
        if whole is None:
            os.environ.pop(RAISE, None)
        with _stoppable(), told(name):
            _require_groups(OmegaConf.load(CONF / f"{name}.yaml"), config)
            if "data" in config:
                _require_groups(OmegaConf.load(CONF / "data" / f"{_chosen('data')}.yaml"), config.data, "data.")
            _look(config)
            import_module(f".{name}", __package__).main(config)

    run.__module__ = f"{__package__}.{name}"  # Hydra calls the command after it
    # Libraries warn those who program with them; what matters to others, modules here say in a line.
    warnings.simplefilter("ignore")
    sys.warnoptions[:] = ["ignore"]  # for processes that this one starts
    os.environ.setdefault(RAISE, "1")
    try:
        hydra.main(version_base="1.3", config_path=str(CONF), config_name=name)(run)()
    except HydraException as error:
        if whole is not None:
            raise
        sys.exit(f"{name}: {unreadable(error)}")
    sys.exit()


def unreadable(error: HydraException) -> str:
    """Say in a line what is wrong with the settings of a command line, and which ones there are."""
    unknown = error.__cause__
    if isinstance(unknown, ConfigAttributeError | ConfigKeyError):
        return _unknown(str(unknown.full_key), [str(key) for key in unknown.parent_node])
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, choice = error.missing_cfg_file.rpartition("/")
        return f"{group}={choice}: there is no conf/{group}/{choice}.yaml; there is {', '.join(error.options or [])}"
    if isinstance(error, OverrideParseException):
        reason = error.message.removeprefix(f"Error parsing override '{error.override}'").split("\nSee ")[0].strip()
        return (
            f"{error.override} is not of the form key=value ({reason}): a value with =, commas or brackets in it needs "
            "quotes of its own inside those of the shell"
        )
    return " ".join(str(error).split())


def _unknown(name: str, known: list[str]) -> str:
    group = name.rpartition(".")[0]
    settings = ", ".join(key for key in known if key != "hydra") or "none below it"
    more = f"; +{name}=… adds a parameter" if group == "model.params" or group.startswith("inputs.") else ""
    return f"there is no setting {name}: {group or 'the command'} has {settings}{more}"


def _require_groups(written: DictConfig | ListConfig, given: DictConfig, place: str = "") -> None:
    """Refuse one value where a file of conf/ has several settings; raises Problem."""
    assert isinstance(written, DictConfig)
    for key, value in ((str(name), value) for name, value in written.items()):
        if isinstance(value, DictConfig) and not isinstance(given[key], DictConfig):
            inside = ", ".join(f"{place}{key}.{setting}" for setting in map(str, value))
            raise Problem(f"{place}{key}={given[key]}: it is not one setting, but several: {inside}")


def _chosen(group: str) -> str:
    return str(HydraConfig.get().runtime.choices[group])


def _look(config: DictConfig) -> None:
    """See that the addresses in a command's settings can be used, and who computes; raises Problem if not."""
    storage.locate(config.storage.root)
    if "compute" in config:
        servers.require_compute(config.compute)
    if "tracking" in config:
        servers.reach("MLFLOW_TRACKING_URI", config.tracking.uri)
    if "study" in config:
        servers.reach("OPTUNA_STORAGE", config.study.storage)
    if "ask" in config and config.ask and config.data.query is not None:
        variable = str(config.data.database)
        servers.reach(variable, servers.bare(servers.address(variable)))


@contextmanager
def _stoppable() -> Iterator[None]:
    """End a command that is stopped as an error would, so that the run in MLflow ends, too.

    As a container's first process nothing else would end it. Compiled code may turn what is raised here into an error
    of its own, or lose it: so the status is that of a stop whatever comes of it, and it is raised again after a while.
    """
    status = 0

    def stop(number: int, _: object) -> NoReturn:
        nonlocal status
        status = status or 128 + number
        if sys.platform != "win32":
            signal.alarm(AGAIN)
        sys.exit(status)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)  # Ctrl-C
    if sys.platform != "win32":
        signal.signal(signal.SIGALRM, stop)
    try:
        yield
    except BaseException:
        if status:  # what is still to be closed, such as processes that are being started, ends with this one
            sys.stdout.flush()
            os._exit(status)
        raise


def resolved(config: DictConfig) -> dict[str, Any]:
    """Give the configuration as plain values, with every reference in it looked up."""
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    return {str(name): value for name, value in plain.items()}
