"""Feature likelihood divergence: how likely held-out data are under Gaussians around the samples (FLD).

Jiralerspong et al. 2023, "Feature likelihood divergence: evaluating the generalization of generative models using
samples" (arXiv 2302.04440), as the authors' code computes it (github.com/marcojira/fld, commit ffbbf20, `fld/MoG.py`
and `fld/metrics/FLD.py`). In features that are standardised by mean and standard deviation of the held-out data,
M samples y_j are the centres of a mixture of d-dimensional Gaussians with variances s_j of their own,

    q(x) = (1/M) Σ_j N(x; y_j, s_j I),      NLL(A) = −(1/d) mean over x in A of ln q(x),

which are fitted to the *training* data: a sample that repeats a training point gets a variance near 0 there, and says
nothing of held-out points. So copying costs as much as missing. With B points of the training data as centres, fitted
to the others, as the baseline of a perfect model,

    FLD = 100 · (NLL(held-out) − NLL_baseline(held-out)),      gap = 100 · (NLL(train) − NLL(held-out)):

FLD is 0 for samples as good as training data, and the gap the lower the more was memorised. Of samples that are all
copies FLD is beyond all measure, by how much is a matter of rounding: a variance ends at e⁻⁴⁰.

**The fit.** 50 steps of Adam for each 10 000 training points, rate 0.5, on ℓ_j = ln s_j, from the best variance for the
nearest training point, ln((min_i ‖x_i − y_j‖² + 10⁻³)/d), cut off at ±40, until five losses in a row agree to 5·10⁻⁴.
So that points far from all samples have a bounded pull, a component of *weight 1* and variance e^{ℓ₀} around the
training mean, which each point sees at nine tenths of its distance, is added in the fit alone. With responsibilities
r_ij the slopes are ∂NLL/∂ℓ_j = −(1/nd) Σ_i r_ij (‖x_i − y_j‖²/s_j − d)/2. The number hangs on this recipe as the
Inception score hangs on its network.

**The error** is that of other samples and other held-out points beside the same training data, which is what models
of one training set are compared by. To first order a sample adds its share of the mixture, r̄_j = mean over held-out
points of r_ij, so that

    Var FLD ≈ 100² ( Var_i(ln q_base(z_i) − ln q(z_i)) / (m d²) + Var_j(M r̄_j) / (M d²) );

the refit of the other variances is left out of it. Over 80 fresh samples and held-out sets beside one training set, in
2 to 16 dimensions, it was .89 to 1.19 times the spread, ± .08.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import SupportsFloat

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.distances import product_distances
from metrics.inputs import check_cloud, check_pair, repeatable
from metrics.precision import full_precision

__all__ = ["FeatureLikelihood", "feature_likelihood_divergence"]

CENTRES = 10_000
"""Samples that are centres at most; of more, a random subset."""

BATCH = 10_000
"""Training points of a step."""

EPOCHS, RATE, LIMIT, AGREED = 50, 0.5, 40.0, 5e-4
NEAREST = 1e-3
"""Added to the squared distance to the nearest training point."""

ORIGIN = 0.9
"""The part of its distance at which a point sees the component around the training mean."""

BLOCK = 2**22
"""Entries of a block of pairs: 32 MiB in float64."""

KEPT = 2**27
"""Pairs whose squared distances are kept through the fit: 1 GiB in float64; of more, they are made anew."""


@dataclass(frozen=True)
class FeatureLikelihood:
    """What `feature_likelihood_divergence` found; 0-dim tensors but the variances.

    Attributes:
        value: FLD, in hundredths of a nat per dimension; 0 for samples as good as training data.
        stderr: Its standard error over samples and held-out data, given the training data; infinite of one sample.
        gap: 100 · (NLL(train) − NLL(held-out)); far below 0 where the training data are memorised.
        nll: Of the held-out data under the samples' mixture, nats per dimension.
        baseline: The same under a mixture around one half of the training data, fitted to the other.
        variances: s_j in the standardised features, [centres].
    """

    value: Float[Tensor, ""]
    stderr: Float[Tensor, ""]
    gap: Float[Tensor, ""]
    nll: Float[Tensor, ""]
    baseline: Float[Tensor, ""]
    variances: Float[Tensor, " centres"]


@torch.no_grad()
@full_precision
def feature_likelihood_divergence(
    samples: Float[Tensor, "n d"],
    *,
    train: Float[Tensor, "k d"],
    held_out: Float[Tensor, "m d"],
    baseline: SupportsFloat | None = None,
    generator: torch.Generator | None = None,
) -> FeatureLikelihood:
    """Return FLD: how much less likely held-out data are under Gaussians around the samples than around training data.

    Args:
        samples: A model's samples, as features, [n, d]; of more than 10 000 a random subset. Published numbers have
            10 000, in the features of DINOv2.
        train: What the model was trained on, [k, d], k ≥ 2.
        held_out: Data that it was not trained on, [m, d], m ≥ 2, no column constant.
        baseline: `FeatureLikelihood.baseline` of another model's samples, as many, with the same data; None fits it. A
            number says nothing of single points, and the error is then that without their likeness: too large.
        generator: For subsets, halves and batches; `None` is seeded with 0.

    Returns:
        The divergence with its parts, not differentiable. Biased upwards for fewer samples: compare as many of each.

    Raises:
        ValueError: Clouds that cannot be compared, a constant column, too few points.

    References: Jiralerspong et al. 2023; recipe and constants from the authors' code.

    >>> random = torch.Generator().manual_seed(0)
    >>> train, held_out, samples = torch.randn(3, 200, 4, generator=random).unbind()
    >>> found = feature_likelihood_divergence(samples, train=train, held_out=held_out)
    >>> copied = feature_likelihood_divergence(train, train=train, held_out=held_out)
    >>> bool(found.value.abs() < 30), bool(copied.value > 100), bool(copied.gap < -100)
    (True, True, True)
    """
    check_pair(samples, train, ("samples", "train"))
    check_pair(samples, held_out, ("samples", "held_out"))
    check_cloud(train, "train", least=2)
    check_cloud(held_out, "held_out", least=2)
    random = repeatable(generator)
    mean, std = held_out.double().mean(0), held_out.double().std(0)
    if not bool((std > 0).all()):
        raise ValueError(
            f"held_out must vary in every column, got {int((std == 0).sum())} constant ones; leave them "
            "out, or compare features of a network"
        )
    y, x, z = ((cloud.double() - mean) / std for cloud in (samples, train, held_out))
    y = _shuffled(y, random)[:CENTRES] if len(y) > CENTRES else y
    logs = _fitted(y, x, random)
    (each, share), (on_train, _) = _nll(z, y, logs), _nll(x, y, logs)
    nll, beside = each.mean(), each
    if baseline is None:
        mixed, half = _shuffled(x, random), min(len(y), len(x) // 2)
        centres = mixed[:half]
        of_base, _ = _nll(z, centres, _fitted(centres, mixed[half:], random))
        base, beside = of_base.mean(), each - of_base
    else:
        base = nll.new_tensor(float(baseline))
    # One sample does not say how samples differ.
    of_samples = share.var() if len(y) > 1 else share.new_tensor(math.inf)
    stderr = (beside.var() / len(z) + of_samples / (len(y) * x.shape[1] ** 2)).sqrt()
    found = 100 * (nll - base), 100 * stderr, 100 * (on_train.mean() - nll), nll, base, logs.exp()
    return FeatureLikelihood(*(t.to(samples.dtype) for t in found))


def _shuffled(cloud: Tensor, random: torch.Generator) -> Tensor:
    order = torch.randperm(len(cloud), generator=random, device=random.device)
    return cloud[order.to(cloud.device)]


def _fitted(centres: Tensor, x: Tensor, random: torch.Generator) -> Float[Tensor, " centres"]:
    """The ln s_j of the mixture that is fitted to x."""
    x, d = _shuffled(x, random), x.shape[1]
    kept = product_distances(x, centres).square() if len(x) * len(centres) <= KEPT else None
    nearest = centres.new_full((len(centres),), math.inf)
    for _, squares in _blocks(x, centres, kept):
        nearest = torch.minimum(nearest, squares.amin(0))
    logs, origin = ((nearest + NEAREST) / d).log(), centres.new_zeros(1)
    optimizer = torch.optim.Adam([logs, origin], lr=RATE)
    far, losses = ORIGIN**2 * (x - x.mean(0)).square().sum(1), []
    for epoch in range(EPOCHS):
        of_batches = []
        for start in range(0, len(x), BATCH):
            batch = slice(start, start + BATCH)
            part = None if kept is None else kept[batch]
            loss, logs.grad, origin.grad = _step(x[batch], far[batch], centres, part, logs, origin)
            optimizer.step()
            logs.clamp_(-LIMIT, LIMIT)
            of_batches.append(loss)
        losses.append(sum(of_batches) / len(of_batches))
        if epoch > 5 and max(abs(losses[-1] - before) for before in losses[-5:-1]) < AGREED:
            break
    return logs


def _step(
    x: Tensor, far: Tensor, centres: Tensor, kept: Tensor | None, logs: Tensor, origin: Tensor
) -> tuple[float, Tensor, Tensor]:
    """The loss of a batch, and its slopes for the log variances and the extra component's."""
    n, d = x.shape
    loss, slope, of_origin = 0.0, torch.zeros_like(logs), torch.zeros_like(origin)
    for rows, squares in _blocks(x, centres, kept):
        log_p = _log_densities(squares, logs, d) - math.log(len(logs))
        extra = _log_densities(far[rows], origin, d)
        total = torch.logaddexp(log_p.logsumexp(1), extra)
        loss -= float(total.sum()) / (n * d)
        part = (log_p - total[:, None]).exp_()
        slope -= (part * (squares / logs.exp() - d)).sum(0) / (2 * n * d)
        of_origin -= ((extra - total).exp() * (far[rows] / origin.exp() - d)).sum() / (2 * n * d)
    return loss, slope, of_origin


def _nll(x: Tensor, centres: Tensor, logs: Tensor) -> tuple[Float[Tensor, " n"], Float[Tensor, " centres"]]:
    """−(1/d) ln q at each point, without the extra component, and M times each centre's mean responsibility."""
    d, share, each = x.shape[1], torch.zeros_like(logs), []
    for _, squares in _blocks(x, centres, None):
        log_p = _log_densities(squares, logs, d)
        total = log_p.logsumexp(1)
        each.append((math.log(len(logs)) - total) / d)
        share += (log_p - total[:, None]).exp_().sum(0)
    return torch.cat(each), share * (len(logs) / len(x))


def _log_densities(squares: Tensor, logs: Tensor, d: int) -> Tensor:
    return -0.5 * (squares / logs.exp() + d * (logs + math.log(2 * math.pi)))


def _blocks(x: Tensor, centres: Tensor, kept: Tensor | None) -> Iterator[tuple[slice, Tensor]]:
    """Rows of x and their squared distances to the centres."""
    height = max(1, BLOCK // len(centres))
    for start in range(0, len(x), height):
        rows = slice(start, start + height)
        yield rows, product_distances(x[rows], centres).square() if kept is None else kept[rows]
