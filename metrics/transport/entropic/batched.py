"""Many small entropic problems at once: every operation is one over all of them.

A small problem alone costs hundreds of operations that each take longer to start than to do. For k problems of one size
they are the same ones, on tensors [k, n, m]. Temperatures fall first, from one at which exp(s/t) spans e⁻³⁰, each
problem by its own; then g is absorbed into kernels with rows that sum to one, as in `dense`, and an iteration is two
products with them and g ← g + log(b/c) for the column sums c. Anderson mixing gives each problem its own coefficients,
and a step that made a problem worse is taken back for that problem. One that is solved stays as it is until all are.

Self terms take the symmetric Chebyshev iteration of `symmetric`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.transport.entropic.anderson import Anderson, expected_gain, improves
from metrics.transport.entropic.start import COLD, log_sums
from metrics.transport.entropic.symmetric import CHEBYSHEV, LOWEST

__all__ = ["BatchSolution", "SymmetricBatchSolution", "product", "solve_batch", "solve_symmetric_batch"]

FAR = 20.0
"""The largest |log v| that is not yet absorbed: with e²⁰ on either side what underflowed in float32 stays nothing."""

SWEEPS = 3
"""Plain iterations between two mixed ones: they are cheaper, and a memory of ten reaches further back."""

AT_EACH = 3
"""Iterations at each temperature above 1; the next is half of it."""


@dataclass(frozen=True)
class SymmetricBatchSolution:
    """Solutions of clouds with themselves: P = diag(w) K diag(w), potentials and dual values in units of ε."""

    k: Float[Tensor, "b n n"]
    w: Float[Tensor, "b n"]
    f: Float[Tensor, "b n"]
    dual: Float[Tensor, " b"]
    error: Float[Tensor, " b"]


@dataclass(frozen=True)
class BatchSolution:
    """Solutions between clouds: P = diag(u) K diag(v), exact in its rows; c are its column sums; else as above."""

    k: Float[Tensor, "b n m"]
    u: Float[Tensor, "b n"]
    v: Float[Tensor, "b m"]
    f: Float[Tensor, "b n"]
    g: Float[Tensor, "b m"]
    c: Float[Tensor, "b m"]
    dual: Float[Tensor, " b"]
    error: Float[Tensor, " b"]


def solve_symmetric_batch(
    x: Float[Tensor, "b n d"],
    alpha: Float[Tensor, "b n"],
    a: Float[Tensor, "b n"],
    *,
    tol: float,
    max_iterations: int,
) -> SymmetricBatchSolution:
    """Solve each cloud with itself, down to an L1 error of `tol`; alpha is ½‖x‖² in float64."""
    half = alpha.to(x.dtype)
    k = torch.baddbmm(half[:, None, :], x, x.mT, beta=-1).sub_(half[:, :, None])
    k.diagonal(dim1=1, dim2=2).zero_()
    k.clamp_(min=LOWEST).mul_(1 / math.log(2)).exp2_()
    w, done = a / product(k, a).sqrt_(), 0
    while True:
        c = w * product(k, w)
        error = (c - a).abs().sum(1)
        done += 1
        if done >= max_iterations or (done % len(CHEBYSHEV) == 1 and float(error.max()) <= tol):
            break
        w = w * (a / c).pow_(CHEBYSHEV[(done - 1) % len(CHEBYSHEV)])
    f = (w.double() / a.double()).log_()
    dual = 2 * (a.double() * f).sum(1) - (c.sum(1, dtype=torch.float64) - 1)
    return SymmetricBatchSolution(k, w, f, dual, error)


def product(k: Tensor, v: Tensor) -> Tensor:
    """Return K v of each problem: as rows, which takes a tenth of the time of columns."""
    return torch.bmm(v[:, None, :], k.mT).squeeze(1)


def solve_batch(
    x: Float[Tensor, "b n d"],
    y: Float[Tensor, "b m d"],
    alpha: Float[Tensor, "b n"],
    beta: Float[Tensor, "b m"],
    a: Float[Tensor, "b n"],
    b: Float[Tensor, "b m"],
    *,
    goal: Callable[[Tensor], Tensor],
    max_iterations: int,
) -> tuple[BatchSolution, int]:
    """Solve each cloud of x with its cloud of y.

    Args:
        x: Clouds in units of √(ε/2), centred.
        y: The other clouds.
        alpha: ½‖x‖² in float64.
        beta: ½‖y‖² in float64.
        a: Weights of x, positive, in the type to work in.
        b: Weights of y.
        goal: The L1 error to reach, given the dual values.
        max_iterations: When to give up.

    Returns:
        The solutions, and how many passes were made.
    """
    passes = _Passes(torch.bmm(x, y.mT), alpha, beta, a, b)
    g = passes.cooled(passes.log_b.new_zeros(passes.log_b.shape))
    mixing, done = Anderson(g.shape[0], g.shape[1], g.device), 0
    mixed = frozen = g.new_zeros(len(g), dtype=torch.bool)
    plain, rounding = g, 8 * torch.finfo(a.dtype).eps
    gain = g.new_zeros(len(g))
    kept = _Kept(gain - math.inf, gain + math.inf)
    while True:
        at = passes(passes.swept(g, frozen) if done else g)
        done += 1 + (SWEEPS if done else 0)
        frozen = frozen | (at.error <= goal(at.dual))
        if done >= max_iterations or bool(frozen.all()):
            return at, done
        worse = mixed & ~frozen & ~improves(at, kept, gain=gain, rounding=rounding)
        kept = _Kept(torch.where(worse, kept.dual, at.dual), torch.where(worse, kept.error, at.error))
        residual = passes.log_b - at.c.clamp(min=1e-300).log()
        step = torch.where(frozen[:, None], at.g, mixing.step(at.g, residual))
        stride = torch.from_numpy(mixing.stride).to(g.device)
        gain = torch.where(worse, 0.0, expected_gain(stride, (residual * (passes.b64 - at.c)).sum(1)))
        mixing.forget(worse.cpu().numpy())  # the bad pair too
        g, mixed = torch.where(worse[:, None], plain, step), ~worse
        plain = torch.where(worse[:, None], plain, at.g + residual)


@dataclass(frozen=True)
class _Kept:
    """The dual values and errors of the last iterates that were kept."""

    dual: Tensor
    error: Tensor


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

    def __call__(self, g: Tensor) -> BatchSolution:
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
        return BatchSolution(self.k, u, v, f, g, c, dual, (c - self.b64).abs().sum(1))

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
            for _ in range(AT_EACH):
                self._softmax(g - self.beta + t[:, None] * self.log_b, t)
                c = product(self.k.mT, self.a).double()
                step = t[:, None] * (self.log_b - c.clamp_(min=1e-30).log_())
                g = torch.where(warm, g + step, g)
            t = (t / 2).clamp_(min=1.0)
        return g
