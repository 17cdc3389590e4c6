"""Stochastic gradient Langevin dynamics, plain and preconditioned.

The posterior is ∝ exp(−N·L(θ)/T): L is the mean negative log joint per datum, N the number of data, T the
temperature. The Langevin diffusion dθ = −∇L dt + √(2T/N) dW has exactly this law. Its Euler step of length
lr, with the gradient ĝ of a batch of S data in place of ∇L, is (Welling & Teh 2011, eq. 4)

    θ ← θ − lr·ĝ(θ) + √(2·lr·T/N)·ξ,        ξ ~ N(0, I).

Welling & Teh write the step with the *summed* gradient, (ε/2)·N·ĝ, and noise √ε ξ; here lr = εN/2, so that lr
is SGD's learning rate and T = 0 is SGD.

*Target in discrete time.* On a quadratic with curvature A and gradient noise of covariance C/S the stationary
covariance Σ solves Σ = (I − lr·A)Σ(I − lr·A)ᵀ + (2·lr·T/N)·I + lr²·C/S. In one dimension

    Σ = (T/(N·a) + lr·c/(2·S·a)) / (1 − lr·a/2):

the step length and the batch noise both widen the posterior, each in the first order of lr. The batch noise
is negligible once lr ≪ 2TS/(N·c).

*Preconditioned* (Li, Chen, Carlson & Carin 2016, algorithm 1): with the RMSprop matrix G = diag(1/(λ + √V)),
V ← αV + (1 − α)ĝ², the step is

    θ ← θ − lr·G·ĝ + √(2·lr·T/N)·G^½·ξ.

A G that depends on θ asks for one more drift term, lr·(T/N)·Γ with Γᵢ = Σⱼ ∂Gᵢⱼ/∂θⱼ, which is left out here
as in the paper's experiments. What that biases: where Gᵢ is a function of θᵢ alone, the flux of the
Fokker-Planck equation vanishes for the density ∝ exp(−N·L/T)/∏ᵢGᵢ = exp(−N·L/T)·∏ᵢ(λ + √Vᵢ) instead of
exp(−N·L/T), so that regions of large gradients get too much mass. The bias disappears as α → 1, when V
averages over more steps than the chain needs to forget and G becomes a constant; it does not disappear as lr
→ 0 at a fixed α.
"""

# torch has no public names for its foreach functions.
# pyright: reportPrivateImportUsage=false
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from bayessgd.optim._sampler import Number, Sampler, add_scaled, check_temperature
from metrics.inputs import check_number, check_positive

__all__ = ["SGLD", "PreconditionedSGLD"]


