"""Predictions of a posterior: one network per draw, all of them over the same inputs.

    f(x; θᵢ),   θᵢ ~ posterior,   i = 1 … M

One bank of M draws is taken and used for every input, so that a draw is one function: predictions at two
inputs are joint, and differences between inputs have the right spread. (Fresh draws for every batch would
make them independent.) To keep the same functions over several calls, keep the bank,
`bank = Ensemble(posterior.sample(30))`, and predict from `bank`.

The draws are made and run a chunk at a time, those of a chunk together under `vmap`. Layers of a `Sequential` that no
draw touches run once, and a plain multilayer perceptron takes a shorter way to the same numbers. With `chunk_size=1` a
network's worth of memory is needed beside the output, and with `reduce=` the output does not grow with M. Draws do not
depend on the chunks. The user's network lends its structure and what the posterior does not hold; nothing of it, nor of
the posterior, is changed, whatever the forward pass does to itself.
"""

from collections.abc import Callable
from typing import Any, Literal, Protocol, overload, runtime_checkable

import torch
from torch import Tensor, nn

from bayessgd._bank import State, of_network, stream, warn_of_statistics
from bayessgd._inputs import Inputs, Output, moved
from bayessgd._over import telling
from bayessgd._reduce import Moments, Reduce, reducer
from bayessgd.batches import Data, batches_of, is_inputs
from bayessgd.params import unwrap
from bayessgd.posteriors import Ensemble
from bayessgd.posteriors.base import Draws, Posterior
from bayessgd.tangents import tangents
from metrics.inputs import check_count, check_generator
from metrics.precision import full_precision

__all__ = ["predict"]


