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
        tangent = direction.expand_as(inputs).contiguous()
        slopes.append(torch.func.jvp(network, (inputs,), (tangent,))[1].flatten(1))
    matrix = torch.stack(slopes, -1)
    return matrix, outputs - (matrix @ coordinates[..., None])[..., 0]
