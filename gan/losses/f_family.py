"""The members of the f-divergence family: each is its row of the table in `gan.losses.f_divergence`."""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

from gan.losses.f_divergence import FDivergence

__all__ = [
    "KL",
    "JensenShannon",
    "Neyman",
    "NonSaturating",
    "Pearson",
    "ReverseKL",
    "SquaredHellinger",
    "TotalVariation",
]


@dataclass(frozen=True, kw_only=True)
class JensenShannon(FDivergence):
    """The original GAN in its minimax form (Goodfellow et al. 2014, eq. 1).

    The critic minimises E sp(−r) + E sp(s), whose optimum is log 4 − 2·JSD, and the generator −E sp(s).
    `divergence` is the Jensen–Shannon divergence in nats, ½(log 4 − critic loss), between 0 and log 2.

    >>> scores = torch.zeros(4, 1)
    >>> JensenShannon().critic_loss(scores, scores), JensenShannon().divergence(scores, scores)
    (tensor(1.3863), tensor(0.))
    """

    non_saturating: bool = False
    max_log_ratio: float | int = math.inf

    @staticmethod
    def f(u: Tensor) -> Tensor:
        """Return u log u − (u+1) log(u+1)."""
        return torch.special.xlogy(u, u) - torch.special.xlog1py(u + 1, u)

    @staticmethod
    def g(v: Tensor) -> Tensor:
        """Return −sp(−v), the logarithm of the sigmoid."""
        return -softplus(-v)

    @staticmethod
    def conjugate(v: Tensor) -> Tensor:
        """Return sp(v)."""
        return softplus(v)

    @staticmethod
    def optimal_critic(log_ratio: Tensor) -> Tensor:
        """Return L."""
        return log_ratio

    def divergence(self, real: Float[Tensor, "n 1"], fake: Float[Tensor, "m 1"]) -> Float[Tensor, ""]:
        """Return ½(log 4 − E sp(−r) − E sp(s)), a lower bound of the Jensen–Shannon divergence in nats."""
        return (math.log(4) + self.bound(real, fake)) / 2


@dataclass(frozen=True, kw_only=True)
class NonSaturating(FDivergence):
    """The original GAN's critic with the generator loss E sp(−s) (Goodfellow et al. 2014, section 3).

    >>> NonSaturating().generator_loss(torch.zeros(4, 1), torch.zeros(4, 1))
    tensor(0.6931)
    """

    max_log_ratio: float | int = math.inf

    f = staticmethod(JensenShannon.f)
    g = staticmethod(JensenShannon.g)
    conjugate = staticmethod(JensenShannon.conjugate)
    optimal_critic = staticmethod(JensenShannon.optimal_critic)

    def divergence(self, real: Float[Tensor, "n 1"], fake: Float[Tensor, "m 1"]) -> Float[Tensor, ""]:
        """Return ½(log 4 − E sp(−r) − E sp(s)), a lower bound of the Jensen–Shannon divergence in nats."""
        return (math.log(4) + self.bound(real, fake)) / 2


@dataclass(frozen=True, kw_only=True)
class KL(FDivergence):
    """KL(p‖q) of the real distribution from the generated one, which punishes modes left out.

    >>> KL().divergence(torch.ones(4, 1), torch.ones(4, 1))
    tensor(0.)
    """

    @staticmethod
    def f(u: Tensor) -> Tensor:
        """Return u log u."""
        return torch.special.xlogy(u, u)

    @staticmethod
    def g(v: Tensor) -> Tensor:
        """Return v."""
        return v

    @staticmethod
    def conjugate(v: Tensor) -> Tensor:
        """Return e^{v−1}."""
        return (v - 1).exp()

    @staticmethod
    def optimal_critic(log_ratio: Tensor) -> Tensor:
        """Return 1 + L."""
        return 1 + log_ratio


@dataclass(frozen=True, kw_only=True)
class ReverseKL(FDivergence):
    """KL(q‖p) of the generated distribution from the real one, which punishes samples where there is no data.

    f*∘g being linear, the generator's own objective −E s never saturates; −E g(s) = E e^{−s} would explode.

    >>> ReverseKL().divergence(torch.zeros(4, 1), torch.zeros(4, 1))
    tensor(0.)
    """

    non_saturating: bool = False

    @staticmethod
    def f(u: Tensor) -> Tensor:
        """Return −log u."""
        return -u.log()

    @staticmethod
    def g(v: Tensor) -> Tensor:
        """Return −e^{−v}."""
        return -(-v).exp()

    @staticmethod
    def conjugate(v: Tensor) -> Tensor:
        """Return v − 1."""
        return v - 1

    @staticmethod
    def optimal_critic(log_ratio: Tensor) -> Tensor:
        """Return L."""
        return log_ratio


