"""The maximum mean discrepancy of two clouds under a kernel (Gretton et al. 2012).

    MMD²(P, Q) = E k(X, X') + E k(Y, Y') − 2 E k(X, Y),   X, X' ~ P and Y, Y' ~ Q independent,

the squared distance between the mean embeddings of P and Q. The U-statistic leaves a point's pair with
itself out (their eq. 3): it is unbiased, and therefore often negative when P = Q. The V-statistic keeps it
(their eq. 5): it is never negative for a positive definite kernel, and biased upwards by
(E k(X, X) − E k(X, X'))/n and the same for y.

The variance of the U-statistic follows from Hoeffding's decomposition. With μ(x) = E k(x, X') and ν(x) = E
k(x, Y), μ̃ and ν̃ the same seen from y, and g the doubly centred kernel (g_xx(x, x') = k(x, x') − μ(x) −
μ(x') + E μ, and so on),

    Var = (4/n) Var[μ(X) − ν(X)] + (4/m) Var[ν̃(Y) − μ̃(Y)]
        + 2 E g_xx² / n(n−1) + 2 E g_yy² / m(m−1) + 4 E g_xy² / nm.

It is exact at every n and m, and each expectation has an unbiased estimate by sums over distinct indices,
so that the estimate of the variance is itself unbiased (Bounliphone et al. 2016 and Sutherland et al. 2017
for n = m, the latter's ICLR paper, appendix A; unbiased in full in Sutherland & Deka 2019). The second line
is what is left when P = Q.
"""

from jaxtyping import Float
from torch import Tensor

from metrics.distances import distances
from metrics.inputs import check_pair
from metrics.kernels.kernel import Kernel, Radial, check_kernel, median_kernel
from metrics.kernels.sums import KernelSums
from metrics.kernels.tiles import mean_between, mean_within
from metrics.precision import full_precision

__all__ = [
    "mmd2",
    "mmd2_from_distances",
    "mmd2_from_grams",
    "mmd2_of_tiles",
    "mmd2_stderr_from_grams",
    "mmd2_variance",
    "mmd2_variance_from_grams",
]


@full_precision
def mmd2(
    x: Float[Tensor, "n d"],
    y: Float[Tensor, "m d"],
    *,
    kernel: Kernel | None = None,
    unbiased: bool = True,
) -> Float[Tensor, ""]:
    """Return the squared maximum mean discrepancy E k(X,X') + E k(Y,Y') − 2 E k(X,Y).

    Args:
        x: Samples, [n, d], n ≥ 2.
        y: Samples, [m, d], m ≥ 2.
        kernel: A callable from two clouds to their Gram matrix, such as those in `metrics.kernels`. `None`
            is a Gaussian with five bandwidths, 1/4 … 4 times the median distance in the pooled cloud, which
            is held constant in the gradient. That kernel changes with the samples: to compare several
            clouds with one reference, fix one for all of them, for instance
            `Gaussian(median_heuristic(reference))`.
        unbiased: The U-statistic, which may be negative; else the V-statistic, which is not.

    Returns:
        A 0-dim tensor in the kernel's units, differentiable. For a kernel that is given and without a gradient, memory
        is that of a tile of 1024 × 1024 pairs; the default kernel's median needs all distances at once.

    Raises:
        ValueError: Clouds that cannot be compared, or fewer than two points in one.

    >>> import torch
    >>> x, y = torch.randn(2, 200, 1, generator=torch.Generator().manual_seed(0)).unbind()
    >>> bool(mmd2(x, y).abs() < 0.05), bool(mmd2(x, y + 2) > 0.5)
    (True, True)
    """
    check_pair(x, y, least=2)
    if kernel is not None:
        return mmd2_of_tiles(x, y, check_kernel(kernel), unbiased=unbiased).to(x.dtype)
    return mmd2_from_grams(*_grams(x, y, kernel), unbiased=unbiased).to(x.dtype)


@full_precision
def mmd2_of_tiles(
    x: Float[Tensor, "n d"], y: Float[Tensor, "m d"], kernel: Kernel, *, unbiased: bool = True
) -> Float[Tensor, ""]:
    """Return `mmd2` of a given kernel in float64, tile by tile: without a gradient, in the memory of a tile.

    >>> import torch
    >>> from metrics.kernels import NegativeDistance
    >>> x = torch.tensor([[0.0], [1.0]])
    >>> mmd2_of_tiles(x, x + 2, NegativeDistance())
    tensor(2., dtype=torch.float64)
    """
    within = sum(mean_within(cloud, kernel, unbiased=unbiased) for cloud in (x, y))
    value = within - 2 * mean_between(x, y, kernel)
    return value if unbiased else value.clamp(min=0)


