r"""The directions that a Gaussian of iterates spans, as an orthonormal basis.

The deviations of a SWAG fit, D̂ [k, P] over P weights, span K ≤ k directions. From their Gram matrix D̂D̂ᵀ = UΛUᵀ,

    V = Λ^{−½} Uᵀ D̂,   [K, P] orthonormal,   eᵀΣe = s·(e·diag(v)·e + ‖D̂e‖²/(k − 1))  the iterates' variance along e.

No P × P matrix is formed; V takes as much memory as D̂. Where no more weights move than there are deviations, as in a
small linear model, the span is all of them and V the unit vectors.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from bayessgd.params import flat_rows
from bayessgd.posteriors import LowRankGaussian

__all__ = ["Span", "span_of", "variance_along"]

LARGEST = 256
"""The most weights of a Gaussian without deviations whose coordinates are taken as the span."""

NEGLIGIBLE = 1e-6
"""Directions along which the iterates moved less than this share of their largest are rounding."""


@dataclass(frozen=True)
class Span:
    """K orthonormal directions of a network's weights.

    Attributes:
        basis: V by name, [K, *shape], orthonormal over all names together.

    >>> span = Span({"w": torch.eye(2)})
    >>> len(span), span.rotated(torch.tensor([[0.0, 1.0]])).basis
    (2, {'w': tensor([[0., 1.]])})
    """

    basis: dict[str, Tensor]

    def __len__(self) -> int:
        return len(next(iter(self.basis.values())))

    def rotated(self, rotation: Float[Tensor, "j k"]) -> "Span":
        """Return the span of the rows R·V, orthonormal where R's rows are."""
        return Span({name: torch.tensordot(rotation.to(v), v, 1) for name, v in self.basis.items()})

    def first(self, count: int) -> "Span":
        """Return the span of the first rows."""
        return Span({name: v[:count] for name, v in self.basis.items()})


def span_of(posterior: LowRankGaussian) -> Span | None:
    """Return the span of a Gaussian's deviations; of its moving weights where they are no more than those; else None.

    >>> law = LowRankGaussian({"w": torch.zeros(3)}, {"w": torch.tensor([2.0, 0.0, 0.0])})
    >>> span_of(law).basis
    {'w': tensor([[1., 0., 0.]])}
    """
    marginal = posterior.marginal_variance
    moving = sum(int((v > 0).sum()) for v in marginal.values())
    if moving <= (posterior.rank or LARGEST):
        return Span(_coordinates(marginal, moving))
    if posterior.deviations is None:
        return None
    gram = torch.zeros(posterior.rank, posterior.rank, dtype=torch.float64)
    for deviations in posterior.deviations.values():
        flat = flat_rows(deviations).double()
        gram += (flat @ flat.T).to(gram)
    values, vectors = torch.linalg.eigh(gram)
    kept = values > NEGLIGIBLE**2 * values[-1]
    values, vectors = values[kept].flip(0), vectors[:, kept].flip(1)
    weights = (vectors / values.sqrt()).T
    basis = {}
    for name, deviations in posterior.deviations.items():
        like = posterior.mean[name]
        basis[name] = torch.tensordot(weights.to(like), deviations.to(like), 1)
    return Span(basis)


def variance_along(posterior: LowRankGaussian, span: Span) -> Float[Tensor, " k"]:
    """Return eᵀΣe of a Gaussian for every row e of a span, in float64.

    >>> law = LowRankGaussian({"w": torch.zeros(2)}, {"w": torch.tensor([4.0, 1.0])}, scale=0.5)
    >>> variance_along(law, Span({"w": torch.eye(2)}))
    tensor([2.0000, 0.5000], dtype=torch.float64)
    """
    diagonal = torch.zeros(len(span), dtype=torch.float64)
    along = torch.zeros(len(span), posterior.rank, dtype=torch.float64)
    for name, e in span.basis.items():
        flat = flat_rows(e).double()
        diagonal += (flat.square() @ posterior.variance[name].flatten().double()).cpu()
        if posterior.deviations is not None:
            along += (flat @ flat_rows(posterior.deviations[name]).to(flat).T).cpu()
    return posterior.scale * (diagonal + along.square().sum(1) / max(1, posterior.rank - 1))


def _coordinates(marginal: Mapping[str, Tensor], moving: int) -> dict[str, Tensor]:
    basis, row = {}, 0
    for name, v in marginal.items():
        where = (v.flatten() > 0).nonzero()[:, 0]
        unit = torch.zeros(moving, v.numel(), dtype=v.dtype, device=v.device)
        unit[torch.arange(row, row + len(where)), where] = 1
        basis[name], row = unit.reshape(moving, *v.shape), row + len(where)
    return basis
