"""Stochastic gradient Hamiltonian Monte Carlo in the parametrisation of SGD with momentum.

Chen, Fox & Guestrin (2014, eq. 15) write, for U = N·L and batch gradients ∇Ũ,

    θ ← θ + v,        v ← (1 − α)·v − η·∇Ũ(θ) + N(0, 2(α − β̂)η).

With torch's momentum m = 1 − α and lr = η·N this is SGD with momentum plus noise:

    v ← m·v − lr·ĝ(θ) + √(2(1 − m)·lr·T/N − lr²·V̂)·ξ,        θ ← θ + v.

(v = −lr·buffer of `torch.optim.SGD`; both orders of the two lines give the same sequence of θ.) T is the
temperature of the target ∝ exp(−N·L/T). m = 0 is SGLD with the same lr, T = 0 is `torch.optim.SGD(lr,
momentum=m)`.

*The friction and the batch noise.* The batch gradient brings noise of its own, lr²·C/S in v. The paper's β̂ =
η·N²·V̂/2 takes an estimate V̂ of its variance C/S off what is injected; `gradient_noise` is this V̂, one
number for all coordinates, 0 by default as in the paper's experiments. It must satisfy lr·V̂ ≤ 2(1 − m)·T/N:
beyond that the batch alone is hotter than the target, and lr must fall.

*Target in discrete time.* On a quadratic with curvature a and gradient noise c/S, θ is the AR(2) process
θₖ₊₁ = (1 + m − h)θₖ − m·θₖ₋₁ + s·ξ with h = lr·a and s² = 2(1 − m)·lr·T/N + lr²(c/S − V̂). Its stationary
variance (1 + m)s² / ((1 − m)·h·(2(1 + m) − h)) is, for V̂ = c/S,

    Var θ = T/(N·a) · 1/(1 − h/(2(1 + m))),        stable for h < 2(1 + m):

the bias of the step length is about half of SGLD's at m → 1, and the chain forgets in about (1 − m)/h steps
(or 2/(1 − m), whichever is longer) instead of 1/h. Uncorrected batch noise adds lr²(c/S)/s² of the variance.
"""

# torch has no public names for its foreach functions.
# pyright: reportPrivateImportUsage=false
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from bayessgd.optim._sampler import Number, Sampler, add_scaled, check_temperature
from metrics.inputs import check_number, check_positive

__all__ = ["SGHMC"]


class SGHMC(Sampler):
    """Stochastic gradient HMC: v ← m·v − lr·ĝ + √(2(1 − m)·lr·T/N − lr²·V̂)·ξ, θ ← θ + v.

    Backward must be given the *mean* negative log joint per datum, the same loss that SGD would get. lr and
    momentum mean what they mean in `torch.optim.SGD`. The velocity starts at 0. The step is elementwise, so
    stacked chains run at once; every one of several DDP ranks needs a generator of the same seed.

    Args:
        params: Parameters or parameter groups, float32 or float64.
        lr: Learning rate, on SGD's scale; a number or a 0-dim tensor.
        num_data: N, the number of data behind the posterior.
        momentum: m in [0, 1), torch's; the paper's friction is α = 1 − m.
        temperature: T ≥ 0; 1 is the posterior, 0 is SGD with momentum.
        gradient_noise: V̂ ≥ 0, the variance C/S of one coordinate of the batch gradient, taken off the
            injected noise. With a tensor as lr on a GPU a value above 0 costs one transfer per step, for the
            check.
        maximize: Climb the mean log joint instead of descending its negative.
        weight_decay: Must stay 0: a prior belongs to the loss.
        generator: Source of the noise, on the parameters' device; `None` is torch's default generator.

    Raises:
        TypeError: Half-precision or integer parameters, sparse gradients.
        ValueError: A hyperparameter out of range, any weight_decay, or (at a step) a gradient_noise above
            2(1 − m)·T/(N·lr).

    Bias: the variance on a quadratic is T/(N·a)/(1 − lr·a/(2(1 + m))) and what batch noise is not taken off.

    Reference: Chen, Fox & Guestrin, ICML 2014, eq. 15.

    >>> theta = torch.zeros(3, requires_grad=True)
    >>> sampler = SGHMC([theta], 0.1, num_data=100, momentum=0.9, generator=torch.Generator().manual_seed(0))
    >>> (0.5 * theta.square().sum()).backward()
    >>> sampler.step()
    >>> torch.equal(sampler.state[theta]["velocity"], theta.detach())
    True
    """

    def __init__(
        self,
        params: ParamsT,
        lr: Number,
        *,
        num_data: int | float,
        momentum: int | float = 0.9,
        temperature: int | float = 1.0,
        gradient_noise: int | float = 0.0,
        maximize: bool = False,
        weight_decay: int | float = 0.0,
        generator: torch.Generator | None = None,
    ) -> None:
        defaults = {
            "lr": lr,
            "num_data": num_data,
            "momentum": momentum,
            "temperature": temperature,
            "gradient_noise": gradient_noise,
            "maximize": maximize,
            "weight_decay": weight_decay,
        }
        super().__init__(params, defaults, generator=generator)

    def _check_group(self, group: dict[str, Any]) -> None:
        super()._check_group(group)
        check_positive(group["num_data"], "num_data")
        check_temperature(group["temperature"])
        if not 0 <= check_number(group["momentum"], "momentum") < 1:
            raise ValueError(f"momentum must be in [0, 1), got {group['momentum']}; it is torch's")
        if group["gradient_noise"] != 0:
            check_positive(group["gradient_noise"], "gradient_noise")

    def _update(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
        lr, temperature = group["lr"], group["temperature"]
        for p in params:
            if not self.state[p]:
                self.state[p]["velocity"] = torch.zeros_like(p)
        velocity = [self.state[p]["velocity"] for p in params]
        torch._foreach_mul_(velocity, group["momentum"])
        add_scaled(velocity, grads, -lr)
        if temperature > 0:
            add_scaled(velocity, self._normals(params), _injected_variance(group) ** 0.5)
        torch._foreach_add_(params, velocity)


def _injected_variance(group: dict[str, Any]) -> Number:
    lr, known = group["lr"], group["gradient_noise"]
    variance = 2 * (1 - group["momentum"]) * lr * group["temperature"] / group["num_data"] - lr**2 * known
    if known > 0 and float(variance) < 0:
        bound = 2 * (1 - group["momentum"]) * group["temperature"] / (group["num_data"] * float(lr))
        raise ValueError(
            f"gradient_noise must be at most 2(1 − momentum)·T/(N·lr) = {bound:.3g}, got {known:.3g}; the "
            "batch noise alone is hotter than the target: lower lr or enlarge the batch"
        )
    return variance
