"""A trained model in one file: safetensors and JSON, read without data and without unpickling.

The file holds the generator, its average and the critic, how built-in networks were built, the loss and the penalties.
Networks of one's own are given to `gan.load`.
"""

import dataclasses
import math
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from gan import losses, networks
from gan import penalties as penalty_module
from metrics import files, kernels

__all__ = ["FORMAT", "built", "fill", "made", "part_of_file", "save"]

FORMAT = "gan 1"
KNOWN = {"losses": losses, "penalties": penalty_module, "kernels": kernels}
"""Rooms whose objects can be made again from their names and numbers."""


def save(model: Any, path: Path) -> None:
    """Write a model; see `GAN.save`."""
    average = None if model.averaged is None else model.averaged.module
    parts = {"generator": model.generator, "critic": model.critic, "average": average}
    tensors = {
        f"{name}/{key}": t
        for name, part in parts.items()
        if part is not None
        for key, t in part.state_dict().items()
    }
    tensors["history"] = model.history.rows()
    if model.class_counts is not None:
        tensors["class_counts"] = model.class_counts
    metadata = {
        "format": FORMAT,
        "built": {name: getattr(parts[name], "built_by", None) for name in ("generator", "critic")},
        "loss": _described(model.loss),
        "penalties": [_described(each) for each in model.penalties],
        "ema": model.ema,
    }
    files.write(path, tensors, metadata)


def part_of_file(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """Return one network's tensors."""
    return {k.removeprefix(f"{name}/"): t for k, t in tensors.items() if k.startswith(f"{name}/")}


def fill(module: nn.Module, state: dict[str, Tensor], name: str, path: str | Path) -> None:
    """Put tensors into a module, and refuse those of another architecture."""
    try:
        module.load_state_dict(state)
    except (RuntimeError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise ValueError(
            f"{path} has another {name} ({reason}); pass {name}= with the same architecture"
        ) from None


def built(call: Any) -> nn.Module | None:
    """A built-in network from how it was called."""
    if not isinstance(call, dict) or call.get("builder") not in networks.__all__:
        return None
    return getattr(networks, call["builder"])(**call["arguments"])


def _described(thing: Any) -> dict[str, Any] | None:
    """A loss, penalty or kernel as its name and numbers; None for one of somebody's own."""
    for room, module in KNOWN.items():
        if getattr(module, type(thing).__name__, None) is type(thing) and dataclasses.is_dataclass(thing):
            values = {f.name: getattr(thing, f.name) for f in dataclasses.fields(thing) if f.init}
            fields = {k: _value(v) for k, v in values.items()}
            if all(fields[k] is not None or values[k] is None for k in fields):
                return {"room": room, "name": type(thing).__name__, "fields": fields}
    return None


def _value(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return {"number": str(value)}  # JSON has no infinity
    if isinstance(value, tuple) and all(isinstance(each, int | float) for each in value):
        return [_value(each) for each in value]
    return value if value is None or isinstance(value, bool | int | float | str) else _described(value)


def made(told: Any) -> Any:
    """Return the loss, penalty or kernel that was described; None for one that is not ours."""
    if isinstance(told, dict) and "number" in told:
        return float(told["number"])
    if not isinstance(told, dict) or told.get("room") not in KNOWN:
        return None
    module = KNOWN[told["room"]]
    kind = getattr(module, str(told.get("name")), None)
    if str(told.get("name")) not in module.__all__ or not isinstance(kind, type):
        return None
    return kind(**{k: _field(v) for k, v in told["fields"].items()})


def _field(told: Any) -> Any:
    if isinstance(told, list):
        return tuple(_field(each) for each in told)
    return made(told) if isinstance(told, dict) else told
