"""A model back from its file."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from gan import networks
from gan.history import History
from gan.storage import FORMAT, built, fill, made, part_of_file
from gan.train import GAN
from metrics import files

__all__ = ["load"]

COPY = "the file is corrupt: take a copy of it"


def load(
    path: str | Path,
    *,
    generator: nn.Module | None = None,
    critic: nn.Module | None = None,
    loss: Any = None,
) -> GAN:
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
    tensors, told = files.read(path)
    written = str(told.get("format"))
    if written != FORMAT and written.startswith("gan "):
        raise ValueError(
            f"{path} is a model of another version, {written!r}, and this one reads {FORMAT!r}; install the version "
            "that wrote it, or save the model anew with it"
        )
    if written != FORMAT:
        raise ValueError(f"{path} is no model of GAN.save; a checkpoint goes to GAN.fit(checkpoint=...)")
    state = {name: part_of_file(tensors, name) for name in ("generator", "critic", "average")}
    described = _Described.read(path, told)
    generator = generator or described.network("generator", state["generator"])
    if generator is None:
        raise ValueError(
            f"{path} has a generator of your own; pass generator=, a module of the same architecture"
        )
    critic = critic or described.network("critic", state["critic"])
    loss = loss or described.thing(described.loss)
    if loss is None:
        raise ValueError(f"{path} has a loss of your own; pass loss=")
    kept = [each for each in map(described.thing, described.penalties) if each is not None]
    if critic is not None:
        for each in kept:
            each.prepare(critic)
        fill(critic, state["critic"], "critic", path)
    elif state["critic"]:
        critic = _Missing(networks.num_classes(generator))
    fill(generator, state["generator"], "generator", path)
    try:
        model = GAN(generator, critic, loss=loss, penalties=kept, ema=described.ema)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} has parts that do not fit: {error}") from None
    if state["average"]:
        model.averaged = AveragedModel(generator)
        fill(model.averaged.module, state["average"], "generator", path)
    rows, counts = tensors.get("history"), tensors.get("class_counts")
    if rows is None or rows.ndim != 2 or rows.shape[1] != 3 or not rows.is_floating_point():
        raise ValueError(f"{path} must hold a history [steps, 3], got another; {COPY}")
    if counts is not None and not _are_counts(counts, networks.num_classes(generator)):
        raise ValueError(
            f"{path} must hold a count for each of at most {networks.num_classes(generator)} classes, got "
            f"{list(counts.shape)}; {COPY}"
        )
    model.history = History()
    model.history.extend(rows)
    model.class_counts = counts
    return model


def _are_counts(counts: Tensor, classes: int) -> bool:
    # The data may have had fewer classes than the generator.
    return (
        counts.ndim == 1
        and 0 < len(counts) <= classes
        and counts.dtype == torch.int64
        and bool((counts >= 0).all())
    )


@dataclass(frozen=True)
class _Described:
    """A file's header: how its networks were built, its loss and its penalties."""

    path: str | Path
    built: dict[str, Any]
    loss: Any
    penalties: list[Any]
    ema: float

    @classmethod
    def read(cls, path: str | Path, told: dict[str, Any]) -> "_Described":
        """The header that is in a file, its types looked at."""
        types = {"built": dict, "penalties": list, "ema": (float, int)}
        for name, kind in types.items():
            if not isinstance(told.get(name), kind):
                wanted = "number" if name == "ema" else kind.__name__
                raise ValueError(
                    f"{path} must have {name} of type {wanted} in its header, got {told.get(name)!r:.60}; {COPY}"
                )
        return cls(path, told["built"], told.get("loss"), told["penalties"], float(told["ema"]))

    def network(self, name: str, state: dict[str, Tensor]) -> nn.Module | None:
        """A built-in network of its tensors' type; None for one of somebody's own."""
        network = self._remade(f"a {name}", built, self.built.get(name))
        dtype = next((t.dtype for t in state.values() if t.is_floating_point()), None)
        return network if network is None else network.to(dtype)

    def thing(self, told: Any) -> Any:
        """A loss or a penalty; None for one of somebody's own."""
        return self._remade("a loss or a penalty", made, told)

    def _remade(self, what: str, make: Callable[[Any], Any], told: Any) -> Any:
        try:
            return make(told)
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ValueError(f"{self.path} describes {what} that cannot be made ({reason}); {COPY}") from None


class _Missing(nn.Module):
    """In the place of a critic of one's own that was not given."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.num_classes = classes

    def forward(self, *_: Tensor) -> Tensor:
        raise ValueError(
            "this model was loaded without its critic; pass gan.load(path, critic=...) to train on"
        )
