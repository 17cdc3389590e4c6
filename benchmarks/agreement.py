"""How near a sampler's means and standard deviations are to the truth, with the errors of both.

With draws z of one coordinate, effective sizes n₁ of z and n₂ of (z − z̄)² (`metrics.chains`), V the variance of z and W
that of (z − z̄)², the standard errors are

    mean: √(V/n₁),        standard deviation: √(W/n₂) / (2√V)        by the delta method.

The two sizes differ: with an autocorrelation ρ per draw the squares have ρ², so that slow chains know the width better
than the mean, and chains whose draws alternate around the mean, as NUTS's do, the mean better than the width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from metrics.chains import effective_sample_size, monte_carlo_error

__all__ = ["Agreement", "Moments", "compare", "moments"]


@dataclass(frozen=True)
class Moments:
    """Mean and standard deviation of every coordinate [p] and their standard errors; 0 where they are exact.

    Attributes:
        mean: The means.
        std: The standard deviations.
        mean_error: Of the means.
        std_error: Of the standard deviations.
        effective: Effective draws of the mean and of the standard deviation, each the smallest over the coordinates.
    """

    mean: Tensor
    std: Tensor
    mean_error: Tensor
    std_error: Tensor
    effective: tuple[float, float]

    @classmethod
    def exact(cls, mean: Tensor, std: Tensor) -> "Moments":
        """Known without draws."""
        return cls(mean, std, torch.zeros_like(mean), torch.zeros_like(std), (torch.inf, torch.inf))


def moments(draws: Tensor) -> Moments:
    """Of draws [chains, draws, p].

    >>> found = moments(torch.randn(4, 1000, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    >>> bool((found.mean_error - 4000**-0.5).abs() < 0.002), bool((found.std_error - 8000**-0.5).abs() < 0.002)
    (True, True)
    """
    flat = draws.flatten(0, 1)
    mean, std = flat.mean(0), flat.std(0)
    squares = (draws - mean).square()
    first, second = (float(effective_sample_size(t).min()) for t in (draws, squares))
    std_error = monte_carlo_error(squares) / (2 * std)
    return Moments(mean, std, monte_carlo_error(draws), std_error, (first, second))


@dataclass(frozen=True)
class Agreement:
    """Differences of means in the truth's standard deviations, ratios of standard deviations, and their errors."""

    shifts: Tensor
    shift_errors: Tensor
    ratios: Tensor
    ratio_errors: Tensor

    def worst_shift(self, *, among: slice = slice(None)) -> str:
        """Return the largest difference ± its standard error."""
        shifts = self.shifts[among]
        worst = int(shifts.abs().argmax())
        return f"{float(shifts[worst]):+.3f} ± {float(self.shift_errors[among][worst]):.3f}"

    def worst_ratio(self, *, among: slice = slice(None)) -> str:
        """Return the ratio farthest from 1 ± its standard error."""
        ratios = self.ratios[among]
        worst = int((ratios - 1).abs().argmax())
        return f"{float(ratios[worst]):.3f} ± {float(self.ratio_errors[among][worst]):.3f}"


def compare(found: Moments, truth: Moments) -> Agreement:
    """Return how far `found` is from the truth; the two errors add in squares."""
    shift_errors = torch.hypot(found.mean_error, truth.mean_error) / truth.std
    relative = torch.hypot(found.std_error / found.std, truth.std_error / truth.std)
    ratios = found.std / truth.std
    return Agreement((found.mean - truth.mean) / truth.std, shift_errors, ratios, ratios * relative)
