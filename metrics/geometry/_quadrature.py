"""Gaussian expectations of an activation: Gauss–Legendre on panels that follow the activation and the Gaussian.

Panels end at zero, where activations have their structure, at its kinks, and at steps of 3/4 standard deviation; they
widen with the distance from zero. So one rule serves a narrow Gaussian and one a thousand times as wide as the
activation.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

Elementwise = Callable[[Tensor], Tensor]

NODES, WEIGHTS = (torch.from_numpy(x) for x in np.polynomial.legendre.leggauss(16))
REACH = 9.0
"""Standard deviations that are integrated: 2e-19 of a Gaussian lies beyond."""

FINEST = 7


def gaussian_nodes(
    mean: Tensor, std: float, kinks: tuple[float, ...] = (), *, level: int = 0
) -> tuple[Tensor, Tensor]:
    """Nodes and weights [n, k] with Σ w f(u) = E f(mean + std·z), for means [n].

    Args:
        mean: [n].
        std: Above 0.
        kinks: Where the integrand is not smooth.
        level: Panels near zero are 2^−level long.
    """
    widest = float(mean.abs().max()) + REACH * std
    fine = 2.0**-level
    steps = [fine * k for k in range(1, 5)]
    while steps[-1] < widest:
        steps += [steps[-1] * 1.5, steps[-1] * 2]
    fixed = torch.tensor([-s for s in steps] + [0.0, *kinks] + steps, dtype=torch.float64)
    own = mean[:, None] + std * torch.linspace(-REACH, REACH, 25, dtype=torch.float64)
    low, high = own[:, :1], own[:, -1:]
    edges = torch.cat([own, torch.clamp(fixed.expand(len(mean), -1), low, high)], 1).sort(1).values
    half = edges.diff(dim=1)[..., None] / 2
    nodes = edges[:, :-1, None] + half * (1 + NODES)
    z = (nodes - mean[:, None, None]) / std
    weights = half * WEIGHTS * torch.exp(-0.5 * z**2) / (std * math.sqrt(2 * math.pi))
    return nodes.flatten(1), weights.flatten(1)


def derivative(phi: Elementwise, order: int) -> Elementwise:
    """The derivative of an elementwise function."""
    if order == 0:
        return phi
    below = derivative(phi, order - 1)

    def slope(u: Tensor) -> Tensor:
        with torch.enable_grad():
            at = u if u.requires_grad else u.detach().requires_grad_()
            total = below(at).sum()
            if not total.requires_grad:
                return torch.zeros_like(u)
            grad = torch.autograd.grad(total, at, create_graph=True, allow_unused=True)[0]
        return torch.zeros_like(u) if grad is None else grad

    return slope


def kinks_of(phi: Elementwise, *, order: int = 1, reach: float = 20.0) -> tuple[float, ...]:
    """Where a derivative jumps, or for order 0 the function.

    Intervals of a grid are halved towards the larger change, which a jump survives.
    """
    slope = derivative(phi, order)
    # No grid point is a round number, where kinks lie.
    grid = torch.linspace(-reach, reach, 8002, dtype=torch.float64) + math.pi * 1e-4
    low, high = grid[:-1], grid[1:]
    at_low, at_high = slope(low).detach(), slope(high).detach()
    steep = (at_high - at_low).abs() > 1e-4
    low, high, at_low, at_high = low[steep], high[steep], at_low[steep], at_high[steep]
    before = (at_high - at_low).abs()
    for _ in range(45):
        middle = (low + high) / 2
        at_middle = slope(middle).detach()
        left = (at_middle - at_low).abs() > (at_high - at_middle).abs()
        low, high = torch.where(left, low, middle), torch.where(left, middle, high)
        at_low, at_high = torch.where(left, at_low, at_middle), torch.where(left, at_middle, at_high)
    jumps = (at_high - at_low).abs() > 0.1 * before
    # What is left of the intervals is a rounding wide: a kink at zero or at ±1 is told exactly.
    return tuple(float(x) + 0.0 for x in ((low + high) / 2)[jumps].mul(2**44).round().div(2**44).unique())


def resolution(moment: Callable[[int], float]) -> int:
    """The coarsest level whose moment a finer one confirms."""
    value = moment(0)
    for level in range(FINEST):
        finer = moment(level + 1)
        if abs(finer - value) <= 1e-12 * max(abs(finer), 1e-300):
            return level
        value = finer
    return FINEST
