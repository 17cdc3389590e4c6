"""Entropic optimal transport in its scaling form: the solver behind `sinkhorn` and `sinkhorn_divergence`.

For a log-kernel s = −C/ε [n, m] and weights a, b, the plan that minimises ⟨P, C⟩ + ε·KL(P ‖ a⊗b) over plans
with marginals a and b is

    P_ij = a_i b_j exp(f_i + g_j + s_ij),

with potentials f, g (here in units of ε) that solve f_i = −log Σ_j b_j exp(g_j + s_ij) and the same for g
(Cuturi 2013; Peyré & Cuturi 2019, section 4.4). Sinkhorn's iteration takes the two equations in turn.

In the log domain each of them costs n·m exponentials. Here g is *absorbed* once into a kernel with row
maxima of one, K_ij = b_j exp(g_j + s_ij − top_i), and the iteration goes on for the corrections u = a/(K
v), v = b/(Kᵀu), at the cost of two matrix–vector products (Schmitzer 2019, section 3.1). When a correction
leaves the range that floating point holds well, one update in the log domain, which cannot under- or
overflow, mends it and is absorbed anew.

Three accelerations leave the solution as it is: an annealed start (Schmitzer 2019, section 3.2), Anderson
mixing of log v, and for equal marginals the averaged update f ← ½(f + Tf) (Feydy et al. 2019, section 3.1).

A solution ends with an exact update of the rows: its mass is 1, only its column sums err, and its dual
value ⟨f, a⟩ + ⟨g, b⟩ is a lower bound whose error is quadratic in theirs.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, threshold_

from metrics.transport._anderson import Anderson

__all__ = ["Goal", "Scaling", "solve", "solve_symmetric"]

SPREAD = 50.0
"""The largest |log v| that is not yet absorbed: e⁵⁰ is well inside float32."""

COLD = 30.0
"""Annealing starts where the kernel spans e⁻³⁰, so that no column is lost."""

NEGLIGIBLE = -70.0
"""Entries below its exponential are zero beside row maxima of one: denormal numbers are slow."""

SMALL = 400_000
"""Up to so many entries a step of mixing costs as much as a few products with the kernel."""


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


@dataclass(frozen=True)
class Scaling:
    """A plan [n, m], its potentials and dual value in units of ε (float64), and how well it was solved."""

    plan: Float[Tensor, "n m"]
    f: Float[Tensor, " n"]
    g: Float[Tensor, " m"]
    dual: float
    iterations: int
    error: float
    converged: bool


def solve(
    s: Float[Tensor, "n m"],
    a: Float[Tensor, " n"],
    b: Float[Tensor, " m"],
    *,
    goal: Goal,
    max_iterations: int,
    start: Float[Tensor, " m"] | None = None,
) -> Scaling:
    """Solve for the plan between weights a and b.

    Args:
        s: The log-kernel −C/ε, in the type to work in.
        a: Weights of the rows, summing to one; zeros are allowed.
        b: Weights of the columns.
        goal: When to stop.
        max_iterations: When to give up.
        start: Potentials of the columns, in units of ε, to begin with if they are better than nothing.
    """
    if not bool((a > 0).all() & (b > 0).all()):
        return _solve_support(s, a, b, goal=goal, max_iterations=max_iterations, start=start)
    trial, done = start is not None, 0
    kernel = _Kernel(s, a, b)
    g = _annealed(kernel) if start is None else start.double()
    while True:
        kernel.absorb(g)
        at, steps, converged = _iterate(kernel, goal, max_iterations - done, trial=trial)
        done += steps
        f, g = kernel.potentials(at.u, at.v)
        if converged or done >= max_iterations:
            plan = kernel.k.mul_(at.u[:, None]).mul_(at.v)
            return Scaling(plan, f, g, at.dual, done, at.error, converged)
        # A start that was no good is dropped; an iteration that got stuck is mended in the log domain.
        g = _annealed(kernel) if trial else -torch.logsumexp(s + (f + kernel.log_a).to(s.dtype)[:, None], 0)
        trial = False


def solve_symmetric(
    s: Float[Tensor, "n n"], a: Float[Tensor, " n"], *, tol: float, max_iterations: int
) -> Scaling:
    """Solve for the plan between a and itself, f = g, by averaged updates. Overwrites s, whose diagonal is 0.

    With w_i = a_i exp(f_i) the plan's row sums are c = w ∘ (K w), K = exp(s), and f ← ½(f + Tf) reads
    w ← w ∘ √(a/c). Near the solution it multiplies the part of the error at an eigenvalue μ of the plan by
    ½(1 − μ), and μ ≥ 0 where K is positive definite, as for p ≤ 2. K_ii = 1 keeps w_i below √a_i: there is
    nothing to absorb.
    """
    k = _exp(s)
    w = a / (k @ a).sqrt()
    done = 0
    while True:
        c = w * (k @ w)
        done += 1
        if done % 4 == 1 or done >= max_iterations:
            error = float((c - a).abs().sum())
            if error <= tol or done >= max_iterations:
                break
        w = torch.where(a > 0, w * (a / c).sqrt(), 0.0)
    # A point without weight has w = 0, and its potential from its equation.
    f = torch.where(a > 0, w.double() / a.double(), 1 / (k @ w).double()).log()
    dual = 2 * float(f @ a.double()) - (float(c.double().sum()) - 1)
    return Scaling(k.mul_(w[:, None]).mul_(w), f, f, dual, done, error, error <= tol)


class _Kernel:
    """K_ij = b_j exp((g_j + s_ij)/t − top_i), with row maxima of one, for the g that was absorbed last."""

    def __init__(self, s: Tensor, a: Tensor, b: Tensor) -> None:
        self.s, self.a, self.b = s, a, b
        self.log_a, self.log_b = a.double().log(), b.double().log()
        self.k = torch.empty_like(s)

    def absorb(self, g: Tensor, *, t: float = 1.0) -> None:
        g = g.to(self.s.dtype)
        self.g = g.double()  # as the kernel sees it
        torch.add(self.s, (self.g + t * self.log_b).to(g.dtype), out=self.k)
        if t != 1:
            self.k.div_(t)
        self.top = self.k.amax(1)
        _exp(self.k.sub_(self.top[:, None]))
        self.offset = self.b.double() @ self.g - self.a.double() @ (self.log_a + self.top.double())

    def rows(self, v: Tensor) -> Tensor:
        """Return the u for which diag(u) K diag(v) has the right row sums."""
        return self.a / (self.k @ v)

    def potentials(self, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Return f and g in float64, at t = 1."""
        return u.double().log() - self.log_a - self.top.double(), self.g + v.double().log()

    def look(self, v: Tensor) -> tuple["_Point", Tensor, bool]:
        """Return the point at v, its column sums, and whether they and v are in a range that can be trusted."""
        u = self.rows(v)
        c = v * (self.k.T @ u)
        log_v = v.double().log()
        dual = self.offset + self.a.double() @ u.double().log() + self.b.double() @ log_v
        numbers = [(c - self.b).abs().sum(), (c / self.b).amin(), log_v.abs().amax(), dual]
        error, least, most, value = torch.stack([t.double() for t in numbers]).tolist()
        sound = math.isfinite(error) and most < SPREAD and least > 1e-25
        return _Point(u, v, error, value), c, sound


