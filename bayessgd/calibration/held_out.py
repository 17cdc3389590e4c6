r"""How wide for the best predictions: a factor of the covariance that held-out data accept.

For T in a grid the held-out log score of the predictive distribution of M draws is

    S(T) = (1/n)·Σⱼ log (1/M)·Σᵢ p(yⱼ | f(xⱼ, m + √T·δᵢ)),

with the same δᵢ at every T. S(0) is the score of the mean m alone. The best T is accepted only if the paired gain
S(T) − S(0) is above its standard error over the points; otherwise the mean stands, for whoever scores by predictions
gains nothing from a width that the data do not ask for. The best of several is chosen with the noise it is judged by,
so that the gain is biased upwards, by less than one standard error where the scores move together.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import vmap

from bayessgd._bank import stream
from bayessgd._inputs import Inputs, Output, Targets, rows, size, wide
from bayessgd.batches import Data
from bayessgd.likelihoods import Likelihood
from bayessgd.params import unwrap
from bayessgd.posteriors import LowRankGaussian

__all__ = ["FACTORS", "Choice", "best_factor", "log_score"]

FACTORS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
"""The factors T of a covariance that are tried beside 0: half a decade apart."""

BATCH = 512
"""Data per forward pass."""


@dataclass(frozen=True)
class Choice:
    """The factor that was accepted, and what it gained over the mean alone.

    Attributes:
        factor: T; 0 where no factor's gain was above its standard error.
        gain: S(T) − S(0) of the best T that was tried, in nats a point; accepted or not.
        stderr: Its standard error over the held-out points, paired.
        scores: S by factor.

    >>> Choice(factor=0.0, gain=0.01, stderr=0.02, scores={0.0: -1.0, 1.0: -0.99}).accepted
    False
    """

    factor: float
    gain: float
    stderr: float
    scores: dict[float, float]

    @property
    def accepted(self) -> bool:
        """Whether a factor above 0 was accepted."""
        return self.factor > 0


def best_factor(
    score: Callable[[LowRankGaussian], Tensor],
    mean: LowRankGaussian,
    wider: Callable[[float], LowRankGaussian],
) -> Choice:
    """Choose among `FACTORS` by the rule of this module.

    Args:
        score: From a posterior to the log score of every held-out point, [n].
        mean: m, as a Gaussian of no variance.
        wider: From T to the Gaussian whose covariance has the factor T.
    """
    none = score(mean)
    gains = {factor: score(wider(factor)) - none for factor in FACTORS}
    best = max(gains, key=lambda factor: float(gains[factor].mean()))
    gain = gains[best]
    stderr = float(gain.std()) / math.sqrt(len(gain)) if len(gain) > 1 else math.inf
    accepted = best if float(gain.mean()) > stderr else 0.0
    scores = {0.0: float(none.mean())} | {f: float((none + g).mean()) for f, g in gains.items()}
    return Choice(accepted, float(gain.mean()), stderr, scores)


@torch.no_grad()
def log_score(
    model: nn.Module,
    posterior: LowRankGaussian,
    x: Inputs,
    y: Targets,
    *,
    likelihood: Likelihood,
    num_samples: int,
    seed: int,
    refresh_batchnorm: Data | None = None,
    output: Output | None = None,
) -> Tensor:
    """Return log (1/M)·Σᵢ p(yⱼ | f(xⱼ, θᵢ)) of every point in float64, by the draws of one seed."""
    like = next(iter(posterior.mean.values()))
    random = torch.Generator(like.device).manual_seed(seed)
    moves = any(bool(v.any()) for v in posterior.marginal_variance.values())
    count = num_samples if moves else 1
    starts = range(0, size(y), BATCH)
    parts = [rows(x, slice(i, i + BATCH)) for i in starts]
    held = [rows(y, slice(i, i + BATCH)) for i in starts]
    found: list[list[Tensor]] = [[] for _ in parts]
    for i, _, outputs in stream(
        unwrap(model),
        posterior,
        parts,
        count=count,
        generator=random,
        refresh=refresh_batchnorm,
        output=output,
    ):
        terms = vmap(likelihood.log_prob, (0, None))(wide(outputs), held[i])
        found[i].append(terms.double().logsumexp(0))
    return torch.cat([torch.stack(part).logsumexp(0) for part in found]) - math.log(count)
