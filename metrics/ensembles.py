"""Proper scores of ensembles: M members stand for a predicted law, and one outcome is known.

    CRPS            ∫ (F(t) − 1[y ≤ t])² dt = E|X − y| − ½ E|X − X'|
    energy score    E‖X − y‖ − ½ E‖X − X'‖               the same in d dimensions

with X, X' independent draws of the law (Gneiting & Raftery 2007, "Strictly proper scoring rules, prediction, and
estimation", eqs. 21 and 22). Lower is better. Both are strictly proper: what a wrong law adds to the expected score
is Cramér's distance ∫ (F − G)² dt, and half the squared energy distance, from the truth.

Taken as an empirical law, an ensemble is charged for being finite: its expected score exceeds that of the law
its members are drawn from by E‖X − X'‖/(2M), so that more members look like better ones and narrow ensembles are
preferred. The *fair* score (Ferro 2014, "Fair scores for ensemble forecasts") divides the sum over pairs by
M(M − 1) for M² and is unbiased for the law behind the members, at every M ≥ 2.

Each function returns the mean over the n outcomes, or with `per_point=True` the n scores, as in
`metrics.scoring`. float32 comes back as float32; the arithmetic inside is float64.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.inputs import check_alike, check_tensor
from metrics.sorting import ascending

__all__ = ["crps_ensemble", "energy_score"]

Score = Float[Tensor, ""] | Float[Tensor, " n"]
"""The mean over the outcomes or, with `per_point=True`, every outcome's own score."""

BLOCK = 2**22
"""Numbers in flight per block: 32 MiB in float64."""


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
    members = _check_ensemble(x, outcome, fair=fair)
    height = max(1, BLOCK // members)
    blocks = zip(x.split(height), outcome.split(height), strict=True)
    scores = torch.cat([_sorted_crps(a, b, fair=fair) for a, b in blocks])
    return _reduced(scores, per_point).to(samples.dtype)


def energy_score(
    samples: Float[Tensor, "n members d"],
    y: Float[Tensor, "n d"],
    *,
    fair: bool = False,
    per_point: bool = False,
) -> Score:
    """Return the energy score of ensembles of vectors, in the units of y.

    (1/M) Σ_i ‖x_i − y‖ − (1/2M²) Σ_ij ‖x_i − x_j‖ (Gneiting & Raftery 2007, eq. 22 with β = 1); the fair one
    has M(M − 1) for M² and is unbiased for the law that the members are drawn from, which the other exceeds by
    E‖X − X'‖/(2M). Neither is negative, by the triangle inequality. Time O(n M² d), memory O(block) without a gradient.

    Args:
        samples: The members, [n, members, d].
        y: The outcomes, [n, d].
        fair: Estimate the score of the law behind the members; it needs two of them.
        per_point: Return the n scores instead of their mean.

    Returns:
        Differentiable in both, with slope 0 at distance 0.

    Raises:
        TypeError, ValueError: Shapes, types or devices that do not match; a fair score of one member.

    >>> energy_score(torch.tensor([[[0.0, 0.0], [3.0, 4.0]]]), torch.zeros(1, 2))
    tensor(1.2500)
    """
    x = check_tensor(samples, "samples", shape="[n, members, d]", ndim=3)
    outcome = check_tensor(y, "y", shape="[n, d]", ndim=2)
    members = _check_ensemble(x, outcome, fair=fair)
    height = max(1, BLOCK // members**2)
    blocks = zip(x.split(height), outcome.split(height), strict=True)
    scores = torch.cat([_pairwise_score(a.double(), b.double(), fair=fair) for a, b in blocks])
    return _reduced(scores, per_point).to(samples.dtype)


def _sorted_crps(samples: Tensor, y: Tensor, *, fair: bool) -> Tensor:
    members = samples.shape[1]
    gap = ascending(samples).double() - y.double()[:, None]
    rank = torch.arange(1, members + 1, dtype=gap.dtype, device=gap.device)
    half = 1.0 if fair else 0.5
    weight = torch.where(gap < 0, rank - half, members - rank + (1 - half))
    return 2 * (gap.abs() * weight).sum(1) / _pairs(members, fair=fair)


def _pairwise_score(samples: Tensor, y: Tensor, *, fair: bool) -> Tensor:
    members = samples.shape[1]
    within = sum(
        torch.cdist(part, samples, compute_mode="donot_use_mm_for_euclid_dist").sum((1, 2))
        for part in samples.split(max(1, BLOCK // members), 1)
    )
    distance = torch.linalg.vector_norm(samples - y[:, None], dim=2).mean(1)
    return distance - within / (2 * _pairs(members, fair=fair))


def _pairs(members: int, *, fair: bool) -> int:
    return members * (members - 1 if fair else members)


def _check_ensemble(samples: Tensor, y: Tensor, *, fair: bool) -> int:
    """The number of members."""
    n, members = samples.shape[:2]
    if y.shape != (n, *samples.shape[2:]):
        raise ValueError(
            f"y must match samples without its members, {[n, *samples.shape[2:]]}, got {list(y.shape)}; "
            "members are the second dimension of samples"
        )
    check_alike(samples, y, ("samples", "y"))
    if fair and members < 2:
        raise ValueError("samples must hold at least 2 members for a fair score, got 1; draw more")
    return members


def _reduced(scores: Tensor, per_point: bool) -> Tensor:
    return scores if per_point else scores.mean()
