"""The same numbers inside `torch.autocast` as outside: half the digits of a cost are no digits of its exponential."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

__all__ = ["full_precision"]

P = ParamSpec("P")
R = TypeVar("R")


def full_precision(function: Callable[P, R]) -> Callable[P, R]:
    """Run a function of tensors without autocast on their device.

    >>> product = full_precision(torch.mm)
    >>> with torch.autocast("cpu", torch.bfloat16):
    ...     torch.mm(torch.ones(1, 1), torch.ones(1, 1)).dtype, product(torch.ones(1, 1), torch.ones(1, 1)).dtype
    (torch.bfloat16, torch.float32)
    """

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        devices = {t.device.type for t in (*args, *kwargs.values()) if isinstance(t, Tensor)}
        for device in devices:
            if torch.is_autocast_enabled(device):
                with torch.autocast(device, enabled=False):
                    return run(*args, **kwargs)
        return function(*args, **kwargs)

    return run
