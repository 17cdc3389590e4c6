r"""The corrected sampler of a regression, its step chosen so that it holds.

H = h N Σ_p, the posterior's own shape, and Q of `bayessgd.theory.corrected` for the *means* of curvature and noise over
the posterior, with which the second moments are kept at any h. What is left of the noise's dependence on θ is of the
first order in h: the feedback's radius ρ, which makes the tails heavy, and where σ is inferred the narrowing by the
skewness of log σ. h is a share of the largest feasible step,

    h = share · 2/λ_max( N Σ_p (A + NC/S) ),

so that a share costs steps and not exactness: the autocorrelation is 1 − h per step.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from bayessgd.theory._whitening import Whitening
from bayessgd.theory.corrected import injected_noise
from bayessgd.theory.forecast import Forecast
from bayessgd.theory.learned_scale_regression import LearnedScaleRegression
from bayessgd.theory.linear_regression import LinearRegression
from metrics.inputs import check_count, check_positive

__all__ = ["CorrectedStep", "corrected_step"]

CALM = 0.2
"""The largest radius of the feedback: moments up to the sixth exist, and with them the errors of a run's variances."""
ROUNDS = 20


@dataclass(frozen=True)
class CorrectedStep:
    """A preconditioner, the noise that belongs to it, and what they will do.

    Attributes:
        preconditioner: H `[d, d]`.
        injected: Q `[d, d]`, the covariance of each step's noise.
        share: Of the largest feasible step.
        rate: h: a chain forgets its past as (1 − h)ᵗ.
        forecast: The standard deviations to expect.
    """

    preconditioner: Float[Tensor, "d d"]
    injected: Float[Tensor, "d d"]
    share: float
    rate: float
    forecast: Forecast


def corrected_step(
    problem: LinearRegression | LearnedScaleRegression,
    *,
    batch_size: int,
    tolerance: float | int = 0.03,
    largest_share: float | int = 0.25,
) -> CorrectedStep:
    """H and Q with which `PreconditionedSGD` samples this posterior, by as long a step as the tolerance allows.

    Args:
        problem: The regression.
        batch_size: S, iid with replacement.
        tolerance: How far from 1 the forecast ratios of the standard deviations may be.
        largest_share: Of the largest feasible step, in (0, 1].

    Raises:
        ValueError: If no step, however short, keeps the tolerance.
        TypeError, ValueError: If an argument is not as above.

    >>> x = torch.tensor([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0], [1.0, 9.0]], dtype=torch.float64)
    >>> problem = LinearRegression(x, torch.tensor([0.0, 1.0, 0.0, 1.0], dtype=torch.float64))
    >>> found = corrected_step(problem, batch_size=1)
    >>> cov = problem.stationary_covariance(
    ...     preconditioner=found.preconditioner, injected=found.injected, batch_size=1
    ... )
    >>> cov / problem.covariance
    tensor([[1.0000, 1.0000],
            [1.0000, 1.0000]], dtype=torch.float64)
    """
    if not isinstance(problem, LinearRegression | LearnedScaleRegression):
        raise TypeError(
            f"problem must be a LinearRegression or a LearnedScaleRegression, got {type(problem).__name__}; for other "
            "models pass means of the curvature and of the noise over posterior draws to injected_noise"
        )
    S, allowed = check_count(batch_size, "batch_size"), check_positive(tolerance, "tolerance")
    share = check_positive(largest_share, "largest_share")
    if share > 1:
        raise ValueError(f"largest_share must be at most 1, got {share}; a longer step is not feasible")
    n, A, C = problem.num_data, problem.curvature, problem.mean_noise
    shape = n * problem.covariance
    modes = torch.linalg.eigvalsh(Whitening((A + n / S * C).double()).spread(shape.double()))
    longest = 2 / float(modes[-1])
    for _ in range(ROUNDS):
        H = share * longest * shape
        Q = injected_noise(A, C, preconditioner=H, num_data=n, batch_size=S)
        found = problem.forecast(preconditioner=H, injected=Q, batch_size=S, tolerance=allowed, warn=False)
        off = max(1 - found.extremes[0], found.extremes[1] - 1)
        if found.radius <= CALM and off <= allowed:
            return CorrectedStep(H, Q, share, share * longest, found)
        # Both are of the first order in the step.
        share *= 0.9 * min(CALM / found.radius, allowed / off if off > 0 else 1.0, 1.0)
    raise ValueError(
        f"tolerance must be attainable, got {allowed}, which no step down to {share:.2g} of the largest keeps; "
        "allow more"
    )
