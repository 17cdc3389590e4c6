"""One Sinkhorn divergence between clouds, from checked inputs to a value with its gradients.

The three problems are solved by `_debiased`; here their potentials and forces become ∂S_ε for the clouds and the
weights, in the units of the cost, at the points that have weight and at those that have none.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.inputs import check_count, check_positive
from metrics.transport._clouds import Clouds, prepared, scattered, value_like
from metrics.transport._debiased import Debiased, debiased, entries
from metrics.transport._envelope import attach
from metrics.transport._plan import Scaling, forces
from metrics.transport._start import extended, few

__all__ = ["Options", "Past", "divergence"]

REMEMBERED = 512
"""Points whose potentials are kept for the next problem."""


@dataclass(frozen=True)
class Options:
    """What can be asked of the divergence, as `sinkhorn_divergence` describes it."""

    eps: float | int | None
    p: float
    tol: float
    max_iterations: int
    memory: float | int
    sharp: bool

    def __post_init__(self) -> None:
        if self.eps is not None:
            check_positive(self.eps, "eps")
        check_positive(self.tol, "tol")
        check_count(self.max_iterations, "max_iterations")
        check_positive(self.memory, "memory")


@dataclass(frozen=True)
class Past:
    """Points of x in an earlier problem, with f + ε log a at each, in units of the cost."""

    x: Float[Tensor, "n d"]
    f: Float[Tensor, " n"]

    def start(self, clouds: Clouds) -> Float[Tensor, " m"]:
        """Extend the potentials to the y of another problem."""
        x = clouds.inside(self.x, clouds.centre)
        return extended(clouds.kernel(x, clouds.y), (self.f - clouds.slope(x)) / clouds.eps)


def divergence(
    x: Tensor, y: Tensor, a: Tensor, b: Tensor, options: Options, past: Past | None = None
) -> tuple[Tensor, Past]:
    """Return the divergence between checked clouds, and what a later problem may start from."""
    inputs = (x, y, a, b)
    live = [t.requires_grad and torch.is_grad_enabled() and not options.sharp for t in inputs]
    with torch.no_grad():
        a, b = (w.detach().double() / w.detach().double().sum() for w in (a, b))
        kept = (a > 0, b > 0)
        if not bool(kept[0].all() & kept[1].all()):
            x, y, a, b = x[kept[0]], y[kept[1]], a[kept[0]], b[kept[1]]
        each = x.element_size() + (16 if options.p != 2 else 0)
        dense = entries(len(x), len(y)) * each <= options.memory
        single = x.dtype == torch.float32 and options.tol >= 1e-4
        clouds = prepared(x, y, a, b, eps=options.eps, p=options.p, single=single, dense=dense)
        found = _solved(clouds, options, dense=dense, live=live, past=past)
        value = clouds.eps * found.dual + clouds.apart
        slopes = _slopes(clouds, found, live)
        if len(clouds.x) < len(kept[0]) or len(clouds.y) < len(kept[1]):
            slopes = _everywhere(slopes, inputs, kept, clouds, found)
        gradients = tuple(None if slope is None else slope.to(inputs[0].dtype) for slope in slopes)
        some = few(len(x), REMEMBERED)
        f = clouds.eps * (found.xy.f + clouds.a.double().log()) + clouds.slope(clouds.x)
        later = Past(x[some].detach(), f[some])
    if options.sharp:
        return value_like(_sharp(clouds, found), inputs[0]), later
    return attach(value_like(value, inputs[0]), inputs, gradients), later


Forces = tuple[Tensor | None, Tensor | None]


def _solved(
    clouds: Clouds, options: Options, *, dense: bool, live: list[bool], past: Past | None
) -> Debiased[Forces]:
    """The three solutions, with the forces that are wanted."""
    pairs = ((clouds.x, clouds.x), (clouds.y, clouds.y), (clouds.x, clouds.y))
    wanted = ((live[0], False), (live[1], False), (live[0], live[1]))
    if options.sharp:
        wanted = ((True, False), (True, False), (True, True))

    def take(i: int, solution: Scaling) -> Forces:
        if not any(wanted[i]):
            return None, None
        return forces(solution.pieces(), *pairs[i], clouds.p, to_x=wanted[i][0], to_y=wanted[i][1])

    return debiased(
        [lambda x=x, y=y: clouds.kernel(x, y) for x, y in pairs],
        clouds.a,
        clouds.b,
        tol=options.tol,
        max_iterations=options.max_iterations,
        scale=clouds.scale,
        apart=clouds.apart / clouds.eps,
        eps=clouds.eps,
        dense=dense,
        start=None if past is None else past.start(clouds),
        take=take,
    )


def _slopes(clouds: Clouds, found: Debiased[Forces], live: list[bool]) -> tuple[Tensor | None, ...]:
    """∂S_ε for x, y, a and b; for the weights up to a constant, to which normalised weights are blind."""
    (on_xx, _), (on_yy, _), (on_x, on_y) = found.taken
    push = (2 * clouds.shift).to(clouds.a.dtype)
    gx = gy = None
    if on_x is not None and on_xx is not None:
        gx = _moved(on_x - on_xx, clouds.a, push, clouds)
    if on_y is not None and on_yy is not None:
        gy = _moved(on_y - on_yy, clouds.b, -push, clouds)
    ga = clouds.eps * (found.xy.f - found.xx.f) + clouds.slope(clouds.x) if live[2] else None
    gb = clouds.eps * (found.xy.g - found.yy.g) - clouds.slope(clouds.y) if live[3] else None
    return gx, gy, ga, gb


def _moved(force: Tensor, weights: Tensor, push: Tensor, clouds: Clouds) -> Tensor:
    """The slope for a cloud: its force, and what centring has taken out.

    For p = 2 the forces between centred clouds sum to zero; what they sum to instead is error, and is taken off.
    """
    force = force.mul_(clouds.unit)
    if clouds.p == 2:
        force.addcmul_(weights[:, None], push - force.sum(0))
    return force


def _everywhere(
    slopes: tuple[Tensor | None, ...],
    inputs: tuple[Tensor, ...],
    kept: tuple[Tensor, Tensor],
    clouds: Clouds,
    found: Debiased[Forces],
) -> tuple[Tensor | None, ...]:
    """Slopes at all points: those without weight feel no force, and have potentials from their equations."""
    full = [None if s is None else scattered(s, kept[i % 2]) for i, s in enumerate(slopes)]
    sides = (
        (clouds.x, clouds.y, found.xx.f + clouds.a.double().log(), found.xy.g + clouds.b.double().log()),
        (clouds.y, clouds.x, found.yy.f + clouds.b.double().log(), found.xy.f + clouds.a.double().log()),
    )
    for i, (own, other, to_own, to_other) in enumerate(sides):
        slope = full[2 + i]
        if slope is None or bool(kept[i].all()):
            continue
        centre, sign = (clouds.centre, 1) if i == 0 else (clouds.centre - clouds.shift, -1)
        z = clouds.inside(inputs[i].detach()[~kept[i]], centre)
        across, along = (extended(clouds.kernel(u, z), f) for u, f in ((other, to_other), (own, to_own)))
        slope[~kept[i]] = clouds.eps * (across - along) + sign * clouds.slope(z)
    return tuple(full)


def _sharp(clouds: Clouds, found: Debiased[Forces]) -> float:
    """⟨P, C⟩ debiased, by Euler's theorem: x·∇₁C + y·∇₂C = p C for a cost that is homogeneous of degree p."""
    (on_xx, _), (on_yy, _), (on_x, on_y) = found.taken
    work = 0.0
    for z, across, along in ((clouds.x, on_x, on_xx), (clouds.y, on_y, on_yy)):
        assert across is not None
        assert along is not None
        work += float((z.double() * (across - along)).sum())
    return work / clouds.p * clouds.unit**2 + clouds.apart
