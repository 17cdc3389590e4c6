"""Random and trained networks: regions at equal parameters or neurons, a circle's curvature, a boundary's dimension."""

import math

import torch
from torch import Tensor, nn

from metrics.geometry import (
    BoxCount,
    MeanField,
    PlaneRegions,
    box_counting_dimension,
    linear_regions_in_plane,
    simulated_circle,
)

__all__ = [
    "NEURONS",
    "PARAMETERS",
    "boundary_mask",
    "boundary_scales",
    "carried_circle",
    "curvature_ratios",
    "network",
    "parameters",
    "regions",
    "train",
    "width_at_equal_neurons",
    "width_at_equal_parameters",
]

PARAMETERS = 1153
"""What every network has, to within 5 %, where parameters are equal."""
NEURONS = 60
"""What every network has where neurons are equal, exactly if the depth divides it."""
BIAS = 0.3
BOUNDARY_WIDTH = 100


def width_at_equal_parameters(depth: int) -> int:
    """The width of `depth` equal hidden layers, 2 inputs and 1 output with about `PARAMETERS` parameters."""
    return min(range(2, PARAMETERS), key=lambda w: abs(_size(depth, w) - PARAMETERS))


def width_at_equal_neurons(depth: int) -> int:
    """The width of `depth` equal hidden layers with about `NEURONS` neurons."""
    return round(NEURONS / depth)


def _size(depth: int, width: int) -> int:
    return 3 * width + (depth - 1) * (width**2 + width) + width + 1


def parameters(net: nn.Module) -> int:
    """How many numbers a network has."""
    return sum(p.numel() for p in net.parameters())


def network(depth: int, width: int, generator: torch.Generator) -> nn.Sequential:
    """A ReLU network with He's weights and biases of standard deviation 0.3."""
    sizes, layers = [2] + [width] * depth, []
    for fan_in, fan_out in zip(sizes, [*sizes[1:], 1], strict=True):
        linear = nn.Linear(fan_in, fan_out)
        linear.weight.data = torch.randn(fan_out, fan_in, generator=generator) * math.sqrt(2 / fan_in)
        linear.bias.data = BIAS * torch.randn(fan_out, generator=generator)
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def train(net: nn.Module, steps: int, generator: torch.Generator) -> float:
    """Fit two interleaved spirals by Adam, and return the share of points on the right side."""
    radius = 0.1 + 0.85 * torch.rand(400, generator=generator)
    y = (torch.arange(400) % 2).float()
    angle = 9 * radius + math.pi * y
    x = radius[:, None] * torch.stack([angle.cos(), angle.sin()], 1)
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(steps):
        optimiser.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(net(x)[:, 0], y).backward()
        optimiser.step()
    with torch.no_grad():
        return float(((net(x)[:, 0] > 0) == (y > 0.5)).double().mean())


def regions(net: nn.Module) -> PlaneRegions:
    """The linear regions in the square [−1, 1]²."""
    return linear_regions_in_plane(net, torch.zeros(2), torch.eye(2), (-1, 1, -1, 1))


def curvature_ratios(field: MeanField, width: int, depth: int, generator: torch.Generator) -> Tensor:
    """Total curvature of one random network's circle over mean field's, in layers 1 … depth."""
    layers = simulated_circle(field, width=width, depth=depth, points=512, generator=generator)
    theory = field.circle(depth)
    ratios = [found.gauss_length / t.gauss_length for found, t in zip(layers, theory, strict=True)]
    return torch.tensor(ratios, dtype=torch.float64)


def carried_circle(field: MeanField, width: int, depth: int, generator: torch.Generator) -> list[Tensor]:
    """A circle in layers 1 … depth of one random network, on its own two principal axes, each [points, 2]."""
    angle = torch.linspace(0, 2 * math.pi, 2001, dtype=torch.float64)
    h = _plane(field, torch.stack([angle.cos(), angle.sin()], 1), width, generator)
    pictures = []
    for layer in range(depth):
        h = _next(field, h, generator) if layer else h
        u, s, _ = torch.linalg.svd(h - h.mean(0), full_matrices=False)
        pictures.append(u[:, :2] * s[:2])
    return pictures


def boundary_mask(field: MeanField, depth: int, pixels: int, generator: torch.Generator) -> Tensor:
    """Where a random network's score changes its sign between neighbouring pixels of [−1, 1]²."""
    axis = torch.linspace(-1, 1, pixels + 1)
    square = torch.cartesian_prod(axis, axis)
    h = _plane(field, square, BOUNDARY_WIDTH, generator)
    for _ in range(depth - 1):
        h = _next(field, h, generator)
    readout = torch.randn(BOUNDARY_WIDTH, generator=generator, dtype=torch.float64).to(h.dtype)
    side = (field.activation(h) @ readout > 0).view(pixels + 1, pixels + 1)
    return (side[1:, :-1] != side[:-1, :-1]) | (side[:-1, 1:] != side[:-1, :-1])


def boundary_scales(mask: Tensor) -> BoxCount:
    """Box counts from 1 pixel to an eighth of the picture."""
    return box_counting_dimension(mask, [2**k for k in range(int(math.log2(len(mask))) - 2)])


def _plane(field: MeanField, points: Tensor, width: int, generator: torch.Generator) -> Tensor:
    """Two random orthonormal directions, scaled so that the unit circle has mean square q*."""
    normal = torch.randn(width, 2, generator=generator, dtype=torch.float64)
    axes = torch.linalg.qr(normal)[0].T * math.sqrt(width * field.q_star)
    return points @ axes.to(points.dtype)


def _next(field: MeanField, h: Tensor, generator: torch.Generator) -> Tensor:
    width = h.shape[1]
    weight = (
        torch.randn(width, width, generator=generator, dtype=torch.float64) * field.sigma_w / math.sqrt(width)
    )
    bias = field.sigma_b * torch.randn(width, generator=generator, dtype=torch.float64)
    return field.activation(h) @ weight.T.to(h.dtype) + bias.to(h.dtype)
