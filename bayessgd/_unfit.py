"""What a network says of inputs that it cannot be called with, told in the library's words.

A forward pass that fails may have failed for its weights, for `vmap`, or for the data. Only where the network fails
with its own weights and without any transform as well are the data at fault; that is tried once, after the failure.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from bayessgd._functional import functional, written_copies
from bayessgd._over import is_together
from bayessgd._recomputing import RecomputingError

__all__ = ["UnfitError", "telling_unfit"]


class UnfitError(ValueError, RuntimeError):
    """Inputs that a network cannot be called with; also the RuntimeError that torch made of them."""


@contextmanager
def telling_unfit(
    network: nn.Module,
    args: tuple[Any, ...],
    keywords: Mapping[str, Any],
    state: Callable[[], Mapping[str, Tensor]] | None = None,
) -> Iterator[None]:
    """Refuse the inputs where the network cannot be called with them, whatever its weights are.

    Within a `vmap` that may still become a loop nothing is tried: there the network may fail for the `vmap` alone.

    Args:
        network: The network.
        args: Of its call.
        keywords: Of its call.
        state: Makes the weights that it is tried with; `None` are its own.

    Raises:
        UnfitError: The network fails with its own weights too.

    >>> with telling_unfit(nn.Linear(3, 1), (torch.zeros(2, 3).double(),), {}):
    ...     nn.Linear(3, 1)(torch.zeros(2, 3).double())
    Traceback (most recent call last):
    bayessgd._unfit.UnfitError: model cannot take inputs torch.float64 [2, 3]: mat1 and mat2 must have the same dtype, \
but got Double and Float; convert them to torch.float32, the type of its parameters
    """
    try:
        yield
    except (UnfitError, RecomputingError, torch.OutOfMemoryError):
        raise
    except (RuntimeError, TypeError, ValueError, IndexError, AttributeError) as error:
        if isinstance(network, torch.jit.ScriptModule):
            raise  # it has said what to pass
        if (is_together() and isinstance(error, RuntimeError)) or _runs(network, args, keywords, state):
            raise
        raise UnfitError(
            f"model cannot take inputs {_described(args, keywords)}: {_said(error)}; "
            f"{_remedy(network, [*args, *keywords.values()])}"
        ) from error


def _said(error: BaseException) -> str:
    said = str(error).strip()
    return said.splitlines()[0].rstrip(".") if said else type(error).__name__


def _runs(
    network: nn.Module,
    args: tuple[Any, ...],
    keywords: Mapping[str, Any],
    state: Callable[[], Mapping[str, Tensor]] | None,
) -> bool:
    try:
        with torch.no_grad():
            functional(network, state() if state else written_copies(network), args, keywords)
    except Exception:  # whatever the forward of a stranger raises
        return False
    return True


def _described(args: tuple[Any, ...], keywords: Mapping[str, Any]) -> str:
    named = [("", part) for part in args] + [(f"{name}=", part) for name, part in keywords.items()]
    return ", ".join(
        f"{name}{part.dtype} {list(part.shape)}"
        if isinstance(part, Tensor)
        else f"{name}{type(part).__name__}"
        for name, part in named
    )


def _remedy(network: nn.Module, parts: list[Any]) -> str:
    like = next((p for p in network.parameters() if p.is_floating_point()), None)
    given = [part for part in parts if isinstance(part, Tensor)]
    if like is not None and any(t.device != like.device for t in given):
        return f"move them to {like.device}, where its parameters are"
    floating = [t for t in given if t.is_floating_point()]
    if like is not None and any(t.dtype != like.dtype for t in (floating or given)):
        return f"convert them to {like.dtype}, the type of its parameters"
    if len(parts) > 1:
        return "pass what its forward asks for: a tuple is several inputs, and batches (inputs, targets) go into a list"
    return "pass what its forward asks for, the data along the first dimension"
