"""Refusals of the geometry: points of a network's input space, and windows."""

import math

import torch
from torch import Tensor

from metrics.geometry._layers import Layers
from metrics.inputs import check_tensor


def check_point(x: object, name: str, layers: Layers) -> Tensor:
    """Return one finite input of the network, without a batch dimension, in float64 on the CPU."""
    ndim = x.ndim if isinstance(x, Tensor) else 1
    point = check_tensor(x, name, shape="[*input]", ndim=ndim).detach().to("cpu", torch.float64)
    if point.ndim == 0:
        raise ValueError(f"{name} must have the shape of one input, got a number; pass a vector such as [1]")
    try:
        layers(point[None])
    except (RuntimeError, ValueError) as error:
        raise ValueError(
            f"{name} must have the shape of one input of net, without a batch, got {list(point.shape)}: {error}"
        ) from None
    return point


def check_basis(basis: object, origin: Tensor) -> Tensor:
    """Return two independent directions [2, *input] in float64."""
    two = check_tensor(basis, "basis", shape="[2, *input]", ndim=origin.ndim + 1)
    if two.shape != (2, *origin.shape):
        raise ValueError(
            f"basis must hold two directions of origin's shape, {[2, *origin.shape]}, got {list(two.shape)}; "
            "directions in columns come as basis.T"
        )
    two = two.detach().to("cpu", torch.float64)
    gram = two.flatten(1) @ two.flatten(1).T
    if not float(gram.det()) > 1e-12 * float(gram[0, 0] * gram[1, 1]):
        raise ValueError("basis must hold two independent directions, got parallel ones; no plane is between")
    return two


def check_window(window: object) -> tuple[float, float, float, float]:
    """Return (left, right, bottom, top)."""
    sides = torch.as_tensor(window, dtype=torch.float64).flatten().tolist()
    if len(sides) != 4 or not all(math.isfinite(side) for side in sides):
        raise ValueError(f"window must be four finite numbers (left, right, bottom, top), got {window}")
    left, right, bottom, top = sides
    if not (left < right and bottom < top):
        raise ValueError(f"window must have left < right and bottom < top, got {tuple(sides)}; swap them")
    return left, right, bottom, top
