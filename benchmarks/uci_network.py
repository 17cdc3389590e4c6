"""What the UCI benchmark fits: the network, a set's settings, and the loss on batches.

The network is f(x) = (m, log σ), one hidden layer of ReLUs with two heads; y ~ N(m, σ²), with σ a function of x or
one number for all. The priors are N(0, 1/λ) with one λ for each tensor.
"""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from uci_data import Split

from bayessgd import Chains
from bayessgd.likelihoods import GaussianLogScale, GaussianPrior, mean_negative_log_joint

__all__ = ["LOOK", "Network", "Problem", "Settings"]

LOOK = 1000
"""How many training data the largest curvature and the width of SWAG are taken from."""


class Network(nn.Module):
    """One hidden layer and two heads, so that mean and log scale have priors of their own.

    Args:
        inputs: Features.
        hidden: Hidden units.
        constant: One σ for all data in place of a head.
    """

    def __init__(self, inputs: int, hidden: int, *, constant: bool) -> None:
        super().__init__()
        self.hidden, self.mean = nn.Linear(inputs, hidden), nn.Linear(hidden, 1)
        self.scale = Constant() if constant else nn.Linear(hidden, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return `[n, 2]`, mean and log scale."""
        h = self.hidden(x).relu()
        return torch.cat([self.mean(h), self.scale(h)], -1)

    def first_precisions(self) -> dict[str, float]:
        """Return λ to start from: activations, mean and log scale of order one over standardised inputs."""
        d, h = self.hidden.in_features, self.hidden.out_features
        named = {"hidden.weight": d, "hidden.bias": d, "mean.weight": h / 4, "mean.bias": 1}
        rest = (
            {"scale.value": 0.25}
            if isinstance(self.scale, Constant)
            else {"scale.weight": h / 2, "scale.bias": 1}
        )
        return {name: float(value) for name, value in (named | rest).items()}


class Constant(nn.Module):
    """One learned log σ, e^{−1} at the start."""

    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.empty(1))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start anew."""
        nn.init.constant_(self.value, -1.0)

    def forward(self, h: Tensor) -> Tensor:
        """Return `[n, 1]`."""
        return self.value.expand(len(h), 1)


@dataclass(frozen=True)
class Settings:
    """What a set is run with.

    Attributes:
        constant: One σ for all data.
        whiten: Inputs whitened on the training part, and not only standardised.
        members: Networks at once.
        batch: Data per step and chain, drawn with replacement; all of them where there are no more.
        warm_up: Steps of Adam before SGHMC.
        steps: Steps of SGHMC.
        fraction: Its step length over the largest stable one.
        momentum: Its momentum.
        anneal: Let the step fall as a half cosine and draw in the last 30 %; else draw after the first third.
        draws: Draws per chain.
        mode_steps: Steps of Adam to the modes.
        wander_steps: Steps of SGD around them.
    """

    constant: bool = False
    whiten: bool = False
    members: int = 8
    batch: int = 1000
    warm_up: int = 200
    steps: int = 1200
    fraction: float = 0.3
    momentum: float = 0.99
    anneal: bool = False
    draws: int = 50
    mode_steps: int = 400
    wander_steps: int = 240

    @property
    def burn_in(self) -> int:
        """Steps before the first draw."""
        return int(self.steps * (0.7 if self.anneal else 1 / 3))


class Problem:
    """A split's training data, with the loss and the batches that all phases share."""

    def __init__(self, data: Split, settings: Settings, seed: int) -> None:
        self.x, self.y, self.settings = data.x, data.y, settings
        self._random = torch.Generator().manual_seed(seed)

    def loss(
        self, chains: Chains, prior: GaussianPrior, *, look: bool = False, batch: int | None = None
    ) -> Tensor:
        """Return the mean negative log joint of each chain, on a batch of its own or on the first LOOK data."""
        n, size = len(self.x), self.settings.batch if batch is None else batch
        law = {"likelihood": GaussianLogScale(), "prior": prior, "num_data": n}
        fn = partial(mean_negative_log_joint, **law)
        if look or size >= n:
            some = slice(LOOK if look else n)
            return chains.map(fn, self.x[some], self.y[some], shared=True)
        pick = torch.randint(n, (chains.num_chains, size), generator=self._random)
        return chains.map(fn, self.x[pick], self.y[pick])
