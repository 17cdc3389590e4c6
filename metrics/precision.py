"""Results inside `torch.autocast` and `torch.inference_mode`, and under TF32, that are those outside.

Autocast rounds the factors of every matrix product to half precision, 3 digits of bfloat16: right for a network's
forward pass, and wrong for a measure, whose answer is often a small difference of large numbers. So does
`torch.set_float32_matmul_precision("high")`, with which many trainings begin, to 10 bits (TF32, on GPUs), and "medium"
to 7. Inference mode forbids the gradients that some measures take of themselves on the way. A function with
`full_precision` leaves all of them on entry and returns to them on exit. In inference mode its result has no gradient,
as everything there. What trains or samples by gradients keeps the products that its user chose (`with_gradients`).
"""

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

__all__ = ["full_precision", "is_rounded", "with_gradients"]

P = ParamSpec("P")
R = TypeVar("R")

DEVICES = ("cpu", "cuda", "mps", "xpu")
"""Types of devices whose autocast may be on."""

PRODUCTS: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)  # pyright: ignore[reportAttributeAccessIssue]
"""Where torch keeps how products of float32 matrices are rounded; "none" is as the settings above them say."""

ABOVE: tuple[Any, ...] = (torch.backends, torch.backends.mkldnn)


def is_rounded() -> bool:
    """Return whether products of float32 matrices may be taken with fewer bits than float32 has.

    >>> is_rounded()
    False
    """
    own = [each.fp32_precision for each in PRODUCTS]
    asked = own + [each.fp32_precision for each in ABOVE] if "none" in own else own
    return any(precision not in ("none", "ieee") for precision in asked)


@contextmanager
def _whole_products() -> Iterator[None]:
    before = [each.fp32_precision for each in PRODUCTS]
    try:
        for each in PRODUCTS:
            each.fp32_precision = "ieee"
        yield
    finally:
        for each, precision in zip(PRODUCTS, before, strict=True):
            each.fp32_precision = precision


def full_precision(function: Callable[P, R]) -> Callable[P, R]:
    """Return the function as it is outside `torch.autocast`, `torch.inference_mode` and TF32.

    >>> product = full_precision(lambda x: x @ x.T)
    >>> x = torch.full((1, 1), 1 + 2**-10)
    >>> with torch.autocast("cpu", dtype=torch.bfloat16):
    ...     print((x @ x.T).item(), product(x).item() == (1 + 2**-10) ** 2)
    1.0 True
    """

    @functools.wraps(function)
    def whole(*args: P.args, **kwargs: P.kwargs) -> R:
        if not is_rounded():
            return inner(*args, **kwargs)
        with _whole_products():
            return inner(*args, **kwargs)

    inner = _outside(function)
    return whole


def _outside(function: Callable[P, R]) -> Callable[P, R]:
    """The function outside autocast and inference mode."""

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
    return _outside(torch.enable_grad()(function))


def _differentiated(values: tuple[object, ...]) -> bool:
    """Whether one tensor wants a gradient beside another that inference mode made, which may not be kept for it."""
    given = [value for value in values if isinstance(value, Tensor)]
    return any(t.is_inference() for t in given) and any(t.requires_grad for t in given)


def _ordinary(value: object) -> object:
    """A copy of a tensor that inference mode made, which no gradient may pass through; anything else as it is."""
    return value.clone() if isinstance(value, Tensor) and value.is_inference() else value
