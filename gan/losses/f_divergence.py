"""f-divergences, estimated and minimised through a critic.

For a convex f with f(1) = 0 and densities p (real) and q (generated), with likelihood ratio u = p/q,

    D_f(p‖q) = E_q[f(u)] = sup_T E_p[T] − E_q[f*(T)],      f*(t) = sup_{u>0} ut − f(u),

so every function T gives a lower bound (Nguyen, Wainwright & Jordan 2010). f-GAN writes T = g(v),
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

with sp the softplus; at p = q the GAN's value is −log 4, every other one 0. The members are in `f_family`.

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

from gan.losses._scores import check_scores

__all__ = ["FDivergence"]


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
            direction, both functions being increasing. Where the critic is sure that a sample is generated, s → −∞,
            one of them has a slope that neither dies nor explodes for KL, reverse KL, Pearson and the GAN, and is their
            default (but for `JensenShannon`, which is the minimax form). For Neyman both explode, for the squared
            Hellinger distance −f*∘g dies and −g explodes, for total variation they are one and die: there the clamp
            bounds the slope.
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
