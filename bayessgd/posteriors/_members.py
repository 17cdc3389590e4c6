"""Parameters and buffers of several networks, stacked."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from bayessgd.params import bare_state, clean_name, named_buffers, named_parameters, unwrap

__all__ = ["members"]

States = list[dict[str, Tensor]]


def members(
    modules: Sequence[nn.Module | Mapping[str, Tensor]] | nn.ModuleList, model: nn.Module | None
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return draws and buffers of networks or state dicts, [m, *shape] by name; copies."""
    given = list(modules) if isinstance(modules, Sequence | nn.ModuleList) else [modules]
    if not given:
        raise ValueError("modules must not be empty; pass at least one trained network")
    if any(isinstance(m, Mapping | nn.ModuleDict) and _holds_networks(m) for m in given):
        raise TypeError(
            "modules must be a list of torch.nn.Modules, got a dict of them; pass list(modules.values())"
        )
    if all(isinstance(m, nn.Module) for m in given):
        parameters, buffers = _of_networks([m for m in given if isinstance(m, nn.Module)])
    elif all(isinstance(m, Mapping) for m in given):
        parameters, buffers = _of_states([m for m in given if isinstance(m, Mapping)], model)
    else:
        kinds = sorted({type(m).__name__ for m in given})
        raise TypeError(f"modules must be a list of torch.nn.Modules, or of state dicts, got {kinds}")
    return _stacked(parameters, "parameters"), _stacked(buffers, "buffers")


def _holds_networks(found: Mapping[str, object] | nn.ModuleDict) -> bool:
    return any(isinstance(value, nn.Module) for value in found.values())


def _of_networks(networks: list[nn.Module]) -> tuple[States, States]:
    trained = [named_parameters(net) for net in networks]
    frozen = [
        {clean_name(n): p for n, p in unwrap(net).named_parameters() if not p.requires_grad}
        for net in networks
    ]
    # What is frozen is the network's own, unless it differs from member to member.
    own = {
        name
        for states in frozen
        for name, p in states.items()
        if any(name not in f or f[name].shape != p.shape or not torch.equal(f[name], p) for f in frozen)
    }
    for states, rest in zip(trained, frozen, strict=True):
        states.update({name: p for name, p in rest.items() if name in own})
    return [dict(states) for states in trained], [named_buffers(net) for net in networks]


def _of_states(given: list[Mapping[str, Tensor]], model: nn.Module | None) -> tuple[States, States]:
    known = () if model is None else [clean_name(n) for n in unwrap(model).state_dict()]
    states = [bare_state({n: t for n, t in s.items() if isinstance(t, Tensor)}, known) for s in given]
    if model is None:
        names = {name for name, t in states[0].items() if t.is_floating_point()}
        rest = set(states[0]) - names
    else:
        trained = named_parameters(model)
        own = {clean_name(n): p for n, p in unwrap(model).named_parameters()}
        missing = sorted(set(trained) - set(states[0]))
        if missing:
            raise ValueError(
                f"modules must have all parameters of model, but lack {missing}; pass its own model, and the names "
                "without what a trainer put before them, such as 'net.'"
            )
        frozen = {
            n for n in set(own) - set(trained) if any(not torch.equal(s[n], own[n]) for s in states if n in s)
        }
        names, rest = set(trained) | frozen, set(named_buffers(model))
    return _only(states, names), _only(states, rest)


def _only(states: States, names: set[str]) -> States:
    return [{name: t for name, t in state.items() if name in names} for state in states]


def _stacked(states: States, what: str) -> dict[str, Tensor]:
    first = states[0]
    for i, state in enumerate(states):
        if {n: t.shape for n, t in state.items()} != {n: t.shape for n, t in first.items()}:
            odd = sorted(
                n
                for n in set(state) | set(first)
                if n not in state or n not in first or state[n].shape != first[n].shape
            )
            raise ValueError(
                f"modules must be of one architecture, but modules[{i}] and modules[0] differ in the {what} {odd}"
            )
    return {name: torch.stack([state[name].detach() for state in states]) for name in first}
