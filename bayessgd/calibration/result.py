"""What a calibration found, and when it says that a quadratic was too little."""

import math
from dataclasses import dataclass

from bayessgd._over import warn
from bayessgd.calibration.held_out import Choice
from bayessgd.calibration.quadratic import LIMIT
from bayessgd.posteriors import LowRankGaussian

__all__ = ["Calibration", "warn_of_misfit"]


@dataclass(frozen=True)
class Calibration:
    """A posterior whose width data and prior have set.

    Attributes:
        posterior: The Gaussian; with `held_out` data that accept no width, one of no variance: the mean.
        scale: By what factor variances were multiplied: s* over all directions; in the span the geometric mean, over
            the directions kept, of the new variance over the iterates'. `held_out`'s factor is in it.
        stderr: One standard error of it: Monte-Carlo over the draws; in the span, of the choice of data for the
            curvature, and 0 where all data were used.
        excess: The mean excess U(θ) − U(m) over draws, in nats: in the span, of the new posterior within it; over all
            directions, of the posterior that was given.
        directions: K directions kept, or D that move.
        dropped: Directions of the span whose quadratic did not hold.
        ratio: r, the mean excess over `directions`/2: 1 where the quadratic holds. Over all directions it is 1 at s*
            by definition.
        ratio_stderr: One standard error of r, over the draws.
        shift: How far the mean is from U's minimum within the span, in posterior deviations, root mean square over the
            directions; NaN over all directions. It moves nothing: the posterior keeps the iterates' mean.
        effective: γ = 2·mean²/var of the excess: how many directions carry it.
        held_out: The factor that held-out data chose, its gain and the gain's error; `None` without such data.

    >>> import torch
    >>> law = LowRankGaussian({"weight": torch.zeros(1, 1)}, {"weight": torch.ones(1, 1)}, scale=0.01)
    >>> found = Calibration(law, scale=0.01, stderr=0.0, excess=0.5, directions=1)
    >>> found.posterior.marginal_variance, found.factor
    ({'weight': tensor([[0.0100]])}, 1.0)
    """

    posterior: LowRankGaussian
    scale: float
    stderr: float
    excess: float
    directions: int
    dropped: int = 0
    ratio: float = 1.0
    ratio_stderr: float = 0.0
    effective: float = math.nan
    shift: float = math.nan
    held_out: Choice | None = None

    @property
    def factor(self) -> float:
        """The factor of the variance that held-out data chose; 1 without them."""
        return 1.0 if self.held_out is None else self.held_out.factor

    @property
    def gain(self) -> float:
        """The gain in held-out log score over the mean alone, nats a point; NaN without held-out data."""
        return math.nan if self.held_out is None else self.held_out.gain

    @property
    def gain_stderr(self) -> float:
        """One standard error of the gain, paired over the held-out points."""
        return math.nan if self.held_out is None else self.held_out.stderr


def warn_of_misfit(found: Calibration, part: float) -> None:
    """Say so where the quadratic holds nowhere or holds too much, or the mean is far off; `part` is n/N."""
    total = found.directions + found.dropped
    if found.directions == 0:
        warn(
            "no quadratic",
            f"U is no quadratic along any of the {total} directions of the span (r > {LIMIT:g}), so that only the "
            "iterates' own diagonal is left; train on to a minimum of the potential, or sample with "
            "bayessgd.snapshots",
        )
    elif found.dropped > total / 2:
        warn(
            "dropped",
            f"{found.dropped} of the {total} directions of the span were dropped, for along them U rises more than "
            f"{LIMIT:g} times as far as its curvature says; they keep the iterates' width",
        )
    if found.ratio < 1 / LIMIT:
        warn(
            "no minimum",
            f"draws within the span have {found.ratio:.2g} ± {found.ratio_stderr:.1g} of the excess loss that their "
            "curvature says, so that the mean is no minimum there; train on, or average a later tail of the iterates",
        )
    elif found.shift > LIMIT / math.sqrt(part):
        warn(
            "far off",
            f"the mean is {found.shift:.2g} posterior deviations from the minimum of U in each direction of the span "
            "(root mean square): the width is right around a place that is not; train on with the loss that the "
            "likelihood and the prior make, or average a later tail of the iterates",
        )
