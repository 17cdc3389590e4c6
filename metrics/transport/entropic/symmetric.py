"""Entropic transport between a cloud and itself: f = g, and a kernel that never has to be stabilised.

With w_i = a_i exp(f_i) the plan is diag(w) K diag(w), K = exp(s), and its row sums c = w ∘ K w have to be a. Sinkhorn's
map oscillates here; the symmetric step

    w ← w ∘ (a/c)^θ

multiplies the part of the error of log w at an eigenvalue μ of the plan's Markov matrix by 1 − θ(1 + μ). For a positive
definite kernel, as for p ≤ 2, 0 ≤ μ ≤ 1. Feydy et al. 2019, section 3.1, average: θ = ½. But 1 + μ lies in an interval
that is known beforehand, [1, 2], so the best θ are the inverse Chebyshev nodes on it (Golub & Varga 1961): a cycle of k
of them shrinks the error by 1/T_k(3), which is 1/17, 1/99, 1/577 for k = 2, 3, 4. For other kernels it is slower, and
still converges: the Chebyshev polynomial is below 1 on all of (0, 2].

C_ii = 0 makes K_ii = 1, so that c ≥ w² and w stays below √a: nothing under- or overflows that matters, and there is
nothing to absorb. K is symmetric: only tiles on and above the diagonal are formed, and kept if there is room, otherwise
formed anew at every product.
"""

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor

from metrics.transport.entropic.kernels import LogKernel
from metrics.transport.entropic.problem import Problem
from metrics.transport.entropic.solution import Piece, Solution

__all__ = ["CHEBYSHEV", "LOWEST", "solve_symmetric", "tile_entries"]

T = TypeVar("T")

TILE = 1024
"""Rows of a tile: 4 MiB in float32, inside a cache, and large enough for matrix products at full speed."""

CHEBYSHEV = [1 / (1.5 + 0.5 * math.cos((2 * k + 1) * math.pi / 8)) for k in (0, 2, 1, 3)]
"""θ for a cycle of four, in an order that keeps the partial products small."""

LOWEST = -60.0
"""Exponents below it are raised to it: e⁻⁶⁰ is nothing beside K_ii = 1, and denormal numbers are slow."""


def solve_symmetric(problem: Problem[T], *, buffer: Tensor | None) -> Solution[T]:
    """Solve for the plan between weights and themselves; stop at Σ_i |c_i − a_i| of the goal's tolerance.

    `buffer` has at least `tile_entries(n)` numbers to keep the tiles in; None forms them at every product.
    """
    a, tol, max_iterations = problem.a, problem.goal.tol, problem.max_iterations
    k = _Tiles(problem.kernel, len(a), a, buffer)
    w, done = a / k.product(a).sqrt_(), 0
    while True:
        c = w * k.product(w)
        done += 1
        # A GPU waits for a look, and within a cycle an error may rise before it falls.
        if not a.is_cuda or done % len(CHEBYSHEV) == 1 or buffer is None or done >= max_iterations:
            error = float(torch.dist(c, a, 1))
            if error <= tol or done >= max_iterations:
                break
        w = w * (a / c).pow_(CHEBYSHEV[(done - 1) % len(CHEBYSHEV)])
    a64 = a.double()
    f = (w.double() / a64).log_()
    dual = 2 * float(a64 @ f) - (float(c.sum(dtype=torch.float64)) - 1)
    return Solution(f, f, dual, done, error, tol, problem.wanted(k.pieces(w)))


def tile_entries(n: int) -> int:
    """How many numbers the tiles of n points have."""
    return sum((i.stop - i.start) * (j.stop - j.start) for i, j in _grid(n))


def _grid(n: int) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of the tiles on and above the diagonal, of nearly equal sizes."""
    count = -(-n // TILE)
    cuts = [n * k // count for k in range(count + 1)]
    spans = [slice(low, high) for low, high in pairwise(cuts)]
    return ((spans[i], spans[j]) for i in range(count) for j in range(i, count))


class _Tiles:
    """K = exp(s) by its tiles on and above the diagonal."""

    def __init__(self, kernel: LogKernel, n: int, a: Tensor, buffer: Tensor | None) -> None:
        self.kernel, self.grid = kernel, list(_grid(n))
        self.scratch = a.new_empty(max(_area(*place) for place in self.grid)) if buffer is None else None
        self.kept: list[Tensor] = []
        if buffer is not None:
            at = 0
            for rows, columns in self.grid:
                self.kept.append(self._tile(rows, columns, buffer[at : (at := at + _area(rows, columns))]))

    def _tile(self, rows: slice, columns: slice, out: Tensor) -> Tensor:
        k = out[: _area(rows, columns)].view(rows.stop - rows.start, -1)
        # A power of two takes a third of the time of an exponential.
        self.kernel.block(rows, columns, k, scale=1 / math.log(2))
        if rows == columns:
            k.fill_diagonal_(0)
        return k.clamp_(min=LOWEST / math.log(2)).exp2_()

    def __iter__(self) -> Iterator[tuple[slice, slice, Tensor]]:
        for index, (rows, columns) in enumerate(self.grid):
            if self.scratch is None:
                yield rows, columns, self.kept[index]
            else:
                yield rows, columns, self._tile(rows, columns, self.scratch)

    def product(self, w: Tensor) -> Tensor:
        """Return K w."""
        if len(self.kept) == 1:
            return torch.mv(self.kept[0], w)
        out = torch.zeros_like(w)
        for rows, columns, k in self:
            out[rows].addmv_(k, w[columns])
            if rows != columns:
                out[columns].addmv_(k.T, w[rows])
        return out

    def pieces(self, w: Tensor) -> Iterator[Piece]:
        """The plan diag(w) K diag(w)."""
        for rows, columns, k in self:
            yield Piece(rows, columns, k, w[rows], w[columns], mirrored=rows != columns)


def _area(rows: slice, columns: slice) -> int:
    return (rows.stop - rows.start) * (columns.stop - columns.start)
