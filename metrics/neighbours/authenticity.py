"""Is a sample a copy of a training point? Authenticity, by what distance training points have from each other.

Let a be the training point that is nearest to a sample s, and a' the training point nearest to a. The sample counts as
authentic where ‖s − a‖ > ‖a − a'‖: it is farther from the data than the data are from each other there (Alaa et al.
2022, section 5; the authors' code searches the sample of each training point instead, and mixes up the two indices).

A sample of the training distribution itself is one of n + 1 exchangeable points, and *not* authentic where it and its
nearest are each other's nearest. The chance of that depends on the dimension alone, for n → ∞ and any density
(Schilling 1986, "Mutual and shared neighbor probabilities"):

    1 − P(authentic) = vol(ball)/vol(union of two balls, each with its centre on the other's sphere),

so that a perfect model has 1/3 in one dimension, .3785 in two, and ½ in very many: there, where a share below
what held-out data have is what tells of copies.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from metrics.inputs import check_pair
from metrics.neighbours.search import kth_neighbour
from metrics.precision import full_precision

__all__ = ["Authenticity", "authenticity"]


@dataclass(frozen=True)
class Authenticity:
    """How many samples are farther from the training data than these are from each other.

    Attributes:
        share: Of authentic samples; a 0-dim tensor.
        stderr: Of the share for this training set, √(p(1 − p)/n) with two of either kind added (Agresti & Coull 1998).
        authentic: Which samples are, [n].
    """

    share: Float[Tensor, ""]
    stderr: Float[Tensor, ""]
    authentic: Bool[Tensor, " n"]


@torch.no_grad()
@full_precision
def authenticity(samples: Float[Tensor, "n d"], *, train: Float[Tensor, "k d"]) -> Authenticity:
    """Return the share of samples that are farther from their nearest training point than that one is from the others.

    Args:
        samples: What the model drew, [n, d].
        train: What it was trained on, [k, d], k ≥ 2, in the same features.

    Returns:
        The share, its standard error, and which samples are authentic. Low for a model that copies, 1/3 (one dimension)
        to 1/2 (many) for samples of the training distribution itself, and 1 for samples that are far from all data:
        read it beside that of held-out points. Memory is O(block). None is differentiable.

    Raises:
        ValueError: Clouds that cannot be compared, or a single training point.

    References: Alaa et al. 2022, "How faithful is your synthetic data?", section 5.

    >>> train = torch.tensor([[0.0], [1.0], [5.0]])
    >>> authenticity(torch.tensor([[0.1], [5.5], [-3.0]]), train=train).authentic
    tensor([False, False,  True])
    """
    check_pair(samples, train, ("samples", "train"))
    check_pair(train, train, ("train", "train"), least=2)
    gap, nearest = kth_neighbour(samples, train, 1)
    own = kth_neighbour(train, train, 2)[0]
    authentic = gap > own[nearest]
    n = len(samples)
    share, smoothed = authentic.double().mean(), (authentic.sum().double() + 2) / (n + 4)
    stderr = (smoothed * (1 - smoothed) / (n + 4)).sqrt()
    return Authenticity(share.to(samples.dtype), stderr.to(samples.dtype), authentic)
