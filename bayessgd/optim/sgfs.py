"""Stochastic gradient Fisher scoring: a preconditioner that knows about the batch noise.

In the notation of Mandt, Hoffman & Blei (2017, section 5), after Ahn, Korattikara & Welling (2012):

    θ ← θ − ε·H·ĝ + √ε·H·E·ξ,        H = (2/N)(ε·C/S + E·Eᵀ)⁻¹.

N is the number of data, S the batch size, C the covariance of one datum's gradient, ε = lr, E free and
invertible. One step has the drift −εHAθ and noise of covariance ε²·HCH/S + ε·HEEᵀH = ε·H(εC/S + EEᵀ)H =
2εH/N, so that in continuous time Σ = (NA)⁻¹ solves εHAΣ + ΣAHε = 2εH/N: the batch noise counts as a part of
the noise that Langevin dynamics needs. In discrete time Σ = (I − εHA)Σ(I − εHA)ᵀ + 2εH/N.

By default EEᵀ = (2/N)·I. Then H = (I + (εN/2S)·C)⁻¹ and lr is on SGLD's scale: SGFS is SGLD whose steps
shrink where batches are noisy. EEᵀ → 0 gives H = (2S/(εN))·C⁻¹, Mandt's optimal preconditioner, whatever ε.

*The estimate of C* is a running mean with weights max(1/t, 1 − decay); decay = 1 is the plain mean over all
steps.

* From per-example gradients gᵢ, handed over with `observe`: Σᵢ(gᵢ − ḡ)(gᵢ − ḡ)ᵀ/(S − 1), unbiased (Ahn et
  al.).
* From batches alone: (S/2)·ΔΔᵀ with Δ the difference of two successive batch gradients. Differences, because
  a running variance of ĝ would count the way from the start to the optimum as noise. The relative bias is of
  the order of one step, (ε/2)(CHA + AHC) + ε(S/N)·AHA against C.

A target ∝ exp(−N·L/T) at another temperature is num_data = N/T, since N and T enter through their ratio
alone.
"""

# torch has no public names for its foreach functions.
# pyright: reportPrivateImportUsage=false
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from bayessgd.optim._flat import (
    apply,
    check_complete,
    covariance_factor,
    flat_size,
    flatten,
    operator,
    unflatten,
)
from bayessgd.optim._sampler import Number, Sampler
from metrics.inputs import check_count, check_number, check_positive

__all__ = ["SGFS"]


