"""The log score −ln p(y): of class probabilities and of Gaussians, in nats.

A wrong distribution P costs KL(Q‖P) more than the truth Q in expectation; see `metrics.predictions` on proper scores.
It is the only proper score that looks at nothing but the probability of what happened (Good 1952), and it is infinite
where an outcome had been given probability 0.
"""

import math

from jaxtyping import Float, Int64
from torch import Tensor

from metrics.inputs import check_tensor
from metrics.precision import full_precision
from metrics.predictions._scores import Score, check_gaussian, reduced
from metrics.probabilities import check_labels, check_probabilities

__all__ = ["categorical_nll", "categorical_nll_from_log_probs", "gaussian_nll"]


@full_precision
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

    >>> import torch
    >>> categorical_nll(torch.tensor([[0.25, 0.75]]), torch.tensor([0]))
    tensor(1.3863)
    """
    p = check_probabilities(probs).double()
    y = check_labels(labels, p)
    return reduced(-p.gather(1, y[:, None])[:, 0].log(), per_point).to(probs.dtype)


@full_precision
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

    >>> import torch
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
    return reduced(-log_p.gather(1, y[:, None])[:, 0], per_point).to(log_probs.dtype)


@full_precision
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

    >>> import torch
    >>> gaussian_nll(torch.zeros(1), torch.ones(1), torch.ones(1))
    tensor(1.4189)
    """
    mu, sigma, outcome = check_gaussian(mean, std, y)
    z = (outcome - mu) / sigma
    score = 0.5 * math.log(2 * math.pi) + sigma.log() + 0.5 * z.square()
    return reduced(score, per_point).to(y.dtype)
