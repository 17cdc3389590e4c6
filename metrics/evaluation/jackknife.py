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

Measures of neighbours bring all halves from one search (`metrics.neighbours.subsets`); any other function is called on
each half by itself.

**Degrees of freedom.** Given the points, se² has the relative variance 2/S over splits; over points it varies as
well, by 2/ν. ν has no general value: between 500 points each of two Gaussians it is 20 or more for most measures of
`metrics.evaluation.measures`, but from 5 to 10 for precision and recall near 1, which few outliers with large balls
decide. The error counts as one with 1/(1/S + 1/ν) degrees of freedom, ν = 20; what the intervals then cover is in
`benchmarks/results/intervals.md`.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from metrics.evaluation.pair import Pair
from metrics.inputs import repeatable

__all__ = ["degrees_of_freedom", "halves", "jackknife", "spread_of_halves"]

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
    in_x, in_y = halves(*pair.sizes, splits, generator, pair.x.device)
    parts = zip(in_x, in_y, strict=True)
    return spread_of_halves(torch.stack([measure(pair.subset(*_indices(*part))).double() for part in parts]))


def halves(
    n: int, m: int, splits: int, generator: torch.Generator | None = None, device: torch.device | None = None
) -> tuple[Bool[Tensor, "s n"], Bool[Tensor, "s m"]]:
    """Return random halves of two clouds as booleans, each followed by its complement: 2·splits rows.

    >>> in_x, in_y = halves(4, 3, splits=1)
    >>> in_x.sum(1), in_y.sum(1)
    (tensor([2, 2]), tensor([2, 1]))
    """
    random = repeatable(generator)
    found: tuple[list[Tensor], list[Tensor]] = ([], [])
    for _ in range(splits):
        for rows, count in zip(found, (n, m), strict=True):
            order = torch.randperm(count, generator=random, device=random.device)
            half = torch.zeros(count, dtype=torch.bool)
            half[order[: (count + 1) // 2].cpu()] = True
            rows += [half, ~half]
    in_x, in_y = (torch.stack(rows).to(device) for rows in found)
    return in_x, in_y


def spread_of_halves(values: Float[Tensor, "s rows"]) -> Float[Tensor, " rows"]:
    """Return the standard error of every row from its values on the subsets of `halves`.

    >>> spread_of_halves(torch.tensor([[1.0], [3.0]]))
    tensor([1.])
    """
    return (values[::2] - values[1::2]).square().mean(0).sqrt() / 2


def _indices(*masks: Tensor) -> list[Tensor]:
    return [mask.nonzero()[:, 0] for mask in masks]
