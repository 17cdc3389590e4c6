"""A number that can be believed: its value, its standard error, and the floor that a perfect model would reach.

The *standard error* is the standard deviation of the value over fresh samples of the same sizes. The *floor* is the
same measure between two samples of the truth (train against held-out) of the same sizes: most measures are biased
away from zero at finite n (W₂² by ~ n^{−2/d}), and a generator cannot be told apart from the truth below its floor.
The *p-value* is the chance that two samples of one distribution differ at least as much, by permutation.

An interval is value ± t·stderr, with the quantile t of Student's distribution at the degrees of freedom of the
standard error: infinitely many where it has a formula, those of `metrics.evaluation.jackknife` where it was
resampled. It is an interval for the mean of the value at these sizes, bias included.

A squared distance T = D² and its error rise together: 2D·σ where σ is the error of D, to first order. Its sample is
skewed to the right, and value ± t·stderr misses high values more often than low ones. The root is what spreads evenly:
(D ± tσ)² = T ± t·2Dσ + t²σ² is the same interval moved up by t²σ². With a second-order part in its error, as an MMD's
(`metrics.kernels.mmd`), the move is that of the first order alone. No end is beyond where the interval of a lower level
had it: for a root it is 0 where D < tσ.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

from metrics.inputs import check_fraction

__all__ = ["Better", "Estimate", "decimals_of", "ends", "with_error"]

Better = Literal["lower", "higher", "neither"] | float
"""Which values are better: lower ones, higher ones, those nearest to a number, or neither, of what only describes."""


@dataclass(frozen=True)
class Estimate:
    """A value with what is needed to read it.

    Attributes:
        value: The measured number, in the measure's units.
        stderr: One standard error of it.
        better: Which values are better.
        convention: What exactly was computed, in a few words.
        sizes: How many samples were compared with how many reference points.
        floor: The same number between two samples of the truth; None where no training data was given.
        floor_stderr: One standard error of the floor.
        dof: Degrees of freedom of the standard error; infinite where it was not resampled.
        floor_dof: Those of the floor's.
        p_value: Of the permutation test that both clouds come from one distribution; None where no test was made.
        share: Whether the value is a share, whose interval ends at 0 and at 1.
        root_variance: σ² of the root of a squared distance, to first order, in the value's units; 0 of others.
        floor_root_variance: The floor's.

    >>> print(Estimate(1.2345, 0.012, "lower", "W_2", (100, 100), floor=1.1, floor_stderr=0.01))
    1.234 ± 0.012 (floor 1.100 ± 0.010)
    """

    value: float
    stderr: float
    better: Better
    convention: str
    sizes: tuple[int, int]
    floor: float | None = None
    floor_stderr: float | None = None
    dof: float = math.inf
    floor_dof: float = math.inf
    p_value: float | None = None
    share: bool = False
    root_variance: float = 0.0
    floor_root_variance: float = 0.0

    def __str__(self) -> str:
        told = with_error(self.value, self.stderr)
        if self.floor is None:
            return told
        return f"{told} (floor {with_error(self.floor, self.floor_stderr or 0.0)})"

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Return the ends of value ± t·stderr, which hold the mean of the value at these sizes with this chance.

        Of a squared distance they are moved up by t²σ², those of its root squared.

        Raises:
            ValueError: A level outside (0, 1).

        >>> low, high = Estimate(0.0, 1.0, "lower", "W_2", (100, 100)).interval()
        >>> round(low, 3), round(high, 3)
        (-1.96, 1.96)
        """
        found = _interval(self.value, self.stderr, self.dof, level, self.root_variance)
        return _of_a_share(*found) if self.share else found

    def floor_interval(self, level: float = 0.95) -> tuple[float, float] | None:
        """Return the same of the floor; None where there is none."""
        if self.floor is None:
            return None
        stderr = self.floor_stderr or 0.0
        found = _interval(self.floor, stderr, self.floor_dof, level, self.floor_root_variance)
        return _of_a_share(*found) if self.share else found

    def sort_key(self) -> float:
        """How far the value is from the best one; only its order between values of one measure means anything."""
        if self.better == "lower":
            return self.value
        if self.better == "higher":
            return -self.value
        if self.better == "neither":
            return 0.0
        return abs(self.value - float(self.better))

    def to_dict(self) -> dict[str, object]:
        """As JSON; the interval is the one of 95 %."""
        told: dict[str, object] = {"value": self.value, "stderr": self.stderr, "better": self.better}
        told |= {"convention": self.convention, "sizes": list(self.sizes), "interval": list(self.interval())}
        if math.isfinite(self.dof):
            told |= {"dof": self.dof}
        if self.p_value is not None:
            told |= {"p_value": self.p_value}
        if self.floor is not None:
            told |= {"floor": self.floor, "floor_stderr": self.floor_stderr}
        return told


