"""Central prediction intervals: how often they hold the outcome, how wide they are, and both in one proper score.

The central interval at level 1 − α runs from the α/2 to the 1 − α/2 quantile [l, u] of the predicted distribution. Its
coverage should be the level; among intervals that cover, the narrowest is best. The interval score (Winkler
1972; Gneiting & Raftery 2007, eq. 43) is proper for the pair of quantiles and charges both at once:

    S = (u − l) + (2/α)(l − y)₊ + (2/α)(y − u)₊.

From M samples of a prediction the quantile of probability p is the order statistic x_(h), h = p(M + 1), linear in
between (Hyndman & Fan 1996, definition 6): for an outcome exchangeable with the samples P(y ≤ x_(j)) =
j/(M + 1), so a calibrated prediction covers what the level says. The default of numpy and torch (definition 7) is
narrower: with 30 samples its "90 %" interval covers 84 %. h cannot leave [1, M], so M samples reach at
most (M − 1)/(M + 1); `expected` says so.
"""

import math
from dataclasses import dataclass
from typing import SupportsFloat

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from metrics.inputs import check_alike, check_fraction, check_tensor
from metrics.precision import full_precision
from metrics.predictions._scores import check_ensemble
from metrics.predictions.binning import binomial_stderr
from metrics.sorting import ascending

__all__ = ["IntervalCoverage", "interval_coverage", "interval_score"]


@dataclass(frozen=True)
class IntervalCoverage:
    """Intervals beside the outcomes; the vectors per point are kept, for standard errors and for plots.

    Attributes:
        level: The level that was asked for.
        expected: The coverage of a calibrated prediction with so many samples: the level, or (M − 1)/(M + 1) where
            the samples are too few for it.
        lower: Lower ends l, [n, ...].
        upper: Upper ends u, [n, ...].
        inside: Whether l ≤ y ≤ u, [n, ...].
        scores: Interval scores, in the units of y, [n, ...]; their mean is unbiased for these intervals.
    """

    level: float
    expected: float
    lower: Float[Tensor, "n ..."]
    upper: Float[Tensor, "n ..."]
    inside: Bool[Tensor, "n ..."]
    scores: Float[Tensor, "n ..."]

    @property
    def coverage(self) -> Float[Tensor, ""]:
        """The share of outcomes inside, from 0 to 1."""
        return self.inside.double().mean().to(self.lower.dtype)

    @property
    def coverage_stderr(self) -> Float[Tensor, ""]:
        """One binomial standard error of the coverage, positive even where all outcomes are inside."""
        count = self.inside.new_tensor(self.inside.numel(), dtype=torch.float64)
        return binomial_stderr(self.inside.double().sum(), count).to(self.lower.dtype)

    @property
    def width(self) -> Float[Tensor, ""]:
        """The mean width, in the units of y."""
        return (self.upper.double() - self.lower.double()).mean().to(self.lower.dtype)

    @property
    def score(self) -> Float[Tensor, ""]:
        """The mean interval score, in the units of y; lower is better."""
        return self.scores.double().mean().to(self.lower.dtype)


@full_precision
def interval_coverage(
    samples: Float[Tensor, "samples n ..."], y: Float[Tensor, "n ..."], *, level: SupportsFloat = 0.9
) -> IntervalCoverage:
    """Return coverage, width and score of the central intervals of samples of a prediction.

    Args:
        samples: Samples of every prediction, [samples, n, ...], as `bayessgd.predict` returns them; at least 2. For
            level 0.9, 19 or more.
        y: The outcomes, [n, ...]; every entry has an interval of its own.
        level: The nominal coverage 1 − α, between 0 and 1.

    Returns:
        `.coverage ± .coverage_stderr`, `.width` and `.score`, with what they are made of. Width and score are
        differentiable in the samples.

    Raises:
        TypeError, ValueError: Shapes, types or devices that do not match; a level outside (0, 1).

    >>> samples = torch.arange(1.0, 20.0)[:, None].expand(19, 2)
    >>> result = interval_coverage(samples, torch.tensor([3.0, 25.0]), level=0.8)
    >>> result.lower, result.upper, result.coverage
    (tensor([2., 2.]), tensor([18., 18.]), tensor(0.5000))
    """
    x, outcome = check_ensemble(samples, y, least=2)
    level = check_fraction(level, "level")
    tail = (1 - level) / 2
    ordered = ascending(x.movedim(0, -1))
    lower, upper = (_quantile(ordered, p) for p in (tail, 1 - tail))
    return IntervalCoverage(
        level=level,
        expected=min(level, (len(x) - 1) / (len(x) + 1)),
        lower=lower,
        upper=upper,
        inside=(lower <= outcome) & (outcome <= upper),
        scores=interval_score(lower, upper, outcome, level=level),
    )


@full_precision
def interval_score(
    lower: Float[Tensor, "n ..."],
    upper: Float[Tensor, "n ..."],
    y: Float[Tensor, "n ..."],
    *,
    level: SupportsFloat,
) -> Float[Tensor, "n ..."]:
    """Return the interval scores (u − l) + (2/α)(l − y)₊ + (2/α)(y − u)₊ of intervals at level 1 − α.

    Args:
        lower: Lower ends l, such as μ − 1.645σ, [n, ...].
        upper: Upper ends u ≥ l, [n, ...].
        y: The outcomes, [n, ...].
        level: The nominal coverage 1 − α, between 0 and 1.

    Raises:
        TypeError, ValueError: Shapes, types or devices that do not match; an upper end below its lower one.

    >>> interval_score(torch.zeros(2), torch.ones(2), torch.tensor([0.5, 1.5]), level=0.5)
    tensor([1., 3.])
    """
    outcome = check_tensor(y, "y", shape="[n, ...]", ndim=max(1, y.ndim if isinstance(y, Tensor) else 0))
    for end, name in ((lower, "lower"), (upper, "upper")):
        check_tensor(end, name, shape=f"{list(outcome.shape)} as y", ndim=outcome.ndim)
        if end.shape != outcome.shape:
            raise ValueError(
                f"{name} must have one entry per outcome, {list(outcome.shape)}, got {list(end.shape)}; "
                f"expand one that all outcomes share with {name}.expand_as(y)"
            )
        check_alike(end, outcome, (name, "y"))
    if bool((upper.detach() < lower.detach()).any()):
        raise ValueError("upper must not be below lower, got some that are; swap the two")
    alpha = 1 - check_fraction(level, "level")
    low, high, at = (value.double() for value in (lower, upper, outcome))
    miss = (low - at).clamp(min=0) + (at - high).clamp(min=0)
    return (high - low + 2 / alpha * miss).to(outcome.dtype)


def _quantile(ordered: Tensor, probability: float) -> Tensor:
    """Definition 6 of Hyndman & Fan (1996) along the last dimension of sorted samples."""
    count = ordered.shape[-1]
    # p(M + 1) that should be whole, such as 0.05 · 20, comes out of floating point a little off.
    position = round(probability * (count + 1), 9) - 1
    position = min(max(position, 0.0), count - 1.0)
    below = min(math.floor(position), count - 2)
    return torch.lerp(ordered[..., below], ordered[..., below + 1], position - below)
