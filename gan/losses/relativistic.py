"""Relativistic pairing (Jolicoeur-Martineau 2019; Huang et al. 2024, "The GAN is dead; long live the GAN!").

The critic is asked which of *two* samples is real, not whether one is. Each generated sample is held against
a real one, so collapsing the generated ones onto a mode does not fool it everywhere. Meant to be used with R1
and R2.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

from gan.losses._scores import check_paired_scores

__all__ = ["RelativisticPairing"]


@dataclass(frozen=True)
class RelativisticPairing:
    """The critic minimises E sp(−(r−s)), the generator E sp(−(s−r)), sp being the softplus.

    Row i of the real scores is paired with row i of the generated ones, so both hold as many.

    >>> import torch
    >>> RelativisticPairing().critic_loss(torch.zeros(2, 1), torch.zeros(2, 1))
    tensor(0.6931)
    """

    def critic_loss(self, real: Float[Tensor, "n 1"], fake: Float[Tensor, "n 1"]) -> Float[Tensor, ""]:
        """Return E sp(s−r)."""
        r, s = check_paired_scores(real, fake)
        return softplus(s - r).mean()

    def generator_loss(self, real: Float[Tensor, "n 1"], fake: Float[Tensor, "n 1"]) -> Float[Tensor, ""]:
        """Return E sp(r−s)."""
        r, s = check_paired_scores(real, fake)
        return softplus(r - s).mean()
