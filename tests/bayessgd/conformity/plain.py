"""The oracle of the table: a Python loop over copies of the network."""

import copy
import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from bayessgd.params import named_parameters


def loaded(net: nn.Module, draw: Mapping[str, Tensor], *, vectors: bool = True) -> nn.Module:
    """Return a copy of the network in evaluation that holds one draw; spectral norm's vectors have converged."""
    own = copy.deepcopy(net)
    places = {**dict(own.named_parameters()), **dict(own.named_buffers())}
    with torch.no_grad():
        for name, value in draw.items():
            places[name].copy_(value)
        for module in own.modules():
            if vectors and type(module).__name__ == "_SpectralNorm":
                weight = next(
                    m.parametrizations.weight.original
                    for m in own.modules()
                    if getattr(m, "parametrizations", None) and module in list(m.parametrizations.weight)
                )
                module._power_method(weight, 2000)
    return own.eval()


def called(net: nn.Module, x: Any, output: Any) -> Tensor:
    """Return the network's output, as a user writes it."""
    found = net(**x) if isinstance(x, Mapping) else net(*x) if isinstance(x, tuple) else net(x)
    return found if output is None else output(found)


def rows(x: Any, i: slice) -> Any:
    """Return some of the data."""
    if isinstance(x, Mapping):
        return {name: part[i] for name, part in x.items()}
    return tuple(part[i] for part in x) if isinstance(x, tuple) else x[i]


def draws_of(bank: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """Yield one draw after another."""
    for i in range(len(next(iter(bank.values())))):
        yield {name: t[i] for name, t in bank.items()}


def refreshed(net: nn.Module, x: Any) -> nn.Module:
    """Return the network with BatchNorm's statistics of the data."""
    update_bn([x], net)
    return net.eval()


def potential(net: nn.Module, row: Any, x: Any, y: Tensor, precision: float) -> float:
    """Return U = −Σ log p(y | f) − log p(θ), in float64."""
    with torch.no_grad():
        likelihood = row.likelihood.log_prob(called(net, x, row.output), y).double().sum()
    prior = sum(
        0.5 * p.numel() * math.log(precision / (2 * math.pi))
        - 0.5 * precision * float(p.detach().double().square().sum())
        for p in named_parameters(net).values()
    )
    return -float(likelihood) - prior
