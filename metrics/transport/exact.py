"""Exact optimal transport: the Wasserstein distance between two weighted clouds.

For weights a [n] and b [m] that sum to one, and the cost C_ij = ‖x_i − y_j‖₂^p,

    W_p = (min_P ⟨P, C⟩)^{1/p},   P ≥ 0,  P 1 = a,  Pᵀ1 = b        (Peyré & Cuturi 2019, sections 2.3, 2.4).

It is a linear program: solved by the network simplex of POT (Bonneel et al. 2011), or, between two small
uniform clouds of one size, where a plan is a permutation, by scipy's shortest augmenting paths (Crouse
2016). On the line the plan joins quantiles and needs no solver (`metrics.transport.line`).

The minimum's derivative is that of the cost under the optimal plan (envelope theorem): ∂⟨P, C⟩/∂C = P, and
the dual potentials are those for a and b. Where several plans are optimal it is a subgradient.

As an estimate of the distance between the laws behind the clouds W_p is biased upwards, by the order of
n^{−1/d} for d > 2p (Fournier & Guillin 2015, theorem 1): compare it with its value between two samples of
one law.
"""

import warnings
from functools import cache
from types import ModuleType

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from metrics.envelope import attach
from metrics.inputs import check_pair, check_tensor, check_weights
from metrics.transport.cost import check_exponent, power_cost, root
from metrics.transport.line import line_cost

__all__ = ["transport_cost", "wasserstein"]

ASSIGNMENT_SIZE = 64
"""Up to this size an assignment is faster than the network simplex, by up to five times; at 128 it depends on the
clouds, and far above it can be five times slower."""

MAX_PIVOTS = 10**9
"""The simplex ends by itself; POT's own limit of 10⁵ pivots returns a plan that is not optimal."""


def wasserstein(
    x: Float[Tensor, "n d"],
    y: Float[Tensor, "m d"],
    *,
    p: float | int = 2,
    weights_x: Float[Tensor, " n"] | None = None,
    weights_y: Float[Tensor, " m"] | None = None,
) -> Float[Tensor, ""]:
    """Return the exact Wasserstein distance W_p = (min ⟨P, C⟩)^{1/p}, with C_ij = ‖x_i − y_j‖₂^p.

    O((n + m) log(n + m)) for d = 1. Otherwise memory O(n·m) and time of about O(n³): a second for 2000 points
    against 2000. Computed in float64.

    Args:
        x: The first cloud, [n, d].
        y: The second cloud, [m, d].
        p: The exponent, at least 1.
        weights_x: Weights of x, normalised to sum one; None is uniform.
        weights_y: Weights of y.

    Returns:
        W_p in the units of the clouds (not its power p), in their type. Differentiable once in the clouds and
        the weights, with gradient 0 at W_p = 0.

    Raises:
        ValueError: Clouds that cannot be compared, weights that are no weights, p < 1.
        TypeError: A type that is none of these.

    >>> wasserstein(torch.tensor([[0.0, 0.0], [1.0, 0.0]]), torch.tensor([[4.0, 4.0], [4.0, 3.0]]))
    tensor(5.)
    """
    check_pair(x, y)
    p = check_exponent(p)
    a = None if weights_x is None else check_weights(weights_x, x, "weights_x").double()
    b = None if weights_y is None else check_weights(weights_y, y, "weights_y").double()
    on_line = x.shape[1] == 1
    total = line_cost(x.T, y.T, p=p, a=a, b=b)[0] if on_line else transport_cost(power_cost(x, y, p), a, b)
    return root(total, p).to(x.dtype)


def transport_cost(
    cost: Float[Tensor, "n m"],
    a: Float[Tensor, " n"] | None = None,
    b: Float[Tensor, " m"] | None = None,
) -> Float[Tensor, ""]:
    """Return the exact optimal cost min_P ⟨P, C⟩ over plans with marginals a and b.

    Args:
        cost: C, [n, m].
        a: Weights of the rows, normalised to sum one; None is uniform.
        b: Weights of the columns.

    Returns:
        The cost, in the type of C (solved and summed in float64). Differentiable once in C, a and b.

    >>> transport_cost(torch.tensor([[1.0, 2.0], [2.0, 5.0]]))
    tensor(2.)
    """
    check_tensor(cost, "cost", shape="[n, m]", ndim=2)
    small = a is None and b is None and cost.shape[0] == cost.shape[1] <= ASSIGNMENT_SIZE
    a, b = check_weights(a, cost, "a"), check_weights(b, cost.T, "b")
    solve = _assignment if small else _simplex
    c = cost.detach().cpu().double().numpy()
    plan, f, g = solve(c, *(w.detach().cpu().double().numpy() for w in (a, b)))
    value = torch.tensor(float((plan * c).sum()), dtype=torch.float64).to(cost)
    gradients = tuple(None if v is None else torch.from_numpy(v).to(cost) for v in (plan, f, g))
    return attach(value, (cost, a, b), gradients)


def _assignment(c: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, None, None]:
    """An optimal permutation as a plan; its uniform weights are constants."""
    from scipy.optimize import linear_sum_assignment

    plan = np.zeros_like(c)
    plan[linear_sum_assignment(c)] = 1 / len(c)
    return plan, None, None


def _simplex(c: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An optimal plan and its dual potentials."""
    a, b = a / a.sum(), b / b.sum()
    scale = np.abs(c).max() or 1.0  # the simplex's tolerance is absolute
    with warnings.catch_warnings(action="ignore"):  # what POT warns of is an error here
        plan, log = _pot().emd(a, b, c / scale, numItermax=MAX_PIVOTS, log=True)
    if log["warning"] is not None:
        raise RuntimeError(f"the network simplex found no optimal plan of {c.shape}: {log['warning']}")
    return plan, scale * log["u"], scale * log["v"]


@cache
def _pot() -> ModuleType:
    """POT, imported at first use: that takes a second, and compiling it warns of escapes in its source."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", SyntaxWarning)
        import ot
    return ot
