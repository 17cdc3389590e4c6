"""The envelope theorem as an autograd node: a minimum or maximum that was found outside of autograd.

For V(θ) = max_φ F(φ, θ) with maximiser φ*, dV/dθ = ∂F/∂θ(φ*, θ): nothing is differentiated through the search
for φ*. The caller finds φ*, computes V and ∂F/∂θ, and joins them to θ here. A second derivative would need
dφ*/dθ; it is refused, and not silently dropped.
"""

from typing import Any

import torch
from torch import Tensor

__all__ = ["attach"]


def attach(value: Tensor, inputs: tuple[Tensor, ...], gradients: tuple[Tensor | None, ...]) -> Tensor:
    """Return the 0-dim `value` as a function of `inputs` with these gradients; None is no gradient.

    Of a batch of values [b], each is a function of its own part of inputs [b, …].

    >>> x = torch.tensor(3.0, requires_grad=True)
    >>> attach(torch.tensor(9.0), (x,), (torch.tensor(6.0),)).backward()
    >>> x.grad
    tensor(6.)
    """
    return _Envelope.apply(value, gradients, *inputs)  # pyright: ignore[reportReturnType]


class _Envelope(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, gradients: tuple[Tensor | None, ...], *inputs: Tensor) -> Tensor:
        ctx.save_for_backward(*inputs)
        ctx.gradients = gradients
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Any, ...]:
        up = grad_outputs[0]
        products = [
            None if g is None else up.reshape(up.shape + (1,) * (g.ndim - up.ndim)) * g for g in ctx.gradients
        ]
        if torch.is_grad_enabled():
            products = [
                None if g is None else _Once.apply(g, x)
                for g, x in zip(products, ctx.saved_tensors, strict=True)
            ]
        return None, None, *products


class _Once(torch.autograd.Function):
    """A gradient that depends on the point where it was taken, but may not be differentiated again."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, at: Tensor) -> Tensor:
        return gradient.clone()

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> None:
        raise RuntimeError(
            "a transport cost can be differentiated once: its gradient takes the optimal plan as a constant "
            "(envelope theorem), so there is no second derivative to take; drop it"
        )
