"""Of a regression whose noise is inferred: its random curvatures' products, what skewness costs, and draws of s."""

from collections.abc import Callable

import torch
from torch import Tensor

from bayessgd.theory._whitening import Whitening

__all__ = ["by_quantile", "excess_of_products", "narrowing"]

OF_SCALE, OF_COEFFICIENTS, OF_EACH = 3.0, 0.8, 3.3
"""The three measured numbers of equation (3) of `bayessgd.theory.learned_scale_regression`."""


def narrowing(H: Tensor, noisy: Tensor, inverse: Tensor, *, num_data: int, fitted: float) -> Tensor:
    """Return 1 − sd ratio of (log σ, β) `[p]`, by equation (3): what the skewness of s narrows.

    Args:
        H: The preconditioner `[p, p]`.
        noisy: HCH/S `[p, p]`.
        inverse: T⁻¹ `[d, d]`, to the coordinates in which the coefficients are independent.
        num_data: N.
        fitted: The sum of the leverages, N − ν.
    """
    steps = 2 / num_data * (inverse @ H[1:, 1:] @ inverse.mT).diagonal()
    shares = (inverse @ noisy[1:, 1:] @ inverse.mT).diagonal() / steps
    own = float(noisy[0, 0] / H[0, 0]) * num_data / 2
    free = num_data - fitted
    lost = torch.full((len(H),), OF_EACH * float(shares.max()) / free, dtype=torch.float64)
    lost[0] = (OF_SCALE * own + OF_COEFFICIENTS * float(shares.sum())) / free
    return lost


def excess_of_products(x: Tensor, moments: Tensor, white: Whitening, A: Tensor) -> Callable[[Tensor], Tensor]:
    """Return Σ ↦ E[H_i Σ H_i] − AΣA in the coordinates of `white`, the prior's constant curvature left out.

    H_i is w [[x xᵀ, 2 r x], [2 r xᵀ, 2 r²]]: a 2×2 matrix between the two directions (0, x_i) and (1, 0).

    Args:
        x: The features `[n, d]`.
        moments: E[w² r_iᵏ] for k = 0 … 4 `[5, n]`.
        white: The coordinates.
        A: E[H_i] in them `[p, p]`.
    """
    n = len(x)
    pair = torch.zeros(n, x.shape[1] + 1, 2, dtype=torch.float64)
    pair[:, 1:, 0], pair[:, 0, 1] = x, 1
    pair = torch.linalg.solve_triangular(white.root, pair, upper=False)
    factor, power = torch.tensor([[1.0, 2.0], [2.0, 2.0]]).double(), torch.tensor([[0, 1], [1, 2]])
    product = factor[:, :, None, None] * factor
    square = product * moments.T[:, power[:, :, None, None] + power]  # E[M_ab M_cd] of each datum

    def excess(sigma: Tensor) -> Tensor:
        inner = torch.einsum("nia,...ij,njb->...nab", pair, sigma, pair)
        outer = torch.einsum("nabcd,...nbc->...nad", square, inner)
        return torch.einsum("nia,...nad,njd->...ij", pair, outer, pair) / n - A @ sigma @ A

    return excess


def by_quantile(nodes: Tensor, weights: Tensor, uniform: Tensor) -> Tensor:
    """Return the quantiles `uniform` in [0, 1] of the law with these weights around its equidistant nodes."""
    edges = torch.cat([torch.zeros(1, dtype=torch.float64), weights.cumsum(0)])
    cell = (torch.searchsorted(edges, uniform * edges[-1], right=True) - 1).clamp(0, len(nodes) - 1)
    inside = (uniform * edges[-1] - edges[cell]) / weights[cell].clamp(min=1e-300)
    return nodes[cell] + (inside.clamp(0, 1) - 0.5) * (nodes[1] - nodes[0])
