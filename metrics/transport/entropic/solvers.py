"""Which solver takes a problem: the one place where that is decided.

A kernel that fits into the memory allowed is kept (`dense`); otherwise it is formed anew in slabs at every iteration
(`streaming`). A symmetric problem has a solver of its own for both cases (`symmetric`). Batches of small problems come
with other tensors, and go to `batched`.
"""

import threading
from typing import TypeVar

import torch
from torch import Tensor

from metrics.transport.entropic.dense import solve_dense
from metrics.transport.entropic.problem import Problem
from metrics.transport.entropic.solution import Solution
from metrics.transport.entropic.streaming import solve_streaming
from metrics.transport.entropic.symmetric import solve_symmetric, tile_entries

__all__ = ["Solvers", "choose_solvers"]

T = TypeVar("T")

KEPT = 2**18
"""Numbers in the largest buffer that is kept from call to call, in each thread: 1 MiB in float32."""


class Solvers:
    """Solvers of problems between two clouds and within each, which leave their plans in one buffer, or in none.

    Args:
        entries: How many numbers the buffer has.
        dense: Keep kernels; otherwise form them anew in every iteration.
    """

    def __init__(self, entries: int, *, dense: bool) -> None:
        self.entries, self.dense = entries, dense
        self._kept: Tensor | None = None

    def between(self, problem: Problem[T]) -> Solution[T]:
        """Solve a problem between two clouds."""
        if not self.dense:
            return solve_streaming(problem)
        n, m = len(problem.a), len(problem.b)
        return solve_dense(problem, out=self._buffer(problem.a)[: n * m].view(n, m))

    def symmetric(self, problem: Problem[T]) -> Solution[T]:
        """Solve a problem between a cloud and itself."""
        return solve_symmetric(problem, buffer=self._buffer(problem.a) if self.dense else None)

    def _buffer(self, like: Tensor) -> Tensor:
        if self._kept is None:
            self._kept = _workspace.take(self.entries, like)
        return self._kept


def choose_solvers(n: int, m: int, *, entry_bytes: int, memory: float, debiased: bool = True) -> Solvers:
    """Return the solvers for n points against m, and with `debiased` for each cloud against itself."""
    entries = max(tile_entries(n), tile_entries(m), n * m) if debiased else n * m
    return Solvers(entries, dense=entries * entry_bytes <= memory)


class _Workspace(threading.local):
    """The last small buffer of this thread, for the next call: its memory need not be mapped anew."""

    def __init__(self) -> None:
        self.kept: Tensor | None = None

    def take(self, entries: int, like: Tensor) -> Tensor:
        if entries > KEPT:
            return like.new_empty(entries)
        kept = self.kept
        if kept is None or len(kept) < entries or kept.dtype != like.dtype or kept.device != like.device:
            with torch.inference_mode(mode=False):  # or it could not be written outside again
                kept = self.kept = torch.empty(entries, dtype=like.dtype, device=like.device)
        return kept


_workspace = _Workspace()