class SGLD(Sampler):
    """Stochastic gradient Langevin dynamics: θ ← θ − lr·ĝ + √(2·lr·T/N)·ξ.

    Backward must be given the *mean* negative log joint per datum (`bayessgd.likelihoods`), the same loss
    that SGD would get. The step is elementwise, so stacked chains run at once; every one of several DDP ranks
    needs a generator of the same seed, or the replicas part.

    Args:
        params: Parameters or parameter groups, float32 or float64.
        lr: Learning rate, on SGD's scale; a number or a 0-dim tensor.
        num_data: N, the number of data behind the posterior.
        temperature: T ≥ 0; 1 is the posterior, 0 is SGD without noise.
        maximize: Climb the mean log joint instead of descending its negative.
        weight_decay: Must stay 0: a prior belongs to the loss.
        generator: Source of the noise, on the parameters' device; `None` is torch's default generator.

    Raises:
        TypeError: Half-precision or integer parameters, sparse gradients.
        ValueError: A hyperparameter out of range, or any weight_decay.

    Bias: stationary variance on a quadratic (T/(N·a) + lr·c/(2·S·a))/(1 − lr·a/2); see the module.

    Reference: Welling & Teh, ICML 2011, eq. 4.

    >>> theta = torch.zeros(3, requires_grad=True)
    >>> sampler = SGLD([theta], 0.1, num_data=100, generator=torch.Generator().manual_seed(0))
    >>> (0.5 * theta.square().sum()).backward()
    >>> sampler.step()
    >>> bool(theta.detach().abs().max() > 0)
    True
    """

    def __init__(
        self,
        params: ParamsT,
        lr: Number,
        *,
        num_data: int | float,
        temperature: int | float = 1.0,
        maximize: bool = False,
        weight_decay: int | float = 0.0,
        generator: torch.Generator | None = None,
    ) -> None:
        defaults = {
            "lr": lr,
            "num_data": num_data,
            "temperature": temperature,
            "maximize": maximize,
            "weight_decay": weight_decay,
        }
        super().__init__(params, defaults, generator=generator)

    def _check_group(self, group: dict[str, Any]) -> None:
        super()._check_group(group)
        check_positive(group["num_data"], "num_data")
        check_temperature(group["temperature"])

    def _update(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
        lr, temperature = group["lr"], group["temperature"]
        add_scaled(params, grads, -lr)
        if temperature > 0:
            add_scaled(params, self._normals(params), (2 * lr * temperature / group["num_data"]) ** 0.5)


class PreconditionedSGLD(Sampler):
    """SGLD in the RMSprop metric (pSGLD): θ ← θ − lr·G·ĝ + √(2·lr·T/N)·G^½·ξ, G = 1/(eps + √V).

    The learning rate is on RMSprop's scale. V starts at 0 and is divided by 1 − decay^t (as in Adam), because
    the uncorrected G of the first steps would be 1/√(1 − decay) times too large and throw the chain away.

    Args:
        params: Parameters or parameter groups, float32 or float64.
        lr: Learning rate, on RMSprop's scale; a number or a 0-dim tensor.
        num_data: N, the number of data behind the posterior.
        temperature: T ≥ 0; 1 is the posterior.
        decay: α in [0, 1), the memory of V; the neglected Γ biases less the nearer it is to 1.
        eps: λ > 0, in units of the gradient; bounds G from above.
        maximize: Climb the mean log joint instead of descending its negative.
        weight_decay: Must stay 0: a prior belongs to the loss.
        generator: Source of the noise, on the parameters' device; `None` is torch's default generator.

    Raises:
        TypeError: Half-precision or integer parameters, sparse gradients.
        ValueError: A hyperparameter out of range, or any weight_decay.

    Bias: as SGLD's with lr·G for lr, and the neglected Γ; see the module.

    Reference: Li, Chen, Carlson & Carin, AAAI 2016, algorithm 1.

    >>> theta = torch.zeros(3, requires_grad=True)
    >>> sampler = PreconditionedSGLD([theta], 1e-3, num_data=100, generator=torch.Generator().manual_seed(0))
    >>> theta.grad = torch.tensor([1.0, 10.0, 100.0])
    >>> sampler.step()
    >>> sampler.state[theta]["square_avg"].shape
    torch.Size([3])
    """

    def __init__(
        self,
        params: ParamsT,
        lr: Number,
        *,
        num_data: int | float,
        temperature: int | float = 1.0,
        decay: int | float = 0.99,
        eps: int | float = 1e-5,
        maximize: bool = False,
        weight_decay: int | float = 0.0,
        generator: torch.Generator | None = None,
    ) -> None:
        defaults = {
            "lr": lr,
            "num_data": num_data,
            "temperature": temperature,
            "decay": decay,
            "eps": eps,
            "maximize": maximize,
            "weight_decay": weight_decay,
        }
        super().__init__(params, defaults, generator=generator)

    def _check_group(self, group: dict[str, Any]) -> None:
        super()._check_group(group)
        check_positive(group["num_data"], "num_data")
        check_temperature(group["temperature"])
        check_positive(group["eps"], "eps")
        if not 0 <= check_number(group["decay"], "decay") < 1:
            raise ValueError(f"decay must be in [0, 1), got {group['decay']}; 0.99 is the paper's")

    def _update(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
        lr, temperature, decay = group["lr"], group["temperature"], group["decay"]
        for p in params:
            if not self.state[p]:
                self.state[p] |= {"step": torch.tensor(0.0), "square_avg": torch.zeros_like(p)}
        steps = [self.state[p]["step"] for p in params]  # on the CPU, so that reading them costs no transfer
        square_avg = [self.state[p]["square_avg"] for p in params]
        torch._foreach_add_(steps, 1)
        torch._foreach_mul_(square_avg, decay)
        torch._foreach_addcmul_(square_avg, grads, grads, value=1 - decay)
        inverse = torch._foreach_div(square_avg, [1 - decay ** float(step) for step in steps])
        torch._foreach_sqrt_(inverse)
        torch._foreach_add_(inverse, group["eps"])  # G⁻¹ = λ + √V
        add_scaled(params, list(torch._foreach_div(grads, inverse)), -lr)
        if temperature > 0:
            noise = self._normals(params)
            torch._foreach_div_(noise, torch._foreach_sqrt(inverse))
            add_scaled(params, noise, (2 * lr * temperature / group["num_data"]) ** 0.5)
