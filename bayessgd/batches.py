r"""How data enter: one protocol for every function that runs a network.

    a tensor [n, ...]           f(x)
    a tuple of inputs           f(x, z)            (x, z)
    a dict of keywords          f(x=x, z=z)        {"x": x, "z": z}; so are Hugging Face's encodings
    an iterable of batches      each of the above, or (inputs, targets), or a dict that holds both

Of a batch (a, b, …) of tensors the network takes as many as its `forward` has positional arguments without a default,
at least one, and the rest are targets; where one of several might be an optional input it warns. A pair whose first
entry is itself a tuple or a dict is (inputs, targets). Of a dict the network takes what its `forward` names. What it
does not name must be the target, under one of the names `TARGETS`; any other key, and a second target, is refused, for
a misspelt mask would otherwise be left out in silence.

What a network returns is a tensor, or what `output=` picks from it: `output=lambda o: o.logits`.
"""

import inspect
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from torch.utils.data import Dataset

from bayessgd._inputs import Inputs, Targets, joined, tensors
from bayessgd._over import warn
from bayessgd.params import unwrap

__all__ = ["TARGETS", "Batch", "Data", "batches_of", "is_inputs", "whole"]

Data = Inputs | Iterable[Any]
"""Inputs, or an iterable of batches."""

TARGETS = ("labels", "label", "targets", "target", "y")
"""Keys of a dict batch that are targets."""


@dataclass(frozen=True)
class Batch:
    """One call of the network, and what its output is held against where the batch says so."""

    inputs: Inputs
    targets: Targets | None = None


def is_inputs(x: object) -> bool:
    """Return whether it is the network's input itself, and not an iterable of batches."""
    return isinstance(x, Tensor | tuple | Mapping)


def batches_of(x: Data, network: nn.Module) -> Iterator[Batch]:
    """Yield the batches of any data.

    Raises:
        TypeError: Neither inputs nor an iterable of batches.
        ValueError: A batch that does not have what the network's `forward` asks for.

    >>> import torch
    >>> [b.inputs.shape for b in batches_of([torch.zeros(4, 2), (torch.zeros(3, 2), torch.zeros(3))], nn.Linear(2, 1))]
    [torch.Size([4, 2]), torch.Size([3, 2])]
    """
    if isinstance(x, Mapping):
        yield _keywords(x, network)
        return
    if is_inputs(x):
        yield Batch(_checked(cast(Inputs, x)))
        return
    if isinstance(x, str | bytes | Dataset) or hasattr(x, "__array__") or not isinstance(x, Iterable):
        loader = "; wrap it in a torch DataLoader" if isinstance(x, Dataset) else "; use torch.as_tensor"
        raise TypeError(
            "x must be a tensor [batch, ...], a tuple or a dict of them, or an iterable of batches, got "
            f"{type(x).__name__}{loader}"
        )
    for batch in x:
        yield _split(batch, network)


def whole(x: Data, y: Targets | None, model: nn.Module) -> tuple[Inputs, Targets]:
    """Return inputs and targets as one batch: batches that bring their targets are put together.

    Raises:
        TypeError: No data.
        ValueError: Targets twice or nowhere, no batch at all, or batches of different shapes.

    >>> import torch
    >>> whole([(torch.zeros(2, 1), torch.ones(2)), (torch.zeros(1, 1), torch.ones(1))], None, nn.Linear(1, 1))[1]
    tensor([1., 1., 1.])
    """
    _refuse_packed(x)
    if y is not None and not is_inputs(x):
        raise TypeError(
            f"x must be a torch.Tensor, got {type(x).__name__}; use torch.as_tensor, a tuple or a dict of tensors, or "
            "pass batches that bring their targets, and no y"
        )
    if isinstance(x, Tensor | tuple):
        if y is not None:
            return x, y
        found = [Batch(x)]
    else:
        found = list(batches_of(x, unwrap(model)))
    if not found:
        raise ValueError("x must yield batches, got none; pass a loader, not a used iterator")
    if y is not None:
        return found[0].inputs, y
    targets = [batch.targets for batch in found if batch.targets is not None]
    if len(targets) < len(found):
        raise ValueError(
            "y must be given, got None; or pass batches (inputs, targets), or dicts with a target under one of "
            f"{list(TARGETS)}"
        )
    return joined([batch.inputs for batch in found]), joined(targets)