@dataclass(frozen=True, kw_only=True)
class Pearson(FDivergence):
    """Pearson's χ²(p‖q) = E_q[(u−1)²].

    v²/4 + v is the conjugate for v ≥ −2, where u = 1 + v/2 ≥ 0. Below, it would grow again and send the
    generator the wrong way; the clamp ends at v = 2(e^{−c} − 1) > −2.

    >>> Pearson().divergence(torch.zeros(4, 1), torch.zeros(4, 1))
    tensor(0.)
    """

    @staticmethod
    def f(u: Tensor) -> Tensor:
        """Return (u−1)²."""
        return (u - 1).square()

    @staticmethod
    def g(v: Tensor) -> Tensor:
        """Return v."""
        return v

    @staticmethod
    def conjugate(v: Tensor) -> Tensor:
        """Return v²/4 + v."""
        return v.square() / 4 + v

    @staticmethod
    def optimal_critic(log_ratio: Tensor) -> Tensor:
        """Return 2(u−1)."""
        return 2 * log_ratio.expm1()


@dataclass(frozen=True, kw_only=True)
class Neyman(FDivergence):
    """Neyman's χ², E_q[(1−u)²/u] = χ²(q‖p): Pearson's with the two distributions exchanged.

    The generator minimises 2E e^{−s/2}, of the two forms the one that explodes less where s → −∞.

    >>> Neyman().divergence(torch.zeros(4, 1), torch.zeros(4, 1))
    tensor(0.)
    """

    non_saturating: bool = False

    @staticmethod
    def f(u: Tensor) -> Tensor:
        """Return (1−u)²/u."""
        return (1 - u).square() / u

    @staticmethod
    def g(v: Tensor) -> Tensor:
        """Return 1 − e^{−v}."""
        return -(-v).expm1()

    @staticmethod
    def conjugate(v: Tensor) -> Tensor:
        """Return 2 − 2e^{−v/2}."""
        return -2 * (-v / 2).expm1()

    @staticmethod
    def optimal_critic(log_ratio: Tensor) -> Tensor:
        """Return 2L."""
        return 2 * log_ratio


@dataclass(frozen=True, kw_only=True)
class SquaredHellinger(FDivergence):
    """The squared Hellinger distance ∫(√p − √q)² (no factor ½), between 0 and 2.

    >>> SquaredHellinger().divergence(torch.zeros(4, 1), torch.zeros(4, 1))
    tensor(0.)
    """

    @staticmethod
    def f(u: Tensor) -> Tensor:
        """Return (√u−1)²."""
        return (u.sqrt() - 1).square()

    @staticmethod
    def g(v: Tensor) -> Tensor:
        """Return 1 − e^{−v}."""
        return -(-v).expm1()

    @staticmethod
    def conjugate(v: Tensor) -> Tensor:
        """Return e^v − 1."""
        return v.expm1()

    @staticmethod
    def optimal_critic(log_ratio: Tensor) -> Tensor:
        """Return L/2."""
        return log_ratio / 2


@dataclass(frozen=True, kw_only=True)
class TotalVariation(FDivergence):
    """Total variation ½∫|p − q|, between 0 and 1.

    The optimal critic is ±∞ wherever the densities differ, so no log-ratio can be read from a score; here
    `max_log_ratio` clamps |v| itself. The bound is then at most tanh(c) times the divergence, .995 for c = 3,
    and the slope at the end of the interval is ½(1 − tanh²c), .005.

    >>> TotalVariation().divergence(torch.zeros(4, 1), torch.zeros(4, 1))
    tensor(0.)
    """

    max_log_ratio: float | int = 3.0

    @staticmethod
    def f(u: Tensor) -> Tensor:
        """Return ½|u−1|."""
        return (u - 1).abs() / 2

    @staticmethod
    def g(v: Tensor) -> Tensor:
        """Return ½ tanh v."""
        return v.tanh() / 2

    @staticmethod
    def conjugate(v: Tensor) -> Tensor:
        """Return ½ tanh v."""
        return v.tanh() / 2

    @staticmethod
    def optimal_critic(log_ratio: Tensor) -> Tensor:
        """Return ±∞, the sign of L."""
        return log_ratio.sign() * math.inf

    @cached_property
    def critic_range(self) -> tuple[float, float]:
        """The interval [−c, c]."""
        return -self.max_log_ratio, self.max_log_ratio