@dataclass(frozen=True)
class _Point:
    """Corrections u and v, the error of the columns, and the dual value."""

    u: Tensor
    v: Tensor
    error: float
    dual: float

    def improves(self, other: "_Point", rounding: float) -> bool:
        """Whether the dual value has risen, or if rounding hides that, whether the error at least is no larger."""
        rise, slack = self.dual - other.dual, rounding * (1 + abs(self.dual))
        return rise > slack or (rise > -slack and self.error <= 2 * other.error)


def _exp(s: Tensor) -> Tensor:
    """The exponential in place, without the denormal numbers."""
    return threshold_(s.clamp_(min=NEGLIGIBLE - 1).exp_(), math.exp(NEGLIGIBLE), 0.0)


def _annealed(kernel: _Kernel) -> Tensor:
    """Return a start for g: a few iterations at each of the falling temperatures t > 1 of exp(s/t)."""
    low, high = kernel.s.aminmax()
    g, t = torch.zeros_like(kernel.log_b), float(high - low) / COLD
    while t > 1:
        kernel.absorb(g, t=t)
        v = torch.ones_like(kernel.b)
        for _ in range(10):
            v = kernel.b / (kernel.k.T @ kernel.rows(v)).clamp_(min=1e-25)
        g = kernel.g + t * v.double().log()
        t /= 2
    return g


def _iterate(kernel: _Kernel, goal: Goal, max_iterations: int, *, trial: bool) -> tuple[_Point, int, bool]:
    """Accelerated iterations on an absorbed kernel, until they are good enough or out of range.

    A plain iteration raises the dual value; a mixed one that does not is taken back. A `trial` gives up at once on a
    start that leaves more than half of the mass in the wrong place.

    Returns:
        The last point in range, the number of iterations, and whether the goal was reached.
    """
    b, v = kernel.b, torch.ones_like(kernel.b)
    best: _Point | None = None
    rounding = 8 * torch.finfo(b.dtype).eps
    mixing, done, plain_v = Anderson(len(b), b.device), 0, None
    while True:
        for _ in range((3 if kernel.k.numel() <= SMALL else 1) if done else 0):
            v = b / (kernel.k.T @ kernel.rows(v))
            done += 1
        at, c, sound = kernel.look(v)
        done += 1
        if best and plain_v is not None and not (sound and at.improves(best, rounding)):
            v, plain_v = plain_v, None
            mixing.forget()
            continue
        if not sound:
            return best or at, done, False  # the first point, v = 1, is finite at least
        if at.error <= goal.tol and at.error <= goal.error(at.dual):
            return at, done, True
        if done >= max_iterations or (trial and at.error > 1):
            return at, done, False
        trial, best, plain_v = False, at, v * (b / c)
        v = mixing.step(v.double().log(), kernel.log_b - c.double().log()).exp().to(b.dtype)


def _solve_support(
    s: Tensor, a: Tensor, b: Tensor, *, goal: Goal, max_iterations: int, start: Tensor | None
) -> Scaling:
    """Solve among the points that have weight; the potentials of the others follow from their equations."""
    rows, columns = (a > 0).nonzero()[:, 0], (b > 0).nonzero()[:, 0]
    part = solve(
        s[rows[:, None], columns],
        a[rows],
        b[columns],
        goal=goal,
        max_iterations=max_iterations,
        start=None if start is None else start[columns],
    )
    plan = torch.zeros_like(s)
    plan[rows[:, None], columns] = part.plan
    f = -torch.logsumexp(s[:, columns].double() + part.g + b[columns].double().log(), 1)
    f[rows] = part.f
    g = -torch.logsumexp(s[rows].double().T + part.f + a[rows].double().log(), 1)
    g[columns] = part.g
    return Scaling(plan, f, g, part.dual, part.iterations, part.error, part.converged)
