"""Entropic optimal transport, by Sinkhorn's iteration.

With weights a [n] and b [m] that sum to one, the cost C_ij = ‖x_i − y_j‖₂^p (no factor ½) and ε > 0,

    OT_ε = min_P ⟨P, C⟩ + ε·KL(P ‖ a⊗b),   P 1 = a,  Pᵀ1 = b                   (Feydy et al. 2019, eq. 1)
         = max_{f,g} ⟨f, a⟩ + ⟨g, b⟩ − ε(Σ_ij a_i b_j exp((f_i + g_j − C_ij)/ε) − 1),

with the plan P_ij = a_i b_j exp((f_i + g_j − C_ij)/ε) at the potentials f, g. The value is the dual one, KL
included: a lower bound whose error is quadratic in that of the plan's marginals. Other programs take ⟨P, C⟩
alone, an entropy instead of the KL divergence (which shifts the value), or half the cost.

OT_ε(x, x) > 0: as a distance between clouds use `sinkhorn_divergence`.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.inputs import check_count, check_pair, check_positive, check_tensor, check_weights
from metrics.transport._clouds import Clouds, prepared, resolve_eps, scattered, value_like
from metrics.transport._cost import check_exponent
from metrics.transport._costs import Cost, cost_between
from metrics.transport._debiased import warn_unconverged
from metrics.transport._envelope import attach
from metrics.transport._logkernel import Table
from metrics.transport._plan import Scaling, forces
from metrics.transport._scaling import Goal, solve
from metrics.transport._start import extended
from metrics.transport._stream import solve_streaming

__all__ = ["MEMORY", "SinkhornResult", "entropic_cost", "sinkhorn"]

MEMORY = 2**30
"""Bytes that a kernel may take before it is formed in pieces instead."""


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
    cost: Cost | None = None,
    tol: float = 1e-6,
    max_iterations: int = 10_000,
    memory: float | int = MEMORY,
) -> SinkhornResult:
    """Solve entropic transport between two clouds: OT_ε with cost ‖x − y‖₂^p and penalty ε·KL(P ‖ a⊗b).

    Computed in float64.

    Args:
        x: The first cloud, [n, d].
        y: The second cloud, [m, d].
        eps: ε in units of the cost; None is 0.05 × the mean cost between the clouds, a constant for the
            gradient.
        p: The exponent of the cost, at least 1.
        weights_x: Weights of x, normalised to sum one; None is uniform; zeros are allowed.
        weights_y: Weights of y.
        cost: A cost of one's own instead of ‖x − y‖₂^p: a differentiable function from two clouds to C [n, m]. Then p
            and `memory` do not count.
        tol: Stop at this L1 distance between the plan's marginals and the weights.
        max_iterations: Give up after so many iterations, with a RuntimeWarning.
        memory: Bytes for the kernel, n·m numbers. A larger one is never stored: memory is then O(n + m), and every
            iteration forms it anew.

    Returns:
        The value, differentiable once in the clouds and the weights, with the potentials and the convergence.

    Raises:
        ValueError: Clouds that cannot be compared, costs out of the type's range, weights that are no weights,
            ε ≤ 0 or below 1e-9 of the mean cost, p < 1.
        TypeError: A type that is none of these.

    >>> result = sinkhorn(torch.zeros(1, 2), torch.ones(1, 2))   # one point: the only plan
    >>> float(result.value), result.converged
    (2.0, True)
    """
    check_pair(x, y)
    p = check_exponent(p)
    a, b = check_weights(weights_x, x, "weights_x"), check_weights(weights_y, y, "weights_y")
    if cost is not None:
        c = cost_between(cost, x, y)
        return entropic_cost(c, a, b, eps=eps, tol=tol, max_iterations=max_iterations)
    goal, limit = Goal(check_positive(tol, "tol")), check_count(max_iterations, "max_iterations")
    eps = None if eps is None else check_positive(eps, "eps")
    dense = len(x) * len(y) * (8 if p == 2 else 24) <= check_positive(memory, "memory")
    inputs = (x, y, a, b)
    live = [t.requires_grad and torch.is_grad_enabled() for t in inputs]
    with torch.no_grad():
        a, b = a.detach().double(), b.detach().double()
        kept = (a > 0, b > 0)
        points = (x.detach()[kept[0]], y.detach()[kept[1]], a[kept[0]] / a.sum(), b[kept[1]] / b.sum())
        clouds = prepared(*points, eps=eps, p=p, single=False, dense=dense)
        run = solve if dense else solve_streaming
        found = run(clouds.kernel(clouds.x, clouds.y), clouds.a, clouds.b, goal=goal, max_iterations=limit)
        if not found.converged:
            warn_unconverged(found.iterations, found.error, goal.tol, clouds.eps)
        potentials = _potentials(clouds, found, x, y, kept)
        pulls: tuple[Tensor | None, ...] = (None, None)
        if live[0] or live[1]:
            pulls = _pulls(clouds, found, live, kept)
        value = value_like(clouds.eps * found.dual + clouds.apart, x)
        f, g = (v.to(x.dtype) for v in potentials)
        slopes = (*(None if v is None else v.to(x.dtype) for v in pulls), f, g)
        gradients = tuple(v if wanted else None for v, wanted in zip(slopes, live, strict=True))
    value = attach(value, inputs, gradients)
    return SinkhornResult(value, (f, g), found.iterations, found.error, found.converged, clouds.eps)


def _potentials(
    clouds: Clouds, found: Scaling, x: Tensor, y: Tensor, kept: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """Both potentials at all points, in units of the cost; those without weight have theirs from their equations."""
    f = clouds.eps * found.f + clouds.slope(clouds.x) + float(clouds.shift @ clouds.shift)
    g = clouds.eps * found.g - clouds.slope(clouds.y)
    f, g = scattered(f, kept[0]), scattered(g, kept[1])
    if not bool(kept[0].all()):
        z = clouds.inside(x.detach()[~kept[0]], clouds.centre)
        there = extended(clouds.kernel(clouds.y, z), found.g + clouds.b.log())
        f[~kept[0]] = clouds.eps * there + clouds.slope(z) + float(clouds.shift @ clouds.shift)
    if not bool(kept[1].all()):
        z = clouds.inside(y.detach()[~kept[1]], clouds.centre - clouds.shift)
        there = extended(clouds.kernel(clouds.x, z), found.f + clouds.a.log())
        g[~kept[1]] = clouds.eps * there - clouds.slope(z)
    return f, g


def _pulls(
    clouds: Clouds, found: Scaling, live: list[bool], kept: tuple[Tensor, Tensor]
) -> tuple[Tensor | None, ...]:
    """∂OT_ε/∂x and ∂OT_ε/∂y: the forces of the plan, and those of what centring has taken off."""
    on_x, on_y = forces(found.pieces(), clouds.x, clouds.y, clouds.p, to_x=live[0], to_y=live[1])
    push = 2 * clouds.shift
    gx = None if on_x is None else scattered(clouds.unit * on_x + clouds.a[:, None] * push, kept[0])
    gy = None if on_y is None else scattered(clouds.unit * on_y - clouds.b[:, None] * push, kept[1])
    return gx, gy


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
    inputs = (cost, a, b)
    with torch.no_grad():
        c, a64, b64 = (t.detach().double() for t in inputs)
        rows, columns, a64, b64 = a64 > 0, b64 > 0, a64 / a64.sum(), b64 / b64.sum()
        eps = resolve_eps(eps, float(a64 @ c @ b64))
        goal, limit = Goal(check_positive(tol, "tol")), check_count(max_iterations, "max_iterations")
        s, wa, wb = c * (-1 / eps), a64[rows], b64[columns]
        part = s[rows][:, columns]
        found = solve(Table(part), wa, wb, goal=goal, max_iterations=limit)
        if not found.converged:
            warn_unconverged(found.iterations, found.error, goal.tol, eps)
        plan = torch.zeros_like(s)
        plan[rows.nonzero(), columns.nonzero()[:, 0]] = next(found.pieces()).plan()
        # Points without weight have potentials from their equations.
        f, g = (
            extended(Table(s[:, columns].T), found.g + wb.log()),
            extended(Table(s[rows]), found.f + wa.log()),
        )
        f[rows], g[columns] = found.f, found.g
        f, g = (eps * f).to(cost), (eps * g).to(cost)
        value = value_like(eps * found.dual, cost)
    value = attach(value, inputs, (plan.to(cost), f, g))
    return SinkhornResult(value, (f, g), found.iterations, found.error, found.converged, eps)
