"""The continuous ranked probability score: of an ensemble's members, and of a Gaussian in closed form.

    CRPS(P, y) = ∫ (F(t) − 1[y ≤ t])² dt = E|X − y| − ½ E|X − X'|

with F the distribution function of P and X, X' independent draws of it (Gneiting & Raftery 2007, eqs. 20 and 21).
Lower is better, in the units of y. It is strictly proper: a wrong distribution costs Cramér's distance ∫ (F − G)² dt
from the truth in expectation.

M members stand for the distribution that they are drawn from. Taken as it is, an ensemble is charged for being
finite: its expected score exceeds that of the distribution behind it by E|X − X'|/(2M), so that more members look like
better ones and narrow ensembles are preferred. The *fair* score (Ferro 2014, "Fair scores for ensemble forecasts")
divides the sum over pairs by M(M − 1) for M² and is unbiased for the distribution behind the members, at every M ≥ 2.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.inputs import check_tensor
from metrics.predictions._scores import BLOCK, Score, check_ensemble, check_gaussian, pairs, reduced
from metrics.sorting import ascending

__all__ = ["crps_ensemble", "crps_gaussian"]


def crps_ensemble(
    samples: Float[Tensor, "n members"],
    y: Float[Tensor, " n"],
    *,
    fair: bool = False,
    per_point: bool = False,
) -> Score:
    """Return the continuous ranked probability score of ensembles, in the units of y.

    (1/M) Σ_i |x_i − y| − (1/2M²) Σ_ij |x_i − x_j|; the fair one has M(M − 1) for M² and is unbiased for
    the law that the members are drawn from, which the other exceeds by E|X − X'|/(2M). Sorted, it is one sum
    of terms that are never negative,

        (2/M²) Σ_i |x_(i) − y| · (i − ½ below y, M − i + ½ above it),

    in O(M log M) and without cancellation; the fair one has M(M − 1) and the weights i − 1 and M − i.

    Args:
        samples: The members, [n, members].
        y: The outcomes, [n].
        fair: Estimate the score of the law behind the members; it needs two of them.
        per_point: Return the n scores instead of their mean.

    Returns:
        Differentiable in both; where a member equals its outcome the slope of |·| is taken as 0.

    Raises:
        TypeError, ValueError: Shapes, types or devices that do not match; a fair score of one member.

    >>> crps_ensemble(torch.tensor([[0.0, 1.0]]), torch.tensor([0.5]))
    tensor(0.2500)
    """
    x = check_tensor(samples, "samples", shape="[n, members]", ndim=2)
    outcome = check_tensor(y, "y", shape="[n]", ndim=1)
    members = check_ensemble(x, outcome, fair=fair)
    height = max(1, BLOCK // members)
    blocks = zip(x.split(height), outcome.split(height), strict=True)
    scores = torch.cat([_sorted_crps(a, b, fair=fair) for a, b in blocks])
    return reduced(scores, per_point).to(samples.dtype)


def crps_gaussian(
    mean: Float[Tensor, " n"], std: Float[Tensor, " n"], y: Float[Tensor, " n"], *, per_point: bool = False
) -> Score:
    """Return the continuous ranked probability score of N(μ, σ²), in the units of y.

    σ [z(2Φ(z) − 1) + 2φ(z) − 1/√π] with z = (y − μ)/σ (Gneiting et al. 2005, "Calibrated probabilistic
    forecasting using ensemble model output statistics").

    Args:
        mean: Predicted means μ, [n].
        std: Predicted standard deviations σ > 0, [n].
        y: The outcomes, [n].
        per_point: Return the n scores instead of their mean.

    Raises:
        TypeError, ValueError: Vectors that differ in length, type or device; a std that is not positive.

    >>> crps_gaussian(torch.zeros(1), torch.tensor([0.1]), torch.tensor([0.4]))
    tensor(0.3436)
    """
    mu, sigma, outcome = check_gaussian(mean, std, y)
    gap = outcome - mu
    z = gap / (math.sqrt(2) * sigma)
    # 2Φ(√2 z) − 1 = erf(z) without its cancellation.
    spread = torch.exp(-z.square()) - math.sqrt(0.5)
    return reduced(gap * torch.erf(z) + math.sqrt(2 / math.pi) * sigma * spread, per_point).to(y.dtype)


def _sorted_crps(samples: Tensor, y: Tensor, *, fair: bool) -> Tensor:
    members = samples.shape[1]
    gap = ascending(samples).double() - y.double()[:, None]
    rank = torch.arange(1, members + 1, dtype=gap.dtype, device=gap.device)
    half = 1.0 if fair else 0.5
    weight = torch.where(gap < 0, rank - half, members - rank + (1 - half))
    return 2 * (gap.abs() * weight).sum(1) / pairs(members, fair=fair)
