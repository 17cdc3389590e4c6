"""Many small entropic problems at once: every operation is one over all of them.

A small problem alone costs hundreds of operations that each take longer to start than to do. For k problems of one size
they are the same ones, on tensors [k, n, m]. Temperatures fall first, from one at which exp(s/t) spans e⁻³⁰, each
problem by its own; then g is absorbed into kernels with rows that sum to one, as in `_scaling`, and an iteration is two
products with them and g ← g + log(b/c) for the column sums c. Anderson mixing gives each problem its own coefficients,
and a step that made a problem worse is taken back for that problem. One that is solved stays as it is until all are.

Self terms take the symmetric Chebyshev iteration of `_symmetric`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from metrics.transport._anderson import BLIND, RIDGE
from metrics.transport._start import COLD, log_sums
from metrics.transport._symmetric import CHEBYSHEV, NEGLIGIBLE

__all__ = ["Crossed", "Mirrored", "cross", "mirror"]

MEMORY = 10
"""Earlier iterates that are mixed."""

FAR = 20.0
"""The largest |log v| that is not yet absorbed: with e²⁰ on either side what underflowed in float32 stays nothing."""

SWEEPS = 3
"""Plain iterations between two mixed ones: they are cheaper, and a memory of ten reaches further back."""

PATIENCE = 3
"""Iterations at each temperature above 1; the next is half of it."""


@dataclass(frozen=True)
class Mirrored:
    """Solutions of clouds with themselves: P = diag(w) K diag(w), potentials and dual values in units of ε."""

    k: Float[Tensor, "b n n"]
    w: Float[Tensor, "b n"]
    f: Float[Tensor, "b n"]
    dual: Float[Tensor, " b"]
    error: Float[Tensor, " b"]


@dataclass(frozen=True)
class Crossed:
    """Solutions between clouds: P = diag(u) K diag(v), exact in its rows; c are its column sums; else as `Mirrored`."""

    k: Float[Tensor, "b n m"]
    u: Float[Tensor, "b n"]
    v: Float[Tensor, "b m"]
    f: Float[Tensor, "b n"]
    g: Float[Tensor, "b m"]
    c: Float[Tensor, "b m"]
    dual: Float[Tensor, " b"]
    error: Float[Tensor, " b"]


def mirror(
    x: Float[Tensor, "b n d"], alpha: Float[Tensor, "b n"], a: Float[Tensor, "b n"], *, tol: float, most: int
) -> Mirrored:
    """Solve each cloud with itself, down to an L1 error of `tol`; alpha is ½‖x‖² in float64."""
    half = alpha.to(x.dtype)
    k = torch.baddbmm(half[:, None, :], x, x.mT, beta=-1).sub_(half[:, :, None])
    k.diagonal(dim1=1, dim2=2).zero_()
    k.clamp_(min=NEGLIGIBLE).mul_(1 / math.log(2)).exp2_()
    w, done = a / product(k, a).sqrt_(), 0
    while True:
        c = w * product(k, w)
        error = (c - a).abs().sum(1)
        done += 1
        if done >= most or (done % len(CHEBYSHEV) == 1 and float(error.max()) <= tol):
            break
        w = w * (a / c).pow_(CHEBYSHEV[(done - 1) % len(CHEBYSHEV)])
    f = (w.double() / a.double()).log_()
    dual = 2 * (a.double() * f).sum(1) - (c.sum(1, dtype=torch.float64) - 1)
    return Mirrored(k, w, f, dual, error)


def product(k: Tensor, v: Tensor) -> Tensor:
    """Return K v of each problem: as rows, which takes a tenth of the time of columns."""
    return torch.bmm(v[:, None, :], k.mT).squeeze(1)


def cross(
    x: Float[Tensor, "b n d"],
    y: Float[Tensor, "b m d"],
    alpha: Float[Tensor, "b n"],
    beta: Float[Tensor, "b m"],
    a: Float[Tensor, "b n"],
    b: Float[Tensor, "b m"],
    *,
    goal: Callable[[Tensor], Tensor],
    most: int,
) -> tuple[Crossed, int]:
    """Solve each cloud of x with its cloud of y.

    Args:
        x: Clouds in units of √(ε/2), centred.
        y: The other clouds.
        alpha: ½‖x‖² in float64.
        beta: ½‖y‖² in float64.
        a: Weights of x, positive, in the type to work in.
        b: Weights of y.
        goal: The L1 error to reach, given the dual values.
        most: Passes at which to give up.

    Returns:
        The solutions, and how many passes were made.
    """
    passes = _Passes(torch.bmm(x, y.mT), alpha, beta, a, b)
    g = passes.cooled(passes.log_b.new_zeros(passes.log_b.shape))
    mixing, done, mixed = _Mixing(g), 0, g.new_zeros(len(g), dtype=torch.bool)
    plain, frozen, rounding = g, mixed, 8 * torch.finfo(a.dtype).eps
    # Of the last good iterates; and what the next one has to gain.
    dual, error, gain = (g.new_full((len(g),), value) for value in (-math.inf, math.inf, 0.0))
    while True:
        at = passes(passes.swept(g, frozen) if done else g)
        done += 1 + (SWEEPS if done else 0)
        frozen = frozen | (at.error <= goal(at.dual))
        if done >= most or bool(frozen.all()):
            return at, done
        # As `_scaling._Point.improves`: the error halves, or the dual value rises, or as far as rounding shows stays.
        slack = rounding * (1 + dual.abs().clamp(max=1e300))
        level = (gain <= slack) & (at.dual >= dual - slack) & (at.error <= 2 * error)
        risen = at.dual > dual + torch.maximum(slack, gain)
        worse = mixed & ~frozen & ~((at.error <= error / 2) | risen | level)
        dual, error = (torch.where(worse, old, new) for old, new in ((dual, at.dual), (error, at.error)))
        residual = passes.log_b - at.c.clamp(min=1e-300).log()
        step = torch.where(frozen[:, None], at.g, mixing.step(at.g, residual))
        mixing.forget(worse)  # the bad pair too
        slope = (residual * (passes.b64 - at.c)).sum(1)
        gain = torch.where(mixing.stride[:, 0] > 1, mixing.stride[:, 0] * slope / 2, 0.0)
        g, mixed = torch.where(worse[:, None], plain, step), ~worse
        plain = torch.where(worse[:, None], plain, at.g + residual)


class _Passes:
    """Iterations on q = x yᵀ, in kernels K = softmax_j(q + g + log b − β) for the g that was absorbed last."""

    def __init__(self, q: Tensor, alpha: Tensor, beta: Tensor, a: Tensor, b: Tensor) -> None:
        self.q, self.alpha, self.beta, self.a, self.b = q, alpha, beta, a, b
        self.a64, self.b64 = a.double(), b.double()
        self.log_b = self.b64.log()
        self.k = torch.empty_like(q)
        self.absorbed = torch.full_like(beta, math.inf)  # nothing yet
        self.f = alpha

    def _softmax(self, column: Tensor, t: Tensor | None = None) -> Tensor:
        """Leave the softmax over j of (q + column)/t in k, and return the logarithm of its sums."""
        torch.add(self.q, column.to(self.q.dtype)[:, None, :], out=self.k)
        if t is not None:
            self.k.mul_((1 / t).to(self.q.dtype)[:, None, None])
        return log_sums(self.k)

    def __call__(self, g: Tensor) -> Crossed:
        """One iteration at temperature 1."""
        if self._far(g):
            column = (g + self.log_b - self.beta).to(self.q.dtype).double()
            self.absorbed = column - self.log_b + self.beta  # as the kernel sees it
            self.f = self.alpha - self._softmax(column)
        v = (g - self.absorbed).exp_().to(self.k.dtype)
        mass = product(self.k, v)
        u = self.a / mass
        c = v.double() * product(self.k.mT, u)
        f, g = self.f - mass.double().log(), self.absorbed + v.double().log()
        dual = (self.a64 * f).sum(1) + (self.b64 * g).sum(1)
        return Crossed(self.k, u, v, f, g, c, dual, (c - self.b64).abs().sum(1))

    def swept(self, g: Tensor, frozen: Tensor) -> Tensor:
        """Return g after plain iterations, except of what is frozen."""
        if self._far(g):
            return g
        v = (g - self.absorbed).exp_().to(self.k.dtype)
        for _ in range(SWEEPS):
            v = self.b / product(self.k.mT, self.a / product(self.k, v))
        return torch.where(frozen[:, None], g, self.absorbed + v.double().log())

    def _far(self, g: Tensor) -> bool:
        """Whether g is too far from what was absorbed; not a number is, too."""
        return not float((g - self.absorbed).abs().max()) <= FAR

    def cooled(self, g: Tensor) -> Tensor:
        """Return g after a few iterations at each of the falling temperatures of each problem."""
        reach = self.alpha.amax(1).sqrt() + self.beta.amax(1).sqrt()  # ½‖x − y‖² ≤ (√α + √β)²
        t = (reach.square() / COLD).clamp_(min=1.0)
        while bool((t > 1).any()):
            warm = (t > 1)[:, None]
            for _ in range(PATIENCE):
                self._softmax(g - self.beta + t[:, None] * self.log_b, t)
                c = product(self.k.mT, self.a).double()
                step = t[:, None] * (self.log_b - c.clamp_(min=1e-30).log_())
                g = torch.where(warm, g + step, g)
            t = (t / 2).clamp_(min=1.0)
        return g


class _Mixing:
    """Anderson mixing (`_anderson`) of many iterations at once, each with its own coefficients and memory."""

    def __init__(self, g: Float[Tensor, "b m"]) -> None:
        self.residuals = g.new_zeros(len(g), MEMORY, g.shape[1])
        self.targets = torch.zeros_like(self.residuals)
        self.valid = torch.zeros(len(g), MEMORY, dtype=torch.bool, device=g.device)
        self.stride = g.new_ones(len(g), 1)
        self.seen = 0

    def forget(self, which: Bool[Tensor, " b"]) -> None:
        """Empty the memory of some."""
        self.valid &= ~which[:, None]
        self.stride[which] = 1.0

    def step(self, g: Tensor, residual: Tensor) -> Tensor:
        """Return the next g after the pairs (g, r(g))."""
        slot, self.seen = self.seen % MEMORY, self.seen + 1
        self.residuals[:, slot], self.targets[:, slot], self.valid[:, slot] = residual, g + residual, True
        gram = torch.bmm(self.residuals, self.residuals.mT)
        drifts = self._drifts(gram, slot)
        self.stride = torch.where(drifts, 2 * self.stride, 1.0)
        scale = gram.diagonal(dim1=1, dim2=2).clamp(min=1e-300).rsqrt() * self.valid
        gram = gram * scale[:, :, None] * scale[:, None, :]
        gram.diagonal(dim1=1, dim2=2).add_(RIDGE + (~self.valid).double())
        alpha = torch.linalg.solve_ex(gram, scale)[0] * scale
        alpha = alpha / alpha.sum(1, keepdim=True)
        mixed = torch.bmm(alpha[:, None, :], self.targets).squeeze(1)
        # Strides where residuals repeat; and plain steps where coefficients are no numbers, as where residuals vanish.
        plain = drifts | ~mixed.isfinite().all(1, keepdim=True)
        self.valid &= ~drifts | (torch.arange(MEMORY, device=g.device) == slot)
        return torch.where(plain, g + self.stride * residual, mixed)

    def _drifts(self, gram: Tensor, new: int) -> Bool[Tensor, "b 1"]:
        """Whether the last two residuals are the same as far as mixing can see."""
        last = (new - 1) % MEMORY
        apart = gram[:, new, new] + gram[:, last, last] - 2 * gram[:, new, last]
        return ((apart <= BLIND * gram[:, new, new]) & self.valid[:, last])[:, None]
