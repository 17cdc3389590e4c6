"""A draw, or the mean, as an ordinary network: a copy with other weights, and BatchNorm's statistics made for them."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from bayessgd._functional import copied, of_network
from bayessgd._inputs import arguments, moved, size
from bayessgd._over import warn
from bayessgd._spectral import vectors
from bayessgd.batches import Data
from bayessgd.batchnorm import refresh_batches, refreshing, statistics, too_few
from bayessgd.params import check_shaped, unwrap

__all__ = ["with_values"]


@torch.no_grad()
def with_values(
    model: nn.Module, values: Mapping[str, Tensor], refresh_batchnorm: Data | None, *, mean: bool
) -> nn.Module:
    """Return a copy of the bare network, in evaluation mode, with these values in the places of its own.

    Args:
        model: The network; what wraps it is left behind.
        values: Parameters and buffers by bare name; the others stay as they are.
        refresh_batchnorm: Batches for BatchNorm's statistics; `None` leaves those of the copy.
        mean: Whether the values are means over draws, to which no statistics belong.
    """
    check_shaped(unwrap(model))
    network = copied(unwrap(model)).eval()
    state = of_network({name: t[None] for name, t in values.items()}, network)
    state |= vectors(network, state)
    places = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    for name, value in state.items():
        places[name].copy_(value[0])
    running = [name for name in statistics(network) if name.endswith(("running_mean", "running_var"))]
    if running and refresh_batchnorm is not None:
        _refresh(network, refresh_batchnorm)
    elif running and (mean or not state.keys() >= set(running)):
        warn(
            "statistics",
            "model has BatchNorm, whose running statistics belong to its own weights and not to the posterior's; "
            "pass refresh_batchnorm=train_loader",
        )
    return network


def _refresh(network: nn.Module, data: Data) -> None:
    """Reset the statistics and make them means over the data (`bayessgd.batchnorm`)."""
    device = next(network.buffers()).device
    with refreshing(network) as refresh, too_few():
        for layer in network.modules():
            if isinstance(layer, nn.modules.batchnorm._NormBase) and layer.track_running_stats:
                layer.reset_running_stats()
        for inputs in refresh_batches(data, network):
            args, kwargs = arguments(moved(inputs, device))
            refresh.next_batch(size(inputs))
            network(*args, **kwargs)
    if not refresh.seen:
        raise ValueError("refresh_batchnorm must yield batches, got none; pass a loader, not a used iterator")
