"""Sinkhorn divergences of a batch of problems, solved together.

    S_ε(x_k, y_k),   k = 1 … b, clouds [b, n, d] and [b, m, d]

The mathematics is that of one problem (`_single`): centred clouds, dual values, gradients by the
envelope theorem. Every problem has its own ε, its own tolerance and its own iteration; they share the operations
(`_together`). It pays while a problem is small: larger ones, other costs and zero weights are solved one by one.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.transport._clouds import RELATIVE_EPS, check_scale
from metrics.transport._debiased import warn_unconverged
from metrics.transport._envelope import attach
from metrics.transport._logkernel import half_squares
from metrics.transport._together import Crossed, Mirrored, cross, mirror, product

__all__ = ["SMALL", "divergences"]

SMALL = 2**17
"""Entries of a kernel up to which problems are solved together."""


@dataclass(frozen=True)
class _Side:
    """Clouds centred and in units of √(ε/2), their weights in the type to work in, and ½‖z‖² in float64."""

    z: Float[Tensor, "b n d"]
    weights: Float[Tensor, "b n"]
    halves: Float[Tensor, "b n"]

    def mirrored(self, fine: float, most: int) -> Mirrored:
        return mirror(self.z, self.halves, self.weights, tol=fine, most=most)


def divergences(
    x: Float[Tensor, "b n d"],
    y: Float[Tensor, "b m d"],
    a: Float[Tensor, "b n"],
    b: Float[Tensor, "b m"],
    *,
    eps: float | None,
    tol: float,
    max_iterations: int,
) -> Float[Tensor, " b"]:
    """Return S_ε of each problem, cost ‖x − y‖²; the weights are positive and sum to one."""
    inputs = (x, y, a, b)
    live = [t.requires_grad and torch.is_grad_enabled() for t in inputs]
    with torch.no_grad():
        left, right, shift, apart, at, mean_cost = _prepared(*inputs, eps=eps, tol=tol)
        n, m = x.shape[1], y.shape[1]
        fine = max(1e-12, torch.finfo(left.z.dtype).eps * (8 + math.sqrt(max(n, m))))
        xx, yy = (side.mirrored(fine, max_iterations) for side in (left, right))
        baseline, scale = (xx.dual + yy.dual) / 2 - apart / at, (mean_cost / at).clamp(min=1.0)

        def goal(dual: Tensor) -> Tensor:
            above = ((dual - baseline).clamp(min=0.0) / scale).sqrt().clamp(max=1.0)
            return (tol * above).clamp(min=1.5 * fine)

        xy, done = cross(
            left.z,
            right.z,
            left.halves,
            right.halves,
            left.weights,
            right.weights,
            goal=goal,
            most=max_iterations,
        )
        for errors, aims in ((xx.error, fine), (yy.error, fine), (xy.error, goal(xy.dual))):
            short = ~(errors <= aims)  # not a number is, too
            if bool(short.any()):
                aim = float(torch.as_tensor(aims).min())
                warn_unconverged(done, float(errors.max()), aim, float(at[short].min()))
        value = at * (xy.dual - (xx.dual + yy.dual) / 2) + apart
        slopes = _slopes(left, right, shift, at, (xx, yy, xy), live)
        gradients = tuple(None if slope is None else slope.to(x.dtype) for slope in slopes)
    return attach(value.to(x.dtype), inputs, gradients)


def _prepared(
    x: Tensor, y: Tensor, a: Tensor, b: Tensor, *, eps: float | None, tol: float
) -> tuple[_Side, _Side, Tensor, Tensor, Tensor, Tensor]:
    """Return both sides, Δ, what centring has taken out, ε and the mean costs, each per problem (`_clouds`)."""
    a, b = (w.double() / w.double().sum(1, keepdim=True) for w in (a, b))
    dtype, single = x.dtype, x.dtype == torch.float32 and tol >= 1e-4
    if not single:
        x, y = x.double(), y.double()
    centres = [_mean(z, w.to(z.dtype)) for z, w in ((x, a), (y, b))]
    x, y = (z - centre[:, None, :] for z, centre in zip((x, y), centres, strict=True))
    shift = centres[0].double() - centres[1].double()
    # A mean is rounded as it is taken off; what is left of it counts.
    left_x, left_y = (_mean(z, w.to(z.dtype)).double() for z, w in ((x, a), (y, b)))
    apart = (shift * (shift + 2 * (left_x - left_y))).sum(1)
    spread = sum((w * z.square().sum(2, dtype=torch.float64)).sum(1) for z, w in ((x, a), (y, b)))
    mean_cost = (apart + spread - 2 * (left_x * left_y).sum(1)).clamp(min=0.0)
    check_scale(
        math.inf, float(mean_cost.max()) if bool((mean_cost <= torch.finfo(dtype).max).all()) else math.inf
    )
    check_scale(math.inf if eps is None else float(eps), float((mean_cost - apart).max()))
    at = RELATIVE_EPS * mean_cost if eps is None else torch.full_like(mean_cost, float(eps))
    at = torch.where(at > 0, at, 1.0)
    if single and not bool(((at > 1e-30) & (at <= mean_cost) & (mean_cost < 1e30)).all()):
        x, y = x.double(), y.double()
    unit = (at / 2).sqrt()[:, None, None]
    sides = [_Side(u := (z / unit.to(z.dtype)), w.to(z.dtype), half_squares(u)) for z, w in ((x, a), (y, b))]
    return sides[0], sides[1], shift, apart, at, mean_cost


def _mean(z: Tensor, w: Tensor) -> Tensor:
    return torch.bmm(w[:, None, :], z).squeeze(1)


def _slopes(
    left: _Side,
    right: _Side,
    shift: Tensor,
    at: Tensor,
    solutions: tuple[Mirrored, Mirrored, Crossed],
    live: list[bool],
) -> tuple[Tensor | None, ...]:
    """∂S_ε for x, y, a and b of each problem, as `_single._slopes`."""
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
