"""The cost C_ij = ‖x_i − y_j‖₂^p or one of the user's own, and the root that makes a distance of a total cost."""

import math
from collections.abc import Callable
from numbers import Real

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.distances import distances
from metrics.inputs import check_tensor

__all__ = ["Cost", "check_exponent", "check_powers", "cost_between", "leaves_range", "power_cost", "root"]

STEEP = 4
"""Exponents above this are taken of lengths in a unit of their own: a ratio of 1e77 is the end of float64 at 4."""

FAINTEST = 1e-280
"""Powers of the clouds' extent below this have no digits left to solve with."""

Cost = Callable[[Tensor, Tensor], Tensor]
"""From clouds [n, d] and [m, d] to C [n, m], differentiable."""


def check_exponent(p: object) -> float:
    """Return p ≥ 1 as a float: below 1 the cost is concave, and monotone plans are no longer optimal.

    >>> check_exponent(0)
    Traceback (most recent call last):
    ValueError: p must be finite and at least 1, got 0; 1 and 2 are the usual exponents
    """
    if isinstance(p, Tensor) and p.ndim == 0:
        p = p.item()
    if isinstance(p, bool) or not isinstance(p, Real):
        raise TypeError(f"p must be a number, got {type(p).__name__}; 1 and 2 are the usual exponents")
    if not (math.isfinite(p) and float(p) >= 1):
        raise ValueError(f"p must be finite and at least 1, got {p}; 1 and 2 are the usual exponents")
    return float(p)


def power_cost(x: Float[Tensor, "n d"], y: Float[Tensor, "m d"], p: float) -> Float[Tensor, "n m"]:
    """Return ‖x_i − y_j‖₂^p in float64, differentiable once, with gradient 0 where two points meet."""
    distance = distances(x.double(), y.double())
    return distance if p == 1 else distance**p


def check_powers(x: Tensor, y: Tensor, p: float) -> None:
    """Refuse clouds whose powers of distances all vanish, where the clouds themselves are more than one point.

    >>> import torch
    >>> check_powers(torch.zeros(2, 1), torch.full((2, 1), 1e-3), 200.0)
    Traceback (most recent call last):
    ValueError: the costs ‖x − y‖^p are below 1e-280 at p = 200 and distances of about 0.001; scale the clouds up
    """
    with torch.no_grad():
        centre = y.flatten(0, -2).double().mean(0)
        extent = max(float((cloud.double() - centre).abs().max()) for cloud in (x, y))
    if extent > 0 and p * math.log10(extent) < math.log10(FAINTEST):
        raise ValueError(
            f"the costs ‖x − y‖^p are below {FAINTEST:.0e} at p = {p:.4g} and distances of about {extent:.2g}; "
            "scale the clouds up"
        )


def leaves_range(x: Tensor, y: Tensor, p: float) -> bool:
    """Whether powers of distances may leave float64's range, so that lengths want a unit of their own.

    >>> import torch
    >>> one = torch.ones(1, 1)
    >>> leaves_range(one, one, 2.0), leaves_range(one, one, 500.0)
    (False, True)
    >>> leaves_range(1e200 * one.double(), one.double(), 2.0)
    True
    """
    if p > STEEP:
        return True
    extent = max(float(x.detach().abs().max()), float(y.detach().abs().max()))
    return extent > 0 and abs(math.log10(extent)) * p > 200


def root(total: Float[Tensor, "*batch"], p: float) -> Float[Tensor, "*batch"]:
    """Return total^{1/p}, with gradient 0 instead of infinity at 0.

    >>> import torch
    >>> root(torch.tensor(9.0), 2.0), root(torch.tensor(0.0), 2.0)
    (tensor(3.), tensor(0.))
    """
    positive = total > 0
    return total.where(positive, 1.0) ** (1 / p) * positive


def cost_between(cost: Cost, x: Tensor, y: Tensor) -> Tensor:
    """Return cost(x, y), checked."""
    if not callable(cost):
        raise TypeError(
            f"cost must be a function from two clouds to C [n, m], got {type(cost).__name__}; ‖x − y‖^p is p=, and "
            "a matrix is for entropic_cost"
        )
    c = check_tensor(cost(x, y), "cost(x, y)", shape="[n, m]", ndim=2)
    if c.shape != (len(x), len(y)):
        raise ValueError(
            f"cost(x, y) must have shape [{len(x)}, {len(y)}], got {list(c.shape)}; one entry per pair"
        )
    return c
