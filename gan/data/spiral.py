"""A curve in the plane: data whose support has no area.

    x = t·(cos 2πct, sin 2πct) + σ·noise,    t ∈ [t₀, 1] with density ∝ the curve's speed

The spiral of Archimedes with c turns, radius 1 at its end. With σ = 0 the data lie on a curve of dimension one. Two
such curves that differ by a small turn overlap nowhere: KL and Jensen–Shannon divergences between them are at their
largest value however near they are, where Wasserstein distances are small (Arjovsky, Chintala & Bottou 2017).
"""

import math

import torch
from torch import Tensor

from gan.data.sets import Data
from gan.seeds import stream
from metrics.inputs import check_count, check_positive

__all__ = ["spiral"]

START = 0.15
GRID = 4096


def spiral(n: int, *, turns: float = 2.0, std: float = 0.0, seed: int = 0) -> Data:
    """Return n training and n held-out points, spread evenly along a spiral.

    Args:
        n: Points in each part.
        turns: c, the turns from the middle to radius 1.
        std: σ of Gaussian noise in each coordinate; 0 leaves the points on the curve.
        seed: What they are drawn by.

    >>> spiral(100).train.shape
    torch.Size([100, 2])
    """
    n, turns = check_count(n, "n"), check_positive(turns, "turns")
    std = check_positive(std, "std") if std else 0.0
    random = stream("data.spiral", seed)
    t = _evenly(torch.rand(2 * n, generator=random, dtype=torch.float64), turns)
    angle = 2 * math.pi * turns * t
    points = t[:, None] * torch.stack([angle.cos(), angle.sin()], 1)
    points = (points + std * torch.randn(2 * n, 2, generator=random, dtype=torch.float64)).float()
    return Data("spiral", points[:n], points[n:])


def _evenly(u: Tensor, turns: float) -> Tensor:
    """The t at the share u of the curve's length; speed is √(1 + (2πct)²)."""
    t = torch.linspace(START, 1, GRID, dtype=torch.float64)
    speed = (1 + (2 * math.pi * turns * t).square()).sqrt()
    length = torch.cat([t.new_zeros(1), torch.cumulative_trapezoid(speed, t)])
    place = torch.searchsorted(length, u * length[-1]).clamp(1, GRID - 1)
    before, after = length[place - 1], length[place]
    share = (u * length[-1] - before) / (after - before)
    return t[place - 1] + share * (t[place] - t[place - 1])
