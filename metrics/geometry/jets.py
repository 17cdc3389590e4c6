"""Jets: a curve's image under a network with its first two derivatives, from nested forward derivatives.

A curve x(t) has the image h(t) = f(x(t)). With its jet (h, h', h''),

    speed |h'|,   squared curvature κ² = |h''|²/|h'|⁴ − (h'·h'')²/|h'|⁶,

the square of the part of h'' across h' over |h'|⁴ (do Carmo 1976, § 1-5, exercise 12, in any dimension). Two nested
`jvp` give the jet exactly, at about four times the cost of an evaluation; a kink they do not see.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor

__all__ = ["Circle", "Jets", "curve_jets"]

Map = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Circle:
    """t ↦ centre + cos(2πt)·first + sin(2πt)·second: an ellipse, a circle if its axes are orthogonal and equally long.

    >>> Circle(torch.zeros(2), torch.tensor([3.0, 0]), torch.tensor([0, 3.0]))(torch.tensor([0.25]))
    tensor([[-1.3113e-07,  3.0000e+00]])
    """

    centre: Float[Tensor, "..."]
    first: Float[Tensor, "..."]
    second: Float[Tensor, "..."]

    def __call__(self, t: Float[Tensor, " n"]) -> Float[Tensor, "n ..."]:
        """Return the points [n, *input]."""
        angle = (2 * math.pi * t).reshape(-1, *[1] * self.centre.ndim)
        return self.centre + angle.cos() * self.first + angle.sin() * self.second


@dataclass(frozen=True, eq=False)
class Jets:
    """A curve's image and its derivatives by the parameter, [n, outputs] each."""

    position: Float64[Tensor, "n outputs"]
    velocity: Float64[Tensor, "n outputs"]
    acceleration: Float64[Tensor, "n outputs"]

    @property
    def speed(self) -> Float64[Tensor, " n"]:
        """|h'|."""
        return self.velocity.norm(dim=1)

    @property
    def turning(self) -> Float64[Tensor, " n"]:
        """κ|h'|, radians per unit of the parameter: h'' across h', over |h'|; 0 where the image stands still."""
        speed = self.speed[:, None]
        direction = self.velocity / speed.clamp(min=torch.finfo(torch.float64).tiny)
        across = self.acceleration - (self.acceleration * direction).sum(1, keepdim=True) * direction
        return torch.where(speed[:, 0] > 0, across.norm(dim=1) / speed[:, 0], 0.0)

    @property
    def curvature(self) -> Float64[Tensor, " n"]:
        """κ, one over the radius of the osculating circle."""
        return self.turning / self.speed


def curve_jets(net: Map, curve: Map, t: Float64[Tensor, " n"]) -> Jets:
    """Return the image of a curve with its first two derivatives, by nested `jvp`.

    Args:
        net: A network, or any function of points [n, *input]; it is used as it is.
        curve: A function from parameters [n] to points [n, *input].
        t: Parameters.

    >>> circle = Circle(torch.zeros(2), torch.tensor([3.0, 0]).double(), torch.tensor([0, 3.0]).double())
    >>> curve_jets(lambda x: x, circle, torch.tensor([0.1, 0.7]).double()).curvature
    tensor([0.3333, 0.3333], dtype=torch.float64)
    """

    def image(s: Tensor) -> Tensor:
        return net(curve(s)).flatten(1)

    ones = torch.ones_like(t)

    def pushed(s: Tensor) -> tuple[Tensor, Tensor]:
        h, dh = torch.func.jvp(image, (s,), (ones,))[:2]
        return h, dh

    (h, velocity), (_, acceleration) = torch.func.jvp(pushed, (t,), (ones,))[:2]
    return Jets(h.detach(), velocity.detach(), acceleration.detach())
