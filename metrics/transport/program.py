"""The linear program of optimal transport: a plan of least cost between given weights.

    min_P ⟨P, C⟩,   P ≥ 0,  P 1 = a,  Pᵀ1 = b

It is solved by the network simplex of POT (Bonneel et al. 2011), or, between two small uniform clouds of one size,
where a plan is a permutation, by scipy's shortest augmenting paths (Crouse 2016).
"""

import warnings
from functools import cache
from types import ModuleType

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from metrics.envelope import attach
from metrics.inputs import check_tensor, check_weights

__all__ = ["transport_cost", "transport_plan"]

ASSIGNMENT_SIZE = 64
"""Up to this size an assignment is faster than the network simplex, by up to five times; at 128 it depends on the
clouds, and far above it can be five times slower."""

MAX_PIVOTS = 10**9
"""The simplex ends by itself; POT's own limit of 10⁵ pivots returns a plan that is not optimal."""


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
    c, plan, f, g = _solved(cost, a, b)
    a, b = check_weights(a, cost, "a"), check_weights(b, cost.T, "b")
    value = torch.tensor(float((plan * c).sum()), dtype=torch.float64).to(cost)
    gradients = tuple(None if v is None else torch.from_numpy(v).to(cost) for v in (plan, f, g))
    return attach(value, (cost, a, b), gradients)


def transport_plan(cost: Tensor, a: Tensor | None, b: Tensor | None) -> Float[Tensor, "n m"]:
    """Return an optimal plan, in float64 on the CPU.

    >>> transport_plan(torch.tensor([[1.0, 2.0], [2.0, 5.0]]), None, None)
    tensor([[0.0000, 0.5000],
            [0.5000, 0.0000]], dtype=torch.float64)
    """
    return torch.from_numpy(_solved(cost, a, b)[1])


def _solved(
    cost: Tensor, a: Tensor | None, b: Tensor | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Cost and plan as arrays, and the dual potentials where weights may follow them."""
    small = a is None and b is None and cost.shape[0] == cost.shape[1] <= ASSIGNMENT_SIZE
    weights = (check_weights(a, cost, "a"), check_weights(b, cost.T, "b"))
    c = cost.detach().cpu().double().numpy()
    solve = _assignment if small else _simplex
    plan, f, g = solve(c, *(w.detach().cpu().double().numpy() for w in weights))
    return c, plan, f, g


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
