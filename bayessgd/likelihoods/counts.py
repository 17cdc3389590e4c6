r"""Counts: y ~ Poisson(exp(f)), the log rate being the network's output.

    log p(y | f) = y f − e^f − log y!

The logarithm is the natural parameter, so that rates are positive and nothing needs a bound. An exposure t (time,
population) is an offset: let the network return f + log t.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.distributions import Distribution, Independent
from torch.distributions import Poisson as PoissonLaw

from bayessgd.likelihoods._shapes import check_output, check_same_shape

__all__ = ["Poisson"]


@dataclass(frozen=True)
class Poisson:
    """y ~ Poisson(exp(output)), independent over all dimensions; y = 0, 1, 2 … of any type.

    >>> Poisson().log_prob(torch.zeros(1, 1), torch.tensor([[2]]))  # rate 1: −1 − log 2
    tensor([-1.6931])
    """

    def check_targets(self, target: Tensor) -> None:
        """Refuse what is no count."""
        if not isinstance(target, Tensor):
            return  # log_prob says it
        values = target.detach().double()
        odd = values[(values < 0) | (values != values.round())]
        if odd.numel():
            raise ValueError(
                f"y must hold counts 0, 1, 2 … for Poisson, got {float(odd[0]):g}; of rates over an exposure t pass "
                "the counts, and let the network return f + log t"
            )

    def __call__(self, output: Float[Tensor, "n ..."]) -> Distribution:
        """Return the law of the count."""
        check_output(output)
        law = PoissonLaw(output.exp(), validate_args=False)
        return Independent(law, output.ndim - 1, validate_args=False)

    def log_prob(self, output: Float[Tensor, "n ..."], target: Shaped[Tensor, "..."]) -> Float[Tensor, " n"]:
        """Return log p(target | output) of each datum `[n]`; the two have the same shape."""
        check_same_shape(output, target)
        y = target.to(output.dtype)
        # Not through the rate: its logarithm is −∞ where the rate underflows.
        terms = y * output - output.exp() - torch.lgamma(y + 1)
        return terms.reshape(len(terms), -1).sum(1)
