r"""Likelihoods of classes: one of many, or yes and no.

    Categorical()   y ~ softmax(f): labels int64, or soft labels q with the log-likelihood Σ_k q_k log
    softmax(f)_k
    Bernoulli()     y ~ sigmoid(f): y in {0, 1}, or a probability q with q log σ(f) + (1 − q) log(1 − σ(f))

Both take logits, so that nothing overflows.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.distributions import Bernoulli as BernoulliLaw
from torch.distributions import Categorical as CategoricalLaw
from torch.distributions import Distribution, Independent

from bayessgd.likelihoods._shapes import check_output, check_same_shape

__all__ = ["Bernoulli", "Categorical"]


@dataclass(frozen=True)
class Categorical:
    """y ~ softmax(output), one label `[n, ...]` for each vector of an output `[n, ..., classes]`.

    >>> import torch
    >>> logits = torch.tensor([[0.0, 0.0]])
    >>> Categorical().log_prob(logits, torch.tensor([1]))  # −log 2
    tensor([-0.6931])
    >>> Categorical().log_prob(logits, torch.tensor([[0.3, 0.7]]))
    tensor([-0.6931])
    """

    def __call__(self, output: Float[Tensor, "n ..."]) -> Distribution:
        """Return the law of the label."""
        check_output(output)
        if output.ndim < 2:
            raise ValueError(
                f"output must have shape [n, classes], got {list(output.shape)}; for one logit use Bernoulli"
            )
        return Independent(
            CategoricalLaw(logits=output, validate_args=False), output.ndim - 2, validate_args=False
        )

    def log_prob(self, output: Float[Tensor, "n ..."], target: Shaped[Tensor, "..."]) -> Float[Tensor, " n"]:
        """Return log p(target | output) of each datum `[n]`.

        Args:
            output: Logits `[n, ..., classes]`.
            target: Labels, int64 `[n, ...]`, or class probabilities of the output's shape and type (soft
                labels).
        """
        law = self(output)
        if not isinstance(target, Tensor):
            raise TypeError(
                f"target must be a torch.Tensor, got {type(target).__name__}; use torch.as_tensor"
            )
        if target.is_floating_point():
            check_same_shape(output, target)
            return (target * output.log_softmax(-1)).flatten(1).sum(1)
        if target.dtype != torch.int64:
            raise TypeError(
                f"target must hold int64 labels or class probabilities, got {target.dtype}; "
                f"convert with target.long()"
            )
        check_same_shape(output[..., 0], target, "the output without its classes")
        return law.log_prob(target)


@dataclass(frozen=True)
class Bernoulli:
    """y ~ sigmoid(output), independent over all dimensions; y is 0, 1 or a probability.

    >>> import torch
    >>> Bernoulli().log_prob(torch.zeros(1), torch.ones(1))  # −log 2
    tensor([-0.6931])
    """

    def __call__(self, output: Float[Tensor, "n ..."]) -> Distribution:
        """Return the law of the target."""
        check_output(output)
        return Independent(
            BernoulliLaw(logits=output, validate_args=False), output.ndim - 1, validate_args=False
        )

    def log_prob(self, output: Float[Tensor, "n ..."], target: Shaped[Tensor, "..."]) -> Float[Tensor, " n"]:
        """Return log p(target | output) of each datum `[n]`; the two have the same shape."""
        check_same_shape(output, target)
        return self(output).log_prob(target.to(output.dtype))
