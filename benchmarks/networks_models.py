"""The networks of the benchmark of networks, by name: torch alone is needed, so that any peer's interpreter has them.

| name | network | output |
|---|---|---|
| digits | 20 → 10 tanh → 9 | logits |
| diabetes | 10 → 10 tanh → 1 | the mean, and one learned log σ |
| lenet | LeNet-5 with ReLU and max pooling, 61 706 weights | logits |

A `dropout` of p puts `nn.Dropout(p)` behind every hidden activation that is fully connected, and, in LeNet-5, behind
both pools: where Gal & Ghahramani (2016) have it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

__all__ = ["MODELS", "Model", "WithScale", "mean_network"]

Make = Callable[[float], nn.Module]
"""From the probability of dropout to a network."""


@dataclass(frozen=True)
class Model:
    """A network that is made anew at every call, and whether its targets are classes or real numbers."""

    make: Make
    classes: int | None

    @property
    def regression(self) -> bool:
        """Targets are real numbers, and the outputs mean and log σ."""
        return self.classes is None


class WithScale(nn.Module):
    """A network's output [n, 1] and one log σ for all of them, [n, 2]."""

    def __init__(self, network: nn.Module, *, scale: float = 0.7):
        super().__init__()
        self.network = network
        self.log_scale = nn.Parameter(torch.tensor(scale).log())

    def forward(self, x: Tensor) -> Tensor:
        """Return mean and log σ."""
        mean = self.network(x)
        return torch.cat([mean, self.log_scale.expand_as(mean)], -1)


def mean_network(network: nn.Module) -> nn.Module:
    """Return the part of a regression that gives the mean."""
    return network.network if isinstance(network, WithScale) else network


def _hidden(p: float, *layers: nn.Module) -> list[nn.Module]:
    return [*layers, nn.Dropout(p)] if p else list(layers)


def _digits(p: float) -> nn.Module:
    return nn.Sequential(*_hidden(p, nn.Linear(20, 10), nn.Tanh()), nn.Linear(10, 9))


def _diabetes(p: float) -> nn.Module:
    return WithScale(nn.Sequential(*_hidden(p, nn.Linear(10, 10), nn.Tanh()), nn.Linear(10, 1)))


def _lenet(p: float) -> nn.Module:
    return nn.Sequential(
        *_hidden(p, nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
        *_hidden(p, nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2)),
        nn.Flatten(),
        *_hidden(p, nn.Linear(400, 120), nn.ReLU()),
        *_hidden(p, nn.Linear(120, 84), nn.ReLU()),
        nn.Linear(84, 10),
    )


MODELS = {"digits": Model(_digits, 9), "diabetes": Model(_diabetes, None), "lenet": Model(_lenet, 10)}
