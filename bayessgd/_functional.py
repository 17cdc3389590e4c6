"""A network as a function of its parameters and buffers.

`torch.func.functional_call` leaves a network that holds one module at two places with the tensors it was lent (it puts
both places back in the order in which it took them), and buffers that a forward pass binds anew as the pass left them.
Here every place is noted first and all are put back.
"""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any, cast

import torch
from torch import Tensor, nn

from bayessgd._recomputing import not_recomputing
from bayessgd.params import clean_name

__all__ = [
    "State",
    "copied",
    "elementary",
    "functional",
    "lending",
    "of_network",
    "unfused",
    "writing_module",
    "written_copies",
]

State = dict[str, Tensor]
"""Parameters or buffers by name; of a bank, each [draws, *shape]."""


def functional(
    network: nn.Module, state: Mapping[str, Tensor], args: tuple[Any, ...], keywords: Mapping[str, Any]
) -> Any:
    """Return the network's output with other tensors in the places of the named ones; what is tied stays tied.

    >>> functional(nn.Linear(1, 1, bias=False), {"weight": torch.ones(1, 1)}, (torch.ones(1, 1),), {})
    tensor([[1.]])
    """
    with lending(network, state):
        return network(*args, **keywords)


def copied(network: nn.Module) -> nn.Module:
    """Return a deep copy, also of a network that holds what it has computed (older weight norms, pruning)."""
    computed = [
        value
        for module in network.modules()
        for value in vars(module).values()
        if isinstance(value, Tensor) and not value.is_leaf
    ]
    return copy.deepcopy(network, {id(value): value.detach().clone() for value in computed})


@contextmanager
def lending(network: nn.Module, state: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """Put other tensors in the places of the named ones for a while.

    Yields:
        A dict that afterwards holds the buffers of these names as the network left them.

    Raises:
        RecomputingError: The network checkpoints activations, with other weights than its own and gradients.
    """
    if isinstance(network, torch.jit.ScriptModule):
        raise TypeError("model must be a Python module, got a ScriptModule; pass the module it was made from")
    named = dict(
        [*network.named_parameters(remove_duplicate=False), *network.named_buffers(remove_duplicate=False)]
    )
    new = {id(named[name]): tensor for name, tensor in state.items()}
    strange = any(isinstance(named[n], nn.Parameter) and named[n] is not t for n, t in state.items())
    places: list[tuple[dict[str, Any], dict[str, Any]]] = []
    names = {(id(d), key): name for name, (d, key) in _places(network, state).items()}
    left: dict[str, Tensor] = {}
    try:
        for module in network.modules():
            for place in (cast(dict[str, Any], module._parameters), cast(dict[str, Any], module._buffers)):
                places.append((place, dict(place)))
                for key, tensor in place.items():
                    if id(tensor) in new:
                        place[key] = new[id(tensor)]
        with not_recomputing() if strange and torch.is_grad_enabled() else nullcontext():
            yield left
    finally:
        for place, before in places:
            left.update({names[id(place), k]: t for k, t in place.items() if (id(place), k) in names})
            place.clear()
            place.update(before)


def _places(network: nn.Module, state: Mapping[str, Tensor]) -> dict[str, tuple[dict[str, Any], str]]:
    found = {}
    for path, module in network.named_modules():
        for key in module._buffers:
            name = f"{path}.{key}" if path else key
            if name in state:
                found[name] = (cast(dict[str, Any], module._buffers), key)
    return found


def of_network(draws: Mapping[str, Tensor], network: nn.Module) -> State:
    """Return draws of parameters and buffers under the network's own names, in its types and on its devices."""
    tensors = [*network.named_parameters(), *network.named_buffers()]
    own = {clean_name(name): (name, p) for name, p in tensors}
    # A state dict names a tied parameter at each of its places; the network knows it by the first.
    first = {id(p): name for name, p in tensors}
    places = [
        *network.named_parameters(remove_duplicate=False),
        *network.named_buffers(remove_duplicate=False),
    ]
    alias = {clean_name(name): clean_name(first[id(p)]) for name, p in places}
    unknown = sorted(set(draws) - set(alias))
    if unknown:
        raise ValueError(
            f"posterior must be of the model's parameters {sorted(own)}, got unknown {unknown}; it is of another "
            "network"
        )
    found = {}
    for name, drawn in draws.items():
        key, like = own[alias[name]]
        if drawn.shape[1:] != like.shape:
            raise ValueError(
                f"posterior must have the shape {list(like.shape)} of the model's {name}, got "
                f"{list(drawn.shape[1:])}; it is of another network"
            )
        if name == alias[name] or alias[name] not in draws:
            found[key] = drawn.to(like)
    return found


@contextmanager
def elementary() -> Iterator[None]:
    """Compute attention by elementary operations, which know forward mode and `vmap` where the fused ones do not."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    with unfused(), sdpa_kernel(SDPBackend.MATH):
        yield


@contextmanager
def unfused() -> Iterator[None]:
    """Leave out torch's fast path of transformer layers in evaluation, which has no derivative.

    It is chosen where the parameters that were lent do not say that they need one.
    """
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


def written_copies(network: nn.Module) -> dict[str, Tensor]:
    """Return copies, by name, of what a forward pass may write to: buffers, and parameters where some are written."""
    found = {name: b.detach().clone() for name, b in network.named_buffers()}
    if writing_module(network) is not None:
        found |= {name: p.detach().clone() for name, p in network.named_parameters()}
    return found


def writing_module(network: nn.Module) -> str | None:
    """Return where a forward pass writes to parameters (an embedding that renormalises its rows), or None."""
    for name, module in network.named_modules():
        if getattr(module, "max_norm", None) is not None:
            return f"max_norm in {type(module).__name__} at {name!r}"
    return None
