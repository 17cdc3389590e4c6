"""From standard units back: ∂S_ε for the clouds and the weights in units of the cost, at all points of the user's.

Points that have no weight feel no force, and have potentials from their equations.
"""

import torch
from torch import Tensor

from metrics.transport.divergence.debiased import Debiased
from metrics.transport.entropic.standard import Standard, scattered
from metrics.transport.entropic.start import extended

__all__ = ["Forces", "restored_slopes", "sharp_value"]

Forces = tuple[Tensor | None, Tensor | None]
"""What a plan does to both of its clouds, in standard units (`solution.forces`)."""


def restored_slopes(
    standard: Standard,
    found: Debiased[Forces],
    inputs: tuple[Tensor, ...],
    kept: tuple[Tensor, Tensor],
    live: list[bool],
) -> tuple[Tensor | None, ...]:
    """∂S_ε for x, y, a and b where wanted, in the clouds' type."""
    slopes = _slopes(standard, found, live)
    if len(standard.x) < len(kept[0]) or len(standard.y) < len(kept[1]):
        slopes = _everywhere(slopes, inputs, kept, standard, found)
    return tuple(None if slope is None else slope.to(inputs[0].dtype) for slope in slopes)


def _slopes(standard: Standard, found: Debiased[Forces], live: list[bool]) -> tuple[Tensor | None, ...]:
    """∂S_ε at points with weight; for the weights up to a constant, to which normalised weights are blind."""
    on_xx, on_yy = found.xx.taken[0], found.yy.taken[0]
    on_x, on_y = found.xy.taken
    push = (2 * standard.shift).to(standard.a.dtype)
    gx = gy = ga = gb = None
    if live[0] and on_x is not None and on_xx is not None:
        gx = _moved(on_x - on_xx, standard.a, push, standard)
    if live[1] and on_y is not None and on_yy is not None:
        gy = _moved(on_y - on_yy, standard.b, -push, standard)
    if live[2]:
        ga = standard.eps * (found.xy.f - found.xx.f) + standard.slope(standard.x)
    if live[3]:
        gb = standard.eps * (found.xy.g - found.yy.g) - standard.slope(standard.y)
    return gx, gy, ga, gb


def _moved(force: Tensor, weights: Tensor, push: Tensor, standard: Standard) -> Tensor:
    """The slope for a cloud: its force, and what centring has taken out.

    For p = 2 the forces between centred clouds sum to zero; what they sum to instead is error, and is taken off.
    """
    force = force.mul_(standard.unit)
    if standard.p == 2:
        force.addcmul_(weights[:, None], push - force.sum(0))
    return force


def _everywhere(
    slopes: tuple[Tensor | None, ...],
    inputs: tuple[Tensor, ...],
    kept: tuple[Tensor, Tensor],
    standard: Standard,
    found: Debiased[Forces],
) -> tuple[Tensor | None, ...]:
    """Slopes at all points."""
    full = [None if s is None else scattered(s, kept[i % 2]) for i, s in enumerate(slopes)]
    log_a, log_b = standard.a.double().log(), standard.b.double().log()
    sides = (
        (standard.x, standard.y, found.xx.f + log_a, found.xy.g + log_b, standard.centre, 1),
        (
            standard.y,
            standard.x,
            found.yy.f + log_b,
            found.xy.f + log_a,
            standard.centre - standard.shift,
            -1,
        ),
    )
    for i, (own, other, to_own, to_other, centre, sign) in enumerate(sides):
        slope = full[2 + i]
        if slope is None or bool(kept[i].all()):
            continue
        z = standard.inside(inputs[i].detach()[~kept[i]], centre)
        across, along = (extended(standard.kernel(u, z), f) for u, f in ((other, to_other), (own, to_own)))
        slope[~kept[i]] = standard.eps * (across - along) + sign * standard.slope(z)
    return tuple(full)


def sharp_value(standard: Standard, found: Debiased[Forces]) -> float:
    """⟨P, C⟩ debiased, by Euler's theorem: x·∇₁C + y·∇₂C = p C for a cost that is homogeneous of degree p."""
    on_x, on_y = found.xy.taken
    work = 0.0
    for z, across, along in ((standard.x, on_x, found.xx.taken[0]), (standard.y, on_y, found.yy.taken[0])):
        assert across is not None
        assert along is not None
        work += float(torch.sum(z.double() * (across - along)))
    return work / standard.p * standard.unit**2 + standard.shift_cost
