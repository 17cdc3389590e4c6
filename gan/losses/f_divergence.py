"""f-divergences, estimated and minimised through a critic.

For a convex f with f(1) = 0 and densities p (real) and q (generated), with likelihood ratio u = p/q,

    D_f(p‖q) = E_q[f(u)] = sup_T E_p[T] − E_q[f*(T)],      f*(t) = sup_{u>0} ut − f(u),

so every function T gives a lower bound (Nguyen, Wainwright & Jordan 2010, section II). f-GAN writes T = g(v),
where g maps the critic's free output v into the domain of f* (Nowozin, Cseke & Tomioka 2016, table 2):

    critic      minimises   −E_p[g(v)] + E_q[f*(g(v))]
    generator   minimises   −E_q[f*(g(v))],   or   −E_q[g(v)]   (`non_saturating=True`).

Here f*∘g is coded in its *composed* form: f* of an already rounded g loses every digit where g saturates. The
supremum is at g(v) = f'(u). With the log-ratio L = log u:

    divergence              f(u)                        g(v)          f*(g(v))         optimal v
    KL(p‖q)                 u log u                     v             e^{v−1}          1 + L
    reverse KL(q‖p)         −log u                      −e^{−v}       v − 1            L
    Pearson χ²              (u−1)²                      v             v²/4 + v         2(u−1)
    Neyman χ²               (1−u)²/u                    1 − e^{−v}    2 − 2e^{−v/2}    2L
    squared Hellinger       (√u−1)²                     1 − e^{−v}    e^v − 1          L/2
    GAN, 2·JSD − log 4      u log u − (u+1)log(u+1)     −sp(−v)       sp(v)            L
    total variation         ½|u−1|                      ½ tanh v      ½ tanh v         ±∞

with sp the softplus. `GAN` is f(1) = −log 4; everything else is zero at p = q.

**The clamp.** Where g or f*∘g is an exponential, one wild score overflows. A score is therefore clamped to
the interval in which its implied log-ratio is at most `max_log_ratio` = c in size: v(−c) ≤ v ≤ v(c), v(L)
being the table's last column. The value stays that of a critic, hence a true lower bound. A plain clamp has
no gradient outside, and a critic that left would never come back; so outside the interval the gradient, taken
at the nearer end, passes wherever descent leads *back* and is zero where it would lead further out.
`max_log_ratio=math.inf` turns the clamp off.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

from gan.losses._scores import check_scores

__all__ = [
    "KL",
    "FDivergence",
    "JensenShannon",
    "Neyman",
    "NonSaturating",
    "Pearson",
    "ReverseKL",
    "SquaredHellinger",
    "TotalVariation",
]


class _ClampThatPullsBack(torch.autograd.Function):
    """Clamp; outside, let the gradient through only if a descent step leads back inside."""

    generate_vmap_rule = True

    @staticmethod
    def forward(v: Tensor, low: float, high: float) -> Tensor:
        return v.clamp(low, high)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        v, ctx.low, ctx.high = inputs
        ctx.save_for_backward(v)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor, None, None]:
        (v,) = ctx.saved_tensors
        (grad,) = grad_outputs
        leads_out = ((v > ctx.high) & (grad < 0)) | ((v < ctx.low) & (grad > 0))
        return grad.masked_fill(leads_out, 0.0), None, None


@dataclass(frozen=True, kw_only=True)
class FDivergence(ABC):
    """The variational form of one f-divergence: see the module's table.

    Args:
        non_saturating: Whether the generator minimises −E g(s) in place of −E f*(g(s)). The two agree in
            direction, both functions being increasing. Each class defaults to the one whose slope neither
            dies nor explodes where the critic is sure that a sample is generated, s → −∞: that is −E s for
            KL, reverse KL and Pearson.
        max_log_ratio: The largest |log p/q| that a score may stand for; see the clamp above.
    """

    non_saturating: bool = True
    max_log_ratio: float | int = 10.0

    def __post_init__(self) -> None:
        if not self.max_log_ratio > 0:
            raise ValueError(f"max_log_ratio must be above 0, got {self.max_log_ratio}; math.inf is no clamp")

    @staticmethod
    @abstractmethod
    def f(u: Tensor) -> Tensor:
        """Return the convex function f of the likelihood ratio u = p/q."""

    @staticmethod
    @abstractmethod
    def g(v: Tensor) -> Tensor:
        """Return the critic's output mapped into the domain of f*."""

    @staticmethod
    @abstractmethod
    def conjugate(v: Tensor) -> Tensor:
        """Return f*(g(v)), composed."""

    @staticmethod
    @abstractmethod
    def optimal_critic(log_ratio: Tensor) -> Tensor:
        """Return the v at which the bound is tight, of L = log p/q."""

    @cached_property
    def critic_range(self) -> tuple[float, float]:
        """The interval to which scores are clamped."""
        if math.isinf(self.max_log_ratio):
            return -math.inf, math.inf
        ends = torch.tensor([-self.max_log_ratio, self.max_log_ratio], dtype=torch.float64)
        low, high = self.optimal_critic(ends).tolist()
        return low, high

    def bound(self, real: Float[Tensor, "n 1"], fake: Float[Tensor, "m 1"]) -> Float[Tensor, ""]:
        """Return E g(r) − E f*(g(s)), the variational bound that the critic maximises."""
        r, s = check_scores(real, fake)
        return self.g(self._clamp(r)).mean() - self.conjugate(self._clamp(s)).mean()

    def critic_loss(self, real: Float[Tensor, "n 1"], fake: Float[Tensor, "m 1"]) -> Float[Tensor, ""]:
        """Return −E g(r) + E f*(g(s)) of the scores r on real and s on generated samples."""
        return -self.bound(real, fake)

    def generator_loss(self, real: Float[Tensor, "n 1"], fake: Float[Tensor, "m 1"]) -> Float[Tensor, ""]:
        """Return −E f*(g(s)), or −E g(s) if `non_saturating`."""
        _, s = check_scores(real, fake)
        s = self._clamp(s)
        return -(self.g(s) if self.non_saturating else self.conjugate(s)).mean()

    def divergence(self, real: Float[Tensor, "n 1"], fake: Float[Tensor, "m 1"]) -> Float[Tensor, ""]:
        """Return the estimate of D_f(p‖q) that the scores give: the bound, in nats where f is a logarithm.

        On samples that the critic has not seen it is an unbiased estimate of a *lower bound* of the
        divergence, tight for the optimal critic. On those it was trained on it is biased upwards.
        """
        return self.bound(real, fake)

    def _clamp(self, v: Tensor) -> Tensor:
        low, high = self.critic_range
        if math.isinf(low) and math.isinf(high):
            return v
        clamped = _ClampThatPullsBack.apply(v, low, high)
        assert isinstance(clamped, Tensor)
        return clamped


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
    """KL(p‖q) of the real law from the generated one, which punishes modes left out.

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
    """KL(q‖p) of the generated law from the real one, which punishes samples where there is no data.

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
    """Neyman's χ², E_q[(1−u)²/u] = χ²(q‖p): Pearson's with the two laws exchanged.

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
