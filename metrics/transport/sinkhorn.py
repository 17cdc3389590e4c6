"""Entropic optimal transport, by Sinkhorn's iteration.

With weights a [n] and b [m] that sum to one, the cost C_ij = ‖x_i − y_j‖₂^p (no factor ½) and ε > 0,

    OT_ε = min_P ⟨P, C⟩ + ε·KL(P ‖ a⊗b),   P 1 = a,  Pᵀ1 = b                   (Feydy et al. 2019, eq. 1)
         = max_{f,g} ⟨f, a⟩ + ⟨g, b⟩ − ε(Σ_ij a_i b_j exp((f_i + g_j − C_ij)/ε) − 1),

with the plan P_ij = a_i b_j exp((f_i + g_j − C_ij)/ε) at the potentials f, g. The value is the dual one, KL
included: a lower bound whose error is quadratic in that of the plan's marginals. Other programs take ⟨P, C⟩
alone, an entropy instead of the KL divergence (which shifts the value), or half the cost.

OT_ε(x, x) > 0: as a distance between clouds use `sinkhorn_divergence`.
"""

import warnings
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.inputs import check_count, check_pair, check_positive, check_tensor, check_weights
from metrics.transport._cost import check_exponent, power_cost
from metrics.transport._envelope import attach
from metrics.transport._scaling import Goal, solve

__all__ = ["SinkhornResult", "entropic_cost", "resolve_eps", "sinkhorn", "warn_unconverged"]

RELATIVE_EPS = 0.05
"""The default ε, as a fraction of the mean cost."""


@dataclass(frozen=True)
class SinkhornResult:
    """An entropic transport cost and how it was reached.

    Attributes:
        value: OT_ε, 0-dim, in units of the cost; differentiable once.
        potentials: f [n] and g [m], in units of the cost, known up to a constant (f + c, g − c).
        iterations: How many updates of both potentials were made.
        marginal_error: The L1 distance between the plan's marginals and the weights.
        converged: Whether that error is within the tolerance.
        eps: The ε of the solution, in units of the cost.
    """

    value: Float[Tensor, ""]
    potentials: tuple[Float[Tensor, " n"], Float[Tensor, " m"]]
    iterations: int
    marginal_error: float
    converged: bool
    eps: float


def sinkhorn(
    x: Float[Tensor, "n d"],
    y: Float[Tensor, "m d"],
    *,
    eps: float | int | None = None,
    p: float | int = 2,
    weights_x: Float[Tensor, " n"] | None = None,
    weights_y: Float[Tensor, " m"] | None = None,
    tol: float = 1e-6,
    max_iterations: int = 10_000,
) -> SinkhornResult:
    """Solve entropic transport between two clouds: OT_ε with cost ‖x − y‖₂^p and penalty ε·KL(P ‖ a⊗b).

    Computed in float64, in memory O(n·m).

    Args:
        x: The first cloud, [n, d].
        y: The second cloud, [m, d].
        eps: ε in units of the cost; None is 0.05 × the mean cost between the clouds, a constant for the
            gradient.
        p: The exponent of the cost, at least 1.
        weights_x: Weights of x, normalised to sum one; None is uniform; zeros are allowed.
        weights_y: Weights of y.
        tol: Stop at this L1 distance between the plan's marginals and the weights.
        max_iterations: Give up after so many iterations, with a RuntimeWarning.

    Returns:
        The value, differentiable once in the clouds and the weights, with the potentials and the convergence.

    Raises:
        ValueError: Clouds that cannot be compared, weights that are no weights, ε ≤ 0, p < 1.
        TypeError: A type that is none of these.

    >>> result = sinkhorn(torch.zeros(1, 2), torch.ones(1, 2))   # one point: the only plan
    >>> float(result.value), result.converged
    (2.0, True)
    """
    check_pair(x, y)
    p = check_exponent(p)
    a, b = check_weights(weights_x, x, "weights_x"), check_weights(weights_y, y, "weights_y")
    cost = power_cost(x, y, p)
    result = entropic_cost(cost, a.double(), b.double(), eps=eps, tol=tol, max_iterations=max_iterations)
    f, g = (v.to(x.dtype) for v in result.potentials)
    return replace(result, value=result.value.to(x.dtype), potentials=(f, g))


def entropic_cost(
    cost: Float[Tensor, "n m"],
    a: Float[Tensor, " n"] | None = None,
    b: Float[Tensor, " m"] | None = None,
    *,
    eps: float | int | None = None,
    tol: float = 1e-6,
    max_iterations: int = 10_000,
) -> SinkhornResult:
    """Solve entropic transport for a cost matrix; else as `sinkhorn`.

    Differentiable once in the cost and the weights.

    >>> result = entropic_cost(1 - torch.eye(2), eps=1.0)
    >>> round(float(result.value), 4)   # −log((1 + e⁻¹)/2)
    0.3799
    """
    check_tensor(cost, "cost", shape="[n, m]", ndim=2)
    a, b = check_weights(a, cost, "a"), check_weights(b, cost.T, "b")
    c, a64, b64 = (t.detach().double() for t in (cost, a, b))
    eps = resolve_eps(eps, float(a64 @ c @ b64))
    goal = Goal(check_positive(tol, "tol"))
    limit = check_count(max_iterations, "max_iterations")
    found = solve(c * (-1 / eps), a64 / a64.sum(), b64 / b64.sum(), goal=goal, max_iterations=limit)
    if not found.converged:
        warn_unconverged(found.iterations, found.error, goal.tol, eps)
    f, g = eps * found.f, eps * found.g
    value = torch.tensor(eps * found.dual, dtype=torch.float64).to(cost)
    value = attach(value, (cost, a, b), tuple(t.to(cost) for t in (found.plan, f, g)))
    return SinkhornResult(
        value, (f.to(cost), g.to(cost)), found.iterations, found.error, found.converged, eps
    )


def resolve_eps(eps: float | None, mean_cost: float) -> float:
    """Return ε, by default a fraction of the mean cost; any will do for clouds that are one point."""
    if eps is not None:
        return check_positive(eps, "eps")
    return RELATIVE_EPS * mean_cost or 1.0


def warn_unconverged(iterations: int, error: float, tol: float, eps: float) -> None:
    """Say that an iteration gave up, and what helps."""
    warnings.warn(
        f"Sinkhorn's iteration stopped after {iterations} iterations at a marginal error of {error:.2g}, "
        f"above its tolerance of {tol:.2g}; raise eps (now {eps:.3g}), max_iterations or tol",
        RuntimeWarning,
        stacklevel=4,
    )
