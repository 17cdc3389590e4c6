"""Mean field: what wide random networks do to lengths, angles and curves.

Weights W ~ N(0, σ_w²/fan_in), biases b ~ N(0, σ_b²), activation φ; in the limit of infinite width every
pre-activation of a layer is Gaussian, and a layer acts through a few numbers (Poole et al. 2016, "Exponential
expressivity in deep neural networks through transient chaos"; Schoenholz et al. 2017). Dz is the standard Gaussian
measure.

- Length, eq. 3: q' = σ_w² ∫Dz φ(√q z)² + σ_b², with the fixed point q*.
- Correlation, eq. 5: c' = [σ_w² ∫∫Dz₁Dz₂ φ(u₁)φ(u₂) + σ_b²]/q*, u₁ = √q* z₁, u₂ = √q* (c z₁ + √(1 − c²) z₂). c = 1 is
  a fixed point with slope χ₁; c* is the stable one, below 1 if and only if χ₁ > 1: chaos.
- χ₁ = σ_w² ∫Dz φ'(√q z)², χ₂ = σ_w² ∫Dz φ''(√q z)².
- Curves, eqs. 7–9: the circle h¹(θ) = √(N q*) (u₀ cos θ + u₁ sin θ) has the metric ḡ = q* (of N) and the squared
  curvature κ̄² = 1/q* (over N). A layer stretches and bends it: ḡ' = χ₁ ḡ and κ̄'² = 3χ₂/χ₁² + κ̄²/χ₁.
- The length of the Gauss map, the total turning of the tangent, is unchanged by scaling, L_G = 2π √(ḡ κ̄²); after l
  layers L_G(l) = 2π √(1 + 3 (χ₂/χ₁) q* (χ₁^{l−1} − 1)/(χ₁ − 1)): exponential in the depth where χ₁ > 1.

erf is served in closed form (Williams 1997), and so is ReLU, χ₁ = σ_w²/2 with the arc-cosine kernel (Cho & Saul 2009);
every other activation by quadrature. The finite width N departs from this by O(1/N): `metrics.geometry.simulation`
shows how far.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from metrics.geometry._closed_forms import ReluMoments
from metrics.geometry._moments import moments_of
from metrics.inputs import check_count, check_positive

__all__ = ["CircleGeometry", "MeanField"]

LARGEST = 1e12


@dataclass(frozen=True)
class CircleGeometry:
    """A circle after some layers, per neuron.

    Attributes:
        q: The mean squared pre-activation.
        g: The metric ḡ: the squared speed along the circle over the width.
        curvature_squared: κ̄²: the squared curvature times the width.
    """

    q: float
    g: float
    curvature_squared: float

    @property
    def gauss_length(self) -> float:
        """2π √(ḡ κ̄²)."""
        return 2 * math.pi * math.sqrt(self.g * self.curvature_squared)


class MeanField:
    """Signal propagation of a wide random network.

    Attributes:
        activation: φ.
        sigma_w: σ_w; a weight has the variance σ_w²/fan_in.
        sigma_b: σ_b, the standard deviation of a bias.

    Args:
        activation: An elementwise function of tensors, such as `torch.tanh` or `nn.GELU()`. Kinks and jumps are found.
        sigma_w: Above 0.
        sigma_b: 0 or above.

    Raises:
        TypeError, ValueError: An activation that is not an elementwise function; a σ out of range. Each measure
        refuses what it does not serve: `q_star` a length without a fixed point, `chi1` an activation with a jump,
            `chi2` one with a kink.

    >>> chaos = MeanField(torch.tanh, 2.5, 0.3)
    >>> print(f"{chaos.q_star:.6f} {chaos.chi1:.6f} {chaos.chi2:.6f} {chaos.c_star:.6f}")
    4.079124 1.585225 1.196041 0.122104
    >>> print(f"{chaos.critical_sigma_w():.6f} {chaos.gauss_length(10) / (2 * math.pi):.4f}")
    1.395584 31.3457
    """

    def __init__(self, activation: Callable[[Tensor], Tensor], sigma_w: float, sigma_b: float) -> None:
        if not callable(activation):
            raise TypeError(f"activation must be a function of tensors, got {type(activation).__name__}")
        self.activation = activation
        self.sigma_w = check_positive(sigma_w, "sigma_w")
        self.sigma_b = 0.0 if sigma_b == 0 else check_positive(sigma_b, "sigma_b")
        _check_elementwise(activation)
        self._moments = moments_of(activation)

    def length_map(self, q: float) -> float:
        """Return σ_w² E φ(√q z)² + σ_b², the next layer's mean squared pre-activation."""
        return self.sigma_w**2 * self._moments.second(q, 0) + self.sigma_b**2

    def correlation_map(self, c: float, *, q: float | None = None) -> float:
        """Return the next layer's correlation of two inputs of equal length, for c from −1 to 1; q defaults to q*."""
        if not -1 <= c <= 1:
            raise ValueError(f"c must be a correlation from −1 to 1, got {c}")
        q = self.q_star if q is None else check_positive(q, "q")
        covariance = self.sigma_w**2 * self._moments.product(c, q) + self.sigma_b**2
        return covariance / self.length_map(q)

    def chi1_at(self, q: float) -> float:
        """Return σ_w² E φ'(√q z)²."""
        self._check_continuous("chi1")
        return self.sigma_w**2 * self._moments.second(q, 1)

    def chi2_at(self, q: float) -> float:
        """Return σ_w² E φ''(√q z)²."""
        self._check_continuous("chi2")
        if kinks := self._moments.kinks:
            raise ValueError(
                f"activation must have a continuous derivative for chi2, got a kink at {kinks[0]:g}, where φ''² "
                "diverges; served are tanh, erf, sigmoid, GELU, SiLU, softplus, ELU and the like"
            )
        return self.sigma_w**2 * self._moments.second(q, 2)

    @cached_property
    def q_star(self) -> float:
        """The stable fixed point of the length map; 0 where every length dies out."""
        low = high = 1.0
        if isinstance(self._moments, ReluMoments) and self.sigma_w**2 >= 2:
            raise ValueError(
                f"sigma_w must be below √2 for a ReLU's length to have a stable fixed point, got {self.sigma_w}"
            )
        while self.length_map(high) >= high:
            high *= 2
            if high > LARGEST:
                raise ValueError(
                    f"the length must have a stable fixed point, got growth past {LARGEST:g} at "
                    f"sigma_w = {self.sigma_w}; lower sigma_w, or take a bounded activation such as tanh or erf"
                )
        while self.length_map(low) <= low:
            low /= 2
            if low < 1 / LARGEST**2:
                return 0.0
        return _root(lambda q: self.length_map(q) - q, low, high)

    @cached_property
    def chi1(self) -> float:
        """χ₁ at q*: the growth of a small difference by a layer, squared; chaos above 1."""
        return self.sigma_w**2 / 2 if isinstance(self._moments, ReluMoments) else self.chi1_at(self.q_star)

    @cached_property
    def chi2(self) -> float:
        """χ₂ at q*: how much a layer bends."""
        return self.chi2_at(self.q_star)

    @cached_property
    def c_star(self) -> float:
        """The stable fixed point of the correlation map: 1 if χ₁ ≤ 1."""
        if self.chi1 <= 1:
            return 1.0
        high = 1.0
        step = 0.5
        while self.correlation_map(high) >= high:
            # Just below 1 the map lies below the diagonal, by (χ₁ − 1)(1 − c).
            high, step = 1 - step, step / 2
            if step < 1e-12:
                return 1.0
        low = high
        while low > -1 and self.correlation_map(low) <= low:
            low = max(-1.0, low - 0.25)
        return _root(lambda c: self.correlation_map(c) - c, low, high)

    def critical_sigma_w(self) -> float:
        """Return the σ_w with χ₁ = 1 at this σ_b: the edge of chaos."""
        if isinstance(self._moments, ReluMoments):
            return math.sqrt(2)

        def excess(sigma_w: float) -> float:
            try:
                return self._sibling(sigma_w).chi1 - 1
            except ValueError:  # the length has no fixed point: beyond whatever edge there is
                return 1.0

        low, high = 1.0, 1.0
        while excess(high) <= 0:
            high *= 1.25
            if high > 1e3:
                raise ValueError(
                    "activation must reach chaos for a critical sigma_w, got none up to 1000; served are "
                    "activations such as tanh, erf and ReLU"
                )
        while excess(low) > 0:
            low *= 0.8
        edge = _root(excess, low, high)
        if abs(excess(edge)) > 1e-6:
            raise ValueError(
                f"activation must reach chaos before its length diverges, got divergence at sigma_w = {edge:.6g}; "
                "served are bounded activations such as tanh and erf, and ReLU"
            )
        return edge

    def circle(self, depth: int, *, start: float | None = None) -> list[CircleGeometry]:
        """Return the geometry of a circle in layers 1 … depth.

        Args:
            depth: Layers; layer 1 is the circle itself.
            start: The mean square per neuron of the circle in layer 1 without its bias, q₁ = start + σ_b²; `None` is
                the circle of mean square q*, on which every layer acts alike.
        """
        depth = check_count(depth, "depth")
        if start is None:
            q, g = self.q_star, self.q_star
        else:
            g = check_positive(start, "start")
            q = g + self.sigma_b**2
        layers = [CircleGeometry(q, g, 1 / g if g else math.inf)]
        for _ in range(depth - 1):
            last = layers[-1]
            chi1, chi2 = self.chi1_at(last.q), self.chi2_at(last.q)
            bent = 3 * chi2 / chi1**2 + last.curvature_squared / chi1
            layers.append(CircleGeometry(self.length_map(last.q), chi1 * last.g, bent))
        return layers

    def gauss_length(self, depth: int, *, start: float | None = None) -> float:
        """Return the length of the Gauss map of a circle in layer `depth`: 2π in layer 1; see `circle`."""
        return self.circle(depth, start=start)[-1].gauss_length

    def _check_continuous(self, what: str) -> None:
        if jumps := self._moments.jumps:
            raise ValueError(
                f"activation must be continuous for {what}, got a jump at {jumps[0]:g}, where φ'² diverges; served are "
                "tanh, erf, sigmoid, ReLU, GELU and the like, and for activations that jump q_star, length_map and "
                "correlation_map"
            )

    def _sibling(self, sigma_w: float) -> "MeanField":
        """The same activation at another σ_w, with what is known of it."""
        other = MeanField(self.activation, sigma_w, self.sigma_b)
        other._moments = self._moments
        return other


def _root(f: Callable[[float], float], low: float, high: float) -> float:
    from scipy.optimize import brentq

    return float(brentq(f, low, high, xtol=1e-15, rtol=np.float64(1e-14)))  # pyright: ignore[reportArgumentType]


def _check_elementwise(activation: Callable[[Tensor], Tensor]) -> None:
    with torch.no_grad():
        x = torch.linspace(-2, 2, 6, dtype=torch.float64).reshape(2, 3)
        together, alone = activation(x), activation(x[:1])
    if not isinstance(together, Tensor) or together.shape != x.shape or not torch.equal(together[:1], alone):
        raise ValueError(
            "activation must map every entry of a tensor by itself, got one that does not; served are functions "
            "such as torch.tanh, torch.erf, nn.ReLU() and nn.GELU()"
        )
