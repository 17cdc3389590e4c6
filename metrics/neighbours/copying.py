"""C_T: are samples nearer to the training data than held-out data are?

The three-sample test of Meehan, Chaudhuri & Dasgupta (2020). Let L(s) be the distance to the nearest training point. A
model that copies has L(sample) below L(held-out), one that underfits above. Space is cut into cells by k-means of the
training points, so that copying in one region and underfitting in another do not cancel, and in every cell π the
Mann–Whitney statistic of the m samples and n held-out points

    U = #{(s, h) : L(s) > L(h)} + ½ #{L(s) = L(h)},    Z = (U − mn/2)/√(mn(m + n + 1)/12)

is about N(0, 1) where samples and held-out points have one distribution (their section 3.1). With w(π) the held-out
share of the cell among those cells that hold enough samples,

    C_T = Σ_π w(π) Z(π),     Var C_T = Σ_π w(π)²   under that hypothesis.

Far below 0 the model copies, far above it underfits. Ties shrink the variance of U, which is told here by its usual
correction; the authors' code has none, and adds a continuity correction of ½ to U.
"""

from dataclasses import dataclass
from typing import SupportsIndex

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.inputs import check_count, check_pair, repeatable
from metrics.neighbours.search import kth_neighbour
from metrics.precision import full_precision

__all__ = ["DataCopyingTest", "data_copying_test", "mann_whitney_z"]

ENOUGH = 20
"""Samples that a cell must hold to count."""


@dataclass(frozen=True)
class DataCopyingTest:
    """The outcome of the three-sample test of data copying; tensors.

    Attributes:
        statistic: C_T: far below 0 for copies, far above 0 for samples that are far from the data.
        stderr: Its standard deviation where samples and held-out points have one distribution.
        p_value: Φ(C_T/stderr), small for a model that copies.
        cells: Z of every cell, NaN where it holds too few samples, [cells].
        weights: The held-out share of every cell that counts, summing to one, [cells].
    """

    statistic: Float[Tensor, ""]
    stderr: Float[Tensor, ""]
    p_value: Float[Tensor, ""]
    cells: Float[Tensor, " cells"]
    weights: Float[Tensor, " cells"]


@torch.no_grad()
@full_precision
def data_copying_test(
    samples: Float[Tensor, "m d"],
    *,
    train: Float[Tensor, "k d"],
    held_out: Float[Tensor, "n d"],
    cells: SupportsIndex = 3,
    generator: torch.Generator | None = None,
) -> DataCopyingTest:
    """Test whether samples are nearer to the training points than held-out points are: C_T and its p-value.

    Args:
        samples: What the model drew, [m, d].
        train: What it was trained on, [k, d].
        held_out: Points of the same distribution that it has not seen, [n, d], in the same features.
        cells: Cells of the k-means of the training points; 1 is the global test.
        generator: Seeds the k-means; `None` is seeded with 0.

    Returns:
        C_T with its deviation and one-sided p-value from the normal limit, and the cells. Those that hold fewer than 20
        samples do not count. None is differentiable.

    Raises:
        ValueError: Clouds that cannot be compared, more cells than training points, a cell without held-out points, no
            cell with enough samples.

    References: Meehan, Chaudhuri & Dasgupta 2020, "A non-parametric test to detect data-copying in generative
    models", sections 3.1 and 3.2.

    >>> train, held = torch.randn(2, 200, 2, generator=torch.Generator().manual_seed(0)).unbind()
    >>> found = data_copying_test(train + 1e-3, train=train, held_out=held)
    >>> bool(found.statistic < -5), bool(found.p_value < 1e-6)
    (True, True)
    """
    check_pair(samples, train, ("samples", "train"))
    check_pair(samples, held_out, ("samples", "held_out"))
    count = check_count(cells, "cells", below=len(train) + 1)
    in_train, in_samples, in_held = _cells(count, generator, train, samples, held_out)
    near = kth_neighbour(samples, train, 1)[0], kth_neighbour(held_out, train, 1)[0]
    z, share = near[0].new_full((count,), torch.nan), near[0].new_zeros(count)
    for cell in range(count):
        a, b = near[0][in_samples == cell], near[1][in_held == cell]
        if len(a) < ENOUGH:
            continue
        if not len(b):
            raise ValueError(
                f"held_out must have points in every cell with samples, got none in cell {cell} with {len(a)} samples "
                f"and {int((in_train == cell).sum())} training points; lower cells"
            )
        z[cell], share[cell] = mann_whitney_z(a, b), len(b) / len(held_out)
    if not bool(share.any()):
        raise ValueError(
            f"samples must number at least {ENOUGH} in some cell, got {len(samples)} in {count} cells; "
            "draw more, or lower cells"
        )
    w = share / share.sum()
    statistic, stderr = (w * z.nan_to_num()).sum(), w.square().sum().sqrt()
    found = statistic, stderr, torch.special.ndtr(statistic / stderr), z, w
    return DataCopyingTest(*(t.to(samples.dtype) for t in found))


def mann_whitney_z(a: Float[Tensor, " m"], b: Float[Tensor, " n"]) -> Float[Tensor, ""]:
    """Return (U − mn/2)/√Var U of U = #{a > b} + ½ #{a = b}, with the variance that ties leave; 0 where all are equal.

    >>> mann_whitney_z(torch.tensor([3.0, 4.0]), torch.tensor([1.0, 2.0]))  # (4 − 2)/√(4·5/12)
    tensor(1.5492, dtype=torch.float64)
    """
    m, n, total = len(a), len(b), len(a) + len(b)
    ordered = b.contiguous().sort().values
    below = torch.searchsorted(ordered, a.contiguous())
    up_to = torch.searchsorted(ordered, a.contiguous(), right=True)
    u = (below + up_to).double().sum() / 2
    ties = torch.cat([a, b]).unique(return_counts=True)[1].double()
    lost = (ties**3 - ties).sum() / (total * (total - 1))
    variance = m * n / 12 * (total + 1 - lost)
    return torch.where(variance > 0, (u - m * n / 2) / variance.clamp(min=1e-300).sqrt(), 0.0)


def _cells(count: int, generator: torch.Generator | None, train: Tensor, *others: Tensor) -> list[Tensor]:
    """The cell of every point of some clouds, by k-means of the training points."""
    random = repeatable(generator)
    seed = int(torch.randint(2**31, (), generator=random, device=random.device))
    if count == 1:
        return [torch.zeros(len(c), dtype=torch.int64, device=c.device) for c in (train, *others)]
    from sklearn.cluster import KMeans

    means = KMeans(count, n_init=10, random_state=seed)  # pyright: ignore[reportArgumentType]
    means.fit(train.detach().double().cpu().numpy())
    centres = torch.from_numpy(means.cluster_centers_).to(train.device)
    return [kth_neighbour(c.double(), centres, 1)[1] for c in (train, *others)]
