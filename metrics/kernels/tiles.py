"""Means of a kernel over all pairs of points, tile by tile.

    E k(X, Y) ≈ Σ_ij k(x_i, y_j)/nm,    E k(X, X') ≈ Σ_{i≠j} k(x_i, x_j)/n(n − 1)

go over the pairs in square tiles, so that without a gradient memory is that of a tile and not n·m numbers, and
over each unordered pair of one cloud once: a kernel is symmetric. Sums are float64 whatever the clouds' type. Weights
a and b that sum to one make Σ_ij a_i b_j k(x_i, y_j) of it, and Σ_{i≠j} a_i a_j k(x_i, x_j)/(1 − Σ a_i²)
(`metrics.weights`).
"""

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.batches import Weights
from metrics.kernels.gram import gram_of
from metrics.kernels.kernel import Kernel
from metrics.weights import apart

__all__ = ["mean_between", "mean_within"]

TILE = 1024
"""Points along a tile's side: 8 MiB in float64, and a few times that within a kernel of several bandwidths."""


def mean_between(
    x: Float[Tensor, "n d"], y: Float[Tensor, "m d"], kernel: Kernel, a: Weights = None, b: Weights = None
) -> Float[Tensor, ""]:
    """Return the mean of k(x_i, y_j) over all pairs, in float64; differentiable as the kernel is, and in the weights.

    >>> mean_between(torch.ones(2, 1), torch.tensor([[1.0], [2.0], [3.0]]), lambda a, b: a @ b.T)
    tensor(2., dtype=torch.float64)
    """
    count = (len(x) if a is None else 1) * (len(y) if b is None else 1)
    return _sum_between(x, y, kernel, a, b) / count


def mean_within(
    x: Float[Tensor, "n d"], kernel: Kernel, *, unbiased: bool, weights: Weights = None
) -> Float[Tensor, ""]:
    """Return the mean of a symmetric k(x_i, x_j) over pairs of one cloud: distinct points where `unbiased`, else all.

    >>> x = torch.tensor([[1.0], [2.0], [3.0]])
    >>> mean_within(x, lambda a, b: a @ b.T, unbiased=True), mean_within(x, lambda a, b: a @ b.T, unbiased=False)
    (tensor(3.6667, dtype=torch.float64), tensor(4., dtype=torch.float64))
    """
    n = len(x)
    diagonal = between = torch.zeros((), dtype=torch.float64, device=x.device)
    for start in range(0, n, TILE):
        tile, rest = x[start : start + TILE].double(), x[start + TILE :]
        w, others = (
            (None, None) if weights is None else (weights[start : start + TILE], weights[start + TILE :])
        )
        gram = gram_of(kernel, tile, tile)
        if w is None:
            own = gram.diagonal().sum()
            diagonal, between = diagonal + own, between + (gram.sum() - own)
        else:
            diagonal = diagonal + w.square() @ gram.diagonal()
            # Where one point has nearly all weight its own pair would swallow the others.
            between = between + w @ (gram - gram.diagonal().diag()) @ w
        if len(rest):
            between = between + 2 * _sum_between(tile, rest, kernel, w, others)
    if weights is None:
        return between / (n * (n - 1)) if unbiased else (between + diagonal) / n**2
    return between / apart(weights) if unbiased else between + diagonal


def _sum_between(x: Tensor, y: Tensor, kernel: Kernel, a: Weights = None, b: Weights = None) -> Tensor:
    total = torch.zeros((), dtype=torch.float64, device=x.device)
    for rows in range(0, len(x), TILE):
        for columns in range(0, len(y), TILE):
            at, to = slice(rows, rows + TILE), slice(columns, columns + TILE)
            gram = gram_of(kernel, x[at].double(), y[to].double())
            if a is not None:
                gram = a[at] @ gram
            total = total + (gram.sum() if b is None else (gram @ b[to]).sum())
    return total
