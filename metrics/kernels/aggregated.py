"""MMDAgg: a two-sample test of many kernels at once, at the level of one (Schrab et al. 2023, JMLR 24, algorithm 1).

A kernel sees differences of the size of its bandwidth, and nobody knows that size beforehand: the median distance often
misses it, and a bandwidth chosen on the same data loses the level. The aggregated test takes a collection of kernels k
with weights w_k, Σ w_k = 1, and rejects where any of them does at a level of its own,

    p_k ≤ u_α w_k,    u_α = sup{u : P(min_k p_k/w_k ≤ u) ≤ α}  under P = Q,

where u_α is above the α of Bonferroni, since the p_k depend on each other. Both the p_k and their joint distribution
come from B relabellings of the same points. Put the other way round: with S_b = min_k p_k(b)/w_k of relabelling b, and
p_k(b) its rank among all B + 1 under kernel k,

    p = #{b : S_b ≤ S_0}/(B + 1)   is at most α exactly where the test of level α rejects.

The S_b are exchangeable under P = Q, so that P(p ≤ α) ≤ α at every n and B. (The authors take a second set of
relabellings for u_α; one set gives an exact test as well, and a p-value.) Ranks are multiples of 1/(B + 1), of which
many kernels use up several: B should be some thousand.

Relabellings are permutations of the pooled points, under which the statistic is the U-statistic of MMD²; for n = m they
are exchanges of x_i with y_i, each with chance ½ (the wild bootstrap with Rademacher signs r),

    T = Σ_{i≠j} r_i r_j (k(x_i, x_j) + k(y_i, y_j) − k(x_i, y_j) − k(y_i, x_j)),

which takes a quarter of the time.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import SupportsIndex

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.distances import product_distances
from metrics.inputs import check_count, check_pair, check_positive, repeatable
from metrics.kernels.gram import gram_of
from metrics.kernels.kernel import Gaussian, Kernel, Radial, check_kernel
from metrics.precision import full_precision

__all__ = ["AggregatedTest", "ProductLaplace", "aggregated_mmd_test", "kernel_collection"]

LOOKED_AT = 1000
"""Points of the pooled cloud whose distances set the range of the bandwidths."""

BLOCK = 2**21
"""Entries of a block of a kernel matrix: 16 MiB."""


@dataclass(frozen=True)
class ProductLaplace:
    """k = exp(−‖x − y‖₁/b), the product over columns of exp(−|x_i − y_i|/b).

    >>> ProductLaplace(2.0)(torch.zeros(1, 2), torch.ones(1, 2))
    tensor([[0.3679]])
    """

    bandwidth: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "bandwidth", check_positive(self.bandwidth, "bandwidth"))

    def __call__(self, x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
        """Return the Gram matrix of two clouds."""
        return torch.exp(-torch.cdist(x, y, p=1) / self.bandwidth)


@dataclass(frozen=True)
class AggregatedTest:
    """The outcome of `aggregated_mmd_test`.

    Attributes:
        p_value: Of the aggregated test; a 0-dim tensor.
        p_values: Of every kernel by itself, [kernels]: not corrected for their number.
        kernels: The collection.
        weights: Theirs, [kernels].
    """

    p_value: Float[Tensor, ""]
    p_values: Float[Tensor, " kernels"]
    kernels: tuple[Kernel, ...]
    weights: Float[Tensor, " kernels"]

    @property
    def kernel(self) -> Kernel:
        """The kernel that tells the clouds apart best, by p_k/w_k."""
        return self.kernels[int((self.p_values / self.weights).argmin())]


@torch.no_grad()
def kernel_collection(
    x: Float[Tensor, "n d"], y: Float[Tensor, "m d"], *, bandwidths: SupportsIndex = 10
) -> tuple[Kernel, ...]:
    """Return Laplace kernels of ‖x − y‖₁ and Gaussian ones, with bandwidths in geometric steps.

    From half the 5 % quantile of the positive distances between pooled points to twice the largest one, each in the
    kernel's own norm; a Gaussian exp(−r²/λ²) of λ has the bandwidth λ/√2. Permuting the labels does not change them.

    >>> kernels = kernel_collection(torch.zeros(2, 1), torch.ones(2, 1), bandwidths=3)
    >>> [round(float(kernel.bandwidth), 2) for kernel in kernels]
    [0.5, 1.0, 2.0, 0.35, 0.71, 1.41]
    """
    check_pair(x, y)
    bandwidths = check_count(bandwidths, "bandwidths", least=2)
    pooled = torch.cat([x, y]).double()
    order = torch.randperm(len(pooled), generator=torch.Generator().manual_seed(0))
    some = pooled[order[:LOOKED_AT].to(pooled.device)]
    found: list[Kernel] = []
    for p in (1, 2):
        r = torch.cdist(some, some, p=p).flatten()
        r = r[r > 0].sort().values
        low, high = (float(r[int(0.05 * len(r))]) / 2, 2 * float(r[-1])) if len(r) else (0.5, 2.0)
        steps = [low * (high / low) ** (i / (bandwidths - 1)) for i in range(bandwidths)]
        found += [ProductLaplace(b) if p == 1 else Gaussian(b / 2**0.5) for b in steps]
    return tuple(found)


@torch.no_grad()
@full_precision
def aggregated_mmd_test(
    x: Float[Tensor, "n d"],
    y: Float[Tensor, "m d"],
    *,
    kernels: Sequence[Kernel] | None = None,
    weights: Sequence[float] | None = None,
    relabellings: SupportsIndex = 1999,
    generator: torch.Generator | None = None,
) -> AggregatedTest:
    """Test whether two clouds come from one distribution, by MMD² with many kernels at once (MMDAgg).

    Args:
        x: Samples, [n, d], n ≥ 2.
        y: Samples, [m, d], m ≥ 2.
        kernels: Fixed beforehand, or a symmetric function of the pooled points; `None` is `kernel_collection(x, y)`.
        weights: Of the kernels, positive, normalised to sum one; `None` is uniform.
        relabellings: B, at least 20 for each kernel is sensible; the least p-value is 1/(B + 1).
        generator: For the relabellings; `None` is seeded with 0.

    Returns:
        p-values without a gradient. The time is that of B products with each of K kernel matrices, O(B·K·(n + m)²), a
        quarter for n = m; memory is O(B·(n + m)) and that of a block of a matrix.

    Raises:
        TypeError, ValueError: Clouds that cannot be compared, no kernels, weights that are no weights.

    References: Schrab et al. 2023, algorithm 1, with one set of relabellings.

    >>> x, y = torch.randn(2, 100, 1, generator=torch.Generator().manual_seed(0)).unbind()
    >>> float(aggregated_mmd_test(x, y).p_value) > 0.05, float(aggregated_mmd_test(x, y + 1).p_value) < 0.01
    (True, True)
    """
    check_pair(x, y, least=2)
    count = check_count(relabellings, "relabellings")
    chosen = kernel_collection(x, y) if kernels is None else tuple(check_kernel(k) for k in kernels)
    if not chosen:
        raise ValueError(
            "kernels must hold at least one, got none; pass None for the collection of the paper"
        )
    w = _checked_weights(weights, len(chosen)).to(x.device)
    random = repeatable(generator)
    a, b = x.double(), y.double()
    statistics = (_exchanged if len(a) == len(b) else _permuted)(a, b, chosen, count, random)
    p_values = _ranks(statistics)
    least = (p_values / w[:, None]).amin(0)
    # Ratios that are equal but for rounding count as equal.
    p_value = (least <= least[0] * (1 + 1e-12)).double().mean()
    return AggregatedTest(p_value.to(x.dtype), p_values[:, 0].to(x.dtype), chosen, w.to(x.dtype))


def _checked_weights(weights: Sequence[float] | None, count: int) -> Tensor:
    w = torch.ones(count).double() if weights is None else torch.tensor([float(v) for v in weights]).double()
    if w.shape != (count,) or not bool((w > 0).all() and w.isfinite().all()):
        raise ValueError(f"weights must be {count} positive numbers, one for each kernel, got {weights}")
    return w / w.sum()


def _ranks(statistics: Float[Tensor, "kernels b"]) -> Float[Tensor, "kernels b"]:
    """Every statistic's p-value: the share of its kernel's statistics that are at least as large."""
    # Equal statistics may differ in rounding; counting them as at least as large is the safe side.
    slack = 1e-12 * statistics.abs().amax(1, keepdim=True)
    below = torch.searchsorted(statistics.sort(1).values, statistics - slack)
    return 1 - below.double() / statistics.shape[1]


def _exchanged(
    x: Tensor, y: Tensor, kernels: Sequence[Kernel], count: int, random: torch.Generator
) -> Tensor:
    """[kernels, 1 + count] statistics of exchanges of x_i and y_i, none exchanged first."""
    n = len(x)
    coins = torch.randint(2, (count + 1, n), generator=random, device=random.device).to(x) * 2 - 1
    coins[0] = 1
    found = x.new_zeros(len(kernels), count + 1)
    for rows in _row_blocks(n, n):
        parts = zip(
            _grams(kernels, x[rows], x),
            _grams(kernels, y[rows], y),
            _grams(kernels, x[rows], y),
            _grams(kernels, y[rows], x),
            strict=True,
        )
        for k, (xx, yy, xy, yx) in enumerate(parts):
            h = xx + yy - xy - yx
            h[:, rows].fill_diagonal_(0)
            found[k] += ((coins[:, rows] @ h) * coins).sum(1)
    return found / (n * (n - 1))


def _permuted(x: Tensor, y: Tensor, kernels: Sequence[Kernel], count: int, random: torch.Generator) -> Tensor:
    """[kernels, 1 + count] U-statistics of permutations of the pooled points, the true labels first."""
    n, m, pooled = len(x), len(y), torch.cat([x, y])
    order = torch.rand(count + 1, n + m, generator=random, device=random.device).argsort(1).to(x.device)
    order[0] = torch.arange(n + m)
    labels = (order < n).to(x)
    xx, totals = x.new_zeros(len(kernels), count + 1), x.new_zeros(len(kernels), n + m)
    for rows in _row_blocks(n + m, n + m):
        for k, gram in enumerate(_grams(kernels, pooled[rows], pooled)):
            gram[:, rows].fill_diagonal_(0)
            totals[k, rows] = gram.sum(1)
            xx[k] += ((labels[:, rows] @ gram) * labels).sum(1)
    xy = totals @ labels.T - xx
    yy = totals.sum(1, keepdim=True) - xx - 2 * xy
    return xx / (n * (n - 1)) + yy / (m * (m - 1)) - 2 * xy / (n * m)


def _row_blocks(rows: int, columns: int) -> list[slice]:
    height = max(1, BLOCK // columns)
    return [slice(start, start + height) for start in range(0, rows, height)]


def _grams(kernels: Sequence[Kernel], a: Tensor, b: Tensor) -> Iterator[Tensor]:
    """One kernel's matrix after another's; those of one norm share their distances."""
    euclidean = manhattan = None
    for kernel in kernels:
        if isinstance(kernel, Radial):
            euclidean = product_distances(a, b) if euclidean is None else euclidean
            yield kernel.from_distances(euclidean)
        elif isinstance(kernel, ProductLaplace):
            manhattan = torch.cdist(a, b, p=1) if manhattan is None else manhattan
            yield torch.exp(manhattan / -kernel.bandwidth)
        else:
            yield gram_of(kernel, a, b).clone()
