"""The delete-half jackknife: a standard error for any measure of two clouds, smooth or not.

Both clouds are split at random into halves, A and Aᶜ. A measure of the one and the same measure of the other are
independent and of one distribution, whatever the measure is, so that (θ_A − θ_Aᶜ)²/2 is an unbiased estimate of the
variance at half the sizes. That of a mean, and of anything that spreads like one, is twice the variance at the full
sizes:

    se² = (1/4S) Σ_s (θ_A(s) − θ_Aᶜ(s))²    over S random splits.

It is the jackknife that deletes d = n/2 points (Shao & Wu 1989, eq. 2.3, with the complement in place of the mean).
A jackknife that deletes few points asks how the measure changes when they go, and is right only where that change is
the sum of their influences: of nearest neighbours it is not, since a deleted point changes which point is the nearest
of others. Such errors come out up to twice too large, and with single points at medians it is not even consistent.
Here nothing is asked of the measure but that its variance falls like 1/n. At P = Q a squared distance has a variance
that falls like 1/n²: the error is then √2 times too large.

Half of a pair costs a quarter of its distances, none of which is computed again.

**Degrees of freedom.** Given the points, se² has the relative variance 2/S over splits; over points it varies as
well, by 2/ν. ν has no general value: between 500 points each of two Gaussians it is 20 or more for most measures of
`metrics.evaluation.measures`, but from 5 to 10 for precision and recall near 1, which few outliers with large balls
decide. The error counts as one with 1/(1/S + 1/ν) degrees of freedom, ν = 20; what the intervals then cover is in
`benchmarks/results/intervals.md`.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.evaluation.pair import Pair

__all__ = ["degrees_of_freedom", "jackknife"]

OVER_POINTS = 20
"""ν, the degrees of freedom that infinitely many splits would leave."""


def degrees_of_freedom(splits: int) -> float:
    """Return 1/(1/S + 1/ν), ν = 20, for S splits.

    >>> degrees_of_freedom(20)
    10.0
    """
    return 1 / (1 / splits + 1 / OVER_POINTS)


def jackknife(
    measure: Callable[[Pair], Float[Tensor, " rows"]],
    pair: Pair,
    *,
    splits: int = 40,
    generator: torch.Generator | None = None,
) -> Float[Tensor, " rows"]:
    """Return the delete-half jackknife's standard error of every row of a measure.

    Args:
        measure: From a pair of clouds to a tensor [rows].
        pair: The clouds; at least two points in each.
        splits: S; they add 1/√(2S) to the error's own relative error.
        generator: For the splits; `None` is seeded with 0.

    >>> y = torch.randn(400, 1, generator=torch.Generator().manual_seed(0))
    >>> mean = lambda pair: pair.x.mean(0)
    >>> bool((jackknife(mean, Pair(y, y)) - 1 / 400**0.5).abs() < 0.02)  # the standard error of a mean
    True
    """
    random = generator if generator is not None else torch.Generator().manual_seed(0)
    squares = []
    for _ in range(splits):
        one, other = (measure(half).double() for half in _halves(pair, random))
        squares.append((one - other).square())
    return torch.stack(squares).mean(0).sqrt() / 2


def _halves(pair: Pair, random: torch.Generator) -> tuple[Pair, Pair]:
    (i, k), (j, l) = (
        torch.randperm(len(cloud), generator=random, device=random.device).to(cloud.device).tensor_split(2)
        for cloud in (pair.x, pair.y)
    )
    return pair.subset(i, j), pair.subset(k, l)
