"""The Sinkhorn divergence of any cost, from its three matrices.

The derivative of OT_ε for the cost matrix is the plan (envelope theorem); how the cost depends on the points is
autograd's business. A symmetric problem is solved in the form that needs C_ii = 0 and C ≥ 0; others are refused.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.inputs import check_tensor
from metrics.transport._clouds import resolve_eps, value_like
from metrics.transport._debiased import debiased
from metrics.transport._envelope import attach
from metrics.transport._logkernel import Table
from metrics.transport._plan import Scaling

__all__ = ["Cost", "cost_between", "divergence_of_costs"]

Cost = Callable[[Tensor, Tensor], Tensor]
"""From clouds [n, d] and [m, d] to C [n, m], differentiable."""


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


def divergence_of_costs(
    cost: Cost,
    x: Float[Tensor, "n d"],
    y: Float[Tensor, "m d"],
    a: Float[Tensor, " n"],
    b: Float[Tensor, " m"],
    *,
    eps: float | int | None,
    tol: float,
    max_iterations: int,
    sharp: bool,
) -> Float[Tensor, ""]:
    """Return S_ε, or with `sharp` ⟨P, C⟩ debiased, between points with positive weights; computed in float64."""
    costs = [cost_between(cost, u, v) for u, v in ((x, x), (y, y), (x, y))]
    with torch.no_grad():
        if not (bool((a > 0).all()) and bool((b > 0).all())):
            raise ValueError("weights must be positive for a cost of one's own, got zeros; drop these points")
        c = [t.detach().double() for t in costs]
        for own, name in ((c[0], "x"), (c[1], "y")):
            _check_symmetric(own, name)
        wa, wb = (w.detach().double() / w.detach().double().sum() for w in (a, b))
        mean_cost = float(wa @ c[2] @ wb)
        at = resolve_eps(eps, mean_cost)

        def take(i: int, solution: Scaling) -> Tensor:
            plan = torch.empty_like(c[i])
            for piece in solution.pieces():
                part = piece.plan()
                plan[piece.rows, piece.columns] = part
                if piece.mirrored:
                    plan[piece.columns, piece.rows] = part.T
            return plan

        found = debiased(
            [lambda t=t: Table(t * (-1 / at)) for t in c],
            wa,
            wb,
            tol=tol,
            max_iterations=max_iterations,
            scale=max(1.0, mean_cost / at),
            apart=0.0,
            eps=at,
            dense=True,
            start=None,
            take=take,
        )
        xx, yy, xy = found.taken
        if sharp:
            return value_like(float((xy * c[2]).sum() - (xx * c[0]).sum() / 2 - (yy * c[1]).sum() / 2), x)
        slopes = (-xx / 2, -yy / 2, xy, at * (found.xy.f - found.xx.f), at * (found.xy.g - found.yy.g))
        value = value_like(at * found.dual, x)
    return attach(value, (*costs, a, b), tuple(s.to(x.dtype) for s in slopes))


def _check_symmetric(c: Tensor, name: str) -> None:
    size = float(c.abs().max())
    if float(c.diagonal().abs().max()) > 1e-6 * size or float((c - c.T).abs().max()) > 1e-6 * size:
        raise ValueError(
            f"cost({name}, {name}) must be symmetric with zeros on its diagonal, got neither or one of them; "
            "use sinkhorn for other costs"
        )
    if float(c.min()) < -1e-6 * size:
        raise ValueError(
            f"cost({name}, {name}) must not be negative, got a minimum of {float(c.min()):.3g}; shift it"
        )
