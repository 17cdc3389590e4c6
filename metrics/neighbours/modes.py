"""Modes covered, high-quality samples and reverse KL on a mixture of known Gaussians.

The definitions of PacGAN (Lin et al. 2018, section 4.1, after Srivastava et al. 2017, VEEGAN), for K equally
likely centres c_j and the standard deviation σ of every component along each axis. A sample belongs to its
nearest centre and is of high quality if it is within 3σ of it, ‖x − c_j‖ < 3σ.

    modes          the number of centres with at least one sample of high quality
    high quality   the share of such samples
    reverse KL     KL(p̂ ‖ uniform) = ln K − H(p̂), p̂_j the share of centre j among the samples of high quality

Even the truth is not at 100 %: in d dimensions the share is P(χ²_d < 9), which is 1 − e^{−4.5} = 98.889 %
for d = 2. A generator that has collapsed to one point has a high share, so the three are read together.
Reverse KL is biased upwards, by about (K − 1)/2n for n samples of the truth.
"""

import math
from dataclasses import dataclass
from typing import SupportsFloat

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from metrics.distances import distance_blocks
from metrics.inputs import check_pair, check_positive
from metrics.precision import full_precision

__all__ = ["ModeCoverage", "mode_coverage"]


@dataclass(frozen=True)
class ModeCoverage:
    """What a cloud covers of a mixture.

    Attributes:
        modes: The number of centres with at least one sample of high quality, from 0 to K; a 0-dim tensor
            as the rest.
        high_quality: The share of samples within 3σ of their nearest centre, from 0 to 1.
        reverse_kl: KL from the shares of the centres to the uniform ones, in nats, from 0 to ln K; ln K,
            its largest value, where no sample is of high quality.
        counts: The number of samples of high quality per centre, [K].
    """

    modes: Float[Tensor, ""]
    high_quality: Float[Tensor, ""]
    reverse_kl: Float[Tensor, ""]
    counts: Int64[Tensor, " k"]


@full_precision
def mode_coverage(
    samples: Float[Tensor, "n d"], *, centres: Float[Tensor, "k d"], std: SupportsFloat
) -> ModeCoverage:
    """Return how many modes of a mixture are covered, by what share of good samples, and how evenly.

    Args:
        samples: The cloud to judge, [n, d].
        centres: The mixture's means, [K, d].
        std: The standard deviation σ of every component along each axis; quality ends at 3σ.

    Returns:
        Modes, share of high quality, reverse KL (nats) and the counts behind them; none is differentiable.

    Raises:
        ValueError: Clouds that cannot be compared; std that is not positive.

    >>> centres = torch.tensor([[0.0], [1.0]])
    >>> result = mode_coverage(torch.tensor([[0.0], [0.1], [0.5]]), centres=centres, std=0.1)
    >>> result.modes, result.high_quality, result.reverse_kl
    (tensor(1.), tensor(0.6667), tensor(0.6931))
    """
    check_pair(samples, centres, ("samples", "centres"))
    radius = 3 * check_positive(std, "std")
    with torch.no_grad():
        blocks = distance_blocks(samples.detach().double(), centres.detach().double())
        nearest = [rows.min(1) for _, rows in blocks]
        gaps, owner = (
            torch.cat([pair.values for pair in nearest]),
            torch.cat([pair.indices for pair in nearest]),
        )
        counts = torch.bincount(owner[gaps < radius], minlength=len(centres))
        good = counts.sum()
        shares = counts.double() / good.clamp(min=1)
        # Σ p ln(pK) with 0 ln 0 = 0; without any good sample, the value of a collapse to one mode.
        spread = torch.special.entr(shares).sum()
        reverse_kl = (math.log(len(centres)) - spread).clamp(min=0)
    return ModeCoverage(
        modes=(counts > 0).sum().to(samples.dtype),
        high_quality=(good.double() / len(samples)).to(samples.dtype),
        reverse_kl=reverse_kl.to(samples.dtype),
        counts=counts,
    )
