"""The Wasserstein critic (Arjovsky, Chintala & Bottou 2017).

By Kantorovich's duality W₁(p, q) = sup E_p[v] − E_q[v] over the v with Lipschitz constant 1 (eq. 2). The loss
is that difference alone; what holds v near Lipschitz is a penalty: weight clipping, a gradient penalty, a
spectral norm.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from gan.losses._scores import check_scores

__all__ = ["Wasserstein"]


@dataclass(frozen=True)
class Wasserstein:
    """The critic minimises E s − E r, the generator −E s.

    >>> import torch
    >>> Wasserstein().critic_loss(torch.tensor([[3.0]]), torch.tensor([[1.0]]))
    tensor(-2.)
    """

    def critic_loss(self, real: Float[Tensor, "n 1"], fake: Float[Tensor, "m 1"]) -> Float[Tensor, ""]:
        """Return E s − E r."""
        r, s = check_scores(real, fake)
        return s.mean() - r.mean()

    def generator_loss(self, real: Float[Tensor, "n 1"], fake: Float[Tensor, "m 1"]) -> Float[Tensor, ""]:
        """Return −E s."""
        _, s = check_scores(real, fake)
        return -s.mean()

    def divergence(self, real: Float[Tensor, "n 1"], fake: Float[Tensor, "m 1"]) -> Float[Tensor, ""]:
        """Return E r − E s, a lower bound of K·W₁ for a critic of Lipschitz constant K."""
        return -self.critic_loss(real, fake)
