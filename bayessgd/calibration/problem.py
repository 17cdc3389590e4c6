r"""What a calibration is about: a network, data that stand for N, a likelihood and a prior."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from bayessgd._data import Inputs, rows
from bayessgd.calibration.potential import check_lowest, potential
from bayessgd.likelihoods import Likelihood
from bayessgd.posteriors import LowRankGaussian
from bayessgd.priors import Prior

__all__ = ["Problem"]


@dataclass(frozen=True)
class Problem:
    """A posterior that is known by its potential.

    Attributes:
        model: The network.
        x: Inputs [n, ...], a tensor or a tuple of several.
        y: Their targets.
        likelihood: From the output to the distribution of the target.
        prior: The distribution of θ.
        num_data: N ≥ n, the data that these stand for.
        refresh: Training data for BatchNorm's statistics, as in `predict`.
    """

    model: nn.Module
    x: Inputs
    y: Tensor
    likelihood: Likelihood
    prior: Prior
    num_data: int
    refresh: Iterable[Any] | None = None

    @property
    def size(self) -> int:
        """How many data there are, n."""
        return len(self.y)

    def part(self, size: int, generator: torch.Generator | None) -> "Problem":
        """Return the same with a random part of the data."""
        if self.size <= size:
            return self
        device = "cpu" if generator is None else generator.device
        picked = torch.randperm(self.size, generator=generator, device=device)[:size].to(self.y.device)
        return replace(self, x=rows(self.x, picked), y=self.y[picked])

    def potential(self, draws: Mapping[str, Tensor]) -> Tensor:
        """Return U of every draw, [draws], float64."""
        return potential(
            self.model,
            draws,
            self.x,
            self.y,
            likelihood=self.likelihood,
            prior=self.prior,
            num_data=self.num_data,
            refresh_batchnorm=self.refresh,
        )

    def excess(self, mean: Mapping[str, Tensor]) -> Callable[[Mapping[str, Tensor]], Tensor]:
        """Return δ ↦ ½[U(m + δ) + U(m − δ)] − U(m) of steps [pairs, *shape]: a slope of U at m cancels.

        Raises:
            ValueError: U is not finite at m.
        """
        lowest = self.potential({name: t[None] for name, t in mean.items()})
        check_lowest(lowest, "posterior's mean")

        def of(steps: Mapping[str, Tensor]) -> Tensor:
            both = {name: torch.cat([mean[name] + step, mean[name] - step]) for name, step in steps.items()}
            return (self.potential(both) - lowest).unflatten(0, (2, -1)).mean(0)

        return of

    def excess_of(
        self, posterior: LowRankGaussian, pairs: int, generator: torch.Generator | None
    ) -> Callable[[float], Tensor]:
        """Return s ↦ the excesses of pairs of draws from the Gaussian with s times its covariance, [pairs]."""
        excess, mean = self.excess(posterior.mean), posterior.mean
        steps = {name: t - mean[name] for name, t in posterior.sample(pairs, generator=generator).items()}
        return lambda scale: excess({name: math.sqrt(scale) * t for name, t in steps.items()})
