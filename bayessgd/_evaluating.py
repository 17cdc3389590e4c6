"""A network that is looked at and not changed: in evaluation mode for a while, and afterwards as it was.

A forward pass may write to the network: statistics that it updates, vectors that it normalises, a cache in an
attribute. Parameters and buffers are lent to it as copies (`bayessgd._bank`); everything else that a module holds is
noted here before and put back afterwards.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Attributes", "evaluating"]


KEPT = ("training", "momentum")
"""What `evaluating` and `bayessgd.batchnorm.refreshing` set themselves."""


@contextmanager
def evaluating(network: nn.Module) -> Iterator["Attributes"]:
    """Put every module into evaluation mode, and each back into its own state afterwards."""
    modes = [(module, module.training) for module in network.modules()]
    try:
        network.eval()
    except NotImplementedError as error:
        raise TypeError(
            f"model must have an evaluation mode, got {type(network).__name__}: {error}; pass the module that was "
            "exported"
        ) from error
    attributes = Attributes(network)
    try:
        yield attributes
    finally:
        attributes.restore()
        for module, training in modes:
            module.training = training


OWN = set(vars(nn.Module()))
"""Where a module has its parameters, buffers and children."""

HOOKS = {name for name, value in vars(nn.Module()).items() if isinstance(value, OrderedDict)}
"""What torch calls around a forward pass, and `refreshing` adds to meanwhile."""


class Attributes:
    """What the modules of a network hold beside parameters and buffers, to be put back: one level of containers too."""

    def __init__(self, network: nn.Module) -> None:
        self._modules = [(m.__dict__, dict(m.__dict__), _ids(m.__dict__)) for m in network.modules()]
        self._containers: list[tuple[Any, Any, Any]] = []
        self._tensors: list[tuple[Tensor, int, Tensor]] = []
        for attributes, _, _ in self._modules:
            for name, value in attributes.items():
                if isinstance(value, list | dict | set | deque) and name not in HOOKS:
                    self._containers.append((value, value.copy(), _ids(value) if value else ()))
                    if name not in OWN:
                        self._note(value.values() if isinstance(value, dict) else value)
                else:
                    self._note([value])

    def _note(self, values: Iterable[Any]) -> None:
        for value in values:
            # Parameters are lent as copies, wherever else they are named.
            if isinstance(value, Tensor) and not isinstance(value, nn.Parameter) and not value.is_inference():
                self._tensors.append((value, value._version, value.detach().clone()))

    @torch.no_grad()
    def restore(self) -> None:
        """Put everything back that is no longer as it was."""
        for now, attributes, ids in self._modules:
            if _ids(now) != ids:
                kept = {key: now[key] for key in KEPT if key in now}
                now.clear()
                now.update(attributes | kept)
        for container, copy, ids in self._containers:
            if (container or copy) and _ids(container) != ids:
                container.clear()
                container.extend(copy) if isinstance(container, list | deque) else container.update(copy)
        for i, (tensor, version, copy) in enumerate(self._tensors):
            if tensor._version != version:
                tensor.data.copy_(copy)
                self._tensors[i] = (tensor, tensor._version, copy)


def _ids(container: Any) -> tuple[int, ...]:
    """Return what tells whether a container holds other objects than before: all of them are held meanwhile."""
    return (
        (*map(id, container), *map(id, container.values()))
        if isinstance(container, dict)
        else tuple(map(id, container))
    )
