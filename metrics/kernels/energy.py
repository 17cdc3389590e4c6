"""The energy distance (Székely & Rizzo 2013, "Energy statistics: a class of statistics based on distances").

    D²(P, Q) = 2 E‖X − Y‖ − E‖X − X'‖ − E‖Y − Y'‖,   X, X' ~ P and Y, Y' ~ Q independent.

It is zero if and only if P = Q, needs no bandwidth, and is the MMD² of the kernel −‖x − y‖ (Sejdinovic et
al. 2013). In one dimension D² = 2 ∫ (F − G)² (Székely 2003), which is twice Cramér's distance.

The estimate is the V-statistic: means over all pairs, a point with itself included, so that D² of two
finite clouds is the D² of their empirical distributions and never negative. Its bias is E‖X − X'‖/n + E‖Y − Y'‖/m,
upwards; for an unbiased value take `mmd2(x, y, kernel=NegativeDistance())`. With weights the means are weighted ones:
integer weights are repeated points.

Its variance is that of a U-statistic whose means within the clouds have the factors (n − 1)/n and (m − 1)/m, exact at
every n and m as in `metrics.kernels.mmd`. D = √D² has the error of D² over 2D (delta method). At P = Q this still
holds: D² of the samples stays near its bias, of the order of 1/n as its error there, and so away from 0.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.batches import batch_weights, check_batches, is_batch, over_batch
from metrics.distances import distance_blocks, euclidean
from metrics.inputs import check_pair
from metrics.kernels.sums import KernelSums
from metrics.precision import full_precision
from metrics.weights import weighted

__all__ = [
    "energy_distance",
    "energy_of_sums",
]


@full_precision
def energy_distance(
    x: Float[Tensor, "*#batch n d"],
    y: Float[Tensor, "*#batch m d"],
    *,
    squared: bool = False,
    weights_x: Float[Tensor, "*#batch n"] | None = None,
    weights_y: Float[Tensor, "*#batch m"] | None = None,
) -> Float[Tensor, "*#batch"]:
    """Return the energy distance D of two clouds, as `scipy.stats.energy_distance` does in one dimension.

    D = √(2E‖X−Y‖ − E‖X−X'‖ − E‖Y−Y'‖), means over all pairs; on the line by sorting, in O((n + m) log(n + m)).

    Args:
        x: Samples, [n, d]; or a batch of problems, [b, n, d].
        y: Samples, [m, d]; or [b, m, d]. One cloud beside a batch is that of every problem.
        squared: Return D², in the units of x, instead of D, in their square root.
        weights_x: Weights of x, normalised to sum one; None is uniform; zeros are allowed.
        weights_y: Weights of y.

    Returns:
        A 0-dim tensor, or [b], never negative, differentiable in clouds and weights; where D = 0 its gradient is taken
        as 0. Without a gradient the memory is O(block), not O(n·m).

    Raises:
        ValueError: Clouds that cannot be compared, weights that are no weights.

    >>> energy_distance(torch.tensor([[0.0]]), torch.tensor([[2.0]]))
    tensor(2.)
    >>> x, y = torch.tensor([[0.0], [5.0]]), torch.tensor([[2.0]])
    >>> energy_distance(x, y, weights_x=torch.tensor([1.0, 0.0]))
    tensor(2.)
    """
    if is_batch(x, y):
        u, v = check_batches(x, y)
        a, b = batch_weights(weights_x, x, u, "weights_x"), batch_weights(weights_y, y, v, "weights_y")
        return _root(over_batch(u, v, a, b, one=_one, together=_together), squared=squared).to(x.dtype)
    check_pair(x, y)
    return _root(_one(x, y, weights_x, weights_y), squared=squared).to(x.dtype)


def energy_of_sums(sums: KernelSums) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Return D and its standard error from the sums of the kernel −‖x − y‖, in float64.

    >>> far, zero = torch.full((4, 4), -2.0), torch.zeros(4, 4)
    >>> energy_of_sums(KernelSums.of_grams(zero, far, zero))
    (tensor(2., dtype=torch.float64), tensor(0., dtype=torch.float64))
    """
    n, m, c = len(sums.xx), len(sums.yy), sums.centre
    between = -sums.rows.sum() / (n * m) - c
    within_x, within_y = (-(d.sum() / len(d) ** 2) - c * (len(d) - 1) / len(d) for d in (sums.xx, sums.yy))
    distance = _from_means(between, within_x, within_y, squared=False)
    slope = torch.where(distance > 0, 0.5 / distance, 1.0)
    return distance, slope * sums.shrunk().stderr()


