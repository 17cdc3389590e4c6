"""Gaussian moments of activations that have them in closed form.

    erf    E φ(u)² = (2/π) asin(2q/(1 + 2q)),  E φ'² = 4/(π√(1 + 4q)),  E φ''² = 16q/(π(1 + 4q)^{3/2}),
           E φ(u₁)φ(u₂) = (2/π) asin(2cq/(1 + 2q))                     Rasmussen & Williams 2006, eq. 4.29
    ReLU   E φ(u)² = q/2,  E φ'² = 1/2,
           E φ(u₁)φ(u₂) = (q/2π)(√(1 − c²) + (π − acos c) c)           Cho & Saul 2009, the kernel of degree 1

for u ~ N(0, q), and u₁, u₂ of variance q and correlation c.
"""

import math


class ErfMoments:
    """Of the error function."""

    jumps: tuple[float, ...] = ()
    kinks: tuple[float, ...] = ()

    def second(self, q: float, order: int) -> float:
        """E φ⁽ᵏ⁾(u)²."""
        power = 1 + 4 * q
        closed = (
            2 / math.pi * math.asin(2 * q / (1 + 2 * q)),
            4 / (math.pi * math.sqrt(power)),
            16 * q / (math.pi * power**1.5),
        )
        return closed[order]

    def product(self, c: float, q: float) -> float:
        """E φ(u₁)φ(u₂)."""
        return 2 / math.pi * math.asin(2 * q * c / (1 + 2 * q))


class ReluMoments:
    """Of the rectifier, whose second derivative has no square."""

    jumps: tuple[float, ...] = ()
    kinks: tuple[float, ...] = (0.0,)

    def second(self, q: float, order: int) -> float:
        """E φ⁽ᵏ⁾(u)², k ≤ 1."""
        return (q / 2, 0.5)[order]

    def product(self, c: float, q: float) -> float:
        """E φ(u₁)φ(u₂)."""
        c = min(1.0, max(-1.0, c))
        return q / (2 * math.pi) * (math.sqrt(1 - c * c) + (math.pi - math.acos(c)) * c)