class SGFS(Sampler):
    """Stochastic gradient Fisher scoring: θ ← θ − H(lr·ĝ − √lr·E·ξ), H = (2/N)(lr·Ĉ/S + EEᵀ)⁻¹.

    Ĉ is estimated while the chain runs, `[P]` or, with `diagonal=False`, `[P, P]` over the flat vector of a
    group's parameters (one Cholesky factorisation per step, for small models). With `stacked=True` every
    parameter is `[chains, ...]` and each chain has its own Ĉ.

    Args:
        params: Parameters or parameter groups, float32 or float64.
        lr: ε, on SGLD's scale when `injected` is `None`; a number or a 0-dim tensor.
        num_data: N, the number of data; N/T for a temperature T.
        batch_size: S, the size of the batches behind each gradient.
        injected: EEᵀ, positive definite: a number, `[P]` or (only with `diagonal=False`) `[P, P]`;
            `None` is 2/N.
        diagonal: Keep only the diagonal of C.
        per_example: C comes from `observe`, which must be called before each step; otherwise from
            successive batch gradients.
        decay: Memory of Ĉ in (0, 1]; 1 averages over all steps.
        stacked: The parameters are stacked chains.
        maximize: Climb the mean log joint instead of descending its negative.
        weight_decay: Must stay 0: a prior belongs to the loss.
        generator: Source of the noise, on the parameters' device; `None` is torch's default generator.

    Raises:
        TypeError: Half-precision or integer parameters, sparse gradients.
        ValueError: A hyperparameter or shape out of range, any weight_decay, a step without `observe` when
            `per_example=True`.

    Bias: first order in lr·H·A, and for the diagonal what it leaves out of C.

    Reference: Ahn, Korattikara & Welling, ICML 2012; Mandt, Hoffman & Blei, JMLR 18(134), 2017, section 5.

    >>> theta = torch.zeros(2, requires_grad=True)
    >>> sampler = SGFS([theta], 0.1, num_data=100, batch_size=10, per_example=True, diagonal=True,
    ...                generator=torch.Generator().manual_seed(0))
    >>> per_example = torch.tensor([[1.0, 10.0], [-1.0, -10.0]])
    >>> sampler.observe([per_example])
    >>> theta.grad = per_example.mean(0)
    >>> sampler.step()
    >>> sampler.state[theta]["covariance"]
    tensor([  2., 200.])
    """

    def __init__(
        self,
        params: ParamsT,
        lr: Number,
        *,
        num_data: int | float,
        batch_size: int,
        injected: int | float | Tensor | None = None,
        diagonal: bool = False,
        per_example: bool = False,
        decay: int | float = 1.0,
        stacked: bool = False,
        maximize: bool = False,
        weight_decay: int | float = 0.0,
        generator: torch.Generator | None = None,
    ) -> None:
        defaults = {
            "lr": lr,
            "num_data": num_data,
            "batch_size": batch_size,
            "injected": injected,
            "diagonal": diagonal,
            "per_example": per_example,
            "decay": decay,
            "stacked": stacked,
            "maximize": maximize,
            "weight_decay": weight_decay,
        }
        super().__init__(params, defaults, generator=generator)

    def _check_group(self, group: dict[str, Any]) -> None:
        super()._check_group(group)
        num_data = check_positive(group["num_data"], "num_data")
        check_count(group["batch_size"], "batch_size")
        if not 0 < check_number(group["decay"], "decay") <= 1:
            raise ValueError(f"decay must be in (0, 1], got {group['decay']}; 1 averages over all steps")
        like, size = group["params"][0], flat_size(group["params"], stacked=group["stacked"])
        given = group["injected"]
        injected = operator(2 / num_data if given is None else given, "injected", size, like)
        if group["diagonal"] and injected.ndim == 2:
            raise ValueError("injected must be a number or [P], got a matrix; pass its diagonal")
        factor = covariance_factor(injected, "injected", tolerance=0.0, remedy="E·Eᵀ is a covariance")
        smallest = injected.min() if injected.ndim < 2 else torch.linalg.eigvalsh(injected).min()
        if not float(smallest) > 0:
            raise ValueError(f"injected must be positive definite, got the eigenvalue {float(smallest):.3g}")
        group["injected"], group["injected_factor"] = injected, factor

    @torch.no_grad()
    def observe(self, gradients: Iterable[Tensor]) -> None:
        """Take in the per-example gradients of one batch, before its step.

        Args:
            gradients: One tensor `[S, ...]` per parameter (`[chains, S, ...]` when stacked), in the order of
                the parameters, S ≥ 2; the values of `bayessgd.noise`'s dict will do.
        """
        remaining = iter(gradients)
        for group in self.param_groups:
            if not group["per_example"]:
                raise ValueError(
                    "observe needs per_example=True; without it C comes from the batch gradients"
                )
            examples = [
                _check_examples(next(remaining, None), p, stacked=group["stacked"]) for p in group["params"]
            ]
            flat = torch.cat(examples, -1)
            centred = flat - flat.mean(-2, keepdim=True)
            self._absorb(group, centred * (flat.shape[-2] - 1) ** -0.5)
        if next(remaining, None) is not None:
            raise ValueError("gradients must have one tensor per parameter, got more")

    def _absorb(self, group: dict[str, Any], root: Tensor) -> None:
        """Update the running mean of C by rootᵀ·root, root `[..., rows, P]`."""
        state = self.state[group["params"][0]]
        new = root.square().sum(-2) if group["diagonal"] else root.mT @ root
        if "covariance" not in state:
            state |= {"step": torch.tensor(0.0), "covariance": torch.zeros_like(new)}
        state["step"] += 1
        state["covariance"].lerp_(new, max(1 / float(state["step"]), 1 - group["decay"]))

    def _update(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
        check_complete(group["params"], params)
        stacked, lr, state = group["stacked"], group["lr"], self.state[params[0]]
        gradient = flatten(grads, stacked=stacked)
        if not group["per_example"]:
            if "previous" in state:
                difference = gradient - state["previous"]
                self._absorb(group, difference[..., None, :] * (group["batch_size"] / 2) ** 0.5)
            state["previous"] = gradient
        elif "covariance" not in state:
            raise ValueError("step needs the per-example gradients first; call observe before it")
        step = lr * gradient - lr**0.5 * apply(group["injected_factor"], self._normals([gradient])[0])
        step = _solve(group, state.get("covariance"), step) * (-2 / group["num_data"])
        torch._foreach_add_(params, unflatten(step, params, stacked=stacked))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what `state_dict` returned, so that the chain goes on with the same bits."""
        super().load_state_dict(state_dict)
        for group in self.param_groups:  # torch moves the state to the parameters' device, but not the groups
            for name in ("injected", "injected_factor"):
                group[name] = group[name].to(group["params"][0])


def _solve(group: dict[str, Any], covariance: Tensor | None, rhs: Tensor) -> Tensor:
    """Return (ε·C/S + EEᵀ)⁻¹ rhs for rhs `[..., P]`; before there is an estimate C counts as 0."""
    total = group["injected"]
    if covariance is not None and not group["diagonal"]:
        full = total if total.ndim == 2 else torch.diag_embed(total.expand(rhs.shape[-1]))
        total = covariance * (group["lr"] / group["batch_size"]) + full
    elif covariance is not None:
        total = covariance * (group["lr"] / group["batch_size"]) + total
    if group["diagonal"] or total.ndim < 2:
        return rhs / total
    try:
        root = torch.linalg.cholesky(total)
    except torch.linalg.LinAlgError:
        raise ValueError(
            f"injected must keep lr·C/S + EEᵀ positive definite beyond the rounding of {total.dtype}, got a matrix "
            "whose Cholesky factor does not exist; raise it, shrink lr, or use float64 parameters"
        ) from None
    return torch.cholesky_solve(rhs[..., None], root)[..., 0]


def _check_examples(gradients: object, param: Tensor, *, stacked: bool) -> Tensor:
    """Return per-example gradients of one parameter as `[..., S, size]`."""
    lead = 2 if stacked else 1
    want = f"[{'chains, ' if stacked else ''}S, ...] with S ≥ 2 for the parameter {list(param.shape)}"
    if not isinstance(gradients, Tensor):
        raise TypeError(f"gradients must be tensors {want}, got {type(gradients).__name__}")
    shape = gradients.shape
    leading_fits = (
        shape[: lead - 1] == param.shape[: lead - 1] and len(shape) >= lead and shape[lead - 1] >= 2
    )
    if not leading_fits or shape[lead:] != param.shape[lead - 1 :]:
        raise ValueError(f"gradients must have shape {want}, got {list(shape)}")
    return gradients.detach().reshape(*shape[:lead], -1)