@full_precision
def mmd2_variance(
    x: Float[Tensor, "n d"], y: Float[Tensor, "m d"], *, kernel: Kernel | None = None
) -> Float[Tensor, ""]:
    """Return an unbiased estimate of the variance of the U-statistic `mmd2(x, y, kernel=kernel)`.

    Args:
        x: Samples, [n, d], n ≥ 4.
        y: Samples, [m, d], m ≥ 4.
        kernel: As in `mmd2`; a kernel that was fitted to the clouds counts as fixed.

    Returns:
        A 0-dim tensor in the kernel's squared units. Being unbiased it can come out negative where the
        variance is small compared to its own error, as for few points of one distribution: clamp it before a square
        root.

    Raises:
        ValueError: Clouds that cannot be compared, or fewer than four points in one.

    >>> import torch
    >>> x, y = torch.randn(2, 200, 1, generator=torch.Generator().manual_seed(0)).unbind()
    >>> bool(mmd2_variance(x, y + 2) > mmd2_variance(x, y) > 0)
    True
    """
    check_pair(x, y, least=4)
    return mmd2_variance_from_grams(*_grams(x, y, kernel)).to(x.dtype)


@full_precision
def mmd2_from_distances(
    xx: Float[Tensor, "n n"],
    xy: Float[Tensor, "n m"],
    yy: Float[Tensor, "m m"],
    *,
    kernel: Radial | None = None,
    unbiased: bool = True,
) -> Float[Tensor, ""]:
    """Return `mmd2` from the Euclidean distances within and between the clouds."""
    r = xx.double(), xy.double(), yy.double()
    radial = kernel or median_kernel(*r)
    kxx, kxy, kyy = (radial.from_distances(part) for part in r)
    return mmd2_from_grams(kxx, kxy, kyy, unbiased=unbiased).to(xy.dtype)


def mmd2_from_grams(
    kxx: Float[Tensor, "n n"], kxy: Float[Tensor, "n m"], kyy: Float[Tensor, "m m"], *, unbiased: bool = True
) -> Float[Tensor, ""]:
    """Return `mmd2` from the Gram matrices within and between the clouds.

    >>> import torch
    >>> k = torch.eye(2)
    >>> mmd2_from_grams(k, k, k), mmd2_from_grams(k, k, k, unbiased=False)
    (tensor(-1.), tensor(0.))
    """
    a, b, c = kxx.double(), kxy.double(), kyy.double()
    if not unbiased:
        return (a.mean() + c.mean() - 2 * b.mean()).clamp(min=0).to(kxy.dtype)
    return (_mean_of_pairs(a) + _mean_of_pairs(c) - 2 * b.mean()).to(kxy.dtype)


def mmd2_variance_from_grams(
    kxx: Float[Tensor, "n n"], kxy: Float[Tensor, "n m"], kyy: Float[Tensor, "m m"]
) -> Float[Tensor, ""]:
    """Return `mmd2_variance` from the Gram matrices within and between the clouds, n ≥ 4 and m ≥ 4."""
    first, second = KernelSums.of_grams(kxx, kxy, kyy).variance_by_order()
    return (first + second).to(kxy.dtype)


def mmd2_stderr_from_grams(
    kxx: Float[Tensor, "n n"], kxy: Float[Tensor, "n m"], kyy: Float[Tensor, "m m"]
) -> Float[Tensor, ""]:
    """Return the root of `mmd2_variance_from_grams`, whose two orders are each taken as 0 where they come out below.

    Near P = Q the first order is 0 and its unbiased estimate as often negative as not: cut off at 0 it errs to the
    safe side, and the second order, which is never small there, keeps the error above 0.

    The three kernels need not be one: with factors before them it is the error of any combination of the three means.

    >>> import torch
    >>> mmd2_stderr_from_grams(torch.eye(4), torch.zeros(4, 4), torch.eye(4))
    tensor(0.)
    """
    return KernelSums.of_grams(kxx, kxy, kyy).stderr().to(kxy.dtype)


def _grams(x: Tensor, y: Tensor, kernel: Kernel | None) -> tuple[Tensor, Tensor, Tensor]:
    a, b = x.double(), y.double()
    if kernel is not None and not isinstance(kernel, Radial):
        check_kernel(kernel)
        return kernel(a, a), kernel(a, b), kernel(b, b)
    r = distances(a, a), distances(a, b), distances(b, b)
    radial = kernel or median_kernel(*r)
    return radial.from_distances(r[0]), radial.from_distances(r[1]), radial.from_distances(r[2])


def _mean_of_pairs(k: Tensor) -> Tensor:
    n = len(k)
    return (k.sum() - k.diagonal().sum()) / (n * (n - 1))
