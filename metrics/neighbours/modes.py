"""Modes covered, high-quality samples and reverse KL, on a mixture of known Gaussians or by a classifier.

The definitions of PacGAN (Lin et al. 2018, section 4.1, after Srivastava et al. 2017, VEEGAN), for K equally
likely centres c_j and the standard deviation σ of every component along each axis. A sample belongs to its
nearest centre and is of high quality if it is within 3σ of it, ‖x − c_j‖ < 3σ.

    modes          the number of centres with at least one sample of high quality
    high quality   the share of such samples
    reverse KL     KL(p̂ ‖ uniform) = ln K − H(p̂), p̂_j the share of centre j among the samples of high quality

Even the truth is not at 100 %: in d dimensions the share is P(χ²_d < 9), which is 1 − e^{−4.5} = 98.889 %
for d = 2. A generator that has collapsed to one point has a high share, so the three are read together.
Reverse KL is biased upwards, by about (K − 1)/2n for n samples of the truth.

Where modes are classes and no centres are known, as for digits stacked in three channels with their 1000 classes
(Srivastava et al. 2017; Lin et al. 2018), a classifier says to which one a sample belongs:
`class_coverage` counts the classes that it names, and takes KL(p̂ ‖ p) from the shares of the names to those of the
data.
"""

import math
from dataclasses import dataclass
from typing import SupportsFloat

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from metrics.distances import distance_blocks
from metrics.inputs import check_count, check_dense, check_pair, check_positive
from metrics.precision import full_precision

__all__ = ["ClassCoverage", "ModeCoverage", "class_coverage", "mode_coverage"]


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


@dataclass(frozen=True)
class ClassCoverage:
    """What a cloud covers of the classes, by a classifier.

    Attributes:
        modes: The number of classes that are named at least once; a 0-dim float64 tensor as the next.
        kl: KL from the shares of the names to those of the data, in nats; from 0 to ln K where those are uniform.
        counts: How often each class is named, [K].
    """

    modes: Float[Tensor, ""]
    kl: Float[Tensor, ""]
    counts: Int64[Tensor, " k"]


def class_coverage(
    predicted_labels: Int64[Tensor, " n"],
    *,
    num_classes: int = 1000,
    shares: Float[Tensor, " k"] | Int64[Tensor, " k"] | None = None,
) -> ClassCoverage:
    """Return how many classes a classifier finds in a cloud, and KL(p̂ ‖ p) from their shares to those of the data.

    Args:
        predicted_labels: The classifier's class of each sample, [n], from 0.
        num_classes: K.
        shares: The classes' shares in the data or how often they occur, [K], normalised to sum one; None is uniform.

    Returns:
        Modes, KL (nats) and counts. For n samples of the truth KL is biased upwards by about (K − 1)/2n, and modes
        downwards by Σ_k (1 − p_k)^n.

    Raises:
        ValueError: Labels that are not in 0 … K − 1, no sample, shares that are no shares.
        TypeError: Labels that are no whole numbers, shares that are no tensor.

    >>> found = class_coverage(torch.tensor([0, 1, 0, 1]), num_classes=4)
    >>> found.modes, found.kl
    (tensor(2., dtype=torch.float64), tensor(0.6931, dtype=torch.float64))
    """
    k = check_count(num_classes, "num_classes")
    counts = _counted(predicted_labels, k)
    p = counts.double() / counts.sum()
    q = _shares(shares, k).to(p.device)
    # 0 ln 0 = 0; a name that the data do not have makes the divergence infinite.
    kl = torch.where(counts > 0, p * (p.clamp(min=1e-300) / q).log(), 0.0).sum().clamp(min=0)
    return ClassCoverage((counts > 0).sum().double(), kl, counts)


_WHOLE = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


def _counted(labels: object, k: int) -> Tensor:
    if (
        not isinstance(labels, Tensor)
        or labels.dtype not in _WHOLE
        or labels.layout != torch.strided
        or labels.is_meta
    ):
        kind = labels.dtype if isinstance(labels, Tensor) else type(labels).__name__
        raise TypeError(
            f"predicted_labels must be a tensor of whole numbers, got {kind}; take logits.argmax(1)"
        )
    if labels.ndim != 1 or len(labels) == 0:
        raise ValueError(
            f"predicted_labels must have shape [n], n at least 1, got {list(labels.shape)}; take logits.argmax(1)"
        )
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= k:
        raise ValueError(
            f"predicted_labels must be from 0 to num_classes − 1 = {k - 1}, got {low} to {high}; pass "
            "num_classes"
        )
    return labels.long().bincount(minlength=k)


def _shares(shares: Tensor | None, k: int) -> Tensor:
    if shares is None:
        return torch.full((k,), 1 / k, dtype=torch.float64)
    if not isinstance(shares, Tensor) or shares.is_complex():
        kind = shares.dtype if isinstance(shares, Tensor) else type(shares).__name__
        raise TypeError(
            f"shares must be a tensor of real numbers, got {kind}; take labels.bincount(minlength=num_classes)"
        )
    if (
        check_dense(shares, "shares").shape != (k,)
        or not bool(shares.isfinite().all())
        or bool((shares < 0).any())
    ):
        raise ValueError(
            f"shares must be {k} finite numbers of 0 or more, one a class, got shape {list(shares.shape)}; count the "
            "data's labels with bincount(minlength=num_classes)"
        )
    q = shares.double()
    if not bool(q.max() > 0):
        raise ValueError("shares must have a positive sum, got 0; count the data's labels with bincount")
    q = q / q.max()  # the sum of large ones would overflow
    return q / q.sum()
