r"""Outputs of a network and their derivatives along directions of its parameters.

    f(x; m)   and   J(x) v = d/dt f(x; m + t·v) at t = 0,   for K directions v at once,

by forward-mode differentiation (`torch.func.jvp`), vectorised over the directions: some three forward passes each and
no Jacobian in memory. Some operations know no forward mode (fused attention and recurrent kernels, functions of one's
own), and where BatchNorm's statistics are made anew for each θ the output depends on θ through them as well. There a
central difference

    J(x) v ≈ [f(x; m + h·v) − f(x; m − h·v)] / 2h,   h = u^{1/3}·max(‖m‖, 1)/‖v‖,

takes its place, by the same forward passes as every prediction. u is the rounding unit and the relative error of order
u^{2/3}: 4e-11 in float64, which a copy of the network is put into where it has at most 2²⁴ weights and allows it; else
2e-5 in float32.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import jvp, vmap

from bayessgd._bank import State, chunk_of, evaluate, of_network
from bayessgd._evaluating import evaluating
from bayessgd._functional import copied, elementary, writing_module
from bayessgd._inputs import Inputs, Output, call, mapped
from bayessgd._over import quietly, telling, together
from bayessgd._spectral import vectors
from bayessgd._unfit import UnfitError
from bayessgd.batches import Data, batches_of
from bayessgd.batchnorm import has_statistics
from bayessgd.params import flat_rows, unwrap

__all__ = ["tangents"]


@torch.no_grad()
def tangents(
    model: nn.Module,
    mean: Mapping[str, Tensor],
    directions: Mapping[str, Tensor],
    x: Inputs,
    *,
    refresh_batchnorm: Data | None = None,
    chunk_size: int | None = None,
    output: Output | None = None,
) -> tuple[Float[Tensor, "n ..."], Float[Tensor, "k n ..."]]:
    """Return f(x; m) [n, ...] and J(x) v [k, n, ...].

    Args:
        model: The network, in evaluation mode meanwhile.
        mean: m by name; what it leaves out is the network's own.
        directions: v by name, [k, *shape], of the same names.
        x: The input, a tensor [batch, ...], a tuple of several or a dict of keyword arguments.
        refresh_batchnorm: As in `predict`; the statistics are then a function of θ too.
        chunk_size: How many directions run at once; `None` is as in `predict`, but 4 at least.
        output: Picks a tensor from what the network returns.

    Raises:
        TypeError, ValueError: As `predict`.

    >>> line = nn.Linear(1, 1)
    >>> at = {"weight": torch.tensor([[2.0]]), "bias": torch.tensor([1.0])}
    >>> along = {"weight": torch.tensor([[[1.0]]]), "bias": torch.tensor([[0.5]])}
    >>> tangents(line, at, along, torch.tensor([[3.0]]))
    (tensor([[7.]]), tensor([[[3.5000]]]))
    """
    network, names = unwrap(model), list(mean)
    at = of_network({name: t[None] for name, t in mean.items()}, network)
    along = of_network({name: directions[name] for name in names}, network)
    # What is written to parameters on the way forward mode does not see.
    if not (has_statistics(network) and refresh_batchnorm is not None) and writing_module(network) is None:
        theta = {name: t[0] for name, t in at.items()}
        try:
            # Of convolutions a few at a time are faster than one, and than all (the cache).
            chunk = chunk_size or max(4, chunk_of({name: t[0] for name, t in along.items()}, x))
            return _forward_mode(network, theta, along, x, chunk, output)
        except (UnfitError, torch.OutOfMemoryError):
            raise
        except (RuntimeError, NotImplementedError):
            pass  # No forward mode or no vmap.
    with telling():
        rest = (refresh_batchnorm, chunk_size, output)
        if sum(p.numel() for p in network.parameters()) <= LARGEST_COPY:
            try:
                double = copied(network).double()
                state, along64 = ({name: t.double() for name, t in named.items()} for named in (at, along))
                found = _central_difference(double, state, along64, _double(x), *_in_double(network, *rest))
                like = next(iter(at.values()))
                return found[0].to(like), found[1].to(like)
            except torch.OutOfMemoryError:
                raise
            except (RuntimeError, TypeError):
                pass  # It cannot be copied, or has a type of its own inside.
        return _central_difference(network, at, along, x, *rest)


LARGEST_COPY = 2**24


def _double(x: Any) -> Any:
    return mapped(x, lambda t: t.double() if t.is_floating_point() else t)


def _in_double(
    network: nn.Module, refresh: Data | None, chunk_size: int | None, output: Output | None
) -> Any:
    batches = None if refresh is None else [_double(batch.inputs) for batch in batches_of(refresh, network)]
    return batches, chunk_size, output


def _forward_mode(
    network: nn.Module,
    theta: State,
    directions: State,
    inputs: Inputs,
    chunk_size: int,
    output: Output | None,
) -> tuple[Tensor, Tensor]:
    # Spectral norm's vectors at the mean: the norm's slope is uᵀ(dW)v with them held still.
    still = {name: t[0] for name, t in vectors(network, {n: t[None] for n, t in theta.items()}).items()}

    def f(own: State) -> Tensor:
        buffers = {name: b.clone() for name, b in network.named_buffers() if name not in still}
        return call(network, buffers | still | {name: t.clone() for name, t in own.items()}, inputs, output)

    def along(v: State) -> Tensor:
        return jvp(f, (theta,), (v,))[1]  # pyright: ignore[reportReturnType]  # one output, one tangent

    with evaluating(network), elementary(), quietly():
        centre = f(theta)
        with together():
            return centre, vmap(along, chunk_size=chunk_size)(directions)


def _central_difference(
    network: nn.Module,
    at: State,
    directions: State,
    inputs: Inputs,
    refresh_batchnorm: Data | None,
    chunk_size: int | None,
    output: Output | None,
) -> tuple[Tensor, Tensor]:
    size = math.sqrt(sum(float(t.double().square().sum()) for t in at.values()))
    unit = max(torch.finfo(t.dtype).eps for t in at.values())
    squares = [flat_rows(t).double().square().sum(1) for t in directions.values()]
    lengths = torch.stack(squares).sum(0).sqrt()
    steps = unit ** (1 / 3) * max(size, 1.0) / torch.where(lengths > 0, lengths, 1.0)
    bank = {}
    for name, m in at.items():
        step = steps.to(m).reshape(-1, *[1] * (m.ndim - 1)) * directions[name]
        bank[name] = torch.cat([m, m + step, m - step])
    outputs = evaluate(network, bank, inputs, refresh_batchnorm, chunk_size, output)
    ahead, behind = outputs[1:].chunk(2)
    slopes = (ahead - behind) / (2 * steps.to(outputs)).reshape(-1, *[1] * (outputs.ndim - 1))
    return outputs[0], slopes
