"""A trained model in one file: safetensors and JSON, read without data and without unpickling.

The file holds the generator, its average and the critic, how built-in networks were built, the loss and the penalties.
Networks of one's own are given to `load`.
"""

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from gan import losses, networks
from gan import penalties as penalty_module
from gan.history import History
from metrics import files, kernels

if TYPE_CHECKING:
    from gan.train import GAN

__all__ = ["load", "save"]

FORMAT = "gan 1"
KNOWN = {"losses": losses, "penalties": penalty_module, "kernels": kernels}
"""Rooms whose objects can be made again from their names and numbers."""


def save(model: "GAN", path: Path) -> None:
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


def load(
    path: str | Path,
    *,
    generator: nn.Module | None = None,
    critic: nn.Module | None = None,
    loss: Any = None,
) -> "GAN":
    """Return the model in a file that `GAN.save` wrote, on the CPU, ready to sample.

    Args:
        path: The file.
        generator: A module of the same architecture, where the generator was one's own; its weights are replaced.
        critic: As the generator. Without one a model that had a critic of one's own samples, and does not train on.
        loss: The loss, where it was one's own.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: Another file, or a network or loss of one's own that was not given; the message names it.
    """
    from gan.train import GAN

    tensors, told = files.read(path)
    if told.get("format") != FORMAT:
        raise ValueError(f"{path} is no model of GAN.save; a checkpoint goes to GAN.fit(checkpoint=...)")
    built = told["built"]
    assert isinstance(built, dict)
    state = {name: _part(tensors, name) for name in ("generator", "critic", "average")}
    generator = generator or _built(built["generator"])
    if generator is None:
        raise ValueError(
            f"{path} has a generator of your own; pass generator=, a module of the same architecture"
        )
    critic = critic or _built(built["critic"])
    loss = loss or _made(told["loss"])
    if loss is None:
        raise ValueError(f"{path} has a loss of your own; pass loss=")
    punished = [_made(each) for each in told["penalties"]]  # pyright: ignore[reportGeneralTypeIssues]
    if critic is not None:
        for each in punished:
            if each is not None:
                each.prepare(critic)
        _fill(critic, state["critic"], "critic", path)
    elif state["critic"]:
        critic = _Missing(networks.num_classes(generator))
    _fill(generator, state["generator"], "generator", path)
    kept, ema = [each for each in punished if each is not None], told["ema"]
    assert isinstance(ema, float)
    model = GAN(generator, critic, loss=loss, penalties=kept, ema=ema)
    if state["average"]:
        model.averaged = AveragedModel(generator)
        _fill(model.averaged.module, state["average"], "generator", path)
    model.history = History()
    model.history.extend(tensors["history"])
    model.class_counts = tensors.get("class_counts")
    return model


class _Missing(nn.Module):
    """In the place of a critic of one's own that was not given."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.num_classes = classes

    def forward(self, *_: Tensor) -> Tensor:
        raise ValueError(
            "this model was loaded without its critic; pass gan.load(path, critic=...) to train on"
        )


def _part(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {k.removeprefix(f"{name}/"): t for k, t in tensors.items() if k.startswith(f"{name}/")}


def _fill(module: nn.Module, state: dict[str, Tensor], name: str, path: str | Path) -> None:
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise ValueError(
            f"{path} has another {name} ({reason}); pass {name}= with the same architecture"
        ) from None


def _built(call: Any) -> nn.Module | None:
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
    return value if value is None or isinstance(value, bool | int | float | str) else _described(value)


def _made(told: Any) -> Any:
    if isinstance(told, dict) and "number" in told:
        return float(told["number"])
    if not isinstance(told, dict) or told.get("room") not in KNOWN:
        return None
    module = KNOWN[told["room"]]
    kind = getattr(module, str(told.get("name")), None)
    if str(told.get("name")) not in module.__all__ or not isinstance(kind, type):
        return None
    return kind(**{k: _made(v) if isinstance(v, dict) else v for k, v in told["fields"].items()})
