"""SGD with a constant preconditioner and, if wanted, the injected noise that makes it exact.

    v ← m·v − lr·H·ĝ + R·ξ,        θ ← θ + v,        R·Rᵀ = Q

H is a number, a diagonal or a matrix over the flat vector of a group's parameters, m torch's momentum. Near
the optimum (curvature A, data N, batch S, gradient covariance C) the iterates have a stationary covariance Σ,
at m = 0 the solution of

    Σ = (I − HA)Σ(I − HA)ᵀ + HCHᵀ/S + Q.

* Q = 0, H = ε·I: constant SGD. H = (2S/N)·C⁻¹ and its diagonal: Mandt, Hoffman & Blei (2017, theorem 2 and
  corollary 3). H = 2(A + N·C/S)⁻¹: exact in discrete time.
* Q = (2H − HAH)/N − HCH/S with H = Hᵀ makes Σ = (NA)⁻¹ for *any* H for which it is positive semi-definite:
  insert it: (I − HA)(NA)⁻¹(I − AH) = (NA)⁻¹ − (2H − HAH)/N. SGLD keeps only 2H/N. With momentum
  Q = (1 − m)(2H − HAH/(1 + m))/N − HCH/S, of which SGHMC keeps 2(1 − m)H/N.

Q belongs to one H and one m; therefore lr must stay 1 when noise is injected. `bayessgd.theory` has both.
"""

# torch has no public names for its foreach functions.
# pyright: reportPrivateImportUsage=false
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from bayessgd.optim._flat import (
    apply,
    check_complete,
    check_narrow,
    covariance_factor,
    flat_size,
    flatten,
    operator,
    unflatten,
)
from bayessgd.optim._sampler import Number, Sampler
from metrics.inputs import check_number

__all__ = ["PreconditionedSGD"]


class PreconditionedSGD(Sampler):
    """SGD with a constant preconditioner H and injected noise: v ← m·v − lr·H·ĝ + Q^½·ξ, θ ← θ + v.

    The flat vector of a group is its parameters one after another in the order in which the group lists them, each
    row by row, as `bayessgd.params.flatten` has it: for `model.parameters()` that of `model.named_parameters()`, in
    which `LearnedScale`'s log_scale comes before the network's own. Matrices of `bayessgd.noise` and
    `bayessgd.optimum` (`.slices` says where each parameter lies) are in this order. With
    `stacked=True` every parameter is
    `[chains, ...]`, H acts on each chain by itself, and H and Q may be `[chains, P, P]`, a matrix for each.

    Args:
        params: Parameters or parameter groups, float32 or float64. A group may bring its own
            `preconditioner` and `noise_covariance`.
        lr: Factor on H, for schedules; 1 with injected noise.
        preconditioner: H: a number, a diagonal `[P]` or a matrix `[P, P]` (stacked: or `[chains, P, P]`).
        noise_covariance: Q, the covariance of *one step's* noise, of the same kinds
            (`bayessgd.theory.injected_noise`); `None` injects nothing.
        momentum: torch's m in [0, 1); Q must be the one for this m.
        stacked: The parameters are stacked chains.
        maximize: Climb the mean log joint instead of descending its negative.
        weight_decay: Must stay 0: a prior belongs to the loss.
        generator: Source of the noise, on the parameters' device; `None` is torch's default generator.

    Raises:
        TypeError: Half-precision or integer parameters, sparse gradients.
        ValueError: A shape that does not fit, an H of float64 that float32 parameters cannot hold, a Q that is
            not positive semi-definite (the feasibility condition H⁻¹ ⪰ ½(A + N·C/S)), lr changed while noise is
            injected, any weight_decay.

    Reference: Mandt, Hoffman & Blei, JMLR 18(134), 2017, section 4.

    >>> theta = torch.zeros(2, requires_grad=True)
    >>> sgd = PreconditionedSGD([theta], preconditioner=torch.tensor([[2.0, 1.0], [1.0, 1.0]]))
    >>> theta.grad = torch.tensor([1.0, -1.0])
    >>> sgd.step()
    >>> theta.detach()
    tensor([-1., 0.])
    """

    def __init__(
        self,
        params: ParamsT,
        lr: Number = 1.0,
        *,
        preconditioner: int | float | Tensor,
        noise_covariance: int | float | Tensor | None = None,
        momentum: int | float = 0.0,
        stacked: bool = False,
        maximize: bool = False,
        weight_decay: int | float = 0.0,
        generator: torch.Generator | None = None,
    ) -> None:
        defaults = {
            "lr": lr,
            "preconditioner": preconditioner,
            "noise_covariance": noise_covariance,
            "momentum": momentum,
            "stacked": stacked,
            "maximize": maximize,
            "weight_decay": weight_decay,
        }
        super().__init__(params, defaults, generator=generator)

    def _check_group(self, group: dict[str, Any]) -> None:
        super()._check_group(group)
        if not 0 <= check_number(group["momentum"], "momentum") < 1:
            raise ValueError(f"momentum must be in [0, 1), got {group['momentum']}; it is torch's")
        like, size = group["params"][0], flat_size(group["params"], stacked=group["stacked"])
        chains = len(like) if group["stacked"] else None
        h, q = group["preconditioner"], group.pop("noise_covariance")
        group["preconditioner"] = operator(h, "preconditioner", size, like, chains=chains)
        check_narrow(h, group["preconditioner"], "preconditioner")
        group["noise_factor"] = (
            None if q is None else _noise_factor(q, h, group["preconditioner"], size, chains)
        )
        _check_lr_stays(group)

    def _update(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
        check_complete(group["params"], params)
        _check_lr_stays(group)
        stacked, momentum = group["stacked"], group["momentum"]
        step = apply(group["preconditioner"], flatten(grads, stacked=stacked)) * -group["lr"]
        if group["noise_factor"] is not None:
            step += apply(group["noise_factor"], self._normals([step])[0])
        if momentum > 0:
            state = self.state[params[0]]  # the velocity of the whole group
            step = state["velocity"] = step + momentum * state["velocity"] if state else step
        torch._foreach_add_(params, unflatten(step, params, stacked=stacked))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what `state_dict` returned, so that the chain goes on with the same bits."""
        super().load_state_dict(state_dict)
        for group in self.param_groups:  # torch moves the state to the parameters' device, but not the groups
            for name in ("preconditioner", "noise_factor"):
                if group[name] is not None:
                    group[name] = group[name].to(group["params"][0])


def _noise_factor(covariance: object, given_h: object, h: Tensor, size: int, chains: int | None) -> Tensor:
    # In the precision in which Q came: a cast first could push it over the boundary.
    like = covariance if isinstance(covariance, Tensor) else h
    q = operator(covariance, "noise_covariance", size, like, chains=chains)
    # Q is a difference of terms of the size of H/N, so that its rounding is a fraction of H, not of Q. The exact H
    # is the boundary Q = 0; 1e-10 is what `bayessgd.theory` forgives there.
    coarsest = max(torch.finfo(t.dtype).eps for t in (q, given_h) if isinstance(t, Tensor))
    tolerance = max(1e-10, size * coarsest) * float(h.abs().max())
    remedy = "shrink H until H⁻¹ ⪰ ½(A + N·C/S)"
    return covariance_factor(q, "noise_covariance", tolerance=tolerance, remedy=remedy).to(h)


def _check_lr_stays(group: dict[str, Any]) -> None:
    if group["noise_factor"] is not None and float(group["lr"]) != 1:
        raise ValueError(
            f"lr must stay 1 with injected noise, got {float(group['lr']):.3g}; Q belongs to this H alone: "
            "scale H and compute Q again"
        )