def _split(batch: Any, network: nn.Module) -> Batch:
    if isinstance(batch, Tensor):
        return Batch(_checked(batch))
    if isinstance(batch, Mapping):
        return _keywords(batch, network)
    if not isinstance(batch, tuple | list) or not batch:
        raise TypeError(
            "x must be a tensor [batch, ...], a tuple or a dict of them, or an iterable of batches, got a batch "
            f"of type {type(batch).__name__}"
        )
    first = batch[0]
    if isinstance(first, Mapping):
        return Batch(_keywords(first, network).inputs, _targets(batch[1:]))
    if isinstance(first, tuple | list):
        return Batch(_checked(tuple(first)), _targets(batch[1:]))
    count = max(1, len(_required(network)))
    if len(batch) < count:
        raise ValueError(
            f"a batch must have the {count} inputs {_required(network)} of the model's forward, got {len(batch)} "
            "entries; yield ((x, z), y), or dicts"
        )
    optional = [name for name, p in list(_positional(network).items())[count:] if p.default is None]
    if len(batch) > count + 1 and optional:
        warn(
            "optional",
            f"of a batch of {len(batch)} entries the model has {count}, what its forward asks for, and the rest are "
            f"targets; if one is its {optional[0]}, yield ((x, {optional[0]}), y), or dicts",
        )
    inputs = batch[0] if count == 1 else tuple(batch[:count])
    return Batch(_checked(inputs), _targets(batch[count:]))


def _targets(rest: Any) -> Any:
    # A DataLoader makes lists of the pairs (y, w) that a dataset returns.
    rest = tuple(tuple(part) if isinstance(part, list) else part for part in rest if part is not None)
    return None if not rest else rest[0] if len(rest) == 1 else rest


def _keywords(batch: Mapping[str, Any], network: nn.Module) -> Batch:
    parameters = _parameters(network)
    every = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    named = {n for n, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    targets = [name for name in TARGETS if name in batch]
    # Where forward names one of them (a network that computes its own loss), another is the target.
    targets = [name for name in targets if name not in named] or targets[:1]
    if len(targets) > 1:
        raise ValueError(
            f"a batch must have one target, got {targets}; drop the others, or yield (inputs, targets)"
        )
    # With **keywords anything could be meant, but a target is one all the same unless forward names it.
    inputs = {n: v for n, v in batch.items() if n in named or (every and n not in TARGETS)}
    unknown = sorted(str(n) for n in batch if n not in inputs and n not in TARGETS)
    if unknown:
        raise ValueError(
            f"a batch must have the keys that the model's forward names, {sorted(named)}, and targets {list(TARGETS)}, "
            f"got unknown {unknown}; rename or drop them, or yield (inputs, targets)"
        )
    return Batch(_checked(inputs), batch[targets[0]] if targets else None)


def _refuse_packed(x: object) -> None:
    """Refuse what is a tuple by its type, and whose parts have no data along the first dimension."""
    if isinstance(x, PackedSequence):
        raise TypeError(
            "x must be a tensor [batch, ...], a tuple or a dict of them, or an iterable of batches, got a "
            "PackedSequence; pass the padded tensor and the lengths, and pack them in the model's forward"
        )


def _checked(x: Inputs) -> Inputs:
    _refuse_packed(x)
    parts = list(x.values()) if isinstance(x, Mapping) else list(x) if isinstance(x, tuple) else [x]
    found = tensors(x)
    if not found or any(t.ndim == 0 for t in list(found.values())[:1]):
        raise TypeError(
            "x must be a tensor [batch, ...], a tuple or a dict of them, or an iterable of batches, or a tuple of "
            f"them, got {[type(part).__name__ for part in parts]}"
        )
    return x


def _parameters(network: nn.Module) -> dict[str, inspect.Parameter]:
    try:
        return dict(inspect.signature(network.forward).parameters)
    except (TypeError, ValueError):
        return {}


def _positional(network: nn.Module) -> dict[str, inspect.Parameter]:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return {name: p for name, p in _parameters(network).items() if p.kind in kinds}


def _required(network: nn.Module) -> list[str]:
    return [name for name, p in _positional(network).items() if p.default is p.empty]
