"""What a search may try: the settings under model.space, each with its type and limits, looked at before a trial."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import DictConfig
from optuna.distributions import FloatDistribution, IntDistribution

from .errors import Problem

RANGES: dict[str, Any] = {"float": FloatDistribution, "int": IntDistribution}
KEYS = {**dict.fromkeys(RANGES, ("low", "high", "step", "log")), "categorical": ("choices",)}


def require(settings: DictConfig) -> None:
    """Refuse a model, the settings under `model`, without a space, or with one that nothing can be drawn from."""
    if not settings.get("space"):
        raise Problem(f"model={settings.name} has no space to search; add one to its conf/model/*.yaml")
    for name, limits in settings.space.items():
        given = {str(key): value for key, value in limits.items()} if isinstance(limits, Mapping) else {"type": limits}
        if fault := _fault(given.pop("type", None), given):
            raise Problem(f"model.space.{name}: {fault}; correct conf/model/{settings.name}.yaml")


def _fault(kind: Any, limits: dict[str, Any]) -> str | None:
    """Say what is wrong with the limits of a setting of some type; None if nothing is."""
    if kind not in KEYS:
        return f"type={kind} is none of {', '.join(KEYS)}"
    if set(limits) - set(KEYS[kind]) or not set(KEYS[kind][:2]) <= set(limits):
        return f"{kind} takes {', '.join(KEYS[kind])}, and it has {', '.join(limits) or 'none of them'}"
    if kind == "categorical":
        choices = limits["choices"]
        listed = isinstance(choices, Sequence) and not isinstance(choices, str) and choices
        return None if listed else f"choices={choices} is no list of values"
    return _fault_of_range(kind, limits)


def _fault_of_range(kind: Any, limits: dict[str, Any]) -> str | None:
    for key, value in limits.items():
        number = _is_whole(value) or (kind == "float" and isinstance(value, float) and math.isfinite(value))
        if not number and key != "log":
            return f"{key}={value} is no {'whole ' if kind == 'int' else ''}number"
    try:
        RANGES[kind](**limits)
    except ValueError as error:  # a range without values, or a step that leads nowhere
        return str(error).splitlines()[0].rstrip(".").replace("`", "")
    return None


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
