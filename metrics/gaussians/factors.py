"""Factors of a cloud's covariance, Σ = RᵀR, from blocks of its points.

R is the triangular factor of the QR decomposition of the centred points over √(n − 1); of two blocks of them it is that
of [R₁; R₂], so that points are taken a block at a time and no float64 copy of all is made (a communication-avoiding QR:
Demmel et al. 2012, section 3). No product XᵀX is formed, which would square the condition number.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.weights import apart

__all__ = ["mean_and_root", "row_blocks"]

BLOCK = 2**24
"""Entries of a block of points: 128 MiB in float64."""


def row_blocks(x: Float[Tensor, "n d"]) -> list[slice]:
    """Return slices of rows that hold some 2²⁴ entries each, and four times as many rows as columns where there are.

    >>> row_blocks(torch.zeros(5, 2))
    [slice(0, 8388608, None)]
    """
    height = max(BLOCK // x.shape[1], 4 * x.shape[1])
    return [slice(start, start + height) for start in range(0, len(x), height)]


@torch.no_grad()
def mean_and_root(
    x: Float[Tensor, "n d"], weights: Float[Tensor, " n"] | None = None
) -> tuple[Float[Tensor, " d"], Float[Tensor, "k d"]]:
    """Return the mean of a cloud and R with RᵀR its covariance over n − 1, in float64; k = min(n, d).

    With weights that sum to one, in float64, the mean Σ a_i x_i and the covariance Σ a_i c_i c_iᵀ/(1 − Σ a_i²).

    >>> mean, root = mean_and_root(torch.tensor([[0.0], [2.0], [4.0]]))
    >>> mean, (root.T @ root).round()
    (tensor([2.], dtype=torch.float64), tensor([[4.]], dtype=torch.float64))
    """
    blocks = row_blocks(x)
    if weights is None:
        mean = torch.stack([x[rows].double().sum(0) for rows in blocks]).sum(0) / len(x)
        scale = x.new_full((), (len(x) - 1) ** -0.5, dtype=torch.float64)
    else:
        mean = torch.stack([weights[rows] @ x[rows].double() for rows in blocks]).sum(0)
        scale = (weights / apart(weights)).sqrt()[:, None]
    root = mean.new_zeros(0, x.shape[1])
    for rows in blocks:
        centred = (x[rows].double() - mean) * (scale[rows] if scale.ndim else scale)
        tall = torch.cat([root, centred])
        root = torch.linalg.qr(tall, mode="r").R if len(tall) > tall.shape[1] else tall
    return mean, root
