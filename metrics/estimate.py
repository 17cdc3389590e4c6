"""A number that can be believed: its value, its standard error, and the floor that a perfect model would reach.

The *standard error* is the standard deviation of the value over fresh samples of the same sizes. The *floor* is the
same measure between two samples of the truth (train against held-out) of the same sizes: most measures are biased
away from zero at finite n (W₂² by ~ n^{−2/d}), and a generator cannot be told apart from the truth below its floor.
"""

from dataclasses import dataclass
from typing import Literal

__all__ = ["Better", "Estimate"]

Better = Literal["lower", "higher"] | float
"""Which values are better: lower ones, higher ones, or those nearest to a number."""


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

    def __str__(self) -> str:
        told = with_error(self.value, self.stderr)
        if self.floor is None:
            return told
        return f"{told} (floor {with_error(self.floor, self.floor_stderr or 0.0)})"

    def badness(self) -> float:
        """How far the value is from the best one; only its order between values of one measure means anything."""
        if self.better == "lower":
            return self.value
        if self.better == "higher":
            return -self.value
        return abs(self.value - float(self.better))

    def to_dict(self) -> dict[str, object]:
        """As JSON."""
        told: dict[str, object] = {"value": self.value, "stderr": self.stderr, "better": self.better}
        told |= {"convention": self.convention, "sizes": list(self.sizes)}
        if self.floor is not None:
            told |= {"floor": self.floor, "floor_stderr": self.floor_stderr}
        return told


def with_error(value: float, stderr: float) -> str:
    """Write value ± error with as many decimals as give the error two digits, and at most six.

    >>> with_error(123.456, 7.89), with_error(0.00123456, 0.000021)
    ('123.5 ± 7.9', '0.001235 ± 0.000021')
    """
    decimals = 3
    if stderr > 0:
        decimals = next((k for k in range(1, 7) if stderr * 10**k >= 10 - 1e-9), 6)
    return f"{value:.{decimals}f} ± {stderr:.{decimals}f}"
