"""Predictions of a posterior: one network per draw, all of them over the same inputs.

    f(x; θᵢ),   θᵢ ~ posterior,   i = 1 … M

One bank of M draws is taken and used for every input, so that a draw is one function: predictions at two
inputs are joint, and differences between inputs have the right spread. (Fresh draws for every batch would
make them independent.) To keep the same functions over several calls, keep the bank,
`bank = Ensemble(posterior.sample(30))`, and predict from `bank` with as many samples.

The draws run through the network together, `torch.func.functional_call` under `vmap`, as many at a time as
fit a budget of memory; a plain multilayer perceptron takes a shorter way to the same numbers. The user's
network lends its structure and its buffers; no parameter, buffer or mode of it is changed.
"""

import warnings
from collections.abc import Callable, Iterable
from math import prod
from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from bayessgd._evaluating import evaluating
from bayessgd._stacked import is_perceptron, perceptron
from bayessgd.batchnorm import fresh_statistics, has_statistics, refreshing
from bayessgd.params import clean_name, unwrap
from bayessgd.posteriors import Ensemble
from metrics.inputs import check_count

__all__ = ["chunk_of", "of_network", "predict"]

# For what the draws of one chunk compute: beyond its cache a CPU loses more time to memory than it saves in
# calls. Constants, so that the bits do not depend on what else runs.
BUDGET_BYTES = {"cpu": 2**22}
OTHER_BUDGET_BYTES = 2**30

State = dict[str, Tensor]


@runtime_checkable
class Sampleable(Protocol):
    """What `predict` asks of a posterior."""

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Return n draws, from name to [n, *shape]."""
        ...


@torch.no_grad()
def predict(
    model: nn.Module,
    posterior: Sampleable,
    x: Tensor | tuple[Tensor, ...],
    *,
    num_samples: int = 30,
    generator: torch.Generator | None = None,
    chunk_size: int | None = None,
    refresh_batchnorm: Iterable[Any] | None = None,
) -> Tensor:
    """Return f(x; θᵢ) for M draws θᵢ, [samples, batch, ...].

    Args:
        model: The network, in evaluation mode while it predicts; it may be compiled or in DDP. Parameters
            that the posterior does not name, and buffers, are the network's own.
        posterior: Anything with `sample(n, generator=)`.
        x: The network's input, [batch, ...]; a tuple is several arguments.
        num_samples: M.
        generator: The randomness of the draws; `None` is torch's default generator.
        chunk_size: How many draws run at once; `None` is as many as keep what they compute, estimated from
            the sizes of weights and inputs, within 1 GiB, or within 4 MiB, a cache, on a CPU.
        refresh_batchnorm: Training data for BatchNorm's statistics, which are computed anew for each draw: an
            iterable of batches, of which the first entry is taken where a batch is a tuple or a list. It is
            passed over once per chunk.

    Returns:
        The outputs, without gradients.

    Raises:
        TypeError: Not a module, or an output that is not one tensor.
        ValueError: Draws that are not of this network.

    Warns:
        UserWarning: The network cannot run under `vmap` and the draws run one by one; or it has BatchNorm's
            running statistics and `refresh_batchnorm` is not given.

    >>> net = nn.Linear(1, 1, bias=False)
    >>> lines = Ensemble({"weight": torch.tensor([[[1.0]], [[2.0]]])})
    >>> predict(net, lines, torch.tensor([[1.0], [10.0]]), num_samples=2).squeeze(-1)
    tensor([[ 1., 10.],
            [ 2., 20.]])
    """
    network = unwrap(model)
    inputs = x if isinstance(x, tuple) else (x,)
    _check(posterior, inputs, num_samples, chunk_size)
    refresh = has_statistics(network)
    if refresh and refresh_batchnorm is None:
        warnings.warn(
            "model has BatchNorm, whose running statistics belong to its own weights and not to the draws of "
            "the posterior; pass refresh_batchnorm=train_loader",
            stacklevel=3,
        )
    # An ensemble's own draws are read as they are: to copy all of them can cost more than to predict.
    if isinstance(posterior, Ensemble) and len(posterior) == num_samples:
        bank = posterior.draws
    else:
        bank = posterior.sample(num_samples, generator=generator)
    draws = of_network(bank, network)
    chunk = chunk_size or chunk_of(draws, inputs)
    plain = is_perceptron(network, inputs)
    run, outputs = _OverDraws(), []
    with evaluating(network):
        for start in range(0, num_samples, chunk):
            state = {name: t[start : start + chunk] for name, t in draws.items()}
            if plain:
                outputs.append(perceptron(cast(nn.Sequential, network), state, inputs[0]))
                continue
            if refresh and refresh_batchnorm is not None:
                state |= _refreshed(network, state, refresh_batchnorm, run)
            outputs.append(run(lambda own: _forward(network, own, inputs), state)["output"])
    return torch.cat(outputs) if len(outputs) > 1 else outputs[0]


def _check(posterior: object, inputs: tuple[object, ...], num_samples: object, chunk_size: object) -> None:
    if not inputs or not all(isinstance(part, Tensor) and part.ndim for part in inputs):
        kinds = [type(part).__name__ for part in inputs]
        raise TypeError(f"x must be a tensor [batch, ...] or a tuple of them, got {kinds}")
    if not callable(getattr(posterior, "sample", None)):
        raise TypeError(f"posterior must have sample(n, generator=), got {type(posterior).__name__}")
    check_count(num_samples, "num_samples")
    if chunk_size is not None:
        check_count(chunk_size, "chunk_size")


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
            warnings.warn(f"the draws run one by one, for vmap cannot run this model: {reason}", stacklevel=4)
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
