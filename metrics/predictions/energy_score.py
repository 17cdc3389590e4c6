"""The energy score: the CRPS of ensembles of vectors.

    ES(P, y) = E‖X − y‖ − ½ E‖X − X'‖,    X, X' independent draws of P

(Gneiting & Raftery 2007, eq. 22 with β = 1). Lower is better, in the units of y. It is strictly proper: a wrong
distribution costs half the squared energy distance from the truth. A finite ensemble is charged for its size as in
`metrics.predictions.crps`, and its *fair* form is not.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.distances import euclidean
from metrics.precision import full_precision
from metrics.predictions._scores import BLOCK, FAIR, Score, check_ensemble, pairs, reduced

__all__ = ["energy_score"]


@full_precision
def energy_score(
    samples: Float[Tensor, "samples n ..."],
    y: Float[Tensor, "n ..."],
    *,
    fair: bool = False,
    per_point: bool = False,
) -> Score:
    """Return the energy score of samples of predicted vectors, in the units of y.

    (1/M) Σ_i ‖x_i − y‖ − (1/2M²) Σ_ij ‖x_i − x_j‖ for M samples (Gneiting & Raftery 2007, eq. 22 with β = 1); the
    fair one has M(M − 1) for M² and is unbiased for the distribution that the samples are drawn from, which the other
    exceeds by E‖X − X'‖/(2M). Neither is negative, by the triangle inequality. Time O(n M² d), memory O(block)
    without a gradient.

    Args:
        samples: Samples of every prediction, [samples, n, ...], as `bayessgd.predict` returns them.
        y: The outcomes, [n, ...]; what follows n is one vector of d entries, d = 1 where nothing does.
        fair: Estimate the score of the distribution behind the samples; it needs two of them.
        per_point: Return the n scores instead of their mean.

    Returns:
        Differentiable in both, with slope 0 at distance 0.

    Raises:
        TypeError, ValueError: Shapes, types or devices that do not match; a fair score of one sample.

    >>> energy_score(torch.tensor([[[0.0, 0.0]], [[3.0, 4.0]]]), torch.zeros(1, 2))
    tensor(1.2500)
    """
    x, outcome = check_ensemble(samples, y, least=2 if fair else 1, why=FAIR if fair else "")
    vectors, target = x.reshape(*x.shape[:2], -1).transpose(0, 1), outcome.reshape(len(outcome), -1)
    blocks = (part.split(max(1, BLOCK // len(x) ** 2)) for part in (vectors, target))
    scores = torch.cat(
        [_pairwise_score(a.double(), b.double(), fair=fair) for a, b in zip(*blocks, strict=True)]
    )
    return reduced(scores, per_point).to(x.dtype)


def _pairwise_score(samples: Tensor, y: Tensor, *, fair: bool) -> Tensor:
    """Of samples [n, M, d] and outcomes [n, d]."""
    count = samples.shape[1]
    within = sum(euclidean(part, samples).sum((1, 2)) for part in samples.split(max(1, BLOCK // count), 1))
    distance = euclidean(y[:, None], samples)[:, 0].mean(1)
    return distance - within / (2 * pairs(count, fair=fair))