def _one(x: Tensor, y: Tensor, a: Tensor | None, b: Tensor | None) -> Tensor:
    """D² of one problem."""
    (x, a), (y, b) = weighted(x, a, "weights_x"), weighted(y, b, "weights_y")
    x, y = x.double(), y.double()
    if x.shape[1] == 1:
        return _on_line(x[:, 0], y[:, 0], a, b)
    pairs = (x, y, a, b), (x, x, a, a), (y, y, b, b)
    between, within_x, within_y = (_mean_distance(*pair) for pair in pairs)
    return (2 * between - within_x - within_y).clamp(min=0)


def _together(x: Tensor, y: Tensor, a: Tensor | None, b: Tensor | None) -> Tensor:
    """D² of each problem of a batch."""
    x, y = x.double(), y.double()
    a, b = (None if w is None else w.double() / w.double().sum(1, keepdim=True) for w in (a, b))
    if x.shape[2] == 1:
        return _on_line(x[..., 0], y[..., 0], a, b)

    def mean(u: Tensor, v: Tensor, of_u: Tensor | None, of_v: Tensor | None) -> Tensor:
        r = euclidean(u, v)
        r = r.mean(1) if of_u is None else (of_u[:, None] @ r)[:, 0]
        return r.mean(1) if of_v is None else (r * of_v).sum(1)

    return (2 * mean(x, y, a, b) - mean(x, x, a, a) - mean(y, y, b, b)).clamp(min=0)


def _mean_distance(x: Tensor, y: Tensor, a: Tensor | None, b: Tensor | None) -> Tensor:
    """In blocks: without a gradient, memory does not grow with the product of the sizes."""
    total = x.new_zeros(())
    for start, rows in distance_blocks(x, y):
        each = rows.sum() if b is None and a is None else rows.sum(1) if b is None else rows @ b
        total = total + (each.sum() if a is None else a[start : start + len(rows)] @ each)
    return total / ((len(x) if a is None else 1) * (len(y) if b is None else 1))


def _from_means(between: Tensor, within_x: Tensor, within_y: Tensor, *, squared: bool) -> Tensor:
    # Rounding can leave a difference of equal means at −1e-17; the true value is ≥ 0.
    return _root((2 * between - within_x - within_y).clamp(min=0), squared=squared)


def _on_line(x: Tensor, y: Tensor, a: Tensor | None, b: Tensor | None) -> Tensor:
    """D² = 2 ∫ (F − G)² of the points of two clouds on the line: steps of F − G times the gaps between all points."""
    n, m = x.shape[-1], y.shape[-1]
    points, order = torch.cat([x, y], -1).sort(stable=True)
    if a is None and b is None:
        below = (order < n).cumsum(-1)[..., :-1]
        rank = torch.arange(1, n + m, device=x.device)
        # n·m(F − G) in whole numbers, so that equal distributions are at 0.
        step = (m * below - n * (rank - below)).double() / (n * m)
    else:
        a = x.new_full(x.shape, 1 / n) if a is None else a.expand(x.shape)
        b = y.new_full(y.shape, 1 / m) if b is None else b.expand(y.shape)
        step = torch.cat([a, -b], -1).gather(-1, order).cumsum(-1)[..., :-1]
    return 2 * (step.square() * points.diff()).sum(-1)


def _root(d2: Tensor, *, squared: bool) -> Tensor:
    if squared:
        return d2
    # √ has an infinite slope at 0, which times a zero slope inside is NaN: take the root of 1 there instead.
    positive = d2 > 0
    return d2.where(positive, d2.new_ones(())).sqrt() * positive
