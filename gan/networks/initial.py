"""Initial weights, and how a built-in network is built again.

Weights are drawn from N(0, 2/((1 + a²)·fan_in)), a being the leaky slope (He et al. 2015, eq. 15), which keeps the size
of the activations through the layers; biases are zero. They depend on `seed` alone, never on torch's global seed.
"""

import inspect
import math
from collections.abc import Callable, Sequence
from functools import wraps
from typing import ParamSpec, TypeVar

import numpy as np
from torch import Tensor, nn

from gan.seeds import stream

__all__ = ["SLOPE", "initialise", "rebuildable"]

SLOPE = 0.2
"""Of the leaky rectifiers."""

N = TypeVar("N", bound=nn.Module)
P = ParamSpec("P")


def rebuildable(make: Callable[P, N]) -> Callable[P, N]:
    """Let a builder note on its network how it was called, so that `gan.load` can build it again."""

    @wraps(make)
    def built(*args: P.args, **kwargs: P.kwargs) -> N:
        network = make(*args, **kwargs)
        call = inspect.signature(make).bind(*args, **kwargs)
        arguments = {name: _as_json(value) for name, value in call.arguments.items()}
        network.built_by = {"builder": make.__name__, "arguments": arguments}  # pyright: ignore[reportAttributeAccessIssue, reportArgumentType]
        return network

    return built


def _as_json(value: object) -> object:
    """Python's own numbers and sequences, in place of NumPy's and torch's."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_as_json(each) for each in value]
    return value.tolist() if isinstance(value, np.generic | np.ndarray | Tensor) else value


def initialise(net: N, name: str, seed: int) -> N:
    """Draw the weights of every linear and convolutional layer, in their order; biases become zero."""
    generator = stream(name, seed)
    for layer in net.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            std = math.sqrt(2 / ((1 + SLOPE**2) * _fan_in(layer)))
            nn.init.normal_(layer.weight, std=std, generator=generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.Embedding):
            nn.init.normal_(layer.weight, generator=generator)
    return net


def _fan_in(layer: nn.Linear | nn.Conv2d | nn.ConvTranspose2d) -> float:
    """The number of inputs that one output sums over."""
    if isinstance(layer, nn.ConvTranspose2d):
        # weight is [in, out, kernel, kernel], and a stride of s spreads the kernel over s² outputs.
        return layer.weight.shape[0] * layer.weight[0, 0].numel() / math.prod(layer.stride)
    return float(layer.weight[0].numel())
