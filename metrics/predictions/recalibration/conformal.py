"""Conformal prediction: sets and intervals whose coverage is guaranteed, whatever the model is worth.

n validation points and a new one that are exchangeable have scores s_1 … s_{n+1}, each as likely as any to be the
largest. With q the ⌈(n + 1)·level⌉-th smallest of the first n,

    level ≤ P(s_{n+1} ≤ q) ≤ level + 1/(n + 1)      (the second without ties)

(Vovk, Gammerman & Shafer 2005; Lei et al. 2018): the set of all outcomes with a score of at most q holds the true
one with that probability. It is an average over new points *and* validation sets, not for each input or class; a
bad model keeps the guarantee and pays in size. On inputs from elsewhere there is none.

Scores: for classes 1 − p_y, which gives the smallest sets (Sadinle, Lei & Wasserman 2019), or with `adaptive=True` the
total probability of the classes at least as probable as y, whose sets are larger and vary less in coverage over inputs
(Romano, Sesia & Candès 2020, without their randomisation: coverage is above the level); for regressions
max(l − y, y − u) with the model's own central interval [l, u] (Romano, Patterson & Candès 2019).

The computation is one order statistic; a library for it, such as MAPIE, would bring a dependency and ask for a
scikit-learn estimator in place of predictions.
"""

import math
from dataclasses import dataclass
from typing import SupportsFloat

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from metrics.estimate import Estimate
from metrics.inputs import check_fraction
from metrics.precision import full_precision
from metrics.predictions.binning import binomial_stderr
from metrics.predictions.intervals import interval_coverage
from metrics.predictions.recalibration._mean import fitted, mean_prediction, with_labels
from metrics.probabilities import check_labels

__all__ = ["ConformalIntervals", "ConformalSets", "SetCoverage", "set_coverage"]


@dataclass(frozen=True)
class SetCoverage:
    """What sets of classes are worth.

    Attributes:
        coverage: The share of labels inside their set; best near the level.
        size: The mean number of classes in a set; lower is better at one coverage.
    """

    coverage: Estimate
    size: Estimate


class ConformalSets:
    """Sets of classes that hold the label with probability `level` at least, on average over exchangeable points.

    Attributes:
        level: The coverage.
        threshold: q; None before `fit`.

    >>> p = torch.tensor([[0.6, 0.3, 0.1]]).expand(99, 3)
    >>> labels = torch.tensor([0] * 60 + [1] * 30 + [2] * 9)
    >>> ConformalSets(level=0.8).fit(p, labels)(p[:1])  # 80 of 99 need two classes
    tensor([[ True,  True, False]])
    """

    def __init__(self, *, level: SupportsFloat = 0.9, adaptive: bool = False) -> None:
        """Make it for a coverage; `adaptive` for sets whose coverage varies less over inputs.

        Raises:
            TypeError, ValueError: A level outside (0, 1).
        """
        self.level = check_fraction(level, "level")
        self.adaptive = bool(adaptive)
        self.threshold: float | None = None

    @full_precision
    def fit(
        self,
        probs: Float[Tensor, "n classes"] | Float[Tensor, "samples n classes"],
        labels: Int64[Tensor, " n"],
    ) -> "ConformalSets":
        """Take the threshold from validation data; return this object.

        Args:
            probs: Predicted probabilities, [n, classes] or of posterior samples [samples, n, classes].
            labels: The outcomes, from 0 to classes − 1, [n].

        Raises:
            TypeError, ValueError: Probabilities that do not sum to 1, labels out of range; fewer points than the
                level needs.
        """
        p, y = with_labels(probs, labels)
        self.threshold = _threshold(self._scores(p).gather(1, y[:, None])[:, 0], self.level)
        return self

    @full_precision
    def __call__(
        self, probs: Float[Tensor, "n classes"] | Float[Tensor, "samples n classes"]
    ) -> Bool[Tensor, "n classes"]:
        """Return which classes are in each set, [n, classes]; a set may be empty where no class is probable enough.

        Raises:
            TypeError, ValueError: Probabilities that do not sum to 1; before `fit`.
        """
        return self._scores(mean_prediction(probs)) <= fitted(self.threshold, "ConformalSets")

    def _scores(self, p: Tensor) -> Tensor:
        """The score of every class as if it were the label, [n, classes]."""
        if not self.adaptive:
            return 1 - p
        ordered, order = p.sort(1, descending=True)
        return torch.empty_like(p).scatter_(1, order, ordered.cumsum(1))


