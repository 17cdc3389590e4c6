"""The three solutions of a Sinkhorn divergence, and what it takes from each.

x with x, y with y, and x with y, the last as good as their difference asks for: its plan's marginals err by at most
tol·√(S_ε / max(ε, E C)), so that the gradient errs by about tol and the value by about tol², relative to themselves,
also between clouds that almost agree. The symmetric ones converge so fast that they go down to rounding.

All three leave their plans in one buffer, or in none: what is wanted of a plan is taken before the next one comes.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor

from metrics.transport._logkernel import LogKernel
from metrics.transport._plan import Scaling
from metrics.transport._scaling import Goal, solve
from metrics.transport._stream import solve_streaming
from metrics.transport._symmetric import solve_symmetric, tile_entries

__all__ = ["Debiased", "debiased", "entries", "warn_unconverged"]

T = TypeVar("T")


@dataclass(frozen=True)
class Debiased(Generic[T]):
    """Solutions of x with x, y with y and x with y, their debiased dual value, and what was taken from each."""

    xx: Scaling
    yy: Scaling
    xy: Scaling
    taken: tuple[T, T, T]

    @property
    def dual(self) -> float:
        """In units of ε."""
        return self.xy.dual - (self.xx.dual + self.yy.dual) / 2


def entries(n: int, m: int) -> int:
    """How many numbers the buffer has, where there is one."""
    return max(tile_entries(n), tile_entries(m), n * m)


def debiased(
    kernels: Sequence[Callable[[], LogKernel]],
    a: Tensor,
    b: Tensor,
    *,
    tol: float,
    max_iterations: int,
    scale: float,
    apart: float,
    eps: float,
    dense: bool,
    start: Tensor | None,
    take: Callable[[int, Scaling], T],
) -> Debiased[T]:
    """Solve the three problems.

    Args:
        kernels: Make the log-kernels of x with x, y with y and x with y.
        a: Weights of x, positive, in the type to work in.
        b: Weights of y.
        tol: The relative error of the gradient to aim at.
        max_iterations: When to give up, with a warning.
        scale: The size of the dual values, in units of ε.
        apart: What is to be added to the debiased dual value, in units of ε.
        eps: For the warning.
        dense: Keep the plans; otherwise form them anew in every iteration.
        start: Potentials of y to begin with, in units of ε.
        take: Called with 0, 1, 2 and the solution, while its plan is at hand.
    """
    n, m = len(a), len(b)
    # What sums of n terms in the type can hold; in float64 there is no need to go so far.
    fine = max(1e-12, torch.finfo(a.dtype).eps * (8 + math.sqrt(max(n, m))))
    buffer = a.new_empty(entries(n, m)) if dense else None
    found, taken = [], []
    for i, w in enumerate((a, b)):
        found.append(solve_symmetric(kernels[i](), w, tol=fine, max_iterations=max_iterations, buffer=buffer))
        taken.append(take(i, found[i]))
    xx, yy = found
    goal = Goal(tol, (xx.dual + yy.dual) / 2 - apart, scale=scale, floor=1.5 * fine)
    # The potential of y against itself is a good start between clouds that almost agree: so do then these values.
    if start is None and apart < 0.02 and abs(xx.dual - yy.dual) < 0.01 * (xx.dual + yy.dual):
        start = yy.g
    if buffer is None:
        xy = solve_streaming(kernels[2](), a, b, goal=goal, max_iterations=max_iterations, start=start)
    else:
        out = buffer[: n * m].view(n, m)
        xy = solve(kernels[2](), a, b, goal=goal, max_iterations=max_iterations, start=start, out=out)
    for solution, aim in ((xx, fine), (yy, fine), (xy, goal.error(xy.dual))):
        if not solution.converged:
            warn_unconverged(solution.iterations, solution.error, aim, eps)
    return Debiased(xx, yy, xy, (taken[0], taken[1], take(2, xy)))


def warn_unconverged(iterations: int, error: float, tol: float, eps: float) -> None:
    """Say that an iteration gave up, and what helps."""
    warnings.warn(
        f"Sinkhorn's iteration stopped after {iterations} iterations at a marginal error of {error:.2g}, "
        f"above its tolerance of {tol:.2g}; raise eps (now {eps:.3g}), max_iterations or tol",
        RuntimeWarning,
        stacklevel=5,
    )
