"""Log-kernels s = −C/ε, and how to write a block of them into a buffer that is already there.

An entropic plan P_ij = a_i b_j exp(f_i + g_j + s_ij) does not change when a function of i moves from s to f, or one
of j from s to g. So a kernel is kept as

    s_ij = q_ij − α_i − β_j

with a q that is cheap to form: for the square, with coordinates scaled by √(2/ε), q is the matrix product x yᵀ, and
α = ½‖x‖², β = ½‖y‖² wait in float64 for the potentials. C itself is never stored, and whoever adds a column to q gets
it within the product.
"""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.distances import distances

__all__ = ["LogKernel", "Powers", "Squares", "Table", "half_squares"]


class LogKernel(ABC):
    """s = q − α ⊗ 1 − 1 ⊗ β, [n, m], in the type to work in; α and β in float64."""

    alpha: Tensor
    beta: Tensor
    dtype: torch.dtype

    @abstractmethod
    def fill(self, column: Tensor, out: Tensor, rows: slice = slice(None)) -> Tensor:
        """Write q_ij + column_j for these rows into `out`, [rows, m], and return it."""

    @abstractmethod
    def block(self, rows: slice, columns: slice, out: Tensor, *, scale: float = 1.0) -> Tensor:
        """Write scale·s_ij itself into `out`, [rows, columns], and return it."""

    @abstractmethod
    def part(self, rows: slice, columns: slice) -> "LogKernel":
        """The kernel between some rows and some columns."""

    @property
    @abstractmethod
    def T(self) -> "LogKernel":
        """The kernel with rows and columns exchanged."""


class Squares(LogKernel):
    """s = −½‖x_i − y_j‖² for clouds in units of √(ε/2), centred so that products have digits enough.

    >>> kernel = Squares(torch.tensor([[0.0]]), torch.tensor([[1.0], [2.0]]))
    >>> kernel.block(slice(None), slice(None), torch.empty(1, 2))
    tensor([[-0.5000, -2.0000]])
    """

    def __init__(
        self,
        x: Float[Tensor, "n d"],
        y: Float[Tensor, "m d"],
        alpha: Float[Tensor, " n"] | None = None,
        beta: Float[Tensor, " m"] | None = None,
    ) -> None:
        self.x, self.y, self.dtype = x, y, x.dtype
        self.alpha = half_squares(x) if alpha is None else alpha
        self.beta = half_squares(y) if beta is None else beta

    def fill(self, column: Tensor, out: Tensor, rows: slice = slice(None)) -> Tensor:
        """The product x yᵀ + column, in one call."""
        return torch.addmm(column, self.x[rows], self.y.T, out=out)

    def block(self, rows: slice, columns: slice, out: Tensor, *, scale: float = 1.0) -> Tensor:
        """The product x yᵀ less β and α."""
        beta = self.beta[columns].to(self.dtype)
        torch.addmm(beta, self.x[rows], self.y[columns].T, beta=-scale, alpha=scale, out=out)
        return out.sub_((scale * self.alpha[rows, None]).to(self.dtype))

    def part(self, rows: slice, columns: slice) -> "Squares":
        """Between some of the points."""
        return Squares(self.x[rows], self.y[columns], self.alpha[rows], self.beta[columns])

    @property
    def T(self) -> "Squares":
        """From y to x."""
        return Squares(self.y, self.x, self.beta, self.alpha)


def half_squares(x: Float[Tensor, "*n d"]) -> Float[Tensor, "*n"]:
    """½‖x_i‖² in float64."""
    return x.square().sum(-1, dtype=torch.float64).mul_(0.5)


class Powers(LogKernel):
    """s = −‖x_i − y_j‖^p/ε, each distance from its own difference: for what has to be formed in pieces."""

    def __init__(self, x: Float[Tensor, "n d"], y: Float[Tensor, "m d"], p: float, eps: float) -> None:
        self.x, self.y, self.p, self.eps, self.dtype = x, y, p, eps, x.dtype
        self.alpha, self.beta = (z.new_zeros(len(z), dtype=torch.float64) for z in (x, y))

    def fill(self, column: Tensor, out: Tensor, rows: slice = slice(None)) -> Tensor:
        """Distances in float64, as everywhere."""
        return self.block(rows, slice(None), out).add_(column)

    def block(self, rows: slice, columns: slice, out: Tensor, *, scale: float = 1.0) -> Tensor:
        """Distances in float64, as everywhere."""
        distance = distances(self.x[rows].double(), self.y[columns].double())
        return out.copy_((distance if self.p == 1 else distance.pow_(self.p)).mul_(-scale / self.eps))

    def part(self, rows: slice, columns: slice) -> "Powers":
        """Between some of the points."""
        return Powers(self.x[rows], self.y[columns], self.p, self.eps)

    @property
    def T(self) -> "Powers":
        """From y to x."""
        return Powers(self.y, self.x, self.p, self.eps)


class Table(LogKernel):
    """s as a matrix: any cost at all."""

    def __init__(self, s: Float[Tensor, "n m"]) -> None:
        self.s, self.dtype = s, s.dtype
        self.alpha, self.beta = (s.new_zeros(k, dtype=torch.float64) for k in s.shape)

    def fill(self, column: Tensor, out: Tensor, rows: slice = slice(None)) -> Tensor:
        """A sum."""
        return torch.add(self.s[rows], column, out=out)

    def block(self, rows: slice, columns: slice, out: Tensor, *, scale: float = 1.0) -> Tensor:
        """A multiple."""
        return torch.mul(self.s[rows, columns], scale, out=out)

    def part(self, rows: slice, columns: slice) -> "Table":
        """A smaller table."""
        return Table(self.s[rows, columns])

    @property
    def T(self) -> "Table":
        """The transpose."""
        return Table(self.s.T)
