"""Gaussian moments of any elementwise activation: in closed form where there is one, by quadrature otherwise."""

import math
from functools import cached_property

import torch
from torch import nn

from metrics.geometry._closed_forms import ErfMoments, ReluMoments
from metrics.geometry._quadrature import Elementwise, derivative, gaussian_nodes, kinks_of, resolution

RELU = (torch.relu, nn.functional.relu)
ERF = (torch.erf, torch.special.erf)


class QuadratureMoments:
    """E φ⁽ᵏ⁾(u)² and E φ(u₁)φ(u₂) for Gaussian u, on panels as fine as the activation asks for."""

    def __init__(self, activation: Elementwise) -> None:
        self.activation = activation

    @cached_property
    def jumps(self) -> tuple[float, ...]:
        """Where the activation itself jumps, and its derivative is none that a slope shows."""
        return kinks_of(self.activation, order=0)

    @cached_property
    def kinks(self) -> tuple[float, ...]:
        """Where the derivative jumps."""
        return kinks_of(self.activation)

    def second(self, q: float, order: int) -> float:
        """E φ⁽ᵏ⁾(u)² for u ~ N(0, q)."""
        if q == 0:
            return float(derivative(self.activation, order)(torch.zeros(1, dtype=torch.float64))) ** 2
        return self._second(q, order, self._level)

    def product(self, c: float, q: float) -> float:
        """E φ(u₁)φ(u₂) for variances q and the correlation c."""
        std = math.sqrt(q)
        u, w = gaussian_nodes(torch.zeros(1, dtype=torch.float64), std, self._breaks, level=self._level)
        with torch.no_grad():
            rest = std * math.sqrt((1 - c) * (1 + c))
            if rest < 1e-8 * std:
                other = self.activation(math.copysign(1.0, c) * u[0])
            else:
                v, weight = gaussian_nodes(c * u[0], rest, self._breaks, level=self._level)
                other = (self.activation(v) * weight).sum(1)
            return float((self.activation(u[0]) * other * w[0]).sum())

    @cached_property
    def _breaks(self) -> tuple[float, ...]:
        """Where the activation or its derivatives are not smooth."""
        return tuple({*self.jumps, *self.kinks, *kinks_of(self.activation, order=2)})

    @cached_property
    def _level(self) -> int:
        return max(resolution(lambda level, k=k: self._second(1.0, k, level)) for k in (0, 1, 2))

    def _second(self, q: float, order: int, level: int) -> float:
        zero = torch.zeros(1, dtype=torch.float64)
        u, w = gaussian_nodes(zero, math.sqrt(q), self._breaks, level=level)
        with torch.no_grad():
            return float((derivative(self.activation, order)(u).detach() ** 2 * w).sum())


Moments = QuadratureMoments | ErfMoments | ReluMoments


def moments_of(activation: Elementwise) -> Moments:
    """The closed form of an activation, or its quadrature."""
    if activation in ERF:
        return ErfMoments()
    if isinstance(activation, nn.ReLU) or activation in RELU:
        return ReluMoments()
    return QuadratureMoments(activation)
