"""FD∞: the Fréchet distance that infinitely many samples would have, from a line in 1/n.

The Fréchet distance of n samples is biased by c/n to first order, with a c that depends on the generator: a model with
a wider spread pays more, so that neither a common n nor a floor makes two models comparable (Chong & Forsyth 2020,
section 3). But the line can be seen: distances of random subsets of n_1 … n_K samples against all of the reference
lie on

    FD(n_k) = FD∞ + c/n_k,

and least squares give its intercept Σ_k w_k FD(n_k), Σ w_k = 1. Only the samples' bias goes, that of the reference's
m points stays, c'/m for all models alike: between N(0, I_d) and itself E FD∞ = d(d + 5)/4m. The line holds for n well
above d; below some 2d the next order is seen.
"""

from dataclasses import dataclass
from typing import SupportsIndex

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from metrics.gaussians.factors import mean_and_root
from metrics.gaussians.frechet import frechet_from_factors
from metrics.inputs import check_count, check_pair, repeatable
from metrics.precision import full_precision

__all__ = ["ExtrapolatedDistance", "frechet_distance_infinity"]


@dataclass(frozen=True)
class ExtrapolatedDistance:
    """FD∞ and the line that it was read from.

    Attributes:
        value: The intercept; a 0-dim tensor. It may be negative where the clouds are close.
        slope: c of FD(n) = FD∞ + c/n; a 0-dim tensor.
        sizes: How many samples each subset had, [points].
        values: Their Fréchet distances, [points].
        weights: w_k of value = Σ w_k·values_k, [points].
    """

    value: Float[Tensor, ""]
    slope: Float[Tensor, ""]
    sizes: Int64[Tensor, " points"]
    values: Float[Tensor, " points"]
    weights: Float[Tensor, " points"]


@torch.no_grad()
@full_precision
def frechet_distance_infinity(
    x: Float[Tensor, "n d"],
    y: Float[Tensor, "m d"],
    *,
    points: SupportsIndex = 15,
    least: SupportsIndex | None = None,
    generator: torch.Generator | None = None,
) -> ExtrapolatedDistance:
    """Return the Fréchet distance extrapolated to infinitely many samples by a line in 1/n.

    Args:
        x: Features of generated images, [n, d].
        y: Features of true ones, [m, d], m ≥ 3, all of them in every distance.
        points: Sizes on the line, evenly spaced from `least` to n.
        least: The smallest; `None` is n/10, as in the paper's 5000 to 50 000. Well above d it should be.
        generator: Draws a random subset of x for each size; `None` is seeded with 0.

    Returns:
        The intercept with its line, without a gradient. The bias of the reference's m points is still in it.

    Raises:
        ValueError: Clouds that cannot be compared; fewer than two points on the line, a least size that is not from 2
            to n − 1.

    References: Chong & Forsyth 2020, "Effectively unbiased FID and Inception score and where to find them", section 4.

    >>> x, y = torch.randn(2, 2000, 2, generator=torch.Generator().manual_seed(0)).unbind()
    >>> bool((frechet_distance_infinity(x + 1, y).value - 2).abs() < 0.3)
    True
    """
    check_pair(x, y, least=3)
    count, n = check_count(points, "points", least=2), len(x)
    first = max(2, n // 10) if least is None else check_count(least, "least", least=2, below=n)
    random = repeatable(generator)
    sizes = torch.linspace(first, n, count, dtype=torch.float64).round().long()
    mean_y, s = mean_and_root(y)
    values = []
    for size in sizes.tolist():
        pick = torch.randperm(n, generator=random, device=random.device)[:size].to(x.device)
        mean_x, r = mean_and_root(x[pick])
        values.append(frechet_from_factors(mean_x - mean_y, r, s))
    found, inverse = torch.stack(values), (1 / sizes.double()).to(x.device)
    gap = inverse - inverse.mean()
    along = gap / gap.square().sum()
    weights = 1 / count - inverse.mean() * along
    value, slope = (weights @ found).to(x.dtype), (along @ found).to(x.dtype)
    return ExtrapolatedDistance(value, slope, sizes, found.to(x.dtype), weights.to(x.dtype))
