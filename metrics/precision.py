"""Results inside `torch.autocast` and `torch.inference_mode` that are those outside.

Autocast rounds the factors of every matrix product to half precision, 3 digits of bfloat16: right for a network's
forward pass, and wrong for a measure, whose answer is often a small difference of large numbers. Inference mode
forbids the gradients that some measures take of themselves on the way. A function with `full_precision` leaves both
on entry and returns to them on exit. In inference mode its result has no gradient, as everything there.
"""

import functools
from collections.abc import Callable
from contextlib import ExitStack
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

__all__ = ["full_precision", "with_gradients"]

P = ParamSpec("P")
R = TypeVar("R")

DEVICES = ("cpu", "cuda", "mps", "xpu")
"""Types of devices whose autocast may be on."""


def full_precision(function: Callable[P, R]) -> Callable[P, R]:
    """Return the function as it is outside `torch.autocast` and `torch.inference_mode`.

    >>> product = full_precision(lambda x: x @ x.T)
    >>> x = torch.full((1, 1), 1 + 2**-10)
    >>> with torch.autocast("cpu", dtype=torch.bfloat16):
    ...     print((x @ x.T).item(), product(x).item() == (1 + 2**-10) ** 2)
    1.0 True
    """

    @functools.wraps(function)
    def outside(*args: P.args, **kwargs: P.kwargs) -> R:
        autocast = [device for device in DEVICES if torch.is_autocast_enabled(device)]
        inference = torch.is_inference_mode_enabled()
        if not autocast and not inference:
            if torch.is_grad_enabled() and _differentiated((*args, *kwargs.values())):
                args, kwargs = tuple(map(_ordinary, args)), {k: _ordinary(v) for k, v in kwargs.items()}  # pyright: ignore[reportAssignmentType]
            return function(*args, **kwargs)
        with ExitStack() as stack:
            for device in autocast:
                stack.enter_context(torch.autocast(device, enabled=False))
            if not inference:
                return function(*args, **kwargs)
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.no_grad())
            named = {name: _ordinary(value) for name, value in kwargs.items()}
            return function(*(_ordinary(value) for value in args), **named)  # pyright: ignore[reportCallIssue]

    return outside


def with_gradients(function: Callable[P, R]) -> Callable[P, R]:
    """Return a function that trains or samples by gradients as it is outside `torch.no_grad` as well.

    It adds two frames to the stack, for whom warnings count them.

    >>> slope = with_gradients(lambda w: torch.autograd.grad(w.square(), w)[0])
    >>> w = torch.tensor(3.0, requires_grad=True)
    >>> with torch.no_grad():
    ...     slope(w)
    tensor(6.)
    """
    return full_precision(torch.enable_grad()(function))


def _differentiated(values: tuple[object, ...]) -> bool:
    """Whether one tensor wants a gradient beside another that inference mode made, which may not be kept for it."""
    given = [value for value in values if isinstance(value, Tensor)]
    return any(t.is_inference() for t in given) and any(t.requires_grad for t in given)


def _ordinary(value: object) -> object:
    """A copy of a tensor that inference mode made, which no gradient may pass through; anything else as it is."""
    return value.clone() if isinstance(value, Tensor) and value.is_inference() else value
