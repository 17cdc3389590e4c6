"""The energy score: the CRPS of ensembles of vectors.

    ES(P, y) = E‖X − y‖ − ½ E‖X − X'‖,    X, X' independent draws of P

(Gneiting & Raftery 2007, eq. 22 with β = 1). Lower is better, in the units of y. It is strictly proper: a wrong
distribution costs half the squared energy distance from the truth. A finite ensemble is charged for its size as in
`metrics.predictions.crps`, and its *fair* form is not.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.inputs import check_tensor
from metrics.predictions._scores import BLOCK, Score, check_ensemble, pairs, reduced

__all__ = ["energy_score"]


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
    members = check_ensemble(x, outcome, fair=fair)
    height = max(1, BLOCK // members**2)
    blocks = zip(x.split(height), outcome.split(height), strict=True)
    scores = torch.cat([_pairwise_score(a.double(), b.double(), fair=fair) for a, b in blocks])
    return reduced(scores, per_point).to(samples.dtype)


def _pairwise_score(samples: Tensor, y: Tensor, *, fair: bool) -> Tensor:
    members = samples.shape[1]
    within = sum(
        torch.cdist(part, samples, compute_mode="donot_use_mm_for_euclid_dist").sum((1, 2))
        for part in samples.split(max(1, BLOCK // members), 1)
    )
    distance = torch.linalg.vector_norm(samples - y[:, None], dim=2).mean(1)
    return distance - within / (2 * pairs(members, fair=fair))
