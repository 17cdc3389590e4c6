"""The Sinkhorn divergence: entropic transport without its bias.

    S_ε(x, y) = OT_ε(x, y) − ½OT_ε(x, x) − ½OT_ε(y, y)                      (Feydy et al. 2019, eq. 3)

with the dual values OT_ε of `metrics.transport.sinkhorn`, cost C = ‖x − y‖₂^p and one ε for the three. For
p ≤ 2, S_ε ≥ 0 with equality only at equal clouds (theorem 1). It tends to W_p^p as ε → 0, and as ε → ∞ to

    E C(x, y) − ½E C(x, x′) − ½E C(y, y′),

which is ‖E x − E y‖² for p = 2 and half the squared energy distance for p = 1.

**Gradient.** By the envelope theorem OT_ε has the derivatives of its cost under its plan P, ∂OT_ε/∂x_i =
Σ_j P_ij ∇₁C(x_i, y_j), and for its weights the potentials. They are formed with the solution, while the
plan is at hand: nothing is differentiated through iterations, and backward is O(n·d).

**Means.** For p = 2 the means split off, S_ε(x, y) = ‖E x − E y‖² + S_ε(x − E x, y − E y): their cross term
is a function of x plus one of y, and the potentials take it. So each cloud is centred on its own mean, and
float32 has digits enough however far they lie apart.

**Accuracy.** The plan's marginals err by at most tol·√(S_ε / max(ε, E C)): the gradient by about tol and
the value by about tol², relative to themselves, also between clouds that almost agree. The kernel is
float32 for float32 clouds with p = 2, ε ≤ E C and tol ≥ 1e-4, otherwise float64. Potentials and final sums
are float64.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.distances import distances
from metrics.inputs import check_count, check_pair, check_positive, check_weights
from metrics.transport._cost import check_exponent, power_cost
from metrics.transport._envelope import attach
from metrics.transport._scaling import Goal, Scaling, solve, solve_symmetric
from metrics.transport.sinkhorn import resolve_eps, warn_unconverged

__all__ = ["sinkhorn_divergence"]


def sinkhorn_divergence(
    x: Float[Tensor, "n d"],
    y: Float[Tensor, "m d"],
    *,
    eps: float | int | None = None,
    p: float | int = 2,
    weights_x: Float[Tensor, " n"] | None = None,
    weights_y: Float[Tensor, " m"] | None = None,
    tol: float = 5e-4,
    max_iterations: int = 10_000,
) -> Float[Tensor, ""]:
    """Return the Sinkhorn divergence S_ε = OT_ε(x, y) − ½OT_ε(x, x) − ½OT_ε(y, y), cost ‖x − y‖₂^p.

    Never clamped: rounding may leave equal clouds a little below 0. In memory O((n + m)²).

    Args:
        x: The first cloud, [n, d].
        y: The second cloud, [m, d].
        eps: ε in units of the cost; None is 0.05 × the mean cost between the clouds, a constant for the
            gradient.
        p: The exponent of the cost, at least 1; up to 2 the divergence is positive.
        weights_x: Weights of x, normalised to sum one; None is uniform; zeros are allowed.
        weights_y: Weights of y.
        tol: The relative error of the gradient to aim at; that of the value is about its square.
        max_iterations: Give up after so many iterations, with a RuntimeWarning.

    Returns:
        S_ε in units of the cost (not its root), in the clouds' type. Differentiable once in the clouds and
        the weights; a second derivative raises a RuntimeError. Debiasing removes the entropic bias and not
        the sampling one: between samples of one law the mean of S_ε is positive.

    Raises:
        ValueError: Clouds that cannot be compared, weights that are no weights, ε ≤ 0, p < 1.
        TypeError: A type that is none of these.

    >>> sinkhorn_divergence(torch.zeros(4, 2), torch.ones(4, 2))
    tensor(2.)
    """
    check_pair(x, y)
    p = check_exponent(p)
    a, b = check_weights(weights_x, x, "weights_x"), check_weights(weights_y, y, "weights_y")
    eps = None if eps is None else check_positive(eps, "eps")
    tol, limit = check_positive(tol, "tol"), check_count(max_iterations, "max_iterations")
    inputs = (x, y, a, b)
    with torch.no_grad():
        problem = _prepared(*inputs, eps=eps, p=p, tol=tol)
        xx, yy, xy = _solutions(problem, tol=tol, max_iterations=limit)
        value = problem.eps * (xy.dual - (xx.dual + yy.dual) / 2) + problem.apart
    gradients: tuple[Tensor | None, ...] = (None,) * 4
    if torch.is_grad_enabled() and any(t.requires_grad for t in inputs):
        gradients = tuple(g.to(x.dtype) for g in _gradients(problem, xx, yy, xy))
    return attach(x.new_tensor(value), inputs, gradients)


@dataclass(frozen=True)
class _Problem:
    """Two centred clouds and their weights, in the type to work in, and what was split off from them."""

    x: Tensor
    y: Tensor
    a: Tensor
    b: Tensor
    shift: Tensor
    eps: float
    p: float
    mean_cost: float

    @property
    def apart(self) -> float:
        """The part of the divergence, and of the mean cost, that centring has taken out."""
        return float(self.shift @ self.shift)


def _prepared(
    x: Tensor, y: Tensor, a: Tensor, b: Tensor, *, eps: float | None, p: float, tol: float
) -> _Problem:
    """Centre the clouds, each on its own mean if p = 2, and choose ε and the type."""
    single = x.dtype == torch.float32 and p == 2 and tol >= 1e-4
    x, y, a, b = (t.double() for t in (x, y, a, b))
    a, b = a / a.sum(), b / b.sum()
    mean_x, mean_y = a @ x, b @ y
    shift = mean_x - mean_y if p == 2 else torch.zeros_like(mean_x)
    x, y = x - mean_x, y - (mean_y if p == 2 else mean_x)
    if p == 2:
        mean_cost = float(shift @ shift + a @ x.square().sum(1) + b @ y.square().sum(1))
    else:
        mean_cost = float(a @ power_cost(x, y, p) @ b)
    eps = resolve_eps(eps, mean_cost)
    # Far from 1, float32 has no room for squares; nor for the rounding of points that are all one.
    if single and 1e-30 < eps <= mean_cost < 1e30:
        x, y, a, b = (t.float() for t in (x, y, a, b))
    return _Problem(x, y, a, b, shift, eps, p, mean_cost)


def _solutions(problem: _Problem, *, tol: float, max_iterations: int) -> tuple[Scaling, Scaling, Scaling]:
    """The plans of x with x, y with y, and x with y, the last as good as their difference asks for."""
    x, y, a, b, eps, p = problem.x, problem.y, problem.a, problem.b, problem.eps, problem.p
    # What sums of n terms in the type can hold; in float64 there is no need to go so far.
    fine = max(1e-12, torch.finfo(x.dtype).eps * (8 + math.sqrt(max(len(x), len(y)))))
    s = _log_kernel(x, x, eps, p).fill_diagonal_(0)
    xx = solve_symmetric(s, a, tol=fine, max_iterations=max_iterations)
    s = _log_kernel(y, y, eps, p).fill_diagonal_(0)
    yy = solve_symmetric(s, b, tol=fine, max_iterations=max_iterations)
    baseline = (xx.dual + yy.dual) / 2 - problem.apart / eps
    goal = Goal(tol, baseline, scale=max(1.0, problem.mean_cost / eps), floor=1.5 * fine)
    # The potential of y against itself is a good start, and for equal clouds the solution.
    s = _log_kernel(x, y, eps, p)
    xy = solve(s, a, b, goal=goal, max_iterations=max_iterations, start=yy.g)
    for found, aim in ((xx, fine), (yy, fine), (xy, goal.error(xy.dual))):
        if not found.converged:
            warn_unconverged(found.iterations, found.error, aim, eps)
    return xx, yy, xy


def _gradients(problem: _Problem, xx: Scaling, yy: Scaling, xy: Scaling) -> tuple[Tensor, ...]:
    """∂S_ε for x, y, a and b; for the weights up to a constant, to which normalised weights are blind."""
    x, y, p, eps = problem.x, problem.y, problem.p, problem.eps
    push = 2 * problem.shift
    gx = _force(xy.plan, x, y, p) - _force(xx.plan, x, x, p) + problem.a[:, None] * push
    gy = _force(xy.plan.T, y, x, p) - _force(yy.plan, y, y, p) - problem.b[:, None] * push
    ga = eps * (xy.f - xx.f) + x.double() @ push
    gb = eps * (xy.g - yy.g) - y.double() @ push
    return gx, gy, ga, gb


def _log_kernel(x: Tensor, y: Tensor, eps: float, p: float) -> Tensor:
    """−C/ε; for the square, and centred clouds, as one product [2x/ε, −‖x‖²/ε, 1]·[y, 1, −‖y‖²/ε]."""
    if p != 2:
        return power_cost(x, y, p).mul_(-1 / eps)
    left = torch.cat([x * (2 / eps), x.square().sum(1, keepdim=True) / -eps, x.new_ones(len(x), 1)], 1)
    right = torch.cat([y, y.new_ones(len(y), 1), y.square().sum(1, keepdim=True) / -eps], 1)
    return left @ right.T


def _force(plan: Tensor, x: Tensor, y: Tensor, p: float) -> Tensor:
    """Σ_j P_ij ∇₁C(x_i, y_j), with ∇₁C = p ‖x − y‖^{p−2} (x − y), and 0 where the points meet."""
    if p == 2:
        return 2 * (plan.sum(1, keepdim=True) * x - plan @ y)
    distance = distances(x, y)
    pull = torch.where(distance > 0, p * plan * distance ** (p - 2), 0.0)
    return pull.sum(1, keepdim=True) * x - pull @ y
