"""What the commands have in common: configuration by Hydra, and problems told in a line instead of a traceback."""

import signal
import sys
import warnings
from importlib import import_module
from typing import Any, NoReturn

import hydra
from omegaconf import DictConfig, OmegaConf

from . import CONF, servers, storage
from .errors import told


def start(name: str) -> NoReturn:
    """Run a command: read conf/<name>.yaml and what the command line changes in it, then call the module's `main`.

    The module is imported in between. Its libraries take seconds, and neither --help nor a setting that does not exist
    nor a server that does not answer is worth them.
    """

    def run(config: DictConfig) -> None:
        with told(name):
            _look(config)
            import_module(f".{name}", __package__).main(config)

    run.__module__ = f"{__package__}.{name}"  # Hydra calls the command after it
    signal.signal(signal.SIGTERM, _stop)
    # Libraries warn those who program with them; what matters to others, modules here say in a line.
    warnings.simplefilter("ignore")
    hydra.main(version_base="1.3", config_path=str(CONF), config_name=name)(run)()
    sys.exit()


def _look(config: DictConfig) -> None:
    """See that the addresses in a command's settings can be used; raises Problem if not."""
    storage.locate(config.storage.root)
    if "tracking" in config:
        servers.reach("MLFLOW_TRACKING_URI", config.tracking.uri)
    if "study" in config:
        servers.reach("OPTUNA_STORAGE", config.study.storage)


def _stop(number: int, _: object) -> NoReturn:
    """End as an error would, so that the run in MLflow ends, too; as a container's first process nothing else would."""
    sys.exit(128 + number)


def resolved(config: DictConfig) -> dict[str, Any]:
    """Give the configuration as plain values, with every reference in it looked up."""
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    return {str(name): value for name, value in plain.items()}
