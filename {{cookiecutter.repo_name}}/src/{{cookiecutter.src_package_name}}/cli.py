"""What the commands have in common: configuration by Hydra, and problems told in a line instead of a traceback."""

import functools
import signal
import sys
import warnings
from collections.abc import Callable
from typing import Any

import hydra
from omegaconf import DictConfig, OmegaConf

from . import CONF
from .errors import Problem, explain, failures, mistake


def command(name: str) -> Callable[[Callable[[DictConfig], None]], Callable[[], None]]:
    """Make a function of the configuration conf/<name>.yaml into a command."""

    def decorate(main: Callable[[DictConfig], None]) -> Callable[[], None]:
        @functools.wraps(main)
        def guarded(config: DictConfig) -> None:
            try:
                main(config)
            except Problem as problem:
                sys.exit(f"{name}: {problem}")
            except failures() as failure:
                sys.exit(f"{name}: {explain(failure)}")
            except Exception as error:
                if line := mistake(error):
                    sys.exit(f"{name}: {line}")
                raise

        run: Callable[[], None] = hydra.main(version_base="1.3", config_path=str(CONF), config_name=name)(guarded)

        @functools.wraps(main)
        def stoppable() -> None:
            signal.signal(signal.SIGTERM, _stop)
            # Libraries warn those who program with them; what matters to others, modules here say in a line.
            warnings.simplefilter("ignore")
            run()

        return stoppable

    return decorate


def _stop(number: int, _: object) -> None:
    """End as an error would, so that the run in MLflow ends, too; as a container's first process nothing else would."""
    sys.exit(128 + number)


def resolved(config: DictConfig) -> dict[str, Any]:
    """Give the configuration as plain values, with every reference in it looked up."""
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    return {str(name): value for name, value in plain.items()}
