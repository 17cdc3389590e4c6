"""Permutation tests: how often would labels drawn by chance tell two clouds apart as well as the true ones do?

Under P = Q the n + m pooled points are exchangeable, and so is every statistic of them and a choice of n: the true
choice is one among B + 1, all equally likely, B of them drawn at random. Hence

    p = (1 + #{b : T_b ≥ T}) / (1 + B)

has P(p ≤ α) ≤ α at every size, with no limit theorem (Phipson & Smyth 2010; Hemerik & Goeman 2018, theorem 2), and it
is never 0. What is not permuted has to be a symmetric function of the pooled points: a kernel's bandwidth taken
from the reference alone would move with its labels.

Most statistics see the labels a ∈ {0, 1}ᴺ through sums over the blocks of one pooled matrix M,

    xx = aᵀMa,    xy = aᵀM(1 − a),    yy = (1 − a)ᵀM(1 − a),

the kernel matrix of an MMD, the distances of the energy distance, the matrix of nearest neighbours. B permutations are
then one product of M with B label vectors, tile by tile of M (`metrics.kernels.sweep`): no distance is computed twice
and none is kept. The
Fréchet distance sees them through the moments of the two halves, which are those of the pooled points less the other's.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.evaluation.pair import Pair
from metrics.evaluation.shared import block_sums_of, neighbours_of, pooled_kernels
from metrics.inputs import check_count
from metrics.kernels.kernel import NegativeDistance, Polynomial
from metrics.kernels.sweep import BlockSums
from metrics.neighbours.subsets import nearest_of

__all__ = [
    "block_sums",
    "energy_permuted",
    "frechet_permuted",
    "mmd2_permuted",
    "nearest_neighbour_permuted",
    "p_value",
    "permuted_labels",
    "polynomial_permuted",
]

WIDEST = 256
"""Columns up to which covariances of all permutations are decomposed: 200 of 256 × 256 take seconds."""

ROUNDING = 1e-13
"""Of the terms of a statistic: a spread below it is that of their rounding."""


def permuted_labels(n: int, m: int, count: int, generator: torch.Generator) -> Float[Tensor, "b N"]:
    """Return the true labels, 1 for the first n points, and below them `count` random permutations of them.

    >>> permuted_labels(1, 2, 3, torch.Generator().manual_seed(0)).sum(1)
    tensor([1., 1., 1., 1.], dtype=torch.float64)
    """
    count = check_count(count, "count")
    labels = torch.zeros(count + 1, n + m, dtype=torch.float64)
    labels[0, :n] = 1
    keys = torch.rand(count, n + m, generator=generator, device=generator.device, dtype=torch.float64)
    labels[1:].scatter_(1, keys.argsort(1)[:, :n].cpu(), 1)
    return labels


def block_sums(matrix: Float[Tensor, "N N"], labels: Float[Tensor, "b N"]) -> BlockSums:
    """Return the sums of a matrix over the blocks of every labelling, 1 for x and 0 for y.

    >>> sums = block_sums(torch.arange(4.0).reshape(2, 2), torch.tensor([[1.0, 0.0]]))
    >>> sums.xx, sums.xy, sums.yy
    (tensor([0.], dtype=torch.float64), tensor([1.], dtype=torch.float64), tensor([3.], dtype=torch.float64))
    """
    m, a = matrix.double(), labels.double().to(matrix.device)
    xx = ((a @ m) * a).sum(1)
    xy = a @ m.sum(1) - xx
    yx = a @ m.sum(0) - xx
    return BlockSums(xx, xy, m.sum() - xx - xy - yx)


def p_value(statistics: Float[Tensor, " b"]) -> float:
    """Return (1 + #{b ≥ 1 : T_b ≥ T_0})/(1 + B) of statistics of which the first is the true one.

    >>> p_value(torch.tensor([2.0, 1.0, 2.0, 3.0]))
    0.75
    """
    t = statistics.double()
    # Equal statistics may differ in rounding; counting them as at least as large is the safe side.
    slack = 1e-12 * t.abs().max()
    return float((t >= t[0] - slack).double().mean())


def mmd2_permuted(pair: Pair, labels: Float[Tensor, "b N"]) -> Float[Tensor, " b"]:
    """Return the largest score of MMD² over several kernels under every labelling.

        max_k z_k(b),    z_k(b) = (T_k(b) − mean_b T_k)/sd_b T_k,

    with T_k the U-statistic under kernel k of `pooled_kernels`. A score is a symmetric function of all labellings, the
    true ones among them, so that the p-value is exact for any kernels. It aggregates kernels as MMDAgg does (Schrab et
    al. 2023), by scores in place of ranks: ranks among 200 are too coarse for several kernels, whose least p-values
    are then all 1/200 (benchmarks/results/mmdagg.md has the powers). Five bandwidths around the median see what
    differs over the whole cloud; the narrow ones see the width of a mode that is 1/80 of it, where the five are blind.

    >>> pair = Pair(torch.tensor([[0.0], [1.0]]), torch.tensor([[5.0], [6.0]]))
    >>> statistics = mmd2_permuted(pair, torch.tensor([[1.0, 1, 0, 0], [1, 0, 1, 0]]))
    >>> bool(statistics[0] > statistics[1])
    True
    """
    scores = [_scores(block_sums_of(pair, kernel, labels), *pair.sizes) for kernel in pooled_kernels(pair)]
    return torch.stack(scores).amax(0)


def polynomial_permuted(pair: Pair, labels: Float[Tensor, "b N"]) -> Float[Tensor, " b"]:
    """Return the U-statistic of MMD² under every labelling, the kernel (⟨x, y⟩/d + 1)³ of KID.

    >>> pair = Pair(torch.tensor([[0.0], [1.0]]), torch.tensor([[5.0], [6.0]]))
    >>> statistics = polynomial_permuted(pair, torch.tensor([[1.0, 1, 0, 0], [1, 0, 1, 0]]))
    >>> bool(statistics[0] > statistics[1])
    True
    """
    return _u_statistic(block_sums_of(pair, Polynomial(), labels), *pair.sizes)


def energy_permuted(pair: Pair, labels: Float[Tensor, "b N"]) -> Float[Tensor, " b"]:
    """Return the squared energy distance under every labelling.

    >>> pair = Pair(torch.tensor([[0.0]]), torch.tensor([[2.0]]))
    >>> energy_permuted(pair, torch.tensor([[1.0, 0.0]]))
    tensor([4.], dtype=torch.float64)
    """
    # Of the kernel −r.
    sums, (n, m) = block_sums_of(pair, NegativeDistance(), labels), pair.sizes
    return sums.xx / n**2 + sums.yy / m**2 - 2 * sums.xy / (n * m)


def nearest_neighbour_permuted(pair: Pair, labels: Float[Tensor, "b N"]) -> Float[Tensor, " b"]:
    """Return how far the balanced 1-NN accuracy is from its expectation (n + m − 2)/2(n + m − 1), on either side.

    Above it the clouds are apart, below it one repeats the other: neither are two independent samples of one
    distribution. Of t equally near neighbours each counts 1/t.

    >>> pair = Pair(torch.tensor([[0.0], [1.0]]), torch.tensor([[5.0], [6.0]]))
    >>> nearest_neighbour_permuted(pair, torch.tensor([[1.0, 1.0, 0.0, 0.0]]))  # 1 − 1/3
    tensor([0.6667], dtype=torch.float64)
    """
    n, m = pair.sizes
    rows, columns = nearest_of(neighbours_of(pair))
    share = (1 / rows.bincount().double())[rows]
    a = labels.double().to(rows.device)
    # A row of labels at a time: with many copies there are far more pairs than points.
    right = [
        ((row[rows] * row[columns]) @ share / n, ((1 - row)[rows] * (1 - row)[columns]) @ share / m)
        for row in a
    ]
    expected = (n + m - 2) / (2 * (n + m - 1))
    return torch.stack([((x + y) / 2 - expected).abs() for x, y in right])


def frechet_permuted(pair: Pair, labels: Float[Tensor, "b N"]) -> Float[Tensor, " b"] | None:
    """Return the Fréchet distance under every labelling; None above 256 columns, where that takes long.

    >>> pair = Pair(torch.tensor([[0.0], [2.0]]), torch.tensor([[0.0], [4.0]]))
    >>> frechet_permuted(pair, torch.tensor([[1.0, 1.0, 0.0, 0.0]])).round(decimals=9)  # (2 − 1)² + (√8 − √2)²
    tensor([3.], dtype=torch.float64)
    """
    z, (n, m) = torch.cat([pair.x, pair.y]).double(), pair.sizes
    if z.shape[1] > WIDEST:
        return None
    z = z - z.mean(0)
    a = labels.double().to(z.device)
    of_x = torch.stack([z[row > 0].T @ z[row > 0] for row in a])
    sum_x = a @ z
    cov_x, mean_x = _covariance(of_x, sum_x, n)
    cov_y, mean_y = _covariance(z.T @ z - of_x, -sum_x, m)
    # Tr (Σ_x Σ_y)^½ from the eigenvalues of R Σ_y Rᵀ, Σ_x = RᵀR; it need not be as exact as the value's own.
    values, vectors = torch.linalg.eigh(cov_x)
    root = vectors * values.clamp(min=0).sqrt()[:, None]
    cross = torch.linalg.eigvalsh(root.mT @ cov_y @ root).clamp(min=0).sqrt().sum(1)
    traces = sum(c.diagonal(dim1=1, dim2=2).sum(1) for c in (cov_x, cov_y))
    return (mean_x - mean_y).square().sum(1) + traces - 2 * cross


def _scores(sums: BlockSums, n: int, m: int) -> Tensor:
    """U-statistics in units of their own spread; 0 where they are one number but for rounding."""
    t = _u_statistic(sums, n, m)
    parts = (sums.xx / (n * (n - 1)), sums.yy / (m * (m - 1)), 2 * sums.xy / (n * m))
    rounding = ROUNDING * torch.stack(parts).abs().max()
    spread = (t - t.mean()).square().mean().sqrt()
    return torch.where(spread > rounding, (t - t.mean()) / spread, 0.0)


def _u_statistic(sums: BlockSums, n: int, m: int) -> Tensor:
    return sums.xx / (n * (n - 1)) + sums.yy / (m * (m - 1)) - 2 * sums.xy / (n * m)


def _covariance(squares: Tensor, total: Tensor, n: int) -> tuple[Tensor, Tensor]:
    mean = total / n
    return (squares - n * mean[:, :, None] * mean[:, None]) / (n - 1), mean
