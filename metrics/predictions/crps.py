"""The continuous ranked probability score: of samples of a prediction, and of a Gaussian in closed form.

    CRPS(P, y) = ∫ (F(t) − 1[y ≤ t])² dt = E|X − y| − ½ E|X − X'|

with F the distribution function of P and X, X' independent draws of it (Gneiting & Raftery 2007, eqs. 20 and 21).
Lower is better, in the units of y. It is strictly proper: a wrong distribution costs Cramér's distance ∫ (F − G)² dt
from the truth in expectation.

M samples stand for the distribution that they are drawn from. Taken as it is, such an ensemble is charged for being
finite: its expected score exceeds that of the distribution behind it by E|X − X'|/(2M), so that more samples look like
better ones and narrow ensembles are preferred. The *fair* score (Ferro 2014, "Fair scores for ensemble forecasts")
divides the sum over pairs by M(M − 1) for M² and is unbiased for the distribution behind the samples, at every M ≥ 2.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.precision import full_precision
from metrics.predictions._scores import BLOCK, FAIR, Score, check_ensemble, check_gaussian, pairs, reduced
from metrics.sorting import ascending

__all__ = ["crps_ensemble", "crps_gaussian"]


@full_precision
def crps_ensemble(
    samples: Float[Tensor, "samples n ..."],
    y: Float[Tensor, "n ..."],
    *,
    fair: bool = False,
    per_point: bool = False,
) -> Float[Tensor, ""] | Float[Tensor, "n ..."]:
    """Return the continuous ranked probability score of samples of a prediction, in the units of y.

    (1/M) Σ_i |x_i − y| − (1/2M²) Σ_ij |x_i − x_j| for M samples; the fair one has M(M − 1) for M² and is unbiased for
    the distribution that the samples are drawn from, which the other exceeds by E|X − X'|/(2M). Sorted, it is one sum
    of terms that are never negative,

        (2/M²) Σ_i |x_(i) − y| · (i − ½ below y, M − i + ½ above it),

    in O(M log M) and without cancellation; the fair one has M(M − 1) and the weights i − 1 and M − i.

    Args:
        samples: Samples of every prediction, [samples, n, ...], as `bayessgd.predict` returns them.
        y: The outcomes, [n, ...]; every entry is scored by itself (`energy_score` scores vectors).
        fair: Estimate the score of the distribution behind the samples; it needs two of them.
        per_point: Return the score of every outcome, [n, ...], instead of their mean.

    Returns:
        Differentiable in both; where a sample equals its outcome the slope of |·| is taken as 0.

    Raises:
        TypeError, ValueError: Shapes, types or devices that do not match; a fair score of one sample.

    >>> crps_ensemble(torch.tensor([[0.0], [1.0]]), torch.tensor([0.5]))
    tensor(0.2500)
    """
    x, outcome = check_ensemble(samples, y, least=2 if fair else 1, why=FAIR if fair else "")
    width = max(1, BLOCK // len(x))
    blocks = zip(x.flatten(1).split(width, 1), outcome.flatten().split(width), strict=True)
    scores = torch.cat([_sorted_crps(a.T, b, fair=fair) for a, b in blocks]).reshape(outcome.shape)
    return reduced(scores, per_point).to(x.dtype)


@full_precision
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
    """Of samples [n, M] and outcomes [n]."""
    count = samples.shape[1]
    gap = ascending(samples).double() - y.double()[:, None]
    rank = torch.arange(1, count + 1, dtype=gap.dtype, device=gap.device)
    half = 1.0 if fair else 0.5
    weight = torch.where(gap < 0, rank - half, count - rank + (1 - half))
    return 2 * (gap.abs() * weight).sum(1) / pairs(count, fair=fair)
