r"""Weights and masks: data that count more than once, less, or not at all.

    log p_w(y | f) = Σ_j w_j log p(y_j | f_j)

with one weight per datum or one per entry of the target; a mask is weights 0 and 1. The weights travel with the
targets, as the pair (y, w), so that batches of both stay together.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution

from bayessgd.likelihoods._shapes import summed
from bayessgd.likelihoods.joint import Likelihood
from metrics.inputs import check_object

__all__ = ["Weighted"]


@dataclass(frozen=True)
class Weighted:
    """A likelihood whose targets are pairs (y, w) with weights or a mask w.

    Args:
        likelihood: Of y alone. Weights per entry ask for one of this package's, which have `terms`.

    Raises:
        TypeError: Not a likelihood.

    >>> import torch
    >>> from bayessgd.likelihoods import Gaussian
    >>> f, y = torch.zeros(2, 1), torch.zeros(2, 1)
    >>> Weighted(Gaussian(1.0)).log_prob(f, (y, torch.tensor([2.0, 0.0])))  # −log 2π, 0
    tensor([-1.8379,  0.0000])
    """

    likelihood: Likelihood

    def __post_init__(self):
        check_object(self.likelihood, "likelihood")
        if not isinstance(self.likelihood, Likelihood):
            raise TypeError(
                f"likelihood must be one of bayessgd.likelihoods, got {type(self.likelihood).__name__}"
            )

    def check_targets(self, target: tuple[Tensor, Tensor]) -> None:
        """Refuse negative weights, and what the likelihood refuses where the weight is not 0."""
        y, weights = _pair(target)
        if bool((weights < 0).any()):
            raise ValueError(
                f"weights must not be negative, got a minimum of {float(weights.min()):g}; 0 leaves out"
            )
        check, kept = getattr(self.likelihood, "check_targets", None), weights != 0
        if check is not None and y.shape[: kept.ndim] == kept.shape and bool(kept.any()):
            check(y[kept])

    def __call__(self, output: Tensor) -> Distribution:
        """Return the distribution of y, which knows no weights."""
        return self.likelihood(output)

    def log_prob(self, output: Tensor, target: tuple[Tensor, Tensor]) -> Float[Tensor, " n"]:
        """Return Σ w log p(y | output) of each datum `[n]`.

        Args:
            output: As the likelihood has it.
            target: y, and w of shape `[n]` or of that of the likelihood's `terms`; bool or floating, not negative.
                Where w is 0, y may be anything finite.
        """
        y, weights = _pair(target)
        of_entries = getattr(self.likelihood, "terms", None)
        if weights.ndim == 1:
            terms = self.likelihood.log_prob(output, y)
        elif of_entries is not None:
            terms = of_entries(output, y)
        else:
            raise ValueError(
                f"weights must have shape [n] for {type(self.likelihood).__name__}, got {list(weights.shape)}; "
                "weights of single entries ask for a likelihood with terms(output, target)"
            )
        if terms.shape != weights.shape:
            raise ValueError(
                f"weights must have shape [n] or that of the targets, {list(terms.shape)}, got {list(weights.shape)}"
            )
        return summed(torch.where(weights != 0, weights.to(terms.dtype) * terms, 0.0))


def _pair(target: object) -> tuple[Tensor, Tensor]:
    if not isinstance(target, tuple) or len(target) != 2:
        got = f"{len(target)} of them" if isinstance(target, tuple) else type(target).__name__
        raise TypeError(f"target must be a pair (y, weights) for Weighted, got {got}")
    return target
