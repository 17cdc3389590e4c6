"""Proper scores: what a probabilistic prediction is worth once the outcome is known.

A score S(P, y) compares a predicted law P with an outcome y; lower is better. It is *proper* if no law has a
lower expected score than the truth, E_{y~Q} S(Q, y) ≤ E_{y~Q} S(P, y), and strictly so if only the truth
reaches it (Gneiting & Raftery 2007, "Strictly proper scoring rules, prediction, and estimation"). A forecaster
cannot gain by hedging, and what separates two scores is a divergence of P from Q. Each one here is strictly
proper:

    score            S(P, y)                              its divergence
    log score        −ln p(y)                             KL(Q‖P)
    Brier            Σ_k (p_k − 1[y = k])²                Σ_k (p_k − q_k)²
    CRPS             ∫ (F(t) − 1[y ≤ t])² dt              ∫ (F − G)² dt, Cramér's distance

Laws that are given as ensembles are scored in `metrics.ensembles`.

Each function returns the mean over the n outcomes, or with `per_point=True` the n scores: their standard
deviation over √n is the standard error of the mean, and the differences of two models' scores, point by point,
compare them. float32 comes back as float32; the arithmetic inside is float64.
"""

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from metrics.inputs import check_alike, check_labels, check_probabilities, check_tensor

__all__ = [
    "brier_score",
    "categorical_nll",
    "categorical_nll_from_log_probs",
    "crps_gaussian",
    "gaussian_nll",
]

Score = Float[Tensor, ""] | Float[Tensor, " n"]
"""The mean over the outcomes or, with `per_point=True`, every outcome's own score."""


def brier_score(
    probs: Float[Tensor, "n classes"], labels: Int64[Tensor, " n"], *, per_point: bool = False
) -> Score:
    """Return Brier's score Σ_k (p_k − 1[y = k])², from 0 (certain and right) to 2 (certain and wrong).

    The sum runs over all classes (Brier 1950): for two classes that is twice the (p − y)² of one of them.
    A mean over points is unbiased. `metrics.brier.brier_decomposition` splits it.

    Args:
        probs: Predicted probabilities, [n, classes].
        labels: The outcomes, from 0 to classes − 1, [n].
        per_point: Return the n scores instead of their mean.

    Raises:
        TypeError, ValueError: Probabilities that do not sum to 1; labels that are not int64 or out of range.

    >>> brier_score(torch.tensor([[0.8, 0.2], [0.5, 0.5]]), torch.tensor([0, 1]), per_point=True)
    tensor([0.0800, 0.5000])
    """
    p = check_probabilities(probs).double()
    y = check_labels(labels, p)
    # Σp² − 2p_y + 1 would cancel where the prediction is nearly certain and right.
    gap = p.scatter_add(1, y[:, None], p.new_full((len(p), 1), -1))
    return _reduced(gap.square().sum(1), per_point).to(probs.dtype)


def categorical_nll(
    probs: Float[Tensor, "n classes"], labels: Int64[Tensor, " n"], *, per_point: bool = False
) -> Score:
    """Return the log score −ln p_y, in nats; infinite where an outcome had been given probability 0.

    Probabilities below 1e-45 (float32) are 0: for predictions that sure, use `categorical_nll_from_log_probs`.

    Args:
        probs: Predicted probabilities, [n, classes].
        labels: The outcomes, from 0 to classes − 1, [n].
        per_point: Return the n scores instead of their mean.

    Raises:
        TypeError, ValueError: Probabilities that do not sum to 1; labels that are not int64 or out of range.

    >>> categorical_nll(torch.tensor([[0.25, 0.75]]), torch.tensor([0]))
    tensor(1.3863)
    """
    p = check_probabilities(probs).double()
    y = check_labels(labels, p)
    return _reduced(-p.gather(1, y[:, None])[:, 0].log(), per_point).to(probs.dtype)


def categorical_nll_from_log_probs(
    log_probs: Float[Tensor, "n classes"], labels: Int64[Tensor, " n"], *, per_point: bool = False
) -> Score:
    """Return the log score −ln p_y, in nats, from log-probabilities: it does not underflow.

    Args:
        log_probs: Normalised log-probabilities such as `logits.log_softmax(-1)`, [n, classes].
        labels: The outcomes, from 0 to classes − 1, [n].
        per_point: Return the n scores instead of their mean.

    Raises:
        TypeError, ValueError: Log-probabilities whose exponentials do not sum to 1 within 1e-4; labels that
            are not int64 or out of range.

    >>> logits = torch.tensor([[0.0, 1000.0]])
    >>> categorical_nll_from_log_probs(logits.log_softmax(-1), torch.tensor([0]))
    tensor(1000.)
    """
    log_p = check_tensor(log_probs, "log_probs", shape="[n, classes]", ndim=2).double()
    total = float(log_p.detach().logsumexp(1).abs().max())
    if total > 1e-4:
        raise ValueError(
            f"log_probs must be normalised, got a log-sum of {total:.3g}; take logits through .log_softmax(-1)"
        )
    y = check_labels(labels, log_p)
    return _reduced(-log_p.gather(1, y[:, None])[:, 0], per_point).to(log_probs.dtype)


def gaussian_nll(
    mean: Float[Tensor, " n"], std: Float[Tensor, " n"], y: Float[Tensor, " n"], *, per_point: bool = False
) -> Score:
    """Return the log score of N(μ, σ²), ½ ln 2π + ln σ + ½ ((y − μ)/σ)², in nats.

    A density has units: the value shifts by ln c when y is measured in units c times smaller.

    Args:
        mean: Predicted means μ, [n].
        std: Predicted standard deviations σ > 0, [n].
        y: The outcomes, [n].
        per_point: Return the n scores instead of their mean.

    Raises:
        TypeError, ValueError: Vectors that differ in length, type or device; a std that is not positive.

    >>> gaussian_nll(torch.zeros(1), torch.ones(1), torch.ones(1))
    tensor(1.4189)
    """
    mu, sigma, outcome = _check_gaussian(mean, std, y)
    z = (outcome - mu) / sigma
    score = 0.5 * math.log(2 * math.pi) + sigma.log() + 0.5 * z.square()
    return _reduced(score, per_point).to(y.dtype)


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
    mu, sigma, outcome = _check_gaussian(mean, std, y)
    gap = outcome - mu
    z = gap / (math.sqrt(2) * sigma)
    # 2Φ(√2 z) − 1 = erf(z) without its cancellation.
    spread = torch.exp(-z.square()) - math.sqrt(0.5)
    return _reduced(gap * torch.erf(z) + math.sqrt(2 / math.pi) * sigma * spread, per_point).to(y.dtype)


def _check_gaussian(mean: Tensor, std: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    check_tensor(y, "y", shape="[n]", ndim=1)
    for moment, name in ((mean, "mean"), (std, "std")):
        check_tensor(moment, name, shape="[n]", ndim=1)
        if len(moment) != len(y):
            raise ValueError(
                f"{name} must have one entry per outcome, {len(y)}, got {len(moment)}; "
                "expand one that all outcomes share"
            )
        check_alike(moment, y, (name, "y"))
    least = float(std.detach().min())
    if least <= 0:
        raise ValueError(f"std must be above 0, got a minimum of {least:.3g}; it is not a log or a variance")
    return mean.double(), std.double(), y.double()


def _reduced(scores: Tensor, per_point: bool) -> Tensor:
    return scores if per_point else scores.mean()
