"""A network that is looked at and not changed: in evaluation mode for a while, and afterwards as it was.

A forward pass may write to the network: statistics that it updates, vectors that it normalises, a cache in an
attribute. Parameters and buffers are lent to it as copies (`bayessgd._bank`); everything else that a module holds is
noted here before and put back afterwards.
"""

from collections.abc import Iterator
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
    network.eval()
    attributes = Attributes(network)
    try:
        yield attributes
    finally:
        attributes.restore()
        for module, training in modes:
            module.training = training


class Attributes:
    """What the modules of a network hold beside parameters and buffers, to be put back."""

    def __init__(self, network: nn.Module) -> None:
        self._modules = [(module, dict(module.__dict__)) for module in network.modules()]
        self._containers: list[tuple[Any, Any]] = []
        self._tensors: list[tuple[Tensor, int, Tensor]] = []
        for _, attributes in self._modules:
            for value in attributes.values():
                if type(value) in (list, dict, set):
                    self._containers.append((value, value.copy()))
                elif isinstance(value, Tensor) and not value.is_inference():
                    self._tensors.append((value, value._version, value.detach().clone()))

    @torch.no_grad()
    def restore(self) -> None:
        """Put everything back that is no longer as it was."""
        for module, attributes in self._modules:
            now = module.__dict__
            if len(now) != len(attributes) or any(now.get(k, now) is not v for k, v in attributes.items()):
                kept = {key: now[key] for key in KEPT if key in now}
                now.clear()
                now.update(attributes | kept)
        for container, copy in self._containers:
            if isinstance(container, list):
                if len(container) != len(copy) or any(
                    a is not b for a, b in zip(container, copy, strict=True)
                ):
                    container[:] = copy
            elif isinstance(container, set):
                if container != copy:
                    container.clear()
                    container.update(copy)
            elif len(container) != len(copy) or any(container.get(k, copy) is not v for k, v in copy.items()):
                container.clear()
                container.update(copy)
        for i, (tensor, version, copy) in enumerate(self._tensors):
            if tensor._version != version:
                tensor.data.copy_(copy)
                self._tensors[i] = (tensor, tensor._version, copy)