def _interval(
    value: float, stderr: float, dof: float, level: float, root_variance: float
) -> tuple[float, float]:
    from scipy.special import stdtrit

    upper = (1 + check_fraction(level, "level")) / 2
    t = float(stdtrit(dof, upper)) if math.isfinite(dof) else NormalDist().inv_cdf(upper)
    if root_variance <= 0:
        return value - t * stderr, value + t * stderr
    # −t·stderr + t²σ² turns up again beyond this t.
    low = min(t, stderr / (2 * root_variance))
    return value - low * stderr + low**2 * root_variance, value + t * stderr + t**2 * root_variance


def _of_a_share(low: float, high: float) -> tuple[float, float]:
    return max(low, 0.0), min(high, 1.0)


def with_error(value: float, stderr: float) -> str:
    """Write value ± error with as many decimals as give the error two digits; small numbers in scientific form.

    >>> with_error(123.456, 7.89), with_error(0.00123456, 0.000021)
    ('123.5 ± 7.9', '0.001235 ± 0.000021')
    >>> with_error(3.2e-7, 4e-8), with_error(3.2e-7, 0.0)
    ('(3.20 ± 0.40)e-07', '3.2e-07 ± 0')
    """
    if stderr == 0 and 0 < abs(value) < 1e-3:
        return f"{value:.3g} ± 0"
    if not _needs_exponent(value, stderr):
        decimals = decimals_of(stderr)
        return f"{value:.{decimals}f} ± {stderr:.{decimals}f}"
    largest = max(abs(value), stderr)
    if largest >= 1e-3:
        return f"{value:.6f} ± {stderr:.1e}"
    exponent = math.floor(math.log10(largest))
    scale = 10.0**exponent
    # An error that is a tiny part of its value is written with its own exponent.
    decimals = next((k for k in range(1, 7) if stderr / scale * 10**k >= 10 - 1e-9), None)
    if decimals is None:
        return f"{value:.6e} ± {stderr:.1e}"
    return f"({value / scale:.{decimals}f} ± {stderr / scale:.{decimals}f})e{exponent:+03d}"


def ends(low: float, high: float, stderr: float) -> str:
    """Write the ends of an interval with the decimals of its error, in scientific form where `with_error` does.

    >>> ends(0.18, 0.22, 0.01), ends(2.4e-7, 4e-7, 4e-8)
    ('0.180 to 0.220', '2.40e-07 to 4.00e-07')
    """
    if _needs_exponent(max(low, high, key=abs), stderr):
        return f"{low:.2e} to {high:.2e}"
    decimals = decimals_of(stderr)
    return f"{low:.{decimals}f} to {high:.{decimals}f}"


def _needs_exponent(value: float, stderr: float) -> bool:
    """Whether six decimals would not give the error two digits."""
    return math.isfinite(value) and 0 < stderr < 1e-5 - 1e-15


def decimals_of(stderr: float) -> int:
    """As many decimals as give an error two digits, one to six; three where it is 0, none where it is 100 or more.

    >>> decimals_of(0.0234), decimals_of(7.0), decimals_of(0.0), decimals_of(17327.6)
    (3, 1, 3, 0)
    """
    if stderr <= 0:
        return 3
    if stderr >= 100:
        return 0
    return next((k for k in range(1, 7) if stderr * 10**k >= 10 - 1e-9), 6)
