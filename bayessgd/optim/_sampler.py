"""What the samplers share: refusals, gradients, normals and a state that resumes to the same bits."""

# torch's optimizers are built on the foreach functions, for which torch has no public names.
# pyright: reportPrivateImportUsage=false

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from metrics.inputs import check_generator, check_number, check_positive

__all__ = ["Number", "Sampler", "add_scaled", "check_lr", "check_temperature"]

Number = int | float | Tensor


def add_scaled(params: list[Tensor], directions: list[Tensor], scale: Number) -> None:
    """Add `scale · direction` to each parameter in place; a tensor as scale stays on its device."""
    if isinstance(scale, Tensor):
        torch._foreach_add_(params, torch._foreach_mul(directions, scale))
    else:
        torch._foreach_add_(params, directions, alpha=scale)


def check_lr(lr: object) -> None:
    """Refuse a learning rate that is not a positive number or a 0-dim tensor holding one."""
    if isinstance(lr, Tensor):
        if lr.ndim != 0:
            raise ValueError(
                f"lr must be a number or a 0-dim tensor, got shape {list(lr.shape)}; use param groups"
            )
        check_positive(float(lr), "lr")
    else:
        check_positive(lr, "lr")


def check_temperature(temperature: object) -> None:
    """Refuse a temperature that is not a finite number of at least 0."""
    if not 0 <= check_number(temperature, "temperature") < math.inf:
        raise ValueError(f"temperature must be finite and at least 0, got {temperature}; 1 is the posterior")


class Sampler(torch.optim.Optimizer):
    """A torch optimizer whose steps draw noise.

    A subclass gives `_update(group, params, grads)`, one step of one parameter group, and extends
    `_check_group`, which sees each group once when it is added.
    """

    generator: torch.Generator | None

    def __init__(
        self, params: ParamsT, defaults: dict[str, Any], *, generator: torch.Generator | None
    ) -> None:
        self.generator = check_generator(generator)  # before super().__init__, which calls add_param_group
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a parameter group, as in torch, with its own hyperparameters checked."""
        # A copy: torch fills the caller's dict with the defaults, and a second optimizer would inherit them.
        super().add_param_group(dict(param_group) if isinstance(param_group, dict) else param_group)
        try:
            self._check_group(self.param_groups[-1])
        except Exception:
            self.param_groups.pop()
            raise

    def _check_group(self, group: dict[str, Any]) -> None:
        check_lr(group["lr"])
        _check_no_weight_decay(group)
        for p in group["params"]:
            if p.dtype not in (torch.float32, torch.float64):
                raise TypeError(
                    f"params must be float32 or float64, got {p.dtype}; keep float32 parameters and use "
                    "torch.autocast, because the injected noise is below half precision's resolution"
                )
            if self.generator is not None and self.generator.device.type != p.device.type:
                raise ValueError(
                    f"generator must be on the parameters' device, got {self.generator.device} and "
                    f"{p.device}; make it with torch.Generator('{p.device.type}')"
                )

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make one step and return the closure's loss, if there is a closure.

        Parameters without a gradient stay where they are and receive no noise.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            _check_no_weight_decay(group)
            params = [p for p in group["params"] if p.grad is not None]
            if params:
                self._update(group, params, _gradients(params, maximize=group["maximize"]))
        return loss

    def _update(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
        raise NotImplementedError

    def _normals(self, like: Sequence[Tensor]) -> list[Tensor]:
        return [torch.empty_like(p).normal_(generator=self.generator) for p in like]

    def state_dict(self) -> dict[str, Any]:
        """Return torch's state and, where the sampler owns a generator, the generator's state.

        Without `generator=` the noise comes from torch's default generator, whose state is the caller's to
        keep.
        """
        state = super().state_dict()
        if self.generator is not None:
            state["generator"] = self.generator.get_state()
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what `state_dict` returned, so that the chain goes on with the same bits."""
        saved = state_dict.get("generator")
        if saved is not None and self.generator is None:
            raise ValueError(
                "state_dict must not hold a generator's state when the optimizer has none; build it "
                "with generator="
            )
        super().load_state_dict(state_dict)
        if saved is not None and self.generator is not None:
            self.generator.set_state(saved.cpu())

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"generator": self.generator}


def _check_no_weight_decay(group: dict[str, Any]) -> None:
    if group["weight_decay"]:
        raise ValueError(
            f"weight_decay must stay 0, got {group['weight_decay']}; a prior belongs to the loss, the "
            "mean negative log joint of bayessgd.likelihoods, where num_data scales it"
        )


def _gradients(params: list[Tensor], *, maximize: bool) -> list[Tensor]:
    grads = [p.grad for p in params if p.grad is not None]
    for g in grads:
        if g.layout != torch.strided:
            raise TypeError(
                f"gradients must be dense, got {g.layout}; noise moves every weight, so build the Embedding "
                "with sparse=False"
            )
    return list(torch._foreach_neg(grads)) if maximize else grads
