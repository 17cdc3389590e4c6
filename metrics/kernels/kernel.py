"""Kernels k(x, y) for the maximum mean discrepancy, as small objects.

A kernel is any callable from two clouds [n, d], [m, d] to its Gram matrix [n, m]. A *radial* kernel depends
on the clouds through r = ‖x − y‖₂ only, and also has `from_distances`, which shares a matrix of distances
between many measures. With r a distance:

    Gaussian            Σ_b exp(−r² / 2b²)                                   Gretton et al. 2012
    Laplace             Σ_b exp(−r / b)
    RationalQuadratic   Σ_α (1 + r² / 2αℓ²)^−α                               Bińkowski et al. 2018
    NegativeDistance    −r: MMD² is the squared energy distance              Sejdinovic et al. 2013
    Polynomial          (⟨x, y⟩/d + 1)³: the kernel of KID, not radial       Bińkowski et al. 2018

A sum over several scales sees differences of every size, so that no bandwidth has to be right. All are
characteristic (MMD = 0 only if P = Q) but the polynomial one, which compares moments up to its degree.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import SupportsFloat, cast

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.distances import distances, off_diagonal, product_distances
from metrics.inputs import check_cloud, check_count, check_object, check_pair, check_positive, check_tensor
from metrics.precision import full_precision

__all__ = [
    "Gaussian",
    "Kernel",
    "Laplace",
    "NegativeDistance",
    "Polynomial",
    "Radial",
    "RationalQuadratic",
    "check_kernel",
    "median_heuristic",
    "median_kernel",
    "octaves",
]

Kernel = Callable[[Tensor, Tensor], Tensor]
"""A map from two clouds [n, d], [m, d] to the Gram matrix [n, m]."""


def check_kernel(kernel: object) -> Kernel:
    """Return a kernel that can be called on two clouds.

    >>> check_kernel("rbf")
    Traceback (most recent call last):
    TypeError: kernel must be callable on two clouds, got 'rbf'; pass an object such as metrics.kernels.Gaussian(1.0)
    """
    check_object(kernel, "kernel")
    if not callable(kernel):
        told = repr(kernel) if isinstance(kernel, str) else type(kernel).__name__
        raise TypeError(
            f"kernel must be callable on two clouds, got {told}; pass an object such as metrics.kernels.Gaussian(1.0)"
        )
    return cast(Kernel, kernel)


class Radial(ABC):
    """A kernel of the distance alone."""

    @abstractmethod
    def from_distances(self, r: Float[Tensor, "n m"]) -> Float[Tensor, "n m"]:
        """Return the Gram matrix at Euclidean distances r."""

    @full_precision
    def __call__(self, x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
        """Return the Gram matrix of two clouds."""
        return self.from_distances(distances(x, y))


def _scales(value: SupportsFloat | tuple[SupportsFloat, ...], name: str) -> tuple[float, ...]:
    scales = tuple(value) if isinstance(value, tuple | list) else (value,)
    if not scales:
        raise ValueError(f"{name} must not be empty, got {value}; pass at least one")
    return tuple(check_positive(scale, name) for scale in scales)


def _set(kernel: object, name: str, scales: tuple[float, ...]) -> None:
    """Keep what was checked as Python numbers: one kernel has one repr, whatever type its scales came in."""
    object.__setattr__(kernel, name, scales[0] if len(scales) == 1 else scales)


@dataclass(frozen=True)
class Gaussian(Radial):
    """k = Σ_b exp(−r²/2b²), one term per bandwidth b, in the units of x.

    >>> Gaussian(1.0).from_distances(torch.tensor([[0.0, 2.0]]))
    tensor([[1.0000, 0.1353]])
    """

    bandwidth: SupportsFloat | tuple[SupportsFloat, ...] = 1.0

    def __post_init__(self) -> None:
        _set(self, "bandwidth", _scales(self.bandwidth, "bandwidth"))

    @full_precision
    def from_distances(self, r: Float[Tensor, "n m"]) -> Float[Tensor, "n m"]:
        """Return the Gram matrix at Euclidean distances r."""
        return _sum_of_gaussians(r, sorted(_scales(self.bandwidth, "bandwidth"), reverse=True))


def _sum_of_gaussians(r: Tensor, bandwidths: list[float]) -> Tensor:
    """From the widest on: of half the bandwidth a Gaussian is the fourth power, which costs less than exp."""
    half = -0.5 * r.square()
    term = _exp(half / bandwidths[0] ** 2)
    # Without a graph sums and powers are taken in place: a new matrix for each would take twice the time.
    kept = torch.is_grad_enabled()
    total = term if kept or len(bandwidths) == 1 else term.clone()
    for wide, narrow in pairwise(bandwidths):
        # A power of 4 takes two bits of a number near 1; float32 has none to spare.
        if not (wide == 2 * narrow and r.dtype == torch.float64):
            term = _exp(half / narrow**2)
        else:
            term = term.square().square() if kept else term.square_().square_()
        total = total + term if kept else total.add_(term)
    return total


def _exp(exponent: Tensor) -> Tensor:
    """Exp of numbers below 0, which are overwritten where there is no graph.

    0 where it is less than three of the least normal numbers: from there on exp takes 40 times as long.
    """
    least = math.log(torch.finfo(exponent.dtype).tiny) + 1
    lost = exponent < least
    if torch.is_grad_enabled():
        return torch.exp(exponent.clamp(min=least)).masked_fill(lost, 0.0)
    return exponent.clamp_(min=least).exp_().masked_fill_(lost, 0.0)


@dataclass(frozen=True)
class Laplace(Radial):
    """k = Σ_b exp(−r/b), one term per bandwidth b, in the units of x.

    >>> Laplace(2.0).from_distances(torch.tensor([[0.0, 2.0]]))
    tensor([[1.0000, 0.3679]])
    """

    bandwidth: SupportsFloat | tuple[SupportsFloat, ...] = 1.0

    def __post_init__(self) -> None:
        _set(self, "bandwidth", _scales(self.bandwidth, "bandwidth"))

    @full_precision
    def from_distances(self, r: Float[Tensor, "n m"]) -> Float[Tensor, "n m"]:
        """Return the Gram matrix at Euclidean distances r."""
        return torch.stack([_exp(-r / b) for b in _scales(self.bandwidth, "bandwidth")]).sum(0)


@dataclass(frozen=True)
class RationalQuadratic(Radial):
    """k = Σ_α (1 + r²/2αℓ²)^−α: a mixture of Gaussians of all bandwidths, one term per exponent α.

    >>> RationalQuadratic(alpha=1.0).from_distances(torch.tensor([[0.0, 2.0]]))
    tensor([[1.0000, 0.3333]])
    """

    alpha: SupportsFloat | tuple[SupportsFloat, ...] = (0.2, 0.5, 1.0, 2.0, 5.0)
    lengthscale: SupportsFloat = 1.0

    def __post_init__(self) -> None:
        _set(self, "alpha", _scales(self.alpha, "alpha"))
        object.__setattr__(self, "lengthscale", check_positive(self.lengthscale, "lengthscale"))

    @full_precision
    def from_distances(self, r: Float[Tensor, "n m"]) -> Float[Tensor, "n m"]:
        """Return the Gram matrix at Euclidean distances r."""
        square = 0.5 * (r / float(self.lengthscale)).square()
        return torch.stack([(1 + square / a) ** -a for a in _scales(self.alpha, "alpha")]).sum(0)


@dataclass(frozen=True)
class NegativeDistance(Radial):
    """k = −r, conditionally positive definite: MMD² is D², the squared energy distance.

    >>> NegativeDistance().from_distances(torch.tensor([[2.0]]))
    tensor([[-2.]])
    """

    @full_precision
    def from_distances(self, r: Float[Tensor, "n m"]) -> Float[Tensor, "n m"]:
        """Return the Gram matrix at Euclidean distances r."""
        return -r


@dataclass(frozen=True)
class Polynomial:
    """k = (γ⟨x, y⟩ + c)^degree; γ = 1/d where it is None. The defaults are those of KID.

    >>> Polynomial()(torch.ones(1, 4), torch.ones(1, 4))
    tensor([[8.]])
    """

    degree: int = 3
    gamma: float | None = None
    offset: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "degree", check_count(self.degree, "degree"))
        if self.gamma is not None:
            object.__setattr__(self, "gamma", check_positive(self.gamma, "gamma"))

    @full_precision
    def __call__(self, x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
        """Return the Gram matrix of two clouds."""
        check_pair(x, y)
        gamma = 1 / x.shape[1] if self.gamma is None else self.gamma
        return (gamma * (x @ y.T) + self.offset) ** self.degree


@full_precision
def median_heuristic(x: Float[Tensor, "n d"], y: Float[Tensor, "m d"] | None = None) -> float:
    """Return the median distance in the pooled cloud, a bandwidth's usual first guess.

    Over all pairs i < j of x and y together (Gretton et al. 2012, section 8); the lower of the two middle
    values for an even number. Where more than half of the pairs coincide it is the median of the positive
    distances, and 1 where all do.

    Args:
        x: Samples, [n, d].
        y: Samples, [m, d], pooled with x.

    Raises:
        ValueError: Clouds that cannot be compared.

    >>> median_heuristic(torch.tensor([[0.0], [1.0], [5.0]]))
    4.0
    """
    pooled = check_cloud(x, least=2) if y is None else torch.cat(check_pair(x, y))
    pooled = pooled.detach()
    # Each unordered pair is counted twice, which leaves the lower median where it is.
    return _median(off_diagonal(product_distances(pooled, pooled).to(pooled.dtype)))


@full_precision
def median_kernel(xx: Float[Tensor, "n n"], xy: Float[Tensor, "n m"], yy: Float[Tensor, "m m"]) -> Gaussian:
    """Return a Gaussian kernel of five bandwidths, 1/4, 1/2, 1, 2 and 4 times the median pooled distance.

    The bandwidths are constants: no gradient passes through them.

    >>> zero = torch.zeros(1, 1)
    >>> median_kernel(zero, torch.full((1, 1), 8.0), zero)
    Gaussian(bandwidth=(2.0, 4.0, 8.0, 16.0, 32.0))
    """
    for block, name in ((xx, "xx"), (xy, "xy"), (yy, "yy")):
        # One cloud alone leaves the others empty: the median within it.
        if not (isinstance(block, Tensor) and block.ndim == 2 and block.numel() == 0 and len(xx)):
            check_tensor(block, name, shape="[n, m]", ndim=2)
    if xy.shape != (len(xx), len(yy)) or xx.shape[0] != xx.shape[1] or yy.shape[0] != yy.shape[1]:
        raise ValueError(
            f"xx, xy and yy must have shapes [n, n], [n, m] and [m, m], got {list(xx.shape)}, {list(xy.shape)} and "
            f"{list(yy.shape)}; pass the distances within and between two clouds"
        )
    with torch.no_grad():
        # Each unordered pair is counted twice, which leaves the lower median where it is.
        pooled = torch.cat([off_diagonal(xx), xy.flatten(), xy.flatten(), off_diagonal(yy)])
        median = _median(pooled)
    return octaves(median)


def octaves(middle: float) -> Gaussian:
    """Return a Gaussian kernel of five bandwidths, 1/4, 1/2, 1, 2 and 4 times one.

    >>> octaves(8.0)
    Gaussian(bandwidth=(2.0, 4.0, 8.0, 16.0, 32.0))
    """
    return Gaussian(tuple(scale * middle for scale in (0.25, 0.5, 1.0, 2.0, 4.0)))


def _median(r: Tensor) -> float:
    median = float(r.median())
    if median > 0:
        return median
    positive = r[r > 0]
    return float(positive.median()) if len(positive) else 1.0
