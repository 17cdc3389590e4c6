"""The cost C_ij = ‖x_i − y_j‖₂^p or one of the user's own, and the root that makes a distance of a total cost."""

import math
from collections.abc import Callable
from numbers import Real

from jaxtyping import Float
from torch import Tensor

from metrics.distances import distances
from metrics.inputs import check_tensor

__all__ = ["Cost", "check_exponent", "cost_between", "power_cost", "root"]

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


def root(total: Float[Tensor, ""], p: float) -> Float[Tensor, ""]:
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
