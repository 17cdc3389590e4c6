"""Entropic optimal transport without an n×m matrix: slabs of a few rows, one pass an iteration.

For a slab of rows, Z = q + (g + log b − β) is a matrix product; a softmax over its rows leaves the rows of the plan,
divided by their weights a, and in passing their f; and the plan's column sums c collect over the slabs. So a single
pass over the slabs is a whole iteration of Sinkhorn, g ← g + log(b/c), in the log domain throughout: nothing is
absorbed and nothing underflows. It costs n·m exponentials, half as much as the matrix product at d = 64. On a GPU a
pass is two fused kernels (`fused`).

A pass is dear, so Anderson mixing follows each, on a start that is nearly right: the dense solution for a few thousand
points, extended to all (`start`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from metrics.transport.entropic.anderson import Anderson, expected_gain, improves
from metrics.transport.entropic.dense import TRUST, solve_dense
from metrics.transport.entropic.fused import fused_pass, fuses
from metrics.transport.entropic.kernels import LogKernel, Squares
from metrics.transport.entropic.problem import Goal, Problem
from metrics.transport.entropic.solution import Piece, Solution
from metrics.transport.entropic.start import extended, few, log_sums

__all__ = ["solve_streaming"]

T = TypeVar("T")

ROWS = 512
"""Of a slab: with fewer the matrix product takes up to three times as long."""

SLAB = 2**25
"""Numbers in a slab at most: 128 MiB in float32."""

START = 4096
"""Points of each cloud that the start is solved for."""


def solve_streaming(problem: Problem[T]) -> Solution[T]:
    """Solve for the plan, as `dense.solve_dense`, in memory O(n + m) and a slab."""
    home, goal = _Slabs(problem.kernel, problem.a, problem.b), problem.goal
    trial = problem.start is not None
    g = _start(problem) if problem.start is None else problem.start
    mixing, done = Anderson(1, len(problem.b), problem.b.device, memory=8), 0
    rounding = 8 * torch.finfo(problem.b.dtype).eps
    kept: _Pass | None = None
    plain: Tensor | None = None
    gain = 0.0
    while True:
        at = home.passed(g)
        done += 1
        if trial and done == 1 and at.error > TRUST:
            g = _start(problem)
            continue
        last = done >= problem.max_iterations
        if kept and plain is not None and not last and not improves(at, kept, gain=gain, rounding=rounding):
            g, plain = plain, None
            mixing.forget()
            continue
        if at.error <= goal.error(at.dual) or last:
            taken = problem.wanted(home.pieces(at.g))
            return Solution(at.f, at.g, at.dual, done, at.error, goal.error(at.dual), taken)
        residual = home.log_b - at.c.clamp(min=1e-25).log()
        kept, plain = at, at.g + residual
        g = mixing.step(at.g[None], residual[None])[0]
        gain = expected_gain(float(mixing.stride[0]), float(torch.dot(residual, home.b64 - at.c)))


@dataclass(frozen=True)
class _Pass:
    """Potentials f and g, column sums, their L1 error and the dual value, of a plan whose rows are exact."""

    f: Tensor
    g: Tensor
    c: Tensor
    error: float
    dual: float


class _Slabs:
    """The plan at potentials g, slab by slab."""

    def __init__(self, kernel: LogKernel, a: Tensor, b: Tensor) -> None:
        self.kernel, self.a, self.b = kernel, a, b
        self.a64, self.b64 = a.double(), b.double()
        self.log_b = self.b64.log()
        self.height = max(16, min(ROWS, SLAB // len(b)))
        self.buffer = a.new_empty(min(self.height, len(a)), len(b))

    def __call__(self, g: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Yield rows, the softmax over j of s + g + log b in these rows, and their log-sums."""
        column = self._column(g)
        for low in range(0, len(self.a), self.height):
            rows = slice(low, min(low + self.height, len(self.a)))
            k = self.kernel.fill(column, self.buffer[: rows.stop - low], rows)
            yield rows, k, log_sums(k)

    def passed(self, g: Tensor) -> _Pass:
        """One iteration."""
        if isinstance(self.kernel, Squares) and fuses(self.kernel.x):
            sums, c = fused_pass(self.kernel.x, self.kernel.y, self._column(g), self.a)
            f = self.kernel.alpha - sums
        else:
            c, f = torch.zeros_like(self.b64), self.kernel.alpha.clone()
            for rows, k, sums in self(g):
                f[rows] -= sums
                c += torch.mv(k.T, self.a[rows])
        g = self._column(g).double() - self.log_b + self.kernel.beta  # as the kernel saw it
        error = float((c - self.b64).abs().sum())
        return _Pass(f, g, c, error, float(self.a64 @ f + self.b64 @ g))

    def pieces(self, g: Tensor) -> Iterator[Piece]:
        """The plan."""
        one = torch.ones_like(self.b)
        for rows, k, _ in self(g):
            yield Piece(rows, slice(None), k, self.a[rows], one)

    def _column(self, g: Tensor) -> Tensor:
        return (g + self.log_b - self.kernel.beta).to(self.b.dtype)


def _start(problem: Problem[T]) -> Tensor:
    """Return g from a dense solution on some of the points, as good as they stand for all."""
    kernel, a, b = problem.kernel, problem.a, problem.b
    rows, columns = few(len(a), START), few(len(b), START)
    some_a, some_b = a[rows] / a[rows].sum(), b[columns] / b[columns].sum()
    part = kernel.part(rows, columns)
    found = solve_dense(Problem(part, some_a, some_b, Goal(1e-2), problem.max_iterations))
    return extended(kernel.part(rows, slice(None)), found.f + some_a.double().log())
