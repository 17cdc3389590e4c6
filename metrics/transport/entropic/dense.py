"""The dense solver: Sinkhorn's iteration in its scaling form, on a kernel that is kept.

The potentials solve f_i = −log Σ_j b_j exp(g_j + s_ij) and the same for g; Sinkhorn's iteration takes the two equations
in turn. In the log domain each of them costs n·m exponentials. Here g is *absorbed* once into a kernel with rows that
sum to one, K = softmax_j(s_ij + g_j + log b_j), and the iteration goes on for the corrections u = a/(K v), v = b/(Kᵀu),
at the cost of two matrix–vector products (Schmitzer 2019, section 3.1). Corrections that leave the range that floating
point holds well are absorbed anew; where columns have underflowed, or entries that were nothing would now count, one
update in the log domain, which cannot under- or overflow, mends that first.

Two accelerations leave the solution as it is: a start from a few points (`start`) and Anderson mixing of log v
(`anderson`). A mixed step that makes things worse is taken back: a plain one raises the dual value.

A solution ends with an exact update of the rows: its mass is 1, only its column sums err, and its dual
value ⟨f, a⟩ + ⟨g, b⟩ is a lower bound whose error is quadratic in theirs.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import torch
from torch import Tensor, threshold_

from metrics.transport.entropic.anderson import Anderson, expected_gain, improves
from metrics.transport.entropic.problem import Goal, Problem
from metrics.transport.entropic.solution import Piece, Solution
from metrics.transport.entropic.start import annealed, cold_start, extended, log_sums

__all__ = ["TRUST", "solve_dense"]

T = TypeVar("T")

SPREAD = 50.0
"""The largest |log v| that is not yet absorbed: e⁵⁰ is well inside float32."""

TRUST = 0.5
"""A start that leaves more than this, of an error of 2 at most, is no better than a cold one."""

NEGLIGIBLE = 1e-34
"""Entries below it are zero in a row that sums to one: denormal numbers are slow."""

STALE = 1e-2
"""What the corrections may have made of entries that are zero, over the error that is aimed at; else absorb again."""


def solve_dense(problem: Problem[T], *, out: Tensor | None = None) -> Solution[T]:
    """Solve for the plan; `out` [n, m] is to keep its kernel in."""
    kernel, a, b = problem.kernel, problem.a, problem.b
    k = _Absorbed(problem, a.new_empty(len(a), len(b)) if out is None else out)
    trial, done = problem.start is not None, 0
    g = cold_start(kernel, a, b) if problem.start is None else problem.start
    while True:
        k.absorb(g)
        at, steps, converged = _iterate(k, problem.goal, problem.max_iterations - done, trial=trial)
        done += steps
        f, g = at.potentials()
        if converged or done >= problem.max_iterations:
            # What was lost to a stale kernel is not in the error of its own plan.
            error, aim = at.error, problem.goal.error(at.dual)
            error = error if converged or error > aim else math.nextafter(aim, math.inf)
            return Solution(f, g, at.dual, done, error, aim, problem.wanted(k.pieces(at)))
        # A start that was no good is dropped; an iteration that got stuck is mended in the log domain.
        g = annealed(kernel, a, b) if trial and at.error > TRUST else extended(kernel, f + k.log_a)
        trial = False


@dataclass(frozen=True)
class _Origin:
    """Potentials at u = a and v = 1, and their dual value."""

    f: Tensor
    g: Tensor
    dual: float


class _Absorbed:
    """K = softmax_j(s_ij + g_j + log b_j) for the g that was absorbed last."""

    def __init__(self, problem: Problem[T], k: Tensor) -> None:
        self.kernel, self.a, self.b, self.k = problem.kernel, problem.a, problem.b, k
        self.a64, self.b64 = self.a.double(), self.b.double()
        self.log_a, self.log_b = self.a64.log(), self.b64.log()
        self.turned = k.T
        self.rounding = 8 * torch.finfo(k.dtype).eps

    def absorb(self, g: Tensor) -> None:
        column = (g + self.log_b - self.kernel.beta).to(self.b.dtype)
        g = column.double() - self.log_b + self.kernel.beta  # as the kernel sees it
        # The first f, of u = a.
        f = self.kernel.alpha - log_sums(self.kernel.fill(column, self.k)) - self.log_a
        threshold_(self.k, NEGLIGIBLE, 0.0)
        self.origin = _Origin(f, g, float(torch.dot(self.a64, f) + torch.dot(self.b64, g)))

    def reach(self, g: Tensor) -> Tensor:
        """Return the v of these potentials, which are absorbed first if they are far."""
        log_v = g - self.origin.g
        if not float(torch.linalg.vector_norm(log_v, math.inf)) <= SPREAD:  # not a number is far, too
            self.absorb(g)
            log_v = g - self.origin.g
        return log_v.exp_().to(self.b.dtype)

    def sweep(self, v: Tensor) -> Tensor:
        """Return the next v."""
        return self.b / torch.mv(self.turned, self.a / torch.mv(self.k, v))

    def look(self, v: Tensor) -> "_Point":
        """Return the point at v."""
        u = self.a / torch.mv(self.k, v)
        c = v * torch.mv(self.turned, u)
        ratio = c / self.b
        return _Point(
            self, self.origin, u, v, ratio, *torch.stack([torch.dist(c, self.b, 1), ratio.amin()]).tolist()
        )

    def pieces(self, at: "_Point") -> Iterator[Piece]:
        """The plan, whole."""
        yield Piece(slice(None), slice(None), self.k, at.u, at.v)


@dataclass(frozen=True)
class _Point:
    """Corrections u and v, c/b for the column sums c of their plan, Σ|c − b| and min c/b."""

    home: _Absorbed
    origin: _Origin
    u: Tensor
    v: Tensor
    ratio: Tensor
    error: float
    least: float

    @cached_property
    def dual(self) -> float:
        """⟨f, a⟩ + ⟨g, b⟩."""
        of_u, of_v = torch.dot(self.home.a64, self.log_u), torch.dot(self.home.b64, self.log_v)
        return self.origin.dual + float(of_u + of_v)

    @cached_property
    def log_u(self) -> Tensor:
        """In float64."""
        return self.u.double().log()

    @cached_property
    def log_v(self) -> Tensor:
        """In float64."""
        return self.v.double().log()

    def potentials(self) -> tuple[Tensor, Tensor]:
        """Return f and g."""
        return self.origin.f + self.log_u, self.g

    @cached_property
    def g(self) -> Tensor:
        """Potentials of the columns."""
        return self.origin.g + self.log_v

    @cached_property
    def residual(self) -> Tensor:
        """What Sinkhorn's iteration adds to g."""
        return self.ratio.log().neg_()

    @property
    def lost(self) -> float:
        """What entries that are zero because they were negligible may be worth by now, as a part of a row, at most."""
        return NEGLIGIBLE * len(self.v) * float(self.v.amax() * (self.u / self.home.a).amax())

    @property
    def sound(self) -> bool:
        """Whether the column sums are in a range that can be trusted."""
        return math.isfinite(self.error) and self.least > 1e-25

    @cached_property
    def slope(self) -> float:
        """The slope of the dual value along the residual, where the rows follow: Σ (b − c) log(b/c) ≥ 0."""
        return float(torch.dot((1 - self.ratio) * self.home.b, self.residual))


