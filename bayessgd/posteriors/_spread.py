"""Systematic sampling: n picks that follow given weights as closely as n picks can."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from metrics.inputs import check_generator

__all__ = ["spread"]


def spread(weights: Float[Tensor, " m"], n: int, *, generator: torch.Generator | None) -> Int[Tensor, " n"]:
    """Return n indices in ascending order, index i at least ⌊n wᵢ⌋ and at most ⌈n wᵢ⌉ times.

    One uniform u places the points (j + u)/n, j = 0 … n−1, on the cumulative weights (systematic
    sampling; Kitagawa 1996, appendix). Index i is expected exactly n·wᵢ times, so means over the picks are
    unbiased, with less noise than independent picks have; with n equal weights every index is picked once,
    whatever u is.
    """
    check_generator(generator)
    device = weights.device if generator is None else generator.device
    u = torch.rand((), dtype=torch.float64, device=device, generator=generator).to(weights.device)
    # A hair's breadth inside the strata: a bound that rounding moved must not skip one member for another.
    u = u.clamp(1e-6, 1 - 1e-6)
    points = (torch.arange(n, dtype=torch.float64, device=weights.device) + u) / n
    bounds = (weights.double() / weights.double().sum()).cumsum(0)
    return torch.searchsorted(bounds, points).clamp(max=len(weights) - 1)
