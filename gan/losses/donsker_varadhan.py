"""The Donsker–Varadhan form of the Kullback–Leibler divergence (Donsker & Varadhan 1983).

    KL(p‖q) = sup_v E_p[v] − log E_q[e^v],

reached at v = L + any constant, L = log p/q. For one v it is a tighter bound than the f-divergence one,
E_p[v] − E_q[e^{v−1}], because log x ≤ x/e; in return the logarithm of a mean over a batch is biased: a
batch's value overestimates the bound by about Var_q(e^v) / (2n (E_q e^v)²), and its gradient is biased alike
(Belghazi et al. 2018, section 3.2).
"""

import math
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from gan.losses._scores import check_scores

__all__ = ["DonskerVaradhan"]


@dataclass(frozen=True)
class DonskerVaradhan:
    """The critic maximises, and the generator minimises, E r − log E e^s.

    >>> import torch
    >>> DonskerVaradhan().divergence(torch.full((3, 1), 200.0), torch.full((3, 1), 200.0))
    tensor(0.)
    """

    def critic_loss(self, real: Float[Tensor, "n 1"], fake: Float[Tensor, "m 1"]) -> Float[Tensor, ""]:
        """Return log E e^s − E r."""
        return -self.divergence(real, fake)

    def generator_loss(self, real: Float[Tensor, "n 1"], fake: Float[Tensor, "m 1"]) -> Float[Tensor, ""]:
        """Return E r − log E e^s."""
        return self.divergence(real, fake)

    def divergence(self, real: Float[Tensor, "n 1"], fake: Float[Tensor, "m 1"]) -> Float[Tensor, ""]:
        """Return E r − log E e^s, in nats; the log-mean-exp is taken stably."""
        r, s = check_scores(real, fake)
        return r.mean() - (s.logsumexp(0).squeeze(0) - math.log(len(s)))
