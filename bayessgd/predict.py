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
from collections.abc import Iterable
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from bayessgd._bank import State, evaluate, of_network
from bayessgd._data import parts
from bayessgd.batchnorm import has_statistics
from bayessgd.params import unwrap
from bayessgd.posteriors import Ensemble
from bayessgd.tangents import tangents
from metrics.inputs import check_count

__all__ = ["predict"]


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
    linearised: bool = False,
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
        linearised: Predict with the network's linearisation around the posterior's mean m instead,
            f(x; m) + J(x)(θᵢ − m), by forward-mode differentiation. A Gaussian that the curvature at m has made
            (Laplace's, or one that is too wide) is a posterior of this model rather than of the network, and predicts
            much better so (Immer et al. 2021); of SWAG in its span it changes little. Of a mixture, linearise each
            component.

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
    inputs = parts(x)
    _check(posterior, inputs, num_samples, chunk_size)
    if has_statistics(network) and refresh_batchnorm is None:
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
    if linearised:
        mean = _mean_of(posterior)
        away = {name: draws - mean[name] for name, draws in bank.items()}
        output, pushed = tangents(
            network, mean, away, x, refresh_batchnorm=refresh_batchnorm, chunk_size=chunk_size
        )
        return output + pushed
    return evaluate(network, of_network(bank, network), inputs, refresh_batchnorm, chunk_size)


def _mean_of(posterior: Sampleable) -> State:
    mean = getattr(posterior, "mean", None)
    if not isinstance(mean, dict):
        raise TypeError(
            f"posterior must have a mean to linearise around, got {type(posterior).__name__}; predict without "
            "linearised=True, or pass one of bayessgd.posteriors"
        )
    return mean


def _check(posterior: object, inputs: tuple[object, ...], num_samples: object, chunk_size: object) -> None:
    if not inputs or not all(isinstance(part, Tensor) and part.ndim for part in inputs):
        kinds = [type(part).__name__ for part in inputs]
        raise TypeError(f"x must be a tensor [batch, ...] or a tuple of them, got {kinds}")
    if not callable(getattr(posterior, "sample", None)):
        raise TypeError(f"posterior must have sample(n, generator=), got {type(posterior).__name__}")
    num_samples = check_count(num_samples, "num_samples")
    if chunk_size is not None:
        chunk_size = check_count(chunk_size, "chunk_size")
