"""What a network is called with: a tensor, a tuple of arguments, or a dict of keyword arguments, all handled alike."""

from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from bayessgd._functional import functional
from bayessgd._unfit import telling_unfit

__all__ = [
    "Inputs",
    "Output",
    "Targets",
    "arguments",
    "call",
    "joined",
    "mapped",
    "moved",
    "parted",
    "picked",
    "rows",
    "size",
    "tensors",
    "wide",
]

Inputs = Tensor | tuple[Any, ...] | Mapping[str, Any]
"""What a network is called with: a tensor [n, ...], a tuple of arguments, or a dict of keyword arguments."""

Targets = Tensor | tuple[Tensor, ...]
"""What outputs are held against: a tensor [n, ...], or a tuple that the likelihood understands (`Weighted`)."""

Output = Callable[[Any], Tensor]
"""From what a network returns to the tensor [n, ...] that is meant."""


def arguments(x: Inputs) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments and the keyword arguments of one call.

    >>> arguments({"x": 1}), arguments((1, 2))
    (((), {'x': 1}), ((1, 2), {}))
    """
    if isinstance(x, Mapping):
        return (), dict(x)
    return (x if isinstance(x, tuple) else (x,)), {}


def picked(output: Any, pick: Output | None = None) -> Tensor:
    """Return the tensor that is meant by an output.

    Raises:
        TypeError: It is not a tensor.
    """
    if pick is not None and not callable(pick):
        raise TypeError(
            f"output must be a function that picks a tensor, got {pick!r}; such as lambda o: o.logits or lambda o: o[0]"
        )
    found = output if pick is None else pick(output)
    if isinstance(found, Tensor):
        return found
    if pick is None:
        raise TypeError(
            f"model must return one tensor, got {type(found).__name__}; pick one by output=, such as "
            "output=lambda o: o.logits, or wrap the model in one that does"
        )
    raise TypeError(f"output must pick a tensor, got {type(found).__name__}; pick one of its entries")


def call(network: nn.Module, state: Mapping[str, Tensor], x: Inputs, output: Output | None = None) -> Tensor:
    """Return the network's output for other parameters and buffers, [n, ...]."""
    known = _WRITES.setdefault(network, {})
    if known.get(network.training) is False:
        return _called(network, state, x, output)
    # Until it is known that a forward pass does not write into its input, and wherever it does, it has a copy.
    copies = mapped(x, Tensor.clone)
    seen = list(tensors(copies).values())
    # Inference mode counts no versions.
    before = [None if t.is_inference() else t._version for t in seen]
    found = _called(network, state, copies, output)
    if None not in before:
        known[network.training] = before != [t._version for t in seen]
    return found


_WRITES: WeakKeyDictionary[nn.Module, dict[bool, bool]] = WeakKeyDictionary()
"""Whether a network's forward pass in evaluation mode (False) and in training mode (True) writes into its input."""


def _called(network: nn.Module, state: Mapping[str, Tensor], x: Inputs, output: Output | None) -> Tensor:
    args, keywords = arguments(x)
    with telling_unfit(network, args, keywords):
        found = functional(network, state, args, keywords)
    return picked(found, output)


def wide(output: Tensor) -> Tensor:
    """Return half precision in float32, in which densities are computed."""
    return output.float() if output.dtype in (torch.float16, torch.bfloat16) else output


def tensors(x: Inputs) -> dict[str, Tensor]:
    """Return the tensors among the arguments, by position or keyword."""
    named = x.items() if isinstance(x, Mapping) else enumerate(x if isinstance(x, tuple) else (x,))
    return {str(name): part for name, part in named if isinstance(part, Tensor)}


def size(x: Inputs | Targets) -> int:
    """Return how many data there are: the first dimension of the first tensor."""
    return len(next(iter(tensors(x).values())))


def rows(x: Any, which: Any) -> Any:
    """Return some of the data: every tensor indexed, everything else as it is.

    >>> rows((torch.arange(3), torch.zeros(3, 1)), slice(1))
    (tensor([0]), tensor([[0.]]))
    >>> rows({"x": torch.arange(3), "causal": True}, slice(2))
    {'x': tensor([0, 1]), 'causal': True}
    """
    return mapped(x, lambda part: part[which])


def moved(x: Any, device: torch.device) -> Any:
    """Return the data on another device."""
    return mapped(x, lambda part: part.to(device))


def parted(x: Any) -> tuple[dict[str, Tensor], Callable[[Mapping[str, Tensor]], Any]]:
    """Return the tensors among the data, for `vmap`, and what puts others like them back in their places.

    >>> found, again = parted({"x": torch.zeros(1), "causal": True})
    >>> list(found), again({"x": torch.ones(1)})
    (['x'], {'x': tensor([1.]), 'causal': True})
    """
    found = tensors(x)

    def again(others: Mapping[str, Tensor]) -> Any:
        if isinstance(x, Mapping):
            return {name: others.get(str(name), part) for name, part in x.items()}
        if isinstance(x, tuple):
            return tuple(others.get(str(i), part) for i, part in enumerate(x))
        return others["0"]

    return found, again


def mapped(x: Any, change: Callable[[Tensor], Any]) -> Any:
    """Return the data with every tensor changed, and everything else as it is."""

    def of(part: Any) -> Any:
        return change(part) if isinstance(part, Tensor) else part

    if isinstance(x, Mapping):
        return {name: of(part) for name, part in x.items()}
    return tuple(of(part) for part in x) if isinstance(x, tuple) else of(x)


def joined(parts: list[Any]) -> Any:
    """Return batches put together along the data.

    >>> joined([(torch.zeros(2), 1), (torch.ones(1), 1)])
    (tensor([0., 0., 1.]), 1)
    """
    first = parts[0]
    if len(parts) == 1:
        return first
    if isinstance(first, Mapping):
        return {name: joined([part[name] for part in parts]) for name in first}
    if isinstance(first, tuple):
        return tuple(joined(list(column)) for column in zip(*parts, strict=True))
    if not isinstance(first, Tensor):
        return first
    shapes = sorted({tuple(part.shape[1:]) for part in parts})
    if len(shapes) > 1:
        raise ValueError(
            f"batches must have one shape after the first dimension, got {shapes}; pad them alike"
        )
    return torch.cat(parts)
