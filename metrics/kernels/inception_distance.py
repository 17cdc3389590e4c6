"""Two published uses of MMD² on the features of images, each with the constants that its numbers are quoted in.

**KID** (Bińkowski et al. 2018, section 4): the U-statistic with the kernel (⟨x, y⟩/d + 1)³, as its mean over random
subsets. `mmd2(x, y, kernel=Polynomial())` is the same statistic of all points: it has the same mean, no noise of
subsets, and a standard error in `mmd2_variance`. The mean over S subsets is an incomplete U-statistic: given the points
each subset has the mean of the whole, so that

    Var(mean over subsets) = Var(whole) + E Var(subset | points)/S.

The published ± is the spread of the subsets. It is no standard error: it describes 1000 points, however many there
are, and subsets of few points overlap.

**CMMD** (Jayasumana et al. 2024, section 5): 1000 times the V-statistic with exp(−‖x − y‖²/2σ²), σ = 10, between the
embeddings of CLIP's image tower ViT-L/14 at 336 pixels, *each divided by its length*. Between unit vectors
‖x − y‖² ≤ 4 and k ≈ 1 − ‖x − y‖²/200: it sees little more than the gap between the means. The V-statistic is biased
upwards by about 1000·(E k(x, x) − E k(x, x'))(1/n + 1/m).
"""

from dataclasses import dataclass
from typing import SupportsIndex

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.inputs import check_count, check_pair, check_positive, repeatable
from metrics.kernels.kernel import Gaussian, Polynomial
from metrics.kernels.mmd import mmd2_of_tiles
from metrics.kernels.sweep import sweep
from metrics.precision import full_precision

__all__ = ["KernelInceptionDistance", "clip_mmd", "kernel_inception_distance"]


@dataclass(frozen=True)
class KernelInceptionDistance:
    """KID over random subsets, as it is published.

    Attributes:
        mean: Of the subsets' MMD²; a 0-dim tensor.
        std: Their standard deviation, divided by S and not S − 1, as published; a 0-dim tensor.
        values: MMD² of every subset, [subsets].
    """

    mean: Float[Tensor, ""]
    std: Float[Tensor, ""]
    values: Float[Tensor, " subsets"]


@torch.no_grad()
@full_precision
def kernel_inception_distance(
    x: Float[Tensor, "n d"],
    y: Float[Tensor, "m d"],
    *,
    subsets: SupportsIndex = 100,
    subset_size: SupportsIndex = 1000,
    generator: torch.Generator | None = None,
) -> KernelInceptionDistance:
    """Return KID over random subsets: the U-statistic of MMD² with the kernel (⟨x, y⟩/d + 1)³, its mean and spread.

    Args:
        x: Features of generated images, [n, d], n ≥ subset_size.
        y: Features of true ones, [m, d], m ≥ subset_size.
        subsets: S, how many pairs of subsets.
        subset_size: Points of a subset, drawn without replacement.
        generator: Draws the subsets; `None` is seeded with 0.

    Returns:
        Mean, spread and values, without a gradient. The mean is unbiased for MMD²; all points at once, with a
        standard error and in less time, are `mmd2(x, y, kernel=Polynomial())`.

    Raises:
        ValueError: Clouds that cannot be compared, or fewer points than a subset has.

    References: Bińkowski et al. 2018, "Demystifying MMD GANs", section 4; 100 subsets of 1000 are torch-fidelity's.

    >>> x, y = torch.randn(2, 300, 4, generator=torch.Generator().manual_seed(0)).unbind()
    >>> found = kernel_inception_distance(x, y, subsets=20, subset_size=100)
    >>> bool(found.mean.abs() < 0.1), found.values.shape
    (True, torch.Size([20]))
    """
    check_pair(x, y, least=2)
    count, size = check_count(subsets, "subsets"), check_count(subset_size, "subset_size", least=2)
    if size > min(len(x), len(y)):
        raise ValueError(
            f"subset_size must be at most the points of either cloud, {len(x)} and {len(y)}, got {size}; lower it"
        )
    random = repeatable(generator)
    values = []
    for _ in range(count):
        a, b = (
            cloud[torch.randperm(len(cloud), generator=random, device=random.device)[:size].to(cloud.device)]
            for cloud in (x, y)
        )
        values.append(mmd2_of_tiles(a, b, Polynomial()))
    found = torch.stack(values)
    return KernelInceptionDistance(*(t.to(x.dtype) for t in (found.mean(), found.std(correction=0), found)))


@torch.no_grad()
@full_precision
def clip_mmd(
    x: Float[Tensor, "n d"],
    y: Float[Tensor, "m d"],
    *,
    bandwidth: float | int = 10.0,
    scale: float | int = 1000.0,
) -> Float[Tensor, ""]:
    """Return CMMD: scale × the V-statistic of MMD² with exp(−‖x − y‖²/2·bandwidth²).

    Args:
        x: CLIP embeddings of generated images, [n, d], each of length 1: `torch.nn.functional.normalize(x)`.
        y: Those of true ones, [m, d].
        bandwidth: σ; published numbers have 10.
        scale: Published numbers have 1000.

    Returns:
        A 0-dim tensor, never negative, without a gradient, in the memory of a few tiles. Biased up by O(1/n + 1/m).
        Lengths other than 1 give another number, and are not refused: other embeddings than CLIP's may want them.

    Raises:
        ValueError: Clouds that cannot be compared; a bandwidth or a scale that is not above 0.

    References: Jayasumana et al. 2024, "Rethinking FID: towards a better evaluation metric for image generation",
    section 5, and their code in google-research/cmmd.

    >>> x = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> clip_mmd(x, -x)  # 1000·(2·½(1 + e^−.01) − 2·½(e^−.02 + e^−.01)) = 1000·(1 − e^−.02)
    tensor(19.8013)
    """
    check_pair(x, y)
    kernel, factor = Gaussian(check_positive(bandwidth, "bandwidth")), check_positive(scale, "scale")
    value = sweep(x, y, [kernel]).sums[0].v_statistic(own=1.0)
    return (factor * value).to(x.dtype)
