"""A mixture of posteriors: deep ensembles, MultiSWA and MultiSWAG.

    p(θ) = Σᵢ wᵢ pᵢ(θ),   wᵢ ≥ 0,   Σ wᵢ = 1

The components come from independent training runs, each in a basin of its own. One point each is a deep
ensemble (Lakshminarayanan et al. 2017), one averaged point each MultiSWA, one SWAG each MultiSWAG (Wilson &
Izmailov 2020, section 4).
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor
from torch.distributions import (
    Categorical,
    Distribution,
    Independent,
    LowRankMultivariateNormal,
    MixtureSameFamily,
    Normal,
)

from bayessgd.params import flatten
from bayessgd.posteriors._spread import spread
from bayessgd.posteriors.base import Draws, Packed, Posterior, check_draws, check_named
from bayessgd.posteriors.ensemble import Ensemble
from bayessgd.posteriors.gaussian import LowRankGaussian

__all__ = ["Mixture"]


class Mixture(Posterior):
    """Σᵢ wᵢ pᵢ.

    Args:
        components: The posteriors pᵢ, of one network.
        weights: w, not negative, normalised to sum 1; `None` is equal.

    Raises:
        TypeError: Components that are not posteriors.
        ValueError: None of them, posteriors of different networks, or weights that cannot be.

    >>> import torch
    >>> points = [Ensemble({"w": torch.tensor([[v]])}) for v in (0.0, 4.0)]
    >>> Mixture(points, weights=[3.0, 1.0]).mean
    {'w': tensor([1.])}
    """

    def __init__(self, components: Sequence[Posterior], weights: Sequence[float] | None = None) -> None:
        if not isinstance(components, Iterable):
            raise TypeError(
                f"components must be a list of posteriors, got {type(components).__name__}; pass [posterior, ...]"
            )
        self.components = list(components)
        if not self.components:
            raise ValueError("components must not be empty; pass at least one posterior")
        for i, component in enumerate(self.components):
            if not isinstance(component, Posterior):
                raise TypeError(f"components[{i}] must be a Posterior, got {type(component).__name__}")
            check_named(component.mean, f"components[{i}].mean", like=self.components[0].mean)
        given = [1.0] * len(self.components) if weights is None else [float(w) for w in weights]
        if len(given) != len(self.components):
            raise ValueError(
                f"weights must have one entry per component, {len(self.components)}, got {len(given)}"
            )
        # Weights that are normalised already, as those of a file, keep their bits.
        total = 1.0 if math.isclose(sum(given), 1.0, rel_tol=1e-12) else sum(given)
        if min(given) < 0 or not 0 < total < float("inf"):
            raise ValueError(f"weights must not be negative and have a finite positive sum, got {given}")
        self.weights = [w / total for w in given]

    @property
    def mean(self) -> dict[str, Tensor]:
        """Σ wᵢ E_pᵢ[θ], from name to [*shape]; float64 inside."""
        means = [component.mean for component in self.components]
        total = {
            name: sum(w * m[name].double() for w, m in zip(self.weights, means, strict=True))
            for name in means[0]
        }
        return {name: torch.as_tensor(t).to(means[0][name].dtype) for name, t in total.items()}

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Return n draws, component by component, each with its weight's share of them.

        The shares are as even as n allows (systematic sampling): with M equal components and n a multiple
        of M each gives n/M draws, as MultiSWAG does. Means over the sample are unbiased.
        """
        parts = [part.parameters for part in self.stream(check_draws(n), n, generator=generator)]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def stream(self, n: int, size: int, *, generator: torch.Generator | None = None) -> Iterator[Draws]:
        """Yield the draws of `sample(n)`, at most `size` at a time, those of one component together."""
        weights = torch.tensor(self.weights, dtype=torch.float64)
        picked = spread(weights, n, generator=generator)
        counts = torch.bincount(picked, minlength=len(self.components)).tolist()
        for component, count in zip(self.components, counts, strict=True):
            if count:
                yield from component.stream(count, min(size, count), generator=generator)

    @property
    def names(self) -> list[str]:
        """The parameters' names, in their order."""
        return self.components[0].names

    @property
    def usual_samples(self) -> int:
        """Of points of equal weight each once; otherwise 30, rounded up to a multiple of the components."""
        own = [c.usual_samples for c in self.components]
        if all(isinstance(c, Ensemble) or m == 1 for c, m in zip(self.components, own, strict=True)):
            total = sum(own)
            if all(math.isclose(w, m / total, rel_tol=1e-9) for w, m in zip(self.weights, own, strict=True)):
                return total
        return -(-self.USUAL // len(own)) * len(own)

    def log_prob(self, params: Mapping[str, Tensor]) -> Tensor:
        """Return log Σ wᵢ pᵢ(θ) in nats, [...] for a dict of [..., *shape].

        Raises:
            NotImplementedError: A component has no density.
            ValueError: Names or shapes of another network.
        """
        parts = [c.log_prob(params) for c, w in zip(self.components, self.weights, strict=True) if w > 0]
        stacked = torch.stack(parts, -1)
        weights = stacked.new_tensor([w for w in self.weights if w > 0])
        return (stacked + weights.log()).logsumexp(-1)

    def to_distribution(self) -> Distribution:
        """Return the mixture over [P]: `MixtureSameFamily` of Gaussians, or pyro's `Empirical` of points.

        Raises:
            NotImplementedError: Components of different families.
        """
        if all(isinstance(c, Ensemble) for c in self.components):
            return self._empirical([c for c in self.components if isinstance(c, Ensemble)])
        gaussians = [c for c in self.components if isinstance(c, LowRankGaussian)]
        if len(gaussians) != len(self.components):
            kinds = sorted({type(c).__name__ for c in self.components})
            raise NotImplementedError(
                f"to_distribution needs components of one family, got {kinds}; use sample"
            )
        family = _stacked([c.to_distribution() for c in gaussians])
        weights = flatten(gaussians[0].mean).new_tensor(self.weights)
        return MixtureSameFamily(Categorical(probs=weights), family)

    def _empirical(self, ensembles: list[Ensemble]) -> Distribution:
        from pyro.distributions import Empirical

        flat = torch.cat([flatten(e.draws, e.mean) for e in ensembles])
        weights = torch.cat(
            [flat.new_full((len(e),), w / len(e)) for e, w in zip(ensembles, self.weights, strict=True)]
        )
        return Empirical(flat, weights.log())

    def to(self, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> "Mixture":
        """Return the mixture on another device or in another type."""
        return Mixture([c.to(device=device, dtype=dtype) for c in self.components], self.weights)

    def pack(self) -> Packed:
        """Return the components' tensors, numbered, and the weights."""
        packed = [component.pack() for component in self.components]
        tensors = {f"{i}/{name}": t for i, part in enumerate(packed) for name, t in part.tensors.items()}
        parts = [{"kind": part.kind, "rest": part.rest} for part in packed]
        return Packed("mixture", tensors, {"weights": self.weights, "components": parts})


def _stacked(laws: Sequence[Distribution]) -> Distribution:
    """Return Gaussians of one size as one batch [M] of them; missing directions are zeros."""
    loc = torch.stack([law.mean for law in laws])
    low_rank = [law for law in laws if isinstance(law, LowRankMultivariateNormal)]
    if not low_rank:
        return Independent(Normal(loc, torch.stack([law.stddev for law in laws])), 1)
    rank = max(law.cov_factor.shape[-1] for law in low_rank)
    factors, diagonals = [], []
    for law in laws:
        factor = (
            law.cov_factor if isinstance(law, LowRankMultivariateNormal) else loc.new_zeros(loc.shape[1], 0)
        )
        factors.append(torch.nn.functional.pad(factor, (0, rank - factor.shape[-1])))
        diagonals.append(law.cov_diag if isinstance(law, LowRankMultivariateNormal) else law.variance)
    return LowRankMultivariateNormal(loc, torch.stack(factors), torch.stack(diagonals))
