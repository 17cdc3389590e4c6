"""Exact transport with steep costs: exponents, or lengths, whose powers leave the range of floating point.

    W_p = u · (min ⟨P, (D/u)^p⟩)^{1/p}     for any unit of length u.

As p grows W_p tends to the *bottleneck* distance W_∞, the least length that some plan stays below. With u near W_∞ the
pieces of an optimal plan that count have powers near 1, what is shorter counts for nothing, and what is longer is so
dear that a plan takes none of it. The unit starts from a lower bound of W_∞: every point moves at least to its nearest
neighbour in the other cloud. Powers above `CAP` are cut there, so that the solver keeps its digits. Cutting makes plans
cheaper and never dearer, so a plan that is optimal for the cut powers and takes no piece that was cut is optimal. If it
takes one, the unit was too short: it grows to the shortest of them, and the problem is solved again.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.transport.cost import root
from metrics.transport.program import transport_cost, transport_plan

__all__ = ["steep_distance"]

CAP = 1e6
"""The largest power: the solver's tolerance of 1e-16 of it leaves ten digits of a piece at the unit."""


ROUNDING = 1e-14
"""Of the plan's masses."""


def steep_distance(
    distance: Float[Tensor, "n m"], p: float, a: Tensor | None, b: Tensor | None
) -> Float[Tensor, ""]:
    """Return W_p from the distances D in float64, differentiable once, for an exponent of any size.

    >>> far, near = torch.tensor([[0.0, 3.0], [1e5, 2.0]], dtype=torch.float64), torch.ones(2, 2).double() * 1e-9
    >>> steep_distance(far, 500.0, None, None), steep_distance(near, 500.0, None, None)  # 2·(1/2)^{1/500}; 1e-9
    (tensor(1.9972, dtype=torch.float64), tensor(1.0000e-09, dtype=torch.float64))
    """
    unit = _nearest(distance.detach(), a, b)
    if unit == 0:  # every point has a copy: the least length there is, from which the unit grows
        positive = distance.detach()[distance.detach() > 0]
        if positive.numel() == 0:
            return distance.sum() * 0
        unit = float(positive.min())
    while True:
        powers = ((distance / unit) ** p).clamp(max=CAP)
        taken = transport_plan(powers.detach(), a, b).to(powers.device) > ROUNDING
        if not bool((taken & (powers.detach() >= CAP)).any()):
            total = transport_cost(powers, a, b)
            return unit * root(total, p)
        unit = float(distance.detach()[powers.detach() >= CAP].min())


def _nearest(distance: Tensor, a: Tensor | None, b: Tensor | None) -> float:
    """The longest way to a nearest neighbour, of points with mass to points with mass."""
    rows = torch.ones(len(distance), dtype=torch.bool) if a is None else a.cpu() > 0
    columns = torch.ones(distance.shape[1], dtype=torch.bool) if b is None else b.cpu() > 0
    kept = distance[rows.to(distance.device)][:, columns.to(distance.device)]
    return float(torch.maximum(kept.min(0).values.max(), kept.min(1).values.max()))