class ConformalIntervals:
    """Intervals that hold the outcome with probability `level` at least: the model's own, moved by one number.

    Attributes:
        level: The coverage.
        margin: By how much either end is moved outwards, in the units of y; below 0 the model's were too wide. None
            before `fit`.

    >>> samples = torch.linspace(-1, 1, 39)[:, None].expand(39, 99)
    >>> y = torch.linspace(-2, 2, 99)
    >>> intervals = ConformalIntervals(level=0.9).fit(samples, y)
    >>> low, high = intervals(samples)
    >>> round(float(((low <= y) & (y <= high)).float().mean()), 2)
    0.92
    """

    def __init__(self, *, level: SupportsFloat = 0.9) -> None:
        """Make it for a coverage.

        Raises:
            TypeError, ValueError: A level outside (0, 1).
        """
        self.level = check_fraction(level, "level")
        self.margin: float | None = None

    @full_precision
    def fit(self, samples: Float[Tensor, "samples n"], y: Float[Tensor, " n"]) -> "ConformalIntervals":
        """Take the margin from validation data; return this object.

        Args:
            samples: Draws of every prediction of the target, noise included, [samples, n]; at least 2.
            y: The outcomes, [n].

        Raises:
            TypeError, ValueError: Shapes, types or devices that do not match; fewer points than the level needs.
        """
        own = interval_coverage(samples.detach(), y.detach(), level=self.level)
        low, high = own.lower.double(), own.upper.double()
        self.margin = _threshold(torch.maximum(low - y, y - high).flatten(), self.level)
        return self

    @full_precision
    def __call__(
        self, samples: Float[Tensor, "samples n"]
    ) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
        """Return lower and upper ends, [n] each.

        Raises:
            TypeError, ValueError: Samples of another shape; before `fit`.
        """
        margin = fitted(self.margin, "ConformalIntervals")
        own = interval_coverage(samples.detach(), samples.detach()[0], level=self.level)
        middle = (own.lower + own.upper) / 2
        # An interval that would turn inside out is its middle.
        return torch.minimum(own.lower - margin, middle), torch.maximum(own.upper + margin, middle)


@full_precision
def set_coverage(sets: Bool[Tensor, "n classes"], labels: Int64[Tensor, " n"]) -> SetCoverage:
    """Return how often sets hold the label, and how large they are, each ± one standard error.

    Args:
        sets: Which classes are in each set, [n, classes].
        labels: The outcomes, from 0 to classes − 1, [n].

    Raises:
        TypeError, ValueError: Sets that are not boolean; labels that are not int64 or out of range.

    >>> found = set_coverage(torch.tensor([[True, True], [True, False]]), torch.tensor([1, 1]))
    >>> found.coverage.value, found.size.value
    (0.5, 1.5)
    """
    if not isinstance(sets, Tensor) or sets.dtype != torch.bool or sets.ndim != 2:
        got = f"{sets.dtype} {list(sets.shape)}" if isinstance(sets, Tensor) else type(sets).__name__
        raise TypeError(f"sets must be a bool tensor [n, classes], got {got}; pass ConformalSets(...)(probs)")
    if len(sets) == 0 or sets.layout != torch.strided or sets.is_meta:
        got = f"{list(sets.shape)}, {sets.layout} on {sets.device}"
        raise ValueError(f"sets must be a dense tensor with at least one set, got {got}; pass .to_dense()")
    y = check_labels(labels, sets)
    inside, size, n = sets.gather(1, y[:, None])[:, 0].double(), sets.sum(1).double(), len(y)
    share = float(inside.mean())
    error = float(binomial_stderr(inside.sum(), torch.tensor(float(n), dtype=torch.float64)))
    spread = float(size.std()) / math.sqrt(n) if n > 1 else math.nan
    return SetCoverage(
        Estimate(share, error, "higher", "share of labels inside their set", (n, n), share=True),
        Estimate(float(size.mean()), spread, "lower", "classes in a set", (n, n)),
    )


def _threshold(scores: Tensor, level: float) -> float:
    """The ⌈(n + 1)·level⌉-th smallest score."""
    n = len(scores)
    rank = math.ceil(round((n + 1) * level, 9))
    if rank > n:
        least = math.ceil(round(level / (1 - level), 9))
        raise ValueError(
            f"labels must hold at least {least} validation points for a level of {level:g}, got {n}; "
            "pass more or lower level"
        )
    return float(scores.double().sort().values[rank - 1])