def _iterate(k: _Absorbed, goal: Goal, max_iterations: int, *, trial: bool) -> tuple[_Point, int, bool]:
    """Accelerated iterations on an absorbed kernel, until they are good enough or out of range.

    A `trial` gives up at once on a start that it cannot trust.

    Returns:
        The last point in range, the number of iterations, and whether the goal was reached.
    """
    sweeps = _sweeps(k.k)
    mixing, done, mixed, kept = Anderson(1, len(k.b), k.b.device), 0, False, None
    v = torch.ones_like(k.b)
    while True:
        for _ in range(sweeps if done or not trial else 0):
            v = k.sweep(v)
        done += 1 + (sweeps if done or not trial else 0)
        at = k.look(v)
        if kept and mixed:
            stride = float(mixing.stride[0])
            gain = expected_gain(stride, kept.slope) if stride > 1 else 0.0
            if not (at.sound and improves(at, kept, gain=gain, rounding=k.rounding)):
                v, mixed = k.reach(kept.g + kept.residual), False
                mixing.forget()
                continue
        if not at.sound:
            if kept:
                return k.look(k.reach(kept.g)), done, False
            return (at if trial else k.look(torch.ones_like(k.b))), done, False  # v = 1 is finite at least
        if at.error <= goal.tol and at.error <= goal.error(at.dual):
            return at, done, at.lost <= STALE * goal.error(at.dual)
        if done >= max_iterations or (trial and kept is None and at.error > TRUST):
            return at, done, False
        kept, mixed = at, True
        v = k.reach(mixing.step(at.g[None], at.residual[None])[0])


def _sweeps(k: Tensor) -> int:
    """Plain iterations between two looks: as many as cost less than a look and a mixed step, which a GPU waits for."""
    if k.is_cuda:
        return 7
    return 3 if k.numel() <= 400_000 else int(k.numel() <= 2_000_000)
