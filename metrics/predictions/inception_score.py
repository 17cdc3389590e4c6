"""The Inception score: how sure a classifier is of each image, and how many classes it sees in all of them.

    IS = exp( E_x KL(p(y|x) ‖ p(y)) ) = exp( H(y) − H(y|x) ),    p(y) = E_x p(y|x),

the exponential of the mutual information of image and class: 1 where every image has the same prediction, and
the number of classes where each is certain and all are equally frequent (Salimans et al. 2016, section 4). It never
sees a true image. Published numbers are means over ten splits of 50 000 images, each with its own p(y), and the spread
of the splits.

With n images p(y) is fitted to them: KL falls short by about (1/2n) Σ_k Var p_k/E p_k, more in ten splits than in
one. All images at once have the smaller bias, and an error: the influence of an image on ln IS is its own KL less
the mean, so that

    stderr(IS) = IS · std(KL(p_i ‖ p̄))/√n.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import SupportsIndex

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.inputs import check_count, repeatable
from metrics.precision import full_precision
from metrics.probabilities import check_probabilities

__all__ = ["InceptionScore", "inception_score"]


@dataclass(frozen=True)
class InceptionScore:
    """The Inception score of all images, and as it is published; 0-dim tensors.

    Attributes:
        value: Of all images at once.
        stderr: Its standard error.
        mean: Over the splits, the published number.
        std: The splits' standard deviation, divided by their number, as published; 0 for one split.
    """

    value: Float[Tensor, ""]
    stderr: Float[Tensor, ""]
    mean: Float[Tensor, ""]
    std: Float[Tensor, ""]


@torch.no_grad()
@full_precision
def inception_score(
    probs: Float[Tensor, "n classes"],
    *,
    splits: SupportsIndex = 10,
    shuffle: bool = True,
    generator: torch.Generator | None = None,
) -> InceptionScore:
    """Return the Inception score exp(E KL(p(y|x) ‖ p(y))), from 1 to the number of classes.

    Args:
        probs: A classifier's probabilities for generated images, [n, classes]. Published numbers have the 1008 of
            TensorFlow's Inception of 2015: `InceptionFeatures(file, layer="logits_unbiased")(x).softmax(-1)`.
        splits: Parts of the published number, one after another.
        shuffle: Put the images in a random order first: files are often sorted by class, which lowers each part.
        generator: For that order; `None` is seeded with 0.

    Returns:
        The score of all images with its standard error, and mean and spread over the splits. Not differentiable.

    Raises:
        TypeError, ValueError: No probabilities; fewer than two images, or more splits than images.

    References: Salimans et al. 2016, "Improved techniques for training GANs", section 4.

    >>> inception_score(torch.eye(4).repeat(25, 1), splits=1).value
    tensor(4.)
    """
    check_probabilities(probs)
    n = len(probs)
    if n < 2:
        raise ValueError(f"probs must hold at least two images, got {n}; pass more")
    count, random = check_count(splits, "splits", below=n + 1), repeatable(generator)
    p = probs.double()
    negentropy = torch.special.xlogy(p, p).sum(1)
    kl = _divergences(p, negentropy)
    value = kl.mean().exp()
    stderr = value * kl.std() / n**0.5
    if shuffle:
        order = torch.randperm(n, generator=random, device=random.device).to(p.device)
        p, negentropy = p[order], negentropy[order]
    ends = [k * n // count for k in range(count + 1)]
    parts = torch.stack([_divergences(p[a:b], negentropy[a:b]).mean().exp() for a, b in pairwise(ends)])
    found = value, stderr, parts.mean(), parts.std(correction=0)
    return InceptionScore(*(t.to(probs.dtype) for t in found))


def _divergences(p: Float[Tensor, "n classes"], negentropy: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """KL(p_i ‖ p̄) of every row, in nats, from its Σ p ln p; a class that no row has adds nothing."""
    mean = p.mean(0)
    return negentropy - p @ mean.log().where(mean > 0, 0.0)
