"""What a solver returns, the plan in pieces, and the forces of a plan.

A piece is P[rows, columns] = diag(u) K diag(v). A plan between two clouds comes in slabs of whole rows, and in one slab
where it is kept whole. One between a cloud and itself comes in tiles on and above the diagonal: each tile off the
diagonal stands for its mirror image too.
"""

import sys
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.distances import distances

__all__ = ["Piece", "Solution", "forces", "nothing", "warn_unconverged"]

T = TypeVar("T")
OURS = ("metrics", "gan", "torch", "jaxtyping", "beartype")


@dataclass(frozen=True)
class Piece:
    """P[rows, columns] = diag(u) K diag(v), in a buffer that the next piece may overwrite."""

    rows: slice
    columns: slice
    k: Float[Tensor, "r c"]
    u: Float[Tensor, " r"]
    v: Float[Tensor, " c"]
    mirrored: bool = False

    def plan(self) -> Float[Tensor, "r c"]:
        """P itself, in place of K."""
        return self.k.mul_(self.u[:, None]).mul_(self.v)


@dataclass(frozen=True)
class Solution(Generic[T]):
    """Potentials and dual value in units of ε (float64), how well they were solved for, and what was wanted.

    Attributes:
        f: Potentials of the rows.
        g: Potentials of the columns.
        dual: ⟨f, a⟩ + ⟨g, b⟩ less what the mass exceeds one.
        iterations: How many updates of both potentials were made.
        error: The L1 error of the marginals.
        aim: What it should be at most.
        taken: What the problem wanted of the plan.
    """

    f: Float[Tensor, " n"]
    g: Float[Tensor, " m"]
    dual: float
    iterations: int
    error: float
    aim: float
    taken: T

    @property
    def converged(self) -> bool:
        """Whether the error is as small as it should be."""
        return self.error <= self.aim

    def warn(self, eps: float) -> None:
        """Warn if it is not."""
        if not self.converged:
            warn_unconverged(self.iterations, self.error, self.aim, eps)


def warn_unconverged(iterations: int, error: float, aim: float, eps: float) -> None:
    """Say at the line that called the library that an iteration gave up, and what helps."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).split(".")[0] in OURS:
        frame, level = frame.f_back, level + 1
    warnings.warn(
        f"Sinkhorn's iteration stopped after {iterations} iterations at a marginal error of {error:.2g}, "
        f"above its tolerance of {aim:.2g}; raise eps (now {eps:.3g}), max_iterations or tol",
        RuntimeWarning,
        stacklevel=level,
    )


def nothing(pieces: Iterator[Piece]) -> Any:
    """Take nothing of a plan."""


def forces(
    pieces: Iterable[Piece], x: Tensor, y: Tensor, p: float, *, to_x: bool, to_y: bool
) -> tuple[Tensor | None, Tensor | None]:
    """Return Σ_j P_ij ∇₁C(x_i, y_j) for every x_i and Σ_i P_ij ∇₂C(x_i, y_j) for every y_j, C = ‖x − y‖^p.

    With P_ij ∇₁C = W_ij (x_i − y_j), W = p P ‖x − y‖^{p−2} and 0 where points meet, they are W1 ∘ x − W y and
    Wᵀ1 ∘ y − Wᵀ x: for p = 2 a matrix product each with the plan. A mirrored piece counts in both directions, in the
    sum for x: there y is x.
    """
    if not (to_x or to_y):
        return None, None
    if p != 2:  # W is large where points are near, and the difference small
        x, y = x.double(), y.double()
    on_x, on_y = (_Pull(z) if wanted else None for z, wanted in ((x, to_x), (y, to_y)))
    for piece in pieces:
        k, u, v = piece.k, piece.u, piece.v
        if p != 2:
            distance = distances(x[piece.rows], y[piece.columns])
            k = torch.where(distance > 0, piece.plan() * distance ** (p - 2), 0.0)
            u, v = x.new_ones(len(u)), y.new_ones(len(v))
        if on_x:
            on_x.add(piece.rows, k, u, v, y[piece.columns])
            if piece.mirrored:
                on_x.add(piece.columns, k.T, v, u, x[piece.rows])
        if on_y:
            on_y.add(piece.columns, k.T, v, u, x[piece.rows])
    return tuple(None if side is None else side.force(p) for side in (on_x, on_y))  # pyright: ignore[reportReturnType]


class _Pull:
    """Accumulates Σ_j W_ij (z_j − x_i)."""

    def __init__(self, x: Tensor) -> None:
        self.x, self.total = x, torch.zeros_like(x)

    def add(self, rows: slice, k: Tensor, u: Tensor, v: Tensor, z: Tensor) -> None:
        pulled = torch.mm(k, z * v[:, None])
        mass = torch.mv(k, v)
        self.total[rows] += torch.addcmul(pulled, mass[:, None], self.x[rows], value=-1).mul_(u[:, None])

    def force(self, p: float) -> Tensor:
        return self.total.mul_(-p)
