"""The three solutions of a Sinkhorn divergence.

x with x, y with y, and x with y, the last as good as their difference asks for: its plan's marginals err by at most
tol·√(S_ε / max(ε, E C)), so that the gradient errs by about tol and the value by about tol², relative to themselves,
also between clouds that almost agree. The symmetric ones converge so fast that they go down to rounding.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor

from metrics.transport.entropic.kernels import LogKernel
from metrics.transport.entropic.problem import Goal, Problem
from metrics.transport.entropic.solution import Piece, Solution
from metrics.transport.entropic.solvers import Solvers

__all__ = ["Debiased", "finest", "solve_debiased"]

T = TypeVar("T")


@dataclass(frozen=True)
class Debiased(Generic[T]):
    """Solutions of x with x, y with y and x with y."""

    xx: Solution[T]
    yy: Solution[T]
    xy: Solution[T]

    @property
    def dual(self) -> float:
        """The debiased dual value, in units of ε."""
        return self.xy.dual - (self.xx.dual + self.yy.dual) / 2

    @property
    def worst(self) -> Solution[T]:
        """The solution whose error is largest beside its aim."""
        return max((self.xy, self.xx, self.yy), key=lambda s: s.error / s.aim)


def solve_debiased(
    kernels: Sequence[Callable[[], LogKernel]],
    wanted: Sequence[Callable[[Iterator[Piece]], T]],
    a: Tensor,
    b: Tensor,
    solvers: Solvers,
    *,
    tol: float,
    max_iterations: int,
    scale: float,
    shift_cost: float,
    eps: float,
    start: Tensor | None,
) -> Debiased[T]:
    """Solve the three problems.

    Args:
        kernels: Make the log-kernels of x with x, y with y and x with y.
        wanted: What to take of the three plans.
        a: Weights of x, positive, in the type to work in.
        b: Weights of y.
        solvers: Solve them.
        tol: The relative error of the gradient to aim at.
        max_iterations: When to give up, with a warning.
        scale: The size of the dual values, in units of ε.
        shift_cost: What is to be added to the debiased dual value, in units of ε.
        eps: For the warning.
        start: Potentials of y to begin with, in units of ε.
    """
    fine = finest(a, b)
    xx = solvers.symmetric(Problem(kernels[0](), a, a, Goal(fine), max_iterations, wanted[0]))
    yy = solvers.symmetric(Problem(kernels[1](), b, b, Goal(fine), max_iterations, wanted[1]))
    goal = Goal(tol, (xx.dual + yy.dual) / 2 - shift_cost, scale=scale, floor=1.5 * fine)
    # The potential of y against itself is a good start between clouds that almost agree: so do then these values.
    if start is None and shift_cost < 0.02 and abs(xx.dual - yy.dual) < 0.01 * (xx.dual + yy.dual):
        start = yy.g
    xy = solvers.between(Problem(kernels[2](), a, b, goal, max_iterations, wanted[2], start))
    for solution in (xx, yy, xy):
        solution.warn(eps)
    return Debiased(xx, yy, xy)


def finest(a: Tensor, b: Tensor) -> float:
    """What sums of so many terms in the type can hold; in float64 there is no need to go so far."""
    return max(1e-12, torch.finfo(a.dtype).eps * (8 + math.sqrt(max(a.shape[-1], b.shape[-1]))))
