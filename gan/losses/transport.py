"""Optimal transport as a loss: the Sinkhorn divergence and the sliced Wasserstein distance.

    Sinkhorn   S_ε(x, y) = OT_ε(x, y) − ½OT_ε(x, x) − ½OT_ε(y, y), cost ‖x−y‖²   (Feydy et al. 2019, eq. 3)
    sliced     SW₂²(x, y) = E_θ W₂²(θ·x, θ·y), θ uniform on the sphere           (Bonneel et al. 2015)

Both are the numbers of `metrics.transport`, so that what trains a generator is what judges it. With a learned
cost, S_ε(φ(x), φ(y)) is maximised in φ and minimised in the generator (Genevay, Peyré & Cuturi 2018).

S_ε is the debiased *dual* value, with KL penalty, the full square ‖x−y‖² and no clamp at zero: other programs
take the sharp cost ⟨P, C⟩, half the cost, half the divergence, or two batches for each self-term, and their
numbers and their ε differ accordingly. Debiasing removes the entropic bias but not the sampling one: between
batches of n, E S_ε > 0 for equal laws.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from gan.losses._embedding import unit_norm
from metrics.inputs import check_count, check_positive
from metrics.transport import sinkhorn_divergence, sliced_wasserstein

__all__ = ["Sinkhorn", "SlicedWasserstein"]


@dataclass(frozen=True)
class Sinkhorn:
    """The Sinkhorn divergence S_ε between the two batches, cost ‖x−y‖².

    Args:
        eps: ε in units of the cost; None is 0.05 × the batches' mean cost.
        learned_cost: The clouds are embeddings φ(x), φ(G(z)), put on the unit sphere, and φ maximises S_ε.

    >>> Sinkhorn()(torch.zeros(4, 2), torch.ones(4, 2))
    tensor(2.)
    """

    eps: float | int | None = None
    learned_cost: bool = False

    def __post_init__(self) -> None:
        if self.eps is not None:
            check_positive(self.eps, "eps")

    def __call__(
        self,
        real: Float[Tensor, "n d"],
        fake: Float[Tensor, "m d"],
        *,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, ""]:
        """Return S_ε(real, fake), differentiable in both; nothing is drawn."""
        if self.learned_cost:
            real, fake = unit_norm(real, fake)
        return sinkhorn_divergence(real, fake, eps=self.eps)

    def of_batch(
        self, real: Float[Tensor, "runs n d"], fake: Float[Tensor, "runs m d"]
    ) -> Float[Tensor, " runs"]:
        """Return S_ε of several pairs of clouds; small ones are solved together.

        >>> Sinkhorn().of_batch(torch.zeros(2, 4, 3), torch.ones(2, 4, 3))
        tensor([3., 3.])
        """
        if self.learned_cost:
            real, fake = normalize(real, dim=2), normalize(fake, dim=2)
        return sinkhorn_divergence(real, fake, eps=self.eps)


@dataclass(frozen=True)
class SlicedWasserstein:
    """SW₂² along random directions: the *square*, whose gradient does not blow up as the clouds meet.

    A trainer passes its own `generator`, which draws new directions at every step: over the steps every
    direction counts, and few of them suffice at once. Without one the directions are always the same ones, as
    for a measure.

    Args:
        num_projections: The number of directions in each call.
        learned_cost: The clouds are embeddings, put on the unit sphere, and their network maximises the
        distance.

    >>> round(float(SlicedWasserstein(512)(torch.zeros(4, 2), torch.ones(4, 2))), 1)   # ‖m‖²/d = 1
    1.0
    """

    num_projections: int = 128
    learned_cost: bool = False

    def __post_init__(self) -> None:
        check_count(self.num_projections, "num_projections")

    def __call__(
        self,
        real: Float[Tensor, "n d"],
        fake: Float[Tensor, "m d"],
        *,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, ""]:
        """Return SW₂²(real, fake) along directions from `generator`."""
        if self.learned_cost:
            real, fake = unit_norm(real, fake)
        distance = sliced_wasserstein(real, fake, num_projections=self.num_projections, generator=generator)
        return distance.square()
