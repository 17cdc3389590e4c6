r"""Dependent data: one law for all of them, such as a time series or a Gaussian process.

    log p(y₁ … y_N | f₁ … f_N) is no sum over data

A batch of such data says nothing about the whole, so samplers of batches refuse them; `reference.nuts`, which takes all
the data at once, samples them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float, Shaped
from torch import Tensor
from torch.distributions import Distribution

from bayessgd.likelihoods._shapes import check_output

__all__ = ["JointLikelihood"]


@dataclass(frozen=True)
class JointLikelihood:
    """y ~ law(output), all the data being one event.

    Args:
        law: From the outputs of all the data `[N, ...]` to one distribution of all the targets; its log density of
            the targets is one number, or numbers that are to be summed.

    Raises:
        TypeError: A law that is no function.

    >>> import torch
    >>> from torch.distributions import MultivariateNormal
    >>> together = torch.tensor([[2.0, 1.0], [1.0, 2.0]])
    >>> normal = JointLikelihood(lambda f: MultivariateNormal(f[:, 0], together))
    >>> normal.log_prob(torch.zeros(2, 1), torch.zeros(2))  # −log 2π − ½ log 3
    tensor(-2.3872)
    """

    law: Callable[[Tensor], Distribution]
    joint: ClassVar[bool] = True

    def __post_init__(self):
        if not callable(self.law):
            raise TypeError(
                f"law must be a function from outputs to a distribution, got {type(self.law).__name__}; such as "
                "lambda f: MultivariateNormal(f[:, 0], covariance)"
            )

    def __call__(self, output: Float[Tensor, "n ..."]) -> Distribution:
        """Return the law of all the targets."""
        check_output(output)
        return self.law(output)

    def log_prob(self, output: Float[Tensor, "n ..."], target: Shaped[Tensor, "..."]) -> Float[Tensor, ""]:
        """Return log p(all targets | all outputs), a 0-dim tensor."""
        return self(output).log_prob(target).sum()
