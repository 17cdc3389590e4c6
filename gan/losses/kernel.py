"""Kernel distances as losses: the maximum mean discrepancy and the energy distance.

    MMD²(p, q) = E k(X, X') + E k(Y, Y') − 2E k(X, Y)          (Gretton et al. 2012; Li, Swersky & Zemel 2015)
    D²(p, q)   = 2E‖X − Y‖ − E‖X − X'‖ − E‖Y − Y'‖             (Székely & Rizzo 2013; Bellemare et al. 2017)

for independent X, X' ~ p and Y, Y' ~ q; D² is MMD² with the kernel −‖x−y‖. Both are the numbers of `metrics`,
so that what trains a generator is what judges it. MMD² is the U-statistic: its gradient is an unbiased one of
the true MMD², and it may be negative near the optimum. D² is the V-statistic, as scipy's, whose bias E‖Y −
Y'‖/n pulls generated samples together by that part; `MMD(NegativeDistance())` is D² without it.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from gan.losses._embedding import unit_norm
from metrics.kernels import Kernel, energy_distance, mmd2

__all__ = ["MMD", "Energy"]


@dataclass(frozen=True)
class MMD:
    """The unbiased MMD² between the two batches.

    Args:
        kernel: One of `metrics.kernels`; None is a mixture of Gaussians around each pair of batches' median
            distance, which no gradient passes through.
        learned_cost: The clouds are embeddings φ(x), φ(G(z)), put on the unit sphere, and φ maximises MMD².

    >>> bool(MMD()(torch.tensor([[0.0], [1.0]]), torch.tensor([[8.0], [9.0]])) > 1)
    True
    """

    kernel: Kernel | None = None
    learned_cost: bool = False

    def __call__(
        self,
        real: Float[Tensor, "n d"],
        fake: Float[Tensor, "m d"],
        *,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, ""]:
        """Return MMD²(real, fake), which may be negative; nothing is drawn."""
        if self.learned_cost:
            real, fake = unit_norm(real, fake)
        return mmd2(real, fake, kernel=self.kernel)


@dataclass(frozen=True)
class Energy:
    """The squared energy distance D² between the two batches, in the data's unit ("Cramér" GAN).

    Args:
        learned_cost: The clouds are embeddings φ(x), φ(G(z)), put on the unit sphere, and φ maximises D².

    >>> Energy()(torch.tensor([[0.0]]), torch.tensor([[2.0]]))
    tensor(4.)
    """

    learned_cost: bool = False

    def __call__(
        self,
        real: Float[Tensor, "n d"],
        fake: Float[Tensor, "m d"],
        *,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, ""]:
        """Return D²(real, fake); nothing is drawn."""
        if self.learned_cost:
            real, fake = unit_norm(real, fake)
        return energy_distance(real, fake, squared=True)
