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

With weights every mean over the points is a weighted one, and a mean over pairs of two points is
Σ_{i≠j} a_i a_j k(x_i, x_j)/(1 − Σ a_i²) (`metrics.weights`).
"""

from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.batches import Weights, batch_weights, check_batches, is_batch, over_batch
from metrics.distances import distances, euclidean
from metrics.inputs import check_pair
from metrics.kernels.gram import gram_of
from metrics.kernels.kernel import Kernel, Radial, check_kernel, median_kernel, octaves
from metrics.kernels.sums import KernelSums
from metrics.kernels.tiles import mean_between, mean_within
from metrics.precision import full_precision
from metrics.weights import apart, weighted

__all__ = [
    "mmd2",
    "mmd2_from_grams",
    "mmd2_of_tiles",
    "mmd2_variance",
    "mmd2_variance_from_grams",
]


@full_precision
def mmd2(
    x: Float[Tensor, "*#batch n d"],
    y: Float[Tensor, "*#batch m d"],
    *,
    kernel: Kernel | None = None,
    unbiased: bool = True,
    weights_x: Float[Tensor, "*#batch n"] | None = None,
    weights_y: Float[Tensor, "*#batch m"] | None = None,
) -> Float[Tensor, "*#batch"]:
    """Return the squared maximum mean discrepancy E k(X,X') + E k(Y,Y') − 2 E k(X,Y).

    Args:
        x: Samples, [n, d], n ≥ 2; or a batch of problems, [b, n, d].
        y: Samples, [m, d], m ≥ 2; or [b, m, d]. One cloud beside a batch is that of every problem.
        kernel: A callable from two clouds to their Gram matrix, such as those in `metrics.kernels`. `None`
            is a Gaussian with five bandwidths, 1/4 … 4 times the median distance in the pooled cloud, which
            is held constant in the gradient; all pairs of points with weight count alike in it. That kernel changes
            with the samples, and is each problem's own in a batch: to compare several clouds with one reference, fix
            one for all of them, for instance `Gaussian(median_heuristic(reference))`.
        unbiased: The U-statistic, which may be negative; else the V-statistic, which is not.
        weights_x: Weights of x, normalised to sum one; None is uniform. The V-statistic takes them as multiplicities,
            and equals that of repeated points; the U-statistic, Σ_{i≠j} a_i a_j k(x_i, x_j)/(1 − Σ a_i²), takes them as
            weights of independent points, and is unbiased where they do not depend on the points.
        weights_y: Weights of y.

    Returns:
        A 0-dim tensor in the kernel's units, or [b], differentiable in clouds and weights. For a kernel that is given
        and without a gradient, memory is that of a tile of 1024 × 1024 pairs; the default kernel's median needs all
        distances at once.

    Raises:
        ValueError: Clouds that cannot be compared, fewer than two points (with weight) in one, no weights.

    >>> import torch
    >>> x, y = torch.randn(2, 200, 1, generator=torch.Generator().manual_seed(0)).unbind()
    >>> bool(mmd2(x, y).abs() < 0.05), bool(mmd2(x, y + 2) > 0.5)
    (True, True)
    >>> mmd2(torch.stack([x, x + 2]), y).shape
    torch.Size([2])
    """
    kernel = None if kernel is None else check_kernel(kernel)
    one = partial(_one, kernel=kernel, unbiased=unbiased)
    if is_batch(x, y):
        u, v = check_batches(x, y, least=2)
        a, b = batch_weights(weights_x, x, u, "weights_x"), batch_weights(weights_y, y, v, "weights_y")
        shared = None
        if kernel is None or isinstance(kernel, Radial):
            shared = partial(_together, kernel=kernel, unbiased=unbiased)
        return over_batch(u, v, a, b, one=one, together=shared).to(x.dtype)
    check_pair(x, y, least=2)
    return one(x, y, weights_x, weights_y).to(x.dtype)


@full_precision
def mmd2_of_tiles(
    x: Float[Tensor, "n d"],
    y: Float[Tensor, "m d"],
    kernel: Kernel,
    *,
    unbiased: bool = True,
    a: Float[Tensor, " n"] | None = None,
    b: Float[Tensor, " m"] | None = None,
) -> Float[Tensor, ""]:
    """Return `mmd2` of a given kernel in float64, tile by tile: without a gradient, in the memory of a tile.

    The weights a and b sum to one, in float64.

    >>> import torch
    >>> from metrics.kernels import NegativeDistance
    >>> x = torch.tensor([[0.0], [1.0]])
    >>> mmd2_of_tiles(x, x + 2, NegativeDistance())
    tensor(2., dtype=torch.float64)
    """
    sides = (x, a), (y, b)
    within = sum(mean_within(cloud, kernel, unbiased=unbiased, weights=w) for cloud, w in sides)
    value = within - 2 * mean_between(x, y, kernel, a, b)
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


def mmd2_from_grams(
    kxx: Float[Tensor, "*b n n"],
    kxy: Float[Tensor, "*b n m"],
    kyy: Float[Tensor, "*b m m"],
    *,
    unbiased: bool = True,
    a: Float[Tensor, "*b n"] | None = None,
    b: Float[Tensor, "*b m"] | None = None,
) -> Float[Tensor, "*b"]:
    """Return `mmd2` from the Gram matrices within and between the clouds, or of a batch; weights sum to one.

    >>> import torch
    >>> k = torch.eye(2)
    >>> mmd2_from_grams(k, k, k), mmd2_from_grams(k, k, k, unbiased=False)
    (tensor(-1.), tensor(0.))
    """
    between = _mean(kxy.double(), a, b)
    within_x, within_y = (_within(k.double(), w, unbiased=unbiased) for k, w in ((kxx, a), (kyy, b)))
    value = within_x + within_y - 2 * between
    return (value if unbiased else value.clamp(min=0)).to(kxy.dtype)


def mmd2_variance_from_grams(
    kxx: Float[Tensor, "n n"], kxy: Float[Tensor, "n m"], kyy: Float[Tensor, "m m"]
) -> Float[Tensor, ""]:
    """Return `mmd2_variance` from the Gram matrices within and between the clouds, n ≥ 4 and m ≥ 4."""
    first, second = KernelSums.of_grams(kxx, kxy, kyy).variance_by_order()
    return (first + second).to(kxy.dtype)


def _one(x: Tensor, y: Tensor, a: Weights, b: Weights, *, kernel: Kernel | None, unbiased: bool) -> Tensor:
    (x, a), (y, b) = weighted(x, a, "weights_x", least=2), weighted(y, b, "weights_y", least=2)
    if kernel is not None:
        return mmd2_of_tiles(x, y, kernel, unbiased=unbiased, a=a, b=b)
    return mmd2_from_grams(*_grams(x, y, None, a, b), unbiased=unbiased, a=a, b=b)


def _together(
    x: Tensor, y: Tensor, a: Weights, b: Weights, *, kernel: Radial | None, unbiased: bool
) -> Float[Tensor, " b"]:
    """Of a batch of problems under a radial kernel, or under octaves around the median of each."""
    r = [euclidean(x, x), euclidean(x, y), euclidean(y, y)]
    if kernel is None:
        medians = [median_kernel(*blocks).bandwidth[2] for blocks in zip(*r, strict=True)]  # type: ignore[index]
        unit = r[0].new_tensor(medians)[:, None, None]
        r, kernel = [part / unit for part in r], octaves(1.0)
    grams = [kernel.from_distances(part.flatten(0, 1)).unflatten(0, part.shape[:2]) for part in r]
    sides = [None if w is None else w.double() for w in (a, b)]
    sides = [None if w is None else w / w.sum(1, keepdim=True) for w in sides]
    return mmd2_from_grams(*grams, unbiased=unbiased, a=sides[0], b=sides[1])


def _grams(
    x: Tensor, y: Tensor, kernel: Kernel | None, a: Weights = None, b: Weights = None
) -> tuple[Tensor, Tensor, Tensor]:
    u, v = x.double(), y.double()
    if kernel is not None and not isinstance(kernel, Radial):
        check_kernel(kernel)
        return gram_of(kernel, u, u), gram_of(kernel, u, v), gram_of(kernel, v, v)
    r = distances(u, u), distances(u, v), distances(v, v)
    radial = kernel or median_kernel(*_with_weight(r, a, b))
    return radial.from_distances(r[0]), radial.from_distances(r[1]), radial.from_distances(r[2])


def _with_weight(r: tuple[Tensor, Tensor, Tensor], a: Weights, b: Weights) -> tuple[Tensor, Tensor, Tensor]:
    """The distances between points that have weight: the others set no bandwidth."""
    if all(w is None or bool((w > 0).all()) for w in (a, b)):
        return r
    i, j = (
        torch.arange(len(k), device=k.device) if w is None else (w > 0).nonzero()[:, 0]
        for k, w in ((r[0], a), (r[2], b))
    )
    return r[0][i][:, i], r[1][i][:, j], r[2][j][:, j]


def _mean(k: Tensor, a: Weights, b: Weights) -> Tensor:
    """Σ_ij a_i b_j k_ij over the last two dimensions."""
    if a is None and b is None:
        return k.mean((-2, -1))
    rows = k.mean(-2) if a is None else (a[..., None, :] @ k)[..., 0, :]
    return rows.mean(-1) if b is None else (rows * b).sum(-1)


def _within(k: Tensor, w: Weights, *, unbiased: bool) -> Tensor:
    """The same of one cloud: of pairs of two points where unbiased."""
    if not unbiased:
        return _mean(k, w, w)
    own = k.diagonal(dim1=-2, dim2=-1)
    if w is None:
        n = k.shape[-1]
        return (k.sum((-2, -1)) - own.sum(-1)) / (n * (n - 1))
    # Where one point has nearly all weight its own pair would swallow the others.
    return _mean(k - torch.diag_embed(own), w, w) / apart(w)
