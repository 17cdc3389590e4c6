"""Two clouds made standard: centred, in units of √(ε/2), with an ε; and the way back.

**Means.** For p = 2 and centres c_x, c_y with Δ = c_x − c_y,

    ‖x − y‖² = ‖x′ − y′‖² + 2Δ·(x′ − y′) + ‖Δ‖²,    x′ = x − c_x, y′ = y − c_y,

and what depends on x or y alone goes into the potentials: the plan is that of the centred clouds. So each cloud is
centred on its own mean, and float32 has digits enough however far they lie apart. Other powers take one centre.

**Type.** Float32 holds ⟨P, C⟩/ε where ε is no larger than the mean cost; beyond, the divergence is a small difference
of terms of size ε, and everything is float64.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.inputs import check_positive
from metrics.transport.cost import power_cost
from metrics.transport.entropic.kernels import LogKernel, Powers, Squares, Table

__all__ = ["RELATIVE_EPS", "Standard", "check_scale", "resolve_eps", "scattered", "standardise", "value_like"]

RELATIVE_EPS = 0.05
"""The default ε, as a fraction of the mean cost."""

SMALLEST = 1e-9
"""ε over the mean cost, below which float64 has not digits enough for exp(potential − cost/ε)."""


@dataclass(frozen=True)
class Standard:
    """A problem made standard: clouds with positive weights, in units in which kernels need no scale.

    Attributes:
        x: The first cloud, centred and divided by `unit`.
        y: The second cloud.
        a: Weights of x, in the type to work in.
        b: Weights of y.
        centre: What was taken from x, in float64.
        shift: Δ in float64, zero unless p = 2.
        shift_cost: The cost of the shift between the means, which centring has taken out, in units of the cost.
        mean_cost: E C, in units of the cost.
        eps: ε, in units of the cost.
        p: The exponent.
        unit: √(ε/2) for p = 2, otherwise 1.
        costs: C for p ≠ 2, where there is memory for it.
    """

    x: Float[Tensor, "n d"]
    y: Float[Tensor, "m d"]
    a: Float[Tensor, " n"]
    b: Float[Tensor, " m"]
    alpha: Float[Tensor, " n"]
    beta: Float[Tensor, " m"]
    centre: Float[Tensor, " d"]
    shift: Float[Tensor, " d"]
    shift_cost: float
    mean_cost: float
    eps: float
    p: float
    unit: float
    costs: Float[Tensor, "n m"] | None

    @property
    def scale(self) -> float:
        """The size of dual values, in units of ε."""
        return max(1.0, self.mean_cost / self.eps)

    def kernel(self, x: Tensor, y: Tensor) -> LogKernel:
        """The log-kernel between two of the clouds, or of points in their units."""
        if self.p == 2:
            norms = (self.alpha if z is self.x else self.beta if z is self.y else None for z in (x, y))
            return Squares(x, y, *norms)
        if self.costs is None:
            return Powers(x, y, self.p, self.eps)
        costs = self.costs if x is self.x and y is self.y else power_cost(x, y, self.p)
        return Table((costs * (-1 / self.eps)).to(x.dtype))

    def inside(self, points: Tensor, centre: Tensor) -> Tensor:
        """Other points in the units of the clouds."""
        return ((points.double() - centre) / self.unit).to(self.x.dtype)

    def slope(self, x: Tensor) -> Tensor:
        """The part 2Δ·x′ of a cost that centring has moved into the potential of x, in units of the cost."""
        return x.double() @ (2 * self.unit * self.shift)


def standardise(
    x: Tensor, y: Tensor, a: Tensor, b: Tensor, *, eps: float | None, p: float, single: bool, dense: bool
) -> Standard:
    """Centre the clouds and choose ε and the type: float32 where `single` allows it and the problem too.

    The weights are positive, in float64, and sum to one.
    """
    if not single:
        x, y = x.double(), y.double()
    wa, wb = a.to(x.dtype), b.to(x.dtype)
    centre_x, centre_y = torch.mv(x.T, wa), torch.mv(y.T, wb)
    if p != 2:
        centre_y = centre_x
    x, y = x - centre_x, y - centre_y
    shift, costs = centre_x.double() - centre_y.double(), None
    squares_x, squares_y = (z.square().sum(1, dtype=torch.float64) for z in (x, y))
    shift_cost = 0.0
    if p == 2:
        # A mean is rounded as it is taken off; what is left of it counts.
        left_x, left_y = torch.mv(x.T, wa).double(), torch.mv(y.T, wb).double()
        shift_cost = float(shift @ (shift + 2 * (left_x - left_y)))
        mean_cost = max(
            shift_cost + float(a @ squares_x + b @ squares_y - 2 * (left_x @ left_y)), 0.0
        )  # keeps NaN
    elif dense:
        costs = power_cost(x, y, p)
        mean_cost = float(a @ costs @ b)
    else:
        rows = zip(x.split(1024), a.split(1024), strict=True)
        mean_cost = float(sum(w @ power_cost(z, y, p) @ b for z, w in rows))
    eps = resolve_eps(eps, mean_cost, shift_cost)
    # Far from 1, float32 has no room for squares; nor for the rounding of points that are all one.
    if not (single and 1e-30 < eps <= mean_cost < 1e30):
        x, y, wa, wb = x.double(), y.double(), a, b
        squares_x, squares_y = x.square().sum(1), y.square().sum(1)
    unit = 1.0
    if p == 2:
        unit = (eps / 2) ** 0.5
        x, y = x.mul_(1 / unit), y.mul_(1 / unit)
        squares_x, squares_y = squares_x.mul_(1 / eps), squares_y.mul_(1 / eps)
    return Standard(
        x,
        y,
        wa,
        wb,
        squares_x,
        squares_y,
        centre_x.double(),
        shift,
        shift_cost,
        mean_cost,
        eps,
        p,
        unit,
        costs,
    )


def resolve_eps(eps: float | None, mean_cost: float, shift_cost: float = 0.0) -> float:
    """Return ε, by default a fraction of the mean cost; any will do for clouds that are one point.

    What centring has taken out, `shift_cost`, is not in the potentials.
    """
    if eps is not None:
        check_scale(at := check_positive(eps, "eps"), mean_cost - shift_cost)
        return at
    check_scale(math.inf, mean_cost)
    if mean_cost < 0:
        raise ValueError(
            f"the mean cost is negative, {mean_cost:.3g}, so there is no default for eps; pass eps"
        )
    return RELATIVE_EPS * mean_cost or 1.0


def check_scale(eps: float, mean_cost: float) -> None:
    """Refuse costs that overflow, and an ε at which potentials of the size E C/ε have no digits left."""
    if not math.isfinite(mean_cost):
        raise ValueError(
            "the costs between x and y leave the range of their type; scale the clouds, or convert them"
        )
    if eps < SMALLEST * abs(mean_cost):
        raise ValueError(
            f"eps must be at least {SMALLEST:.0e} of the mean cost of centred clouds, {mean_cost:.3g}, got {eps:.3g}; "
            "the limit of eps = 0 is wasserstein"
        )


def value_like(value: float, like: Tensor) -> Tensor:
    """Return the value in the type of a cloud, which has to hold it."""
    if not abs(value) <= torch.finfo(like.dtype).max:
        check_scale(math.inf, math.inf)
    return like.new_tensor(value)


def scattered(values: Tensor, kept: Tensor) -> Tensor:
    """Values of the points that were kept, and zeros for the others."""
    full = values.new_zeros(len(kept), *values.shape[1:])
    full[kept] = values
    return full
