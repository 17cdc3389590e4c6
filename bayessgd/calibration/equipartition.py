r"""One factor of a Gaussian's covariance, by equipartition over all its directions.

Let U be quadratic near its minimum with Hessian N·A, and q = N(m, s·Σ). Then

    KL(q ‖ posterior) = ½ [ s·N·Tr(AΣ) − D·log s ] + const,   least at   s* = D / (N·Tr(AΣ)),

and N·Tr(AΣ) = 2·E_{θ~N(m,Σ)}[U(θ) − U(m)]: the mean excess of the loss over draws is all that one needs of the
Hessian. At s* the mean excess is D/2: ½ nat for each of the D directions in which Σ is above 0.

Beyond a quadratic this last form is the definition that is kept: the s for which draws m ± √s·δᵢ have a mean excess
of D/2. One number sets the width and leaves the shape. That is right for generalised linear models of few weights.
Where a few stiff directions carry nearly all of the excess it asks of them what D directions should bear, and widens
them by D over their number: the *effective* number of directions

    γ = 2·mean² / var   of the excess over draws   (D for a posterior's own shape, as ½χ²_D has it)

exposes that.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bayessgd._over import warn
from bayessgd.params import flat_rows
from bayessgd.posteriors import LowRankGaussian

__all__ = ["Equipartition", "equipartition", "moving_directions"]

CLOSE = 1e-3
"""The relative error of the mean excess at which the search ends, far below its Monte-Carlo error."""

FEW = 1 / 3
"""The share of D below which γ is reported; SGD on the generalised linear models of the benchmark has .5 to 1."""


@dataclass(frozen=True)
class Equipartition:
    """The factor s*, its standard error, the excesses of the pairs of draws at s = 1 and at s*, and γ."""

    scale: float
    stderr: float
    first: Tensor
    excess: Tensor

    @property
    def effective(self) -> float:
        """γ = 2·mean²/var of the excess over draws."""
        mean, variance = float(self.excess.mean()), float(self.excess.var())
        return 2 * mean**2 / variance if variance > 0 else math.inf


def moving_directions(posterior: LowRankGaussian) -> int:
    """Return the rank of the covariance: the weights that move by themselves and the deviations among the others.

    >>> law = LowRankGaussian({"w": torch.zeros(3)}, {"w": torch.tensor([1.0, 0.0, 2.0])})
    >>> moving_directions(law)
    2
    """
    own = sum(int((v > 0).sum()) for v in posterior.variance.values())
    if posterior.deviations is None:
        return own
    gram = torch.zeros(posterior.rank, posterior.rank, dtype=torch.float64)
    for name, deviations in posterior.deviations.items():
        rest = flat_rows(deviations).double()[
            :, posterior.variance[name].flatten().to(deviations.device) == 0
        ]
        gram += (rest @ rest.T).cpu()
    return own + int(torch.linalg.matrix_rank(gram, hermitian=True))


def equipartition(
    excess: Callable[[float], Tensor], directions: int, *, max_iterations: int
) -> Equipartition:
    """Solve mean(excess(s)) = D/2 by s ← s·(D/2)/mean, which converges where the mean grows as s^α, 0 < α < 2.

    Args:
        excess: From s to the excesses of pairs of draws, [pairs].
        directions: D.
        max_iterations: Passes, after which it ends with a warning.

    Raises:
        ValueError: Draws at which U is no larger than at the mean.

    >>> equipartition(lambda s: s * torch.tensor([3.0, 5.0]), 2, max_iterations=9).scale
    0.25
    """
    target, scale, found = directions / 2, 1.0, excess(1.0)
    first, mean = found, float(found.mean())
    for _ in range(max_iterations):
        if abs(mean / target - 1) < CLOSE:
            break
        if mean <= 0:
            raise ValueError(
                f"posterior must have its mean near a minimum of the loss, got draws whose loss is "
                f"{-mean:.3g} nats below the mean's; train on, or average a tail of the iterates only"
            )
        scale *= target / mean if math.isfinite(mean) else 0.01
        found = excess(scale)
        mean = float(found.mean())
    converged = abs(mean / target - 1) < CLOSE
    if not converged:
        warn(
            "search",
            f"the search for the scale ended after {max_iterations} passes at a mean excess of {mean:.4g} nats "
            f"against {target:g}",
        )
    # By the implicit function theorem with excess ∝ s; the pairs are independent.
    stderr = scale * float(found.std() / found.mean()) / math.sqrt(len(found))
    result = Equipartition(scale, stderr, first, found)
    if converged and directions > 1 and result.effective < FEW * directions:
        warn(
            "few",
            f"the excess of the draws comes from some {result.effective:.0f} directions and not from all "
            f"{directions} that move: a scale of {scale:.3g} widens those far beyond the posterior; pass "
            "directions='span' with a posterior of SWAG(rank=40)",
        )
    return result
