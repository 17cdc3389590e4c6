"""Sinkhorn divergences of a batch of problems, solved together.

    S_ε(x_k, y_k),   k = 1 … b, clouds [b, n, d] and [b, m, d]

The mathematics is that of one problem (`single`): centred clouds, dual values, gradients by the
envelope theorem. Every problem has its own ε, its own tolerance and its own iteration; they share the operations
(`batched`). It pays while a problem is small: larger ones, other costs and zero weights are solved one by one.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.envelope import attach
from metrics.transport.divergence.debiased import finest
from metrics.transport.divergence.result import Options, SinkhornDivergenceResult
from metrics.transport.entropic.batched import (
    BatchSolution,
    SymmetricBatchSolution,
    product,
    solve_batch,
    solve_symmetric_batch,
)
from metrics.transport.entropic.kernels import half_squares
from metrics.transport.entropic.solution import warn_unconverged
from metrics.transport.entropic.standard import RELATIVE_EPS, check_scale

__all__ = ["SMALL", "divergences"]

SMALL = 2**17
"""Entries of a kernel up to which problems are solved together."""


@dataclass(frozen=True)
class _Side:
    """Clouds centred and in units of √(ε/2), their weights in the type to work in, and ½‖z‖² in float64."""

    z: Float[Tensor, "b n d"]
    weights: Float[Tensor, "b n"]
    halves: Float[Tensor, "b n"]

    def symmetric(self, tol: float, max_iterations: int) -> SymmetricBatchSolution:
        return solve_symmetric_batch(
            self.z, self.halves, self.weights, tol=tol, max_iterations=max_iterations
        )


def divergences(
    x: Float[Tensor, "b n d"],
    y: Float[Tensor, "b m d"],
    a: Float[Tensor, "b n"],
    b: Float[Tensor, "b m"],
    options: Options,
) -> SinkhornDivergenceResult:
    """Return S_ε of each problem, cost ‖x − y‖²; the weights are positive and sum to one."""
    inputs, limit = (x, y, a, b), options.max_iterations
    live = [t.requires_grad and torch.is_grad_enabled() for t in inputs]
    with torch.no_grad():
        left, right, shift, shift_cost, at, mean_cost = _standardised(
            *inputs, eps=options.eps, tol=options.tol
        )
        fine = finest(left.weights, right.weights)
        xx, yy = left.symmetric(fine, limit), right.symmetric(fine, limit)
        baseline, scale = (xx.dual + yy.dual) / 2 - shift_cost / at, (mean_cost / at).clamp(min=1.0)

        def goal(dual: Tensor) -> Tensor:
            above = ((dual - baseline).clamp(min=0.0) / scale).sqrt().clamp(max=1.0)
            return (options.tol * above).clamp(min=1.5 * fine)

        xy, done = solve_batch(
            left.z,
            right.z,
            left.halves,
            right.halves,
            left.weights,
            right.weights,
            goal=goal,
            max_iterations=limit,
        )
        aims = torch.stack([torch.full_like(xy.error, fine)] * 2 + [goal(xy.dual).to(xy.error)])
        errors = torch.stack([xx.error.to(xy.error), yy.error.to(xy.error), xy.error])
        converged = (errors <= aims).all(0)  # not a number is not
        if not bool(converged.all()):
            _warn(errors, aims, at, done)
        value = at * (xy.dual - (xx.dual + yy.dual) / 2) + shift_cost
        slopes = _slopes(left, right, shift, at, (xx, yy, xy), live)
        gradients = tuple(None if slope is None else slope.to(x.dtype) for slope in slopes)
    value = attach(value.to(x.dtype), inputs, gradients)
    return SinkhornDivergenceResult(value, converged, done, errors.amax(0), at)


def _warn(errors: Tensor, aims: Tensor, eps: Tensor, iterations: int) -> None:
    """Warn of the worst problem."""
    place = int((errors / aims).nan_to_num(math.inf, math.inf).argmax())
    error, aim = float(errors.flatten()[place]), float(aims.flatten()[place])
    warn_unconverged(iterations, error, aim, float(eps[place % len(eps)]))


def _standardised(
    x: Tensor, y: Tensor, a: Tensor, b: Tensor, *, eps: float | None, tol: float
) -> tuple[_Side, _Side, Tensor, Tensor, Tensor, Tensor]:
    """Return both sides, Δ, what centring has taken out, ε and the mean costs, each per problem (`standard`)."""
    a, b = (w.double() / w.double().sum(1, keepdim=True) for w in (a, b))
    dtype, single = x.dtype, x.dtype == torch.float32 and tol >= 1e-4
    if not single:
        x, y = x.double(), y.double()
    centres = [_mean(z, w.to(z.dtype)) for z, w in ((x, a), (y, b))]
    x, y = (z - centre[:, None, :] for z, centre in zip((x, y), centres, strict=True))
    shift = centres[0].double() - centres[1].double()
    # A mean is rounded as it is taken off; what is left of it counts.
    left_x, left_y = (_mean(z, w.to(z.dtype)).double() for z, w in ((x, a), (y, b)))
    shift_cost = (shift * (shift + 2 * (left_x - left_y))).sum(1)
    spread = sum((w * z.square().sum(2, dtype=torch.float64)).sum(1) for z, w in ((x, a), (y, b)))
    mean_cost = (shift_cost + spread - 2 * (left_x * left_y).sum(1)).clamp(min=0.0)
    check_scale(
        math.inf, float(mean_cost.max()) if bool((mean_cost <= torch.finfo(dtype).max).all()) else math.inf
    )
    check_scale(math.inf if eps is None else float(eps), float((mean_cost - shift_cost).max()))
    at = RELATIVE_EPS * mean_cost if eps is None else torch.full_like(mean_cost, float(eps))
    at = torch.where(at > 0, at, 1.0)
    if single and not bool(((at > 1e-30) & (at <= mean_cost) & (mean_cost < 1e30)).all()):
        x, y = x.double(), y.double()
    unit = (at / 2).sqrt()[:, None, None]
    sides = [_Side(u := (z / unit.to(z.dtype)), w.to(z.dtype), half_squares(u)) for z, w in ((x, a), (y, b))]
    return sides[0], sides[1], shift, shift_cost, at, mean_cost


def _mean(z: Tensor, w: Tensor) -> Tensor:
    return torch.bmm(w[:, None, :], z).squeeze(1)


def _slopes(
    left: _Side,
    right: _Side,
    shift: Tensor,
    at: Tensor,
    solutions: tuple[SymmetricBatchSolution, SymmetricBatchSolution, BatchSolution],
    live: list[bool],
) -> tuple[Tensor | None, ...]:
    """∂S_ε for x, y, a and b of each problem, as `single._slopes`."""
    xx, yy, xy = solutions
    unit = (at / 2).sqrt()
    push = 2 * shift
    x, y, a, b = left.z, right.z, left.weights, right.weights
    gx = gy = ga = gb = None
    if live[0]:
        across = _pull(xy.k, x, y, xy.u, xy.v)
        gx = _moved(across - _pull(xx.k, x, x, xx.w, xx.w), a, push, unit)
    if live[1]:
        across = _pull(xy.k.mT, y, x, xy.v, xy.u)
        gy = _moved(across - _pull(yy.k, y, y, yy.w, yy.w), b, -push, unit)
    along = 2 * unit[:, None] * shift
    if live[2]:
        ga = at[:, None] * (xy.f - xx.f) + product(x.double(), along)
    if live[3]:
        gb = at[:, None] * (xy.g - yy.f) - product(y.double(), along)
    return gx, gy, ga, gb


def _pull(k: Tensor, x: Tensor, z: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Σ_j P_ij 2(x_i − z_j) for P = diag(u) K diag(v)."""
    mass = product(k, v)
    return 2 * u[:, :, None] * (mass[:, :, None] * x - torch.bmm(k, z * v[:, :, None]))


def _moved(force: Tensor, weights: Tensor, push: Tensor, unit: Tensor) -> Tensor:
    """The slope for the clouds: forces between centred clouds sum to zero, and Δ pushes all points alike."""
    force = force.double() * unit[:, None, None]
    return force + weights.double()[:, :, None] * (push - force.sum(1))[:, None, :]
