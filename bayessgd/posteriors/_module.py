"""A draw, or the mean, as an ordinary network: a copy with other weights, and BatchNorm's statistics made for them."""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from bayessgd._inputs import arguments, moved, size
from bayessgd._over import warn
from bayessgd.batches import Data
from bayessgd.batchnorm import has_statistics, refresh_batches, refreshing
from bayessgd.params import clean_name, unwrap

__all__ = ["with_values"]


@torch.no_grad()
def with_values(
    model: nn.Module,
    parameters: Mapping[str, Tensor],
    buffers: Mapping[str, Tensor],
    refresh_batchnorm: Data | None,
) -> nn.Module:
    """Return a copy of the bare network, in evaluation mode, with these values in the places of its own.

    Args:
        model: The network; what wraps it is left behind.
        parameters: From bare name to tensor; the others stay as they are.
        buffers: The same.
        refresh_batchnorm: Batches for BatchNorm's statistics; `None` leaves those of the copy.
    """
    network = copy.deepcopy(unwrap(model)).eval()
    _fill(dict(network.named_parameters()), parameters)
    _fill(dict(network.named_buffers()), buffers)
    if not has_statistics(network):
        return network
    if refresh_batchnorm is not None:
        _refresh(network, refresh_batchnorm)
    elif not buffers:
        warn(
            "statistics",
            "model has BatchNorm, whose running statistics belong to its own weights and not to the posterior's; "
            "pass refresh_batchnorm=train_loader",
        )
    return network


def _fill(places: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    own = {clean_name(name): place for name, place in places.items()}
    unknown = sorted(set(values) - set(own))
    if unknown:
        raise ValueError(
            f"model must have the posterior's parameters, but lacks {unknown}; it is another network"
        )
    for name, value in values.items():
        if value.shape != own[name].shape:
            raise ValueError(
                f"model must have the shapes of the posterior, but {name} is {list(own[name].shape)} there and "
                f"{list(value.shape)} here; it is another network"
            )
        own[name].copy_(value)


def _refresh(network: nn.Module, data: Data) -> None:
    """Reset the statistics and make them means over the data (`bayessgd.batchnorm`)."""
    device = next(network.buffers()).device
    with refreshing(network) as refresh:
        for layer in network.modules():
            if isinstance(layer, nn.modules.batchnorm._NormBase) and layer.track_running_stats:
                layer.reset_running_stats()
        for inputs in refresh_batches(data, network):
            args, kwargs = arguments(moved(inputs, device))
            refresh.next_batch(size(inputs))
            network(*args, **kwargs)
    if not refresh.seen:
        raise ValueError("refresh_batchnorm must yield batches, got none; pass a loader, not a used iterator")
