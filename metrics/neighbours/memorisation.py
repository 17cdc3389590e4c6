"""Does a generator repeat its training data? Samples against points seen and points not seen.

Let the n training points and the m held-out points come from one distribution, and let c(s) be the nearest to the
sample s of all n + m. A generator that has learned the distribution and not the points owes nothing to which of them
it was shown: the share of samples whose nearest is a training point,

    S = (1/M) Σ_s 1{c(s) is a training point} = (1/M) Σ_i w_i t_i,    w_i = #{s : c(s) = i},
                                                                      t_i = 1 for training points and else 0,

then has expectation n/(n + m), and so for every relabelling t of the pooled points. Under random
relabelling S is a sum over a sample without replacement, with the exact variance (Cochran 1977, theorem
2.2)

    Var S = n m / ((n + m)(n + m − 1)) · Σ_i (w_i − w̄)² / M²,

in which points that attract many samples (hubs, a collapsed generator) count as the few that they are. The
z-score is (S − E S)/√Var S and the p-value its upper tail, from the normal limit (Hájek 1960). A share far
above the expectation means copies. Unlike the distance to the training set alone (Meehan, Chaudhuri &
Dasgupta 2020), the quality of the samples cancels: bad samples are far from both.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.inputs import check_pair
from metrics.neighbours.search import nearest_pairs
from metrics.precision import full_precision

__all__ = ["Memorisation", "memorisation"]


@dataclass(frozen=True)
class Memorisation:
    """What the nearest neighbours of samples tell about copying.

    Attributes:
        nearer_train: Share of the samples whose nearest point is a training point; a 0-dim tensor as the
            rest.
        expected: The share without memorisation, n/(n + m).
        stderr: Its exact standard deviation over random permutations of the labels.
        p_value: Upper tail of the normal at (nearer_train − expected)/stderr; small for a generator that
            copies.
    """

    nearer_train: Float[Tensor, ""]
    expected: Float[Tensor, ""]
    stderr: Float[Tensor, ""]
    p_value: Float[Tensor, ""]


@full_precision
def memorisation(
    samples: Float[Tensor, "s d"], *, train: Float[Tensor, "n d"], held_out: Float[Tensor, "m d"]
) -> Memorisation:
    """Return the share of samples whose nearest point is a training point, and what it would be by chance.

    Args:
        samples: What the model drew, [M, d].
        train: What it was trained on, [n, d].
        held_out: Points of the same distribution that it has not seen, [m, d], in the same features.

    Returns:
        The share, its expectation n/(n + m), their standard error and a one-sided p-value. A sample that is
        equally near to several points counts for each of them in part. None is differentiable. Memory is
        O(block).

    Raises:
        ValueError: Clouds that cannot be compared.

    >>> train, held = torch.randn(2, 200, 2, generator=torch.Generator().manual_seed(0)).unbind()
    >>> copies = memorisation(train + 1e-3, train=train, held_out=held)
    >>> bool(copies.nearer_train > 0.9), bool(copies.p_value < 1e-6)
    (True, True)
    """
    check_pair(samples, train, ("samples", "train"))
    check_pair(samples, held_out, ("samples", "held_out"))
    with torch.no_grad():
        pooled = torch.cat([train, held_out])
        rows, columns = nearest_pairs(samples, pooled)
        share_of_each = 1 / rows.bincount().double()
        attracted = columns.bincount(share_of_each[rows], minlength=len(pooled))
        n, total = len(train), len(pooled)
        share = attracted[:n].sum() / len(samples)
        expected = share.new_tensor(n / total)
        spread = (attracted - attracted.mean()).square().sum() / len(samples) ** 2
        stderr = (spread * n * (total - n) / (total * (total - 1))).sqrt()
        # Every point attracting the same leaves no relabelling that could differ: S is its expectation.
        z = torch.where(stderr > 0, (share - expected) / stderr, torch.zeros_like(share))
        p_value = torch.special.ndtr(-z)
    return Memorisation(*(value.to(samples.dtype) for value in (share, expected, stderr, p_value)))
