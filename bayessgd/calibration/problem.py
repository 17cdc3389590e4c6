r"""What a calibration is about: a network, data that stand for N, a likelihood and a prior."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from bayessgd._inputs import Inputs, Output, Targets, rows, size, tensors
from bayessgd.batches import Data
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
        x: Inputs [n, ...]: a tensor, a tuple or a dict of them.
        y: Their targets.
        likelihood: From the output to the distribution of the target.
        prior: The distribution of θ.
        num_data: N ≥ n, the data that these stand for.
        refresh: Training data for BatchNorm's statistics, as in `predict`.
        output: Picks the tensor from what the network returns.
    """

    model: nn.Module
    x: Inputs
    y: Targets
    likelihood: Likelihood
    prior: Prior
    num_data: int
    refresh: Data | None = None
    output: Output | None = None

    @property
    def size(self) -> int:
        """How many data there are, n."""
        return size(self.y)

    def part(self, count: int, generator: torch.Generator | None) -> "Problem":
        """Return the same with a random part of the data."""
        if self.size <= count:
            return self
        device = "cpu" if generator is None else generator.device
        picked = torch.randperm(self.size, generator=generator, device=device)[:count]
        on = next(iter(tensors(self.y).values())).device
        return replace(self, x=rows(self.x, picked.to(on)), y=rows(self.y, picked.to(on)))

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
            output=self.output,
        )

    def changes(self, mean: Mapping[str, Tensor]) -> Callable[[Mapping[str, Tensor]], tuple[Tensor, Tensor]]:
        """Return δ ↦ the even and the odd part of U(m + δ) − U(m), of steps [pairs, *shape].

        The even part ½[U(m + δ) + U(m − δ)] − U(m) is the excess, from which a slope at m cancels; the odd part
        ½[U(m + δ) − U(m − δ)] is the slope's.

        Raises:
            ValueError: U is not finite at m.
        """
        lowest = self.potential({name: t[None] for name, t in mean.items()})
        check_lowest(lowest, "posterior's mean")

        def of(steps: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
            both = {name: torch.cat([mean[name] + step, mean[name] - step]) for name, step in steps.items()}
            forth, back = (self.potential(both) - lowest).unflatten(0, (2, -1))
            return (forth + back) / 2, (forth - back) / 2

        return of

    def excess_of(
        self, posterior: LowRankGaussian, pairs: int, generator: torch.Generator | None
    ) -> Callable[[float], Tensor]:
        """Return s ↦ the excesses of pairs of draws from the Gaussian with s times its covariance, [pairs]."""
        changes, mean = self.changes(posterior.mean), posterior.mean
        steps = {name: t - mean[name] for name, t in posterior.sample(pairs, generator=generator).items()}
        return lambda scale: changes({name: math.sqrt(scale) * t for name, t in steps.items()})[0]
