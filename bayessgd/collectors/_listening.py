"""What a collector looks at before it listens to an optimizer, and while it does."""

import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from bayessgd._over import warn

__all__ = ["is_live", "of_torch", "told_of_others", "told_of_resting"]

logger = logging.getLogger("bayessgd")


def of_torch(optimizer: object) -> list[torch.optim.Optimizer]:
    """Return torch's own optimizers of one or several, out of what Accelerate and Lightning wrap around them."""
    given = [optimizer] if not isinstance(optimizer, list | tuple) else list(optimizer)
    found = []
    for one in given:
        inner: Any = one
        while isinstance(getattr(inner, "optimizer", None), torch.optim.Optimizer):
            inner = inner.optimizer
        if not isinstance(inner, torch.optim.Optimizer):
            raise TypeError(f"optimizer must be a torch.optim.Optimizer, got {type(one).__name__}")
        found.append(inner)
    if not found:
        raise ValueError(
            "optimizer must be one or several, got an empty list; pass those that train the model"
        )
    return found


def is_live(handle: RemovableHandle | None) -> bool:
    """Return whether a hook is still registered."""
    hooks = None if handle is None else handle.hooks_dict_ref()
    return handle is not None and hooks is not None and handle.id in hooks


def _trained(optimizers: Sequence[torch.optim.Optimizer]) -> list[Tensor]:
    return [p for one in optimizers for group in one.param_groups for p in group["params"]]


def told_of_resting(
    optimizers: Sequence[torch.optim.Optimizer], names: Sequence[str], parameters: Sequence[Tensor]
) -> None:
    """Refuse optimizers of none of the parameters; say where they hold only some."""
    trained = {id(p) for p in _trained(optimizers)}
    resting = [name for name, p in zip(names, parameters, strict=True) if id(p) not in trained]
    if len(resting) == len(names):
        raise ValueError(
            "optimizer must train the model's parameters, got one that holds none of them; make the "
            "collector after the model was sharded, and pass the optimizer of that model"
        )
    if resting:
        # A word and no warning: an idle part is common, and every count of directions leaves it out.
        logger.warning(
            "%d of the collector's %d parameters are in no optimizer given, %s among them, and count as "
            "certain; collect "
            "a part with parameters=, or pass all optimizers as a list, the last to step at its end",
            len(resting),
            len(names),
            resting[0],
        )


def told_of_others(
    optimizers: Sequence[torch.optim.Optimizer], parameters: Sequence[Tensor], left_out: Sequence[Tensor]
) -> bool:
    """Warn, and return it, where an optimizer trains weights that the collector lacks and was not told to leave out."""
    held = {id(p) for p in (*parameters, *left_out)}
    others = sum(p.requires_grad and id(p) not in held for p in _trained(optimizers))
    if others:
        warn(
            "others",
            f"optimizer trains {others} parameters that the collector lacks, and their uncertainty is lost; make the "
            "collector after unfreezing and from the whole network, or say with parameters= which part it is for",
        )
    return bool(others)
