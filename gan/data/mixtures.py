"""Mixtures on which modes are counted.

    ring   8 Gaussians at angles 2πk/8 on the circle of radius 1, σ = .01
    grid   25 Gaussians at {−4, −2, 0, 2, 4}², σ = .05

as in PacGAN (Lin et al. 2018, section 4.1): the counts depend on σ.
"""

import math

import torch
from torch import Tensor

from gan.data.sets import Data
from gan.seeds import stream
from metrics.inputs import check_count

__all__ = ["grid", "ring"]


def ring(n: int, *, seed: int = 0) -> Data:
    """Return n training and n held-out points of the ring of eight Gaussians.

    >>> ring(100).centres.shape
    torch.Size([8, 2])
    """
    angles = 2 * math.pi * torch.arange(8) / 8
    return _mixture("ring", torch.stack([angles.cos(), angles.sin()], 1), 0.01, n, seed)


def grid(n: int, *, seed: int = 0) -> Data:
    """Return n training and n held-out points of the grid of 25 Gaussians.

    >>> grid(100).centres.shape
    torch.Size([25, 2])
    """
    ticks = torch.arange(-4.0, 5.0, 2.0)
    return _mixture("grid", torch.cartesian_prod(ticks, ticks), 0.05, n, seed)


def _mixture(name: str, centres: Tensor, std: float, n: int, seed: int) -> Data:
    n = check_count(n, "n")
    generator = stream(f"data.{name}", seed)
    labels = torch.randint(len(centres), (2 * n,), generator=generator)
    points = centres[labels] + std * torch.randn(2 * n, 2, generator=generator)
    return Data(name, points[:n], points[n:], labels[:n], labels[n:], centres=centres, std=std)
