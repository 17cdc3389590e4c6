"""An entropic transport problem: what is to be solved, how well, and what is wanted of the plan.

For a log-kernel s = −C/ε [n, m] and weights a, b, the plan that minimises ⟨P, C⟩ + ε·KL(P ‖ a⊗b) over plans with
marginals a and b is

    P_ij = a_i b_j exp(f_i + g_j + s_ij),

with potentials f, g in units of ε (Cuturi 2013; Peyré & Cuturi 2019, section 4.4). A solver (`solvers`) is a function
from a problem to a `Solution`. It works on P in pieces and may overwrite them, so the problem says what is `wanted` of
the plan, and the solver takes it while the plan is at hand.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from jaxtyping import Float
from torch import Tensor

from metrics.transport.entropic.kernels import LogKernel
from metrics.transport.entropic.solution import Piece, nothing

__all__ = ["MEMORY", "Goal", "Problem"]

MEMORY = 2.0**30
"""Bytes that a kernel may take before it is formed in pieces instead."""

T = TypeVar("T")


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
class Problem(Generic[T]):
    """Entropic transport between weights under a log-kernel.

    Attributes:
        kernel: The log-kernel s = −C/ε; for a symmetric problem s_ij = s_ji and s_ii = 0.
        a: Weights of the rows, positive, summing to one, in the type to work in.
        b: Weights of the columns; for a symmetric problem those of the rows.
        goal: When to stop.
        max_iterations: When to give up.
        wanted: What to take of the plan, from its pieces.
        start: Potentials of the columns, in units of ε, to begin with if they are good enough.
    """

    kernel: LogKernel
    a: Float[Tensor, " n"]
    b: Float[Tensor, " m"]
    goal: Goal
    max_iterations: int
    wanted: Callable[[Iterator[Piece]], T] = nothing
    start: Float[Tensor, " m"] | None = None
