"""Draws kept as they are: the empirical law of a Markov chain, of window means, of a deep ensemble.

    θ ~ (1/m) Σᵢ δ(θ − θᵢ)

The atoms θᵢ are whole networks, [m, *shape] by name. It has a mean and draws, but no density: `log_prob`
says so.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from bayessgd.params import flatten
from bayessgd.posteriors._spread import spread
from bayessgd.posteriors.base import Packed, Posterior, check_draws, check_named
from metrics.inputs import check_count

__all__ = ["Ensemble"]


class Ensemble(Posterior):
    """The empirical law of m draws, each a whole network.

    Args:
        draws: From name to [m, *shape].
        chains: How many Markov chains of equal length the draws are, one after another.
        origin: How the draws were made, as plain JSON: settings, costs, diagnostics. It goes into the file.

    Raises:
        TypeError: Not a dict of floating tensors.
        ValueError: Different numbers of draws, none, a NaN, or chains that do not divide them.

    >>> import torch
    >>> law = Ensemble({"w": torch.tensor([[1.0], [3.0]])})
    >>> law.mean
    {'w': tensor([2.])}
    >>> law.sample(2)
    {'w': tensor([[1.],
            [3.]])}
    """

    def __init__(
        self, draws: Mapping[str, Tensor], *, chains: int = 1, origin: Mapping[str, Any] | None = None
    ) -> None:
        check_named(draws, "draws", lead=1)
        self.draws = dict(draws)
        if len(self) == 0:
            raise ValueError("draws must not be empty, got 0 of them; collect first")
        self.chains = check_count(chains, "chains")
        if len(self) % chains:
            raise ValueError(
                f"chains must divide the {len(self)} draws, got {chains}; chains are equally long"
            )
        self.origin: dict[str, Any] = dict(origin or {})

    def __len__(self) -> int:
        return len(next(iter(self.draws.values())))

    def by_chain(self) -> dict[str, Tensor]:
        """Return the draws as [chains, m/chains, *shape] by name, the shape that `metrics.chains` takes; views."""
        return {name: t.unflatten(0, (self.chains, -1)) for name, t in self.draws.items()}

    @property
    def mean(self) -> dict[str, Tensor]:
        """The mean of the draws, from name to [*shape]; float64 inside."""
        return {name: _mean(t) for name, t in self.draws.items()}

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Return n of the draws, in their order and spread evenly: n = m gives each once, more repeats them.

        Every draw is equally likely to be among them (systematic sampling), so means over the sample are
        unbiased; the picks are not independent of each other.
        """
        if check_draws(n) == len(self):
            return {name: t.clone() for name, t in self.draws.items()}
        some = next(iter(self.draws.values()))
        weights = torch.ones(len(self), dtype=torch.float64, device=some.device)
        picked = spread(weights, n, generator=generator)
        return {name: t[picked.to(t.device)] for name, t in self.draws.items()}

    def log_prob(self, params: Mapping[str, Tensor]) -> Tensor:
        """Refuse: points have no density.

        Raises:
            NotImplementedError: Always; the message says what has one.
        """
        raise NotImplementedError(
            "an Ensemble of points has no density; fit a LowRankGaussian to the iterates with SWAG, "
            "or use draws only"
        )

    def to_distribution(self) -> Distribution:
        """Return pyro's `Empirical` over [P]; its log_prob counts atoms."""
        from pyro.distributions import Empirical

        flat = flatten(self.draws, self.mean)
        return Empirical(flat, torch.zeros(len(self), dtype=flat.dtype, device=flat.device))

    def to(self, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> "Ensemble":
        """Return the ensemble on another device or in another type."""
        moved = {name: t.to(device=device, dtype=dtype) for name, t in self.draws.items()}
        return Ensemble(moved, chains=self.chains, origin=self.origin)

    def pack(self) -> Packed:
        """Return the draws and where they come from."""
        rest = {"names": list(self.draws), "chains": self.chains, "origin": self.origin}
        return Packed("ensemble", {f"draws/{name}": t for name, t in self.draws.items()}, rest)


def _mean(draws: Tensor) -> Tensor:
    # A few draws at a time: on the CPU a sum in another type first copies all of its input into that type.
    total = sum(piece.sum(0, dtype=torch.float64) for piece in draws.split(64))
    return torch.as_tensor(total / len(draws)).to(draws.dtype)