@runtime_checkable
class Sampleable(Protocol):
    """What `predict` asks of a posterior."""

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Return n draws, from name to [n, *shape]."""
        ...


@overload
def predict(
    model: nn.Module,
    posterior: Sampleable,
    x: Data,
    *,
    num_samples: int | None = None,
    output: Output | None = None,
    reduce: Literal["moments"],
    generator: torch.Generator | None = None,
    chunk_size: int | None = None,
    refresh_batchnorm: Data | None = None,
    linearised: bool = False,
) -> Moments: ...


@overload
def predict(
    model: nn.Module,
    posterior: Sampleable,
    x: Data,
    *,
    num_samples: int | None = None,
    output: Output | None = None,
    reduce: Literal["mean_probs"] | Callable[[Tensor], Tensor] | None = None,
    generator: torch.Generator | None = None,
    chunk_size: int | None = None,
    refresh_batchnorm: Data | None = None,
    linearised: bool = False,
) -> Tensor: ...


@full_precision
@torch.no_grad()
def predict(
    model: nn.Module,
    posterior: Sampleable,
    x: Data,
    *,
    num_samples: int | None = None,
    output: Output | None = None,
    reduce: Reduce | None = None,
    generator: torch.Generator | None = None,
    chunk_size: int | None = None,
    refresh_batchnorm: Data | None = None,
    linearised: bool = False,
) -> Tensor | Moments:
    """Return f(x; θᵢ) for M draws θᵢ, [samples, batch, ...], or what `reduce` makes of them.

    Args:
        model: The network, in evaluation mode while it predicts; it may be compiled or in DDP. Parameters and buffers
            that the posterior does not name are the network's own.
        posterior: Anything with `sample(n, generator=)`.
        x: The network's input, [batch, ...]; a tuple is several arguments, a dict keyword arguments. Or an iterable of
            batches of them, such as a `DataLoader` (`bayessgd.batches`): outputs are put together along the batch.
        num_samples: M; `None` takes every member of an ensemble once, a point once, and of other posteriors 30 draws.
        output: Picks the tensor from what the network returns, such as `lambda o: o.logits`.
        reduce: Keep, in place of all outputs, "mean_probs": the mean of their softmax over the last dimension,
            [batch, ..., classes]; "moments": their mean and variance; a function: the mean over draws of what it makes
            of outputs [draws, batch, ...].
        generator: The randomness of the draws; `None` is torch's default generator.
        chunk_size: How many draws run at once; `None` is as many as keep what they compute, estimated from
            the sizes of weights and inputs, within 1 GiB, or within 4 MiB, a cache, on a CPU.
        refresh_batchnorm: Training data for BatchNorm's statistics, which are computed anew for each draw: inputs or an
            iterable of batches, as x. It is passed over once per chunk.
        linearised: Predict with the network's linearisation around the posterior's mean m instead,
            f(x; m) + J(x)(θᵢ − m), by forward-mode differentiation. A Gaussian that the curvature at m has made
            (Laplace's, or one that is too wide) is a posterior of this model rather than of the network, and predicts
            much better so (Immer et al. 2021); of SWAG in its span it changes little. Of a mixture, linearise each
            component.

    Returns:
        The outputs, without gradients; for "moments" an object with `mean` and `variance`, each [batch, ...].

    Raises:
        TypeError: Not a module, or an output that is not one tensor.
        ValueError: Draws that are not of this network; batches that are not what its `forward` asks for.

    Warns:
        UserWarning: The network cannot run under `vmap` and the draws run one by one; or it has BatchNorm's
            running statistics, which neither the posterior holds nor `refresh_batchnorm` makes.

    >>> net = nn.Linear(1, 1, bias=False)
    >>> lines = Ensemble({"weight": torch.tensor([[[1.0]], [[2.0]]])})
    >>> predict(net, lines, torch.tensor([[1.0], [10.0]])).squeeze(-1)
    tensor([[ 1., 10.],
            [ 2., 20.]])
    >>> predict(net, lines, {"input": torch.tensor([[1.0]])}, reduce="moments")
    Moments(mean=tensor([[1.5000]]), variance=tensor([[0.5000]]))
    """
    network = unwrap(model)
    inputs = _inputs(x, network)
    if not callable(getattr(posterior, "sample", None)):
        raise TypeError(f"posterior must have sample(n, generator=), got {type(posterior).__name__}")
    usual = posterior.usual_samples if isinstance(posterior, Posterior) else Posterior.USUAL
    count = usual if num_samples is None else check_count(num_samples, "num_samples")
    chunk = None if chunk_size is None else check_count(chunk_size, "chunk_size")
    check_generator(generator)
    sinks = [_Kept() if reduce is None else reducer(reduce)() for _ in inputs]
    with telling():
        if refresh_batchnorm is None:
            # A linearisation is around the mean, which has no statistics of its own.
            warn_of_statistics(network, [] if linearised else _names_of(posterior))
        run = {"count": count, "generator": generator, "output": output, "refresh": refresh_batchnorm}
        if linearised:
            found = _linearised(network, posterior, inputs, chunk=chunk, **run)
        else:
            found = stream(network, posterior, inputs, chunk_size=chunk, **run)
        for i, draws, outputs in found:
            if outputs.ndim < 2:
                raise ValueError(
                    "model must give outputs [batch, ...], got one number; a squeeze() in its forward drops a batch of "
                    "one: write squeeze(-1)"
                )
            sinks[i].add(outputs)
            del draws, outputs  # or they would be there beside the next ones
    return _together([sink.result() for sink in sinks], 1 if reduce is None else 0)


class _Kept:
    """All outputs, as they are."""

    def __init__(self) -> None:
        self._parts: list[Tensor] = []

    def add(self, outputs: Tensor) -> None:
        self._parts.append(outputs)

    def result(self) -> Tensor:
        return torch.cat(self._parts) if len(self._parts) > 1 else self._parts[0]


def _inputs(x: Data, network: nn.Module) -> list[Inputs]:
    found = [batch.inputs for batch in batches_of(x, network)]
    if not found:
        raise ValueError("x must yield batches, got none; pass a loader, not a used iterator")
    if is_inputs(x):
        return found
    first = next(network.parameters(), None)
    return found if first is None else [moved(inputs, first.device) for inputs in found]


def _together(parts: list[Any], dim: int) -> Any:
    if len(parts) == 1:
        return parts[0]
    if isinstance(parts[0], Moments):
        return Moments(_together([p.mean for p in parts], 0), _together([p.variance for p in parts], 0))
    lost = next((part for part in parts if part.ndim <= dim), None)
    if lost is not None or len({part.ndim for part in parts}) > 1:
        raise ValueError(
            "model must give outputs [batch, ...] of as many dimensions for every batch, got "
            f"{sorted({tuple(part.shape[dim:]) for part in parts})}; a squeeze() in its forward drops a batch of one: "
            "write squeeze(-1)"
        )
    shapes = sorted({tuple(part.shape[dim + 1 :]) for part in parts})
    if len(shapes) > 1:
        raise ValueError(
            f"x must be batches whose outputs have one shape after the batch, got {shapes}; pad them to one length, or "
            "predict batch by batch from one bank of draws, Ensemble(posterior.sample(30))"
        )
    return torch.cat(parts, dim)


def _names_of(posterior: object) -> list[str]:
    if isinstance(posterior, Ensemble):
        return [*posterior.draws, *posterior.buffers]
    components = getattr(posterior, "components", None)
    if components:
        return sorted(set.intersection(*(set(_names_of(c)) for c in components)))
    return []


def _linearised(
    network: nn.Module,
    posterior: Sampleable,
    inputs: list[Inputs],
    *,
    count: int,
    generator: torch.Generator | None,
    output: Output | None,
    refresh: Data | None,
    chunk: int | None,
) -> Any:
    """Yield f(x; m) + J(x)(θᵢ − m), as `stream` yields outputs."""
    mean = getattr(posterior, "mean", None)
    if not isinstance(mean, dict):
        raise TypeError(
            f"posterior must have a mean to linearise around, got {type(posterior).__name__}; predict without "
            "linearised=True, or pass one of bayessgd.posteriors"
        )
    of_network({name: t[None] for name, t in mean.items()}, network)
    away: State = {name: t - mean[name] for name, t in posterior.sample(count, generator=generator).items()}
    for i, x in enumerate(inputs):
        centre, pushed = tangents(
            network, mean, away, x, refresh_batchnorm=refresh, chunk_size=chunk, output=output
        )
        yield i, Draws(away), centre + pushed
