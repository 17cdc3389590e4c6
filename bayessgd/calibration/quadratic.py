r"""In how many directions of a span the quadratic holds that its curvature describes.

A draw of N(0, A⁻¹) within K directions has an excess U(m ± δ) − U(m) of ½χ²_K, K/2 nats in the mean, where U is the
quadratic. The check is

    r = mean excess / (K/2)

over pairs of draws. Far above 1, U rises faster than the quadratic says as far out as the flattest directions reach:
they are dropped, the flattest first, until r ≤ 3.

A slope g of U at m cancels from the pairs. Their differences show it: ½[U(m + δ) − U(m − δ)] has the mean square
gᵀA⁻¹g, and the minimum of the quadratic lies at m − A⁻¹g, so that

    shift = √(gᵀA⁻¹g / K)

is how far off the mean is, in posterior deviations, root mean square over the directions. Of n data among N the part's
own minimum scatters by √(N/n − 1) of them.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from bayessgd.calibration.curvature import Curvature
from bayessgd.calibration.problem import Problem
from bayessgd.posteriors import LowRankGaussian
from bayessgd.posteriors.base import randn

__all__ = ["LIMIT", "Check", "believed"]

LIMIT = 3.0
"""The largest r at which the quadratic is believed; LeNet-5 on 10 000 images of MNIST has 2 to 3 and gains."""

PROPER = 1e-12
"""Directions whose λ is below this share of the largest have no width that data and prior know."""


ENOUGH = 300
"""Directions times pairs of draws at which r has an error of 8 %: √(2/300)."""


@dataclass(frozen=True)
class Check:
    """K directions kept, and the even and odd changes of U over pairs of draws within them, [pairs] each.

    >>> check = Check(2, torch.tensor([0.5, 1.5]), torch.tensor([-2.0, 2.0]))
    >>> check.ratio, check.effective, round(check.shift, 3)
    (1.0, 4.0, 1.414)
    """

    kept: int
    excess: Tensor
    odd: Tensor

    @property
    def ratio(self) -> float:
        """The mean excess over K/2; NaN where no direction was kept."""
        return float(self.excess.mean()) / (self.kept / 2) if self.kept else math.nan

    @property
    def stderr(self) -> float:
        """One standard error of the ratio, over the draws."""
        return (
            float(self.excess.std()) / math.sqrt(len(self.excess)) / (self.kept / 2)
            if self.kept
            else math.nan
        )

    @property
    def shift(self) -> float:
        """How far off the mean is, in posterior deviations; NaN where no direction was kept."""
        return math.sqrt(float(self.odd.square().mean()) / self.kept) if self.kept else math.nan

    @property
    def effective(self) -> float:
        """γ = 2·mean²/var: how many directions carry the excess."""
        return 2 * float(self.excess.mean()) ** 2 / float(self.excess.var()) if self.kept else 0.0


def believed(
    problem: Problem,
    posterior: LowRankGaussian,
    curvature: Curvature,
    *,
    pairs: int,
    generator: torch.Generator | None,
) -> Check:
    """Return the largest number of directions, from the stiffest on, at which r ≤ 3: by bisection.

    Args:
        problem: The data.
        posterior: Its mean is m.
        curvature: Within the span.
        pairs: The most pairs of draws; fewer where the directions are many.
        generator: The randomness of the draws.
    """
    changes = problem.changes(posterior.mean)
    pairs = max(2, min(pairs, -(-ENOUGH // len(curvature.values))))
    proper = int((curvature.values > PROPER * curvature.values[0].clamp(min=0)).sum())
    like = next(iter(posterior.mean.values()))
    z = randn((pairs, len(curvature.values)), like, generator)

    def check(kept: int) -> Check:
        if not kept:
            return Check(0, *torch.zeros(2, pairs, dtype=torch.float64))
        along = z[:, :kept] / curvature.values[:kept].sqrt().to(z)
        basis = curvature.span.first(kept).basis
        return Check(kept, *changes({name: torch.tensordot(along.to(v), v, 1) for name, v in basis.items()}))

    found, low, high = check(proper), 0, proper
    if _holds(found):
        return found
    best = check(0)
    while high - low > 1:  # `low` directions hold, `high` do not
        middle = (low + high) // 2
        found = check(middle)
        if _holds(found):
            low, best = middle, found
        else:
            high = middle
    return best


def _holds(check: Check) -> bool:
    return check.kept == 0 or check.ratio <= LIMIT  # NaN and infinity do not hold
