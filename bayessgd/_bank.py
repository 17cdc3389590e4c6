"""A bank of draws evaluated at inputs: together under `vmap` where that can be, else one by one."""

import warnings
from collections.abc import Callable, Iterable
from math import prod
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from bayessgd._evaluating import evaluating
from bayessgd._stacked import is_perceptron, perceptron
from bayessgd.batchnorm import fresh_statistics, has_statistics, refreshing
from bayessgd.params import clean_name

__all__ = ["State", "chunk_of", "evaluate", "of_network"]

# For what the draws of one chunk compute: beyond its cache a CPU loses more time to memory than it saves in
# calls. Constants, so that the bits do not depend on what else runs.
BUDGET_BYTES = {"cpu": 2**22}
OTHER_BUDGET_BYTES = 2**30

State = dict[str, Tensor]
"""Parameters or buffers by name; of a bank, each [draws, *shape]."""


def evaluate(
    network: nn.Module,
    draws: State,
    inputs: tuple[Tensor, ...],
    refresh_batchnorm: Iterable[Any] | None,
    chunk_size: int | None,
) -> Tensor:
    """Return f(x; θᵢ) for every draw, [draws, batch, ...], in evaluation mode.

    Args:
        network: The bare module.
        draws: Its parameters by its own names, [draws, *shape], as `of_network` gives them.
        inputs: Its arguments.
        refresh_batchnorm: Data for BatchNorm's statistics of each draw; `None` leaves the network's.
        chunk_size: How many draws run at once; `None` is what `chunk_of` says.
    """
    chunk = chunk_size or chunk_of(draws, inputs)
    count = len(next(iter(draws.values())))
    plain = is_perceptron(network, inputs)
    run, outputs = _OverDraws(), []
    with evaluating(network):
        for start in range(0, count, chunk):
            state = {name: t[start : start + chunk] for name, t in draws.items()}
            if plain:
                outputs.append(perceptron(cast(nn.Sequential, network), state, inputs[0]))
                continue
            if refresh_batchnorm is not None and has_statistics(network):
                state |= _refreshed(network, state, refresh_batchnorm, run)
            outputs.append(run(lambda own: _forward(network, own, inputs), state)["output"])
    return torch.cat(outputs) if len(outputs) > 1 else outputs[0]


def _forward(network: nn.Module, state: State, inputs: tuple[Tensor, ...]) -> State:
    output = functional_call(network, state, inputs)
    if not isinstance(output, Tensor):
        raise TypeError(
            f"model must return one tensor, got {type(output).__name__}; wrap it in one that does"
        )
    return {"output": output}


def _refreshed(network: nn.Module, draws: State, data: Iterable[Any], run: "_OverDraws") -> State:
    """Return BatchNorm's statistics for each draw after one pass over the data, [draws, *shape] by name."""
    statistics = fresh_statistics(network, len(next(iter(draws.values()))))
    device = next(iter(statistics.values())).device
    names = list(statistics)
    with refreshing(network) as refresh:
        for batch in data:
            first = (batch[0] if isinstance(batch, tuple | list) else batch).to(device)
            refresh.next_batch(len(first))
            statistics = run(
                lambda own, given=first: _after_batch(network, own, names, given), draws | statistics
            )
    if not refresh.seen:
        raise ValueError("refresh_batchnorm must yield batches, got none; pass a loader, not a used iterator")
    return statistics


def _after_batch(network: nn.Module, state: State, names: list[str], given: Tensor) -> State:
    # BatchNorm writes into what it is given. Copies, so that a pass that fails half-way has changed nothing.
    copies = {name: state[name].clone() for name in names}
    functional_call(network, state | copies, (given,))
    return copies


class _OverDraws:
    """Runs a function of one draw over all of them: together for as long as `vmap` can, else one by one."""

    def __init__(self) -> None:
        self.together = True

    def __call__(self, function: Callable[[State], State], draws: State) -> State:
        reason = None
        if self.together:
            try:
                with warnings.catch_warnings():
                    # torch's word that it vectorises an operation by a loop, of which the user can do nothing.
                    warnings.filterwarnings("ignore", message="There is a performance drop")
                    return vmap(function)(draws)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                reason = str(error).strip().splitlines()[0]
        count = len(next(iter(draws.values())))
        results = [function({name: t[i] for name, t in draws.items()}) for i in range(count)]
        if reason is not None:
            # Only now: had the network itself been at fault, the loop would have said so better.
            self.together = False
            warnings.warn(f"the draws run one by one, for vmap cannot run this model: {reason}", stacklevel=5)
        return {name: torch.stack([result[name] for result in results]) for name in results[0]}


def of_network(draws: State, network: nn.Module) -> State:
    """Return the draws under the network's own names, in its types and on its devices."""
    own = {clean_name(name): (name, p) for name, p in network.named_parameters()}
    unknown = sorted(set(draws) - set(own))
    if unknown:
        raise ValueError(f"posterior must be of the model's parameters {sorted(own)}, got unknown {unknown}")
    for name, drawn in draws.items():
        if drawn.shape[1:] != own[name][1].shape:
            raise ValueError(
                f"posterior must have the shape {list(own[name][1].shape)} of the model's {name}, got "
                f"{list(drawn.shape[1:])}; it is of another network"
            )
    return {own[name][0]: drawn.to(own[name][1]) for name, drawn in draws.items()}


def chunk_of(draws: State, inputs: tuple[Tensor, ...]) -> int:
    """Return how many draws fit the budget, by an estimate that is on the large side.

    A weight [out, ...] makes `out` numbers at every position of every example, twice with its nonlinearity.
    Positions are those of the input: one for features, the grid for images, the length for sequences.
    """
    x = inputs[0]
    if x.ndim >= 3:
        positions = max(prod(x.shape[2:]), prod(x.shape[1:-1]))
    else:
        positions = 1 if x.is_floating_point() else x[0].numel()
    outputs = sum(t.shape[1] for t in draws.values() if t.ndim > 2)
    size = max(t.element_size() for t in draws.values())
    budget = BUDGET_BYTES.get(x.device.type, OTHER_BUDGET_BYTES)
    return max(1, budget // (size * max(1, 2 * len(x) * positions * outputs)))
