"""The affine map of a network around points, from one forward derivative per direction."""

import torch
from torch import Tensor

from metrics.geometry._layers import Layers


def affine_maps_at(
    network: Layers, inputs: Tensor, coordinates: Tensor, directions: Tensor
) -> tuple[Tensor, Tensor]:
    """Return (A, c) with network = A·u + c around points with coordinates u [n, k] and directions [k, *input]."""
    outputs, slopes = network(inputs).flatten(1), []
    for direction in directions:
        slopes.append(slopes_along(network, inputs, direction.expand_as(inputs)))
    matrix = torch.stack(slopes, -1)
    return matrix, outputs - (matrix @ coordinates[..., None])[..., 0]


def slopes_along(network: Layers, inputs: Tensor, directions: Tensor) -> Tensor:
    """The directional derivatives [n, outputs] at inputs along directions, both [n, *input]."""
    return torch.func.jvp(network, (inputs,), (directions.contiguous(),))[1].flatten(1)
