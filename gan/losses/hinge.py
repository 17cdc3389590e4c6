"""The hinge loss (Lim & Ye 2017, "Geometric GAN"; Miyato et al. 2018, eqs. 16 and 17).

The critic is a support vector machine: samples beyond the margin ±1 on the right side stop pulling. For the
optimal critic, sign(p − q), its loss is 2 − 2·TV(p, q).
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import relu

from gan.losses._scores import check_scores

__all__ = ["Hinge"]


@dataclass(frozen=True)
class Hinge:
    """The critic minimises E relu(1−r) + E relu(1+s), the generator −E s.

    >>> import torch
    >>> Hinge().critic_loss(torch.tensor([[3.0]]), torch.tensor([[2.0]]))
    tensor(3.)
    """

    def critic_loss(self, real: Float[Tensor, "n 1"], fake: Float[Tensor, "m 1"]) -> Float[Tensor, ""]:
        """Return E relu(1−r) + E relu(1+s)."""
        r, s = check_scores(real, fake)
        return relu(1 - r).mean() + relu(1 + s).mean()

    def generator_loss(self, real: Float[Tensor, "n 1"], fake: Float[Tensor, "m 1"]) -> Float[Tensor, ""]:
        """Return −E s."""
        _, s = check_scores(real, fake)
        return -s.mean()
