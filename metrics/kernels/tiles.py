"""Means of a kernel over all pairs of points, tile by tile.

    E k(X, Y) ≈ Σ_ij k(x_i, y_j)/nm,    E k(X, X') ≈ Σ_{i≠j} k(x_i, x_j)/n(n − 1)

go over the pairs in square tiles, so that without a gradient memory is that of a tile and not n·m numbers, and
over each unordered pair of one cloud once: a kernel is symmetric. Sums are float64 whatever the clouds' type.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.kernels.kernel import Kernel

__all__ = ["mean_between", "mean_within"]

TILE = 1024
"""Points along a tile's side: 8 MiB in float64, and a few times that within a kernel of several bandwidths."""


def mean_between(x: Float[Tensor, "n d"], y: Float[Tensor, "m d"], kernel: Kernel) -> Float[Tensor, ""]:
    """Return the mean of k(x_i, y_j) over all pairs, in float64; differentiable as the kernel is.

    >>> mean_between(torch.ones(2, 1), torch.tensor([[1.0], [2.0], [3.0]]), lambda a, b: a @ b.T)
    tensor(2., dtype=torch.float64)
    """
    return _sum_between(x, y, kernel) / (len(x) * len(y))


def mean_within(x: Float[Tensor, "n d"], kernel: Kernel, *, unbiased: bool) -> Float[Tensor, ""]:
    """Return the mean of a symmetric k(x_i, x_j) over pairs of one cloud: distinct points where `unbiased`, else all.

    >>> x = torch.tensor([[1.0], [2.0], [3.0]])
    >>> mean_within(x, lambda a, b: a @ b.T, unbiased=True), mean_within(x, lambda a, b: a @ b.T, unbiased=False)
    (tensor(3.6667, dtype=torch.float64), tensor(4., dtype=torch.float64))
    """
    n = len(x)
    diagonal = apart = torch.zeros((), dtype=torch.float64, device=x.device)
    for start in range(0, n, TILE):
        tile = x[start : start + TILE].double()
        gram = kernel(tile, tile).double()
        own = gram.diagonal().sum()
        diagonal, apart = diagonal + own, apart + (gram.sum() - own)
        if start + TILE < n:
            apart = apart + 2 * _sum_between(tile, x[start + TILE :], kernel)
    return apart / (n * (n - 1)) if unbiased else (apart + diagonal) / n**2


def _sum_between(x: Tensor, y: Tensor, kernel: Kernel) -> Tensor:
    total = torch.zeros((), dtype=torch.float64, device=x.device)
    for a in x.split(TILE):
        for b in y.split(TILE):
            total = total + kernel(a.double(), b.double()).double().sum()
    return total
