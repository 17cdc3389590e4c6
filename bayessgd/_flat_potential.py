"""The potential U of a flat θ with its gradient, counted, as Pyro's samplers ask for it."""

import warnings
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import grad_and_value
from torch.fx.experimental.proxy_tensor import make_fx

from bayessgd._functional import lending
from bayessgd._inputs import Inputs, Output, Targets, size
from bayessgd._over import warn
from bayessgd.likelihoods import Likelihood, log_joint
from bayessgd.params import flatten, unflatten
from bayessgd.priors import Prior

__all__ = ["FlatPotential"]

Both = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Gradient and value of a flat θ."""


class FlatPotential:
    """U(θ) of the flat θ with its gradient, counted, as Pyro asks for it: a function of {"theta": θ}."""

    def __init__(
        self,
        network: nn.Module,
        like: dict[str, Tensor],
        x: Inputs,
        y: Targets,
        likelihood: Likelihood,
        prior: Prior,
        *,
        trace: bool,
        output: Output | None,
    ) -> None:
        self.like, self.evaluations = like, 0

        def energy(flat: Tensor) -> Tensor:
            named = unflatten(flat, like)
            with lending(network, {name: b.clone() for name, b in network.named_buffers()}):
                return -log_joint(
                    network, named, x, y, likelihood=likelihood, prior=prior, num_data=size(y), output=output
                )

        self.value = energy
        self._both: Both = grad_and_value(energy)
        if trace:
            self._both = _traced(self._both, flatten(like))

    def __call__(self, theta: dict[str, Tensor]) -> Tensor:
        self.evaluations += 1
        return _Known.apply(theta["theta"], self._both)


def _traced(both: Both, flat: Tensor) -> Both:
    try:
        graph = make_fx(both)(flat)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch.jit's own words about its future
            return cast(Both, torch.jit.trace(graph, (flat,), check_trace=False))
    except RuntimeError as error:
        both(flat)  # where the model itself is at fault, such as data of another type, it says so better
        reason = str(error).strip().splitlines()[0]
        warn(
            "untraced",
            "the gradient cannot be traced, and each takes two to four times longer; pass validate_args=False to "
            f"distributions made inside likelihood or prior, or trace=False to accept it: {reason}",
        )
        return both


class _Known(torch.autograd.Function):
    """A value whose gradient was computed with it."""

    @staticmethod
    def forward(ctx: Any, flat: Tensor, both: Both) -> Tensor:
        gradient, value = both(flat.detach())
        ctx.save_for_backward(gradient)
        return value

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return grad_outputs[0] * gradient, None
