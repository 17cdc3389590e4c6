"""A number of test points, and what is needed for its error and for that of a difference.

A number θ of n points comes with *terms* s, a vector whose length is its standard error, se² = Σ_i s_i². There are
two kinds:

- θ is a mean, or smooth in means (a root, a rank statistic): s_i = w_i ψ_i, with the influence ψ_i of point i (its
  own value less the mean, for a mean) and the weights w_i, which sum to 1;
- θ is a sum of absolute values, as calibration errors are, whose slope jumps where a bin's gap is 0: the s are
  half-differences (θ_A − θ_Aᶜ)/(2√R) over R balanced halves (`metrics.evaluation.predictions.halves`).

A sum of squares needs one thing more. Halves see x² as x_A² − x_Aᶜ² = 2x(x_A − x_Aᶜ), so that Σ s² estimates 4x²τ²,
whose mean is 4μ²τ² + 4τ⁴ where Var(x²) = 4μ²τ² + 2τ⁴. With the matrix M of the quadratic form between the halves'
deviations,

    se² = max(Σ_r s_r² − 2‖M‖², 2‖M‖²),      ‖M‖² = Σ_rt M_rt².

Two models' numbers on the *same* points are not independent: both are bad on the hard points. The standard error of
θ − θ' is the length of s − s', which counts what they share only once; it is often several times smaller than
√(se² + se'²), so that two models can differ clearly although their intervals overlap.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from metrics.estimate import Better, Estimate
from metrics.predictions.binning import binomial_stderr

__all__ = ["Number", "difference", "mean_number", "root_number", "undefined"]

ROUNDING = 1e-12
"""Of two numbers, the difference that sums in another order make of nothing."""


@dataclass(frozen=True)
class Number:
    """One row's number for one model.

    Attributes:
        value: θ; NaN where it is undefined.
        terms: s, float64; the same points or halves for every model.
        better: Which values are better.
        convention: What exactly was computed, in a few words.
        sizes: Predictions and outcomes, or strangers and known inputs.
        dof: Degrees of freedom of the error.
        hits: Of a share: 0 or 1 per point, so that its error is never 0; None elsewhere.
        weight: The points' weights, which sum to 1, of a share.
        floor: What a perfect model would show, with its scatter; None where there is none.
        bounded: Whether the number is a share, from 0 to 1.
        second: M of a sum of squares, [R, R]; None elsewhere.
        scatter: Of a calibration error that of its floor: a smaller error is averaged with it, as squares. Halves tell
            a small error just where they tell a small value, and intervals would cover too little.
    """

    value: float
    terms: Tensor
    better: Better
    convention: str
    sizes: tuple[int, int]
    dof: float = math.inf
    hits: Tensor | None = None
    weight: Tensor | None = None
    floor: tuple[float, float] | None = None
    bounded: bool = False
    second: Tensor | None = None
    scatter: float = 0.0

    @property
    def stderr(self) -> float:
        """One standard error; of a share Agresti and Coull's, which is never 0."""
        if self.hits is None or self.weight is None:
            own = _length(self.terms, self.second)
            return max(own, math.sqrt((own**2 + self.scatter**2) / 2))
        n = 1 / self.weight.square().sum()
        return float(binomial_stderr(self.value * n, n))

    def estimate(self) -> Estimate:
        """As the reports have it."""
        floor, scatter = self.floor if self.floor is not None else (None, None)
        return Estimate(
            value=self.value,
            stderr=self.stderr,
            better=self.better,
            convention=self.convention,
            sizes=self.sizes,
            floor=floor,
            floor_stderr=scatter,
            dof=self.dof,
            share=self.bounded,
        )


def mean_number(
    values: Tensor,
    weight: Tensor,
    better: Better,
    convention: str,
    *,
    share: bool = False,
    floor: tuple[float, float] | None = None,
) -> Number:
    """Return a weighted mean over points, without bias; of a share, values are 0 or 1.

    >>> number = mean_number(torch.tensor([1.0, 3.0]), torch.tensor([0.5, 0.5]), "lower", "")
    >>> number.value, round(number.stderr, 6)  # √2/√2
    (2.0, 1.0)
    """
    x, n = values.double(), len(values)
    mean = (weight * x).sum()
    unbiased = math.sqrt(n / (n - 1)) if n > 1 else math.nan
    terms = weight * (x - mean) * unbiased
    hits = x if share else None
    return Number(
        float(mean), terms, better, convention, (n, n), hits=hits, weight=weight, bounded=share, floor=floor
    )


def root_number(values: Tensor, weight: Tensor, better: Better, convention: str) -> Number:
    """Return the root of a weighted mean, with the error of the delta method.

    >>> root_number(torch.tensor([4.0, 4.0]), torch.tensor([0.5, 0.5]), "lower", "").value
    2.0
    """
    inner = mean_number(values, weight, better, convention)
    root = math.sqrt(inner.value)
    slope = 1 / (2 * root) if root else 0.0
    return Number(root, inner.terms * slope, better, convention, inner.sizes)


def undefined(like: Tensor, better: Better, convention: str, sizes: tuple[int, int]) -> Number:
    """Return a number that these points do not define, such as error detection without an error."""
    return Number(math.nan, torch.full_like(like, math.nan), better, convention, sizes)


def difference(one: Number, other: Number) -> Estimate:
    """Return one − other as an estimate with the paired standard error.

    Of shares it is that of Agresti & Min (2005), "Simple improved confidence intervals for comparing matched
    proportions": half a point is added to each of the four cells, so that it is never 0.
    """
    second = None
    if one.second is not None and other.second is not None:
        second = one.second - other.second
    stderr = _length(one.terms - other.terms, second)
    if one.hits is not None and other.hits is not None and one.weight is not None:
        n = float(1 / one.weight.square().sum())
        gap = (one.hits - other.hits).double()
        apart, net = n * float((one.weight * gap.abs()).sum()), n * float((one.weight * gap).sum())
        stderr = math.sqrt((apart + 1) - net**2 / (n + 2)) / (n + 2)
    value = one.value - other.value
    if max(abs(value), stderr) < ROUNDING * max(abs(one.value), abs(other.value)):
        value = stderr = 0.0
    better = one.better if isinstance(one.better, str) else "neither"
    told = f"paired difference of: {one.convention}"
    dof = min(one.dof, other.dof)
    return Estimate(value, stderr, better, told, one.sizes, dof=dof)


def _length(terms: Tensor, second: Tensor | None) -> float:
    """The standard error of terms, with what a sum of squares takes off."""
    square = terms.square().sum()
    if second is not None:
        twice = 2 * second.square().sum()
        square = torch.maximum(square - twice, twice)
    return float(square.sqrt())
