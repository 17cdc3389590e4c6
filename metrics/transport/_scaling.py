"""Entropic optimal transport in its scaling form: the solver behind `sinkhorn` and `sinkhorn_divergence`.

For a log-kernel s = −C/ε [n, m] and weights a, b, the plan that minimises ⟨P, C⟩ + ε·KL(P ‖ a⊗b) over plans
with marginals a and b is

    P_ij = a_i b_j exp(f_i + g_j + s_ij),

with potentials f, g (here in units of ε) that solve f_i = −log Σ_j b_j exp(g_j + s_ij) and the same for g
(Cuturi 2013; Peyré & Cuturi 2019, section 4.4). Sinkhorn's iteration takes the two equations in turn.

In the log domain each of them costs n·m exponentials. Here g is *absorbed* once into a kernel with rows that sum to
one, K = softmax_j(s_ij + g_j + log b_j), and the iteration goes on for the corrections u = a/(K v), v = b/(Kᵀu), at
the cost of two matrix–vector products (Schmitzer 2019, section 3.1). Corrections that leave the range that floating
point holds well are absorbed anew; where columns have underflowed, or entries that were nothing would now count, one
update in the log domain, which cannot under- or overflow, mends that first.

Two accelerations leave the solution as it is: a start from a few points (`_start`) and Anderson mixing of log v
(`_anderson`). A mixed step that makes things worse is taken back: a plain one raises the dual value.

A solution ends with an exact update of the rows: its mass is 1, only its column sums err, and its dual
value ⟨f, a⟩ + ⟨g, b⟩ is a lower bound whose error is quadratic in theirs.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor, threshold_

from metrics.transport._anderson import Anderson
from metrics.transport._logkernel import LogKernel
from metrics.transport._plan import Piece, Scaling
from metrics.transport._start import annealed, extended, log_sums

__all__ = ["TRUST", "Goal", "solve"]

SPREAD = 50.0
"""The largest |log v| that is not yet absorbed: e⁵⁰ is well inside float32."""

TRUST = 0.5
"""A start that leaves more than this, of an error of 2 at most, is no better than a cold one."""

NEGLIGIBLE = 1e-34
"""Entries below it are zero in a row that sums to one: denormal numbers are slow."""

STALE = 1e-2
"""What the corrections may have made of entries that are zero, over the error that is aimed at; else absorb again."""


@dataclass(frozen=True)
class Goal:
    """When a solution is good enough: at Σ_j |Σ_i P_ij − b_j| ≤ tol·√((dual − baseline)/scale).

    The dual errs by about half the square of that sum, so `tol` is relative to the square root of what the
    dual has above its baseline. Without a baseline it is absolute. Rounding sets a `floor` to it.
    """

    tol: float
    baseline: float = -math.inf
    scale: float = 1.0
    floor: float = 0.0

    def error(self, dual: float) -> float:
        """The error to reach, given the dual value so far."""
        if math.isinf(self.baseline):
            return self.tol
        above = max(dual - self.baseline, 0.0) / self.scale
        return max(self.tol * min(1.0, math.sqrt(above)), self.floor)


def solve(
    kernel: LogKernel,
    a: Tensor,
    b: Tensor,
    *,
    goal: Goal,
    max_iterations: int,
    start: Tensor | None = None,
    out: Tensor | None = None,
) -> Scaling:
    """Solve for the plan between positive weights a and b.

    Args:
        kernel: The log-kernel −C/ε.
        a: Weights of the rows, summing to one, in the type to work in.
        b: Weights of the columns.
        goal: When to stop.
        max_iterations: When to give up.
        start: Potentials of the columns, in units of ε, to begin with if they are good enough.
        out: [n, m] to keep the plan in.
    """
    k = _Absorbed(kernel, a, b, a.new_empty(len(a), len(b)) if out is None else out)
    trial, done = start is not None, 0
    g = annealed(kernel, a, b) if start is None else start
    while True:
        k.absorb(g)
        at, steps, converged = _iterate(k, goal, max_iterations - done, trial=trial)
        done += steps
        f, g = at.potentials()
        if converged or done >= max_iterations:
            return Scaling(f, g, at.dual, done, at.error, converged, partial(k.pieces, at))
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

    def __init__(self, kernel: LogKernel, a: Tensor, b: Tensor, k: Tensor) -> None:
        self.kernel, self.a, self.b, self.k = kernel, a, b, k
        self.a64, self.b64 = a.double(), b.double()
        self.log_a, self.log_b = self.a64.log(), self.b64.log()
        self.turned = k.T

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

    def improves(self, other: "_Point", *, gain: float = 0.0) -> bool:
        """Whether the error has halved, or the dual value risen by `gain`, or as far as rounding shows not fallen."""
        if self.error <= other.error / 2:
            return True
        slack = 8 * torch.finfo(self.v.dtype).eps * (1 + abs(self.dual))
        rise = self.dual - other.dual
        return rise > max(slack, gain) or (gain <= slack and rise > -slack and self.error <= 2 * other.error)


def _iterate(k: _Absorbed, goal: Goal, max_iterations: int, *, trial: bool) -> tuple[_Point, int, bool]:
    """Accelerated iterations on an absorbed kernel, until they are good enough or out of range.

    A `trial` gives up at once on a start that it cannot trust.

    Returns:
        The last point in range, the number of iterations, and whether the goal was reached.
    """
    sweeps = _sweeps(k.k)
    mixing, done, mixed, kept = Anderson(len(k.b), k.b.device), 0, False, None
    v = torch.ones_like(k.b)
    while True:
        for _ in range(sweeps if done else 0):
            v = k.sweep(v)
        done += 1 + (sweeps if done else 0)
        at = k.look(v)
        # A stride has to do half of what it would at a constant slope (Armijo 1966): beyond, it has gone too far.
        gain = mixing.stride * kept.slope / 2 if kept and mixing.stride > 1 else 0.0
        if kept and mixed and not (at.sound and at.improves(kept, gain=gain)):
            v, mixed = k.reach(kept.g + kept.residual), False
            mixing.forget()
            continue
        if not at.sound:  # the first point, v = 1, is finite at least
            return k.look(k.reach(kept.g)) if kept else at, done, False
        if at.error <= goal.tol and at.error <= goal.error(at.dual):
            return at, done, at.lost <= STALE * goal.error(at.dual)
        if done >= max_iterations or (trial and kept is None and at.error > TRUST):
            return at, done, False
        kept, mixed = at, True
        v = k.reach(mixing.step(at.g, at.residual))


def _sweeps(k: Tensor) -> int:
    """Plain iterations between two looks: as many as cost less than a look and a mixed step, which a GPU waits for."""
    if k.is_cuda:
        return 7
    return 3 if k.numel() <= 400_000 else int(k.numel() <= 2_000_000)
