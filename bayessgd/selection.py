"""Which of a network's parameters are θ: all that train, or a part.

A posterior over a part of a network (its last layer, LoRA adapters, biases) has the other parameters where they are
when it predicts: θ = (θ_part, θ_rest) with θ_rest fixed. A part is said by

    a module       `net.head`: every trainable parameter in it
    a pattern      `"head"`, `"*.lora_*"`, `"*bias"`: shell wildcards against a parameter's name, or against the name of
                   a module that holds it; names are the bare network's
    a predicate    `lambda name, parameter: parameter.ndim == 1`
    several        a list of these: what any of them picks
"""

from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase

from torch import nn

from bayessgd.params import named_parameters

__all__ = ["Selection", "matches", "select"]

Predicate = Callable[[str, nn.Parameter], bool]
Selection = nn.Module | str | Predicate | Iterable[nn.Module | str | Predicate]
"""A module, a name pattern, a predicate of name and parameter, or several of these."""


def matches(name: str, pattern: str) -> bool:
    """Return whether a pattern fits a parameter's name, or the name of a module that holds it.

    >>> matches("encoder.0.weight", "encoder"), matches("encoder.0.weight", "*bias")
    (True, False)
    """
    parts = name.split(".")
    return any(fnmatchcase(".".join(parts[: i + 1]), pattern) for i in range(len(parts)))


def select(model: nn.Module, parameters: Selection | None = None) -> dict[str, nn.Parameter]:
    """Return the trainable parameters that a selection picks, by bare name, in the network's order.

    Args:
        model: The network; it may be compiled or in DDP.
        parameters: What to pick; `None` is everything that trains.

    Raises:
        TypeError: Not a selection.
        ValueError: One that picks nothing that trains, or a module of another network.

    >>> net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    >>> list(select(net, net[1])), list(select(net, "*bias"))
    (['1.weight', '1.bias'], ['0.bias', '1.bias'])
    """
    named = named_parameters(model)
    if parameters is None:
        return named
    single = isinstance(parameters, nn.Module | str) or callable(parameters)
    wanted = [parameters] if single else list(parameters) if isinstance(parameters, Iterable) else None
    if not wanted:
        raise TypeError(
            "parameters must be a module, a name pattern, a predicate of name and parameter, or a list of these, "
            f"got {type(parameters).__name__}; None takes everything that trains"
        )
    picked = set().union(*(_picked(one, model, named) for one in wanted))
    return {name: parameter for name, parameter in named.items() if name in picked}


def _picked(one: object, model: nn.Module, named: dict[str, nn.Parameter]) -> set[str]:
    if isinstance(one, nn.Module):
        inside = {id(p) for p in one.parameters()}
        found = {name for name, p in named.items() if id(p) in inside}
        what = f"the module {type(one).__name__}"
        if not found and not inside & {id(p) for p in model.parameters()}:
            raise ValueError(
                f"parameters must be a module of the model, got a {type(one).__name__} of another network or without "
                "parameters; pass one of model.modules()"
            )
    elif isinstance(one, str):
        found, what = {name for name in named if matches(name, one)}, f"the pattern {one!r}"
    elif callable(one):
        found, what = {name for name, p in named.items() if one(name, p)}, "the predicate"
    else:
        raise TypeError(
            f"parameters must hold modules, name patterns or predicates, got {type(one).__name__}; such as "
            "'head.*' or net.head"
        )
    if not found:
        raise ValueError(
            f"parameters must pick something that trains, but {what} picks none of {list(named)}; frozen parameters "
            "are no part of a posterior: requires_grad_(True) makes them one"
        )
    return found
