"""The Sinkhorn divergence of any cost, from its three matrices.

The derivative of OT_ε for the cost matrix is the plan (envelope theorem); how the cost depends on the points is
autograd's business. A symmetric problem is solved in the form that needs C_ii = 0 and C ≥ 0; others are refused.
"""

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from metrics.envelope import attach
from metrics.transport.cost import Cost, cost_between
from metrics.transport.divergence.debiased import solve_debiased
from metrics.transport.divergence.result import Options, SinkhornDivergenceResult
from metrics.transport.entropic.kernels import Table
from metrics.transport.entropic.solution import Piece
from metrics.transport.entropic.solvers import choose_solvers
from metrics.transport.entropic.standard import resolve_eps, value_like

__all__ = ["divergence_of_costs"]


def divergence_of_costs(
    cost: Cost, x: Tensor, y: Tensor, a: Tensor, b: Tensor, options: Options
) -> SinkhornDivergenceResult:
    """Return S_ε, or if it is to be sharp ⟨P, C⟩ debiased, between points with positive weights, in float64."""
    costs = [cost_between(cost, u, v) for u, v in ((x, x), (y, y), (x, y))]
    with torch.no_grad():
        if not (bool((a > 0).all()) and bool((b > 0).all())):
            raise ValueError("weights must be positive for a cost of one's own, got zeros; drop these points")
        c = [t.detach().double() for t in costs]
        for own, name in ((c[0], "x"), (c[1], "y")):
            _check_symmetric(own, name)
        wa, wb = (w.detach().double() / w.detach().double().sum() for w in (a, b))
        mean_cost = float(wa @ c[2] @ wb)
        at = resolve_eps(options.eps, mean_cost)
        found = solve_debiased(
            [partial(Table, t * (-1 / at)) for t in c],
            [partial(_plan, like=t) for t in c],
            wa,
            wb,
            choose_solvers(len(x), len(y), entry_bytes=0, memory=options.memory),
            tol=options.tol,
            max_iterations=options.max_iterations,
            scale=max(1.0, mean_cost / at),
            shift_cost=0.0,
            eps=at,
            start=None,
        )
        xx, yy, xy = (s.taken for s in (found.xx, found.yy, found.xy))
        value = at * found.dual
        if options.sharp:
            value = float((xy * c[2]).sum() - (xx * c[0]).sum() / 2 - (yy * c[1]).sum() / 2)
        on_weights = at * (found.xy.f - found.xx.f), at * (found.xy.g - found.yy.g)
        slopes = tuple(s.to(x.dtype) for s in (-xx / 2, -yy / 2, xy, *on_weights))
    value = value_like(value, x)
    if not options.sharp:
        value = attach(value, (*costs, a, b), slopes)
    error = max(s.error for s in (found.xx, found.yy, found.xy))
    return SinkhornDivergenceResult(value, found.worst.converged, found.xy.iterations, error, at)


def _plan(pieces: Iterator[Piece], *, like: Tensor) -> Tensor:
    """Take the plan whole."""
    plan = torch.empty_like(like)
    for piece in pieces:
        part = piece.plan()
        plan[piece.rows, piece.columns] = part
        if piece.mirrored:
            plan[piece.columns, piece.rows] = part.T
    return plan


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
