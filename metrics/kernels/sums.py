"""What the variance of an MMD needs of its kernel matrices: sums along rows, and of squares.

The unbiased variance of `metrics.kernels.mmd` is made of means over distinct indices, such as

    E k(x₁, x₂)k(x₁, x₃) = (Σ_i d_i² − Σ_{i≠j} k_ij²) / n(n − 1)(n − 2),    d_i = Σ_{j≠i} k_ij,

and none of them needs more of a matrix than its row sums d, its column sums and its sum of squares. These are added up
tile by tile (`metrics.kernels.sweep`), so that memory is that of a tile and of n + m sums, whatever n
and m are.

A constant added to one of the three kernel matrices changes no variance: a guess of its mean is taken out before
anything is squared, which saves digits.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["KernelSums"]

TILE = 512
"""Points along a tile's side: 2 MiB in float64, which stay in a processor's cache through a kernel of several steps."""


@dataclass(frozen=True)
class KernelSums:
    """Sums of kernel matrices from which a constant was taken; within a cloud the diagonal is left out.

    Attributes:
        centre: What was taken from every entry.
        xx: Row sums within x, [n].
        yy: Row sums within y, [m].
        rows: Row sums between the clouds, [n].
        columns: Column sums between them, [m].
        squares: The sums of squares within x, within y and between them, [3].
    """

    centre: float
    xx: Float[Tensor, " n"]
    yy: Float[Tensor, " m"]
    rows: Float[Tensor, " n"]
    columns: Float[Tensor, " m"]
    squares: Float[Tensor, "3"]

    @classmethod
    def of_grams(
        cls, kxx: Float[Tensor, "n n"], kxy: Float[Tensor, "n m"], kyy: Float[Tensor, "m m"]
    ) -> "KernelSums":
        """Return the sums of three matrices.

        >>> KernelSums.of_grams(torch.eye(4), torch.ones(4, 5), torch.eye(5)).value()
        tensor(-2., dtype=torch.float64)
        """
        # A constant that cancels: no gradient passes through it.
        centre = float(kxy.detach().double().mean())
        a, b, c = (k.double() - centre for k in (kxx, kxy, kyy))
        a, c = (k - k.diagonal().diag() for k in (a, c))
        squares = torch.stack([k.square().sum() for k in (a, c, b)])
        return cls(centre, a.sum(1), c.sum(1), b.sum(1), b.sum(0), squares)

    def value(self) -> Float[Tensor, ""]:
        """The U-statistic, the mean within x plus that within y less twice the mean between them."""
        n, m = len(self.xx), len(self.yy)
        return self.xx.sum() / (n * (n - 1)) + self.yy.sum() / (m * (m - 1)) - 2 * (self.rows.sum() / (n * m))

    def v_statistic(self, own: float) -> Float[Tensor, ""]:
        """The means over all pairs, a point's own among them with k(x, x) = own; never negative.

        >>> KernelSums.of_grams(torch.eye(4), torch.zeros(4, 5), torch.eye(5)).v_statistic(1.0)
        tensor(0.4500, dtype=torch.float64)
        """
        n, m = len(self.xx), len(self.yy)
        apart = self.xx.sum() / n**2 + self.yy.sum() / m**2 - 2 * self.rows.sum() / (n * m)
        return (apart + (own - self.centre) * (1 / n + 1 / m)).clamp(min=0)

    def shrunk(self) -> "KernelSums":
        """The same with the means within clouds over all pairs, own ones counted with the centre's value."""
        n, m = len(self.xx), len(self.yy)
        a, c = (n - 1) / n, (m - 1) / m
        factors = self.squares.new_tensor([a**2, c**2, 1.0])
        return replace(self, xx=a * self.xx, yy=c * self.yy, squares=factors * self.squares)

    def stderr(self) -> Float[Tensor, ""]:
        """The root of the variance, each order taken as 0 where it comes out below."""
        first, second = self.variance_by_order()
        return (first.clamp(min=0) + second.clamp(min=0)).sqrt()

    def root_variance(self) -> Float[Tensor, ""]:
        """The first order's part in the variance of the value's root, V₁/4T.

        Where the clouds are alike T is around 0 and V₁ noise of either sign: V₁ is then taken as 0 or more, and T as
        the standard error or more.

        >>> x = torch.arange(5.0).diag()
        >>> KernelSums.of_grams(x, x, x).root_variance() >= 0
        tensor(True)
        """
        first, second = (order.clamp(min=0) for order in self.variance_by_order())
        least = torch.maximum(self.value(), (first + second).sqrt())
        return torch.where(first > 0, first / (4 * least), 0.0)

    def variance_by_order(self) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """The two lines of the variance in the docstring of `metrics.kernels.mmd`, each without a bias."""
        n, m = len(self.xx), len(self.yy)
        square_x, path_x, apart_x = _within(self.xx, self.squares[0])
        square_y, path_y, apart_y = _within(self.yy, self.squares[1])
        # Of k(x, y): its square, two factors that share x, two that share y, two that share nothing.
        total, square = self.rows.sum(), self.squares[2]
        of_rows, of_columns = self.rows.square().sum(), self.columns.square().sum()
        rows = (of_rows - square) / (n * m * (m - 1))
        columns = (of_columns - square) / (n * m * (n - 1))
        apart = (total.square() - of_rows - of_columns + square) / (n * (n - 1) * m * (m - 1))
        first_x = path_x - apart_x + rows - apart - 2 * _mixed(self.xx, self.rows, m)
        first_y = path_y - apart_y + columns - apart - 2 * _mixed(self.yy, self.columns, n)
        second_x = square_x - 2 * path_x + apart_x
        second_y = square_y - 2 * path_y + apart_y
        second_xy = square / (n * m) - rows - columns + apart
        first = 4 * first_x / n + 4 * first_y / m
        second = 2 * second_x / (n * (n - 1)) + 2 * second_y / (m * (m - 1)) + 4 * second_xy / (n * m)
        return first, second


def _within(degrees: Tensor, square: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Unbiased E k(1,2)², E k(1,2)k(1,3) and E k(1,2)k(3,4) over distinct points of one cloud."""
    n = len(degrees)
    pairs, total = degrees.square().sum(), degrees.sum()
    path = (pairs - square) / (n * (n - 1) * (n - 2))
    apart = (total.square() - 4 * pairs + 2 * square) / (n * (n - 1) * (n - 2) * (n - 3))
    return square / (n * (n - 1)), path, apart


def _mixed(degrees: Tensor, rows: Tensor, m: int) -> Tensor:
    """Unbiased Cov[μ(X), ν(X)] = E k(x,x')k(x,y) − E k(x,x') E k(x,y), over distinct points."""
    n = len(degrees)
    shared = degrees @ rows
    apart = (degrees.sum() * rows.sum() - 2 * shared) / (n * (n - 1) * (n - 2) * m)
    return shared / (n * (n - 1) * m) - apart
