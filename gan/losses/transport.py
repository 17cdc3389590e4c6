"""Optimal transport as a loss: the Sinkhorn divergence and the sliced Wasserstein distance.

    Sinkhorn   S_ε(x, y) = OT_ε(x, y) − ½OT_ε(x, x) − ½OT_ε(y, y), cost ‖x−y‖²   (Feydy et al. 2019, eq. 3)
    sliced     SW₂²(x, y) = E_θ W₂²(θ·x, θ·y), θ uniform on the sphere           (Bonneel et al. 2015)

Both are the numbers of `metrics.transport`, so that what trains a generator is what judges it. With a learned
cost, S_ε(φ(x), φ(y)) is maximised in φ and minimised in the generator (Genevay, Peyré & Cuturi 2018).

S_ε is the debiased *dual* value, with KL penalty, the full square ‖x−y‖² and no clamp at zero: other programs
take the sharp cost ⟨P, C⟩, half the cost, half the divergence, or two batches for each self-term, and their
numbers and their ε differ accordingly. Debiasing removes the entropic bias but not the sampling one: between
batches of n, E S_ε > 0 for equal distributions, and a generator lowers it by drawing its samples together. The cause
is the self-term OT_ε(y, y), in which every point has itself at distance 0, as no point has in OT_ε(x, y). Between
two halves y′, y″ of the batch it has not,

    S_ε,β(x, y) = S_ε(x, y) + β/2 · [OT_ε(y, y) − OT_ε(y′, y″)],

whose expectation at β = 1 is near that of independent batches (the minibatch energy distance of Salimans et al. 2018
and Fatras et al. 2020, which has no such pull but more noise). β between 0 and 1 trades the one for the other.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from gan.losses._embedding import unit_norm
from metrics.inputs import check_count, check_positive
from metrics.transport import sinkhorn, sinkhorn_divergence, sliced_wasserstein

__all__ = ["Sinkhorn", "SlicedWasserstein"]


@dataclass(frozen=True)
class Sinkhorn:
    """The Sinkhorn divergence S_ε between the two batches, cost ‖x−y‖².

    Args:
        eps: ε in units of the cost; None is 0.05 × the batches' mean cost.
        split: β, the share of the generated batch's self-term that is taken between its two halves, in [0, 1].
        learned_cost: The clouds are embeddings φ(x), φ(G(z)), put on the unit sphere, and φ maximises S_ε.

    >>> Sinkhorn()(torch.zeros(4, 2), torch.ones(4, 2))
    tensor(2.)
    """

    eps: float | int | None = None
    learned_cost: bool = False
    split: float = 0.0

    def __post_init__(self) -> None:
        if self.eps is not None:
            check_positive(self.eps, "eps")
        if not 0 <= self.split <= 1:
            raise ValueError(
                f"split must be in [0, 1], got {self.split}; 0 is the Sinkhorn divergence itself"
            )

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
        if not self.split:
            return sinkhorn_divergence(real, fake, eps=self.eps)
        return self._with_halves(real, fake)

    def _with_halves(self, real: Tensor, fake: Tensor) -> Tensor:
        half = len(fake) // 2
        if half < 2:
            raise ValueError(
                f"fake must hold at least 4 samples to be split, got {len(fake)}; use a larger batch"
            )
        result = sinkhorn_divergence(real, fake, eps=self.eps, return_result=True)
        eps = float(result.eps)
        whole = _with_itself(fake, eps)
        halves = sinkhorn(fake[:half], fake[half : 2 * half], eps=eps).value
        return result.value + self.split / 2 * (whole - halves)

    def of_batch(
        self, real: Float[Tensor, "runs n d"], fake: Float[Tensor, "runs m d"]
    ) -> Float[Tensor, " runs"]:
        """Return S_ε of several pairs of clouds; small ones are solved together, those to be split one by one.

        >>> Sinkhorn().of_batch(torch.zeros(2, 4, 3), torch.ones(2, 4, 3))
        tensor([3., 3.])
        """
        if self.learned_cost:
            real, fake = normalize(real, dim=2), normalize(fake, dim=2)
        if self.split:
            return torch.stack([self._with_halves(x, y) for x, y in zip(real, fake, strict=True)])
        return sinkhorn_divergence(real, fake, eps=self.eps)


def _with_itself(y: Tensor, eps: float) -> Tensor:
    """OT_ε(y, y), by the symmetric solver that the divergence has, which takes an eighth of the time of any other.

    Between y and one point c there is one plan, so that S_ε(y, c) = mean ‖y − c‖² − ½OT_ε(y, y).
    """
    centre = y.detach().mean(0, keepdim=True)
    return 2 * ((y - centre).square().sum(1).mean() - sinkhorn_divergence(y, centre, eps=eps))


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
