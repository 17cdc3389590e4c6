"""The Sinkhorn divergence: entropic transport without its bias.

    S_ε(x, y) = OT_ε(x, y) − ½OT_ε(x, x) − ½OT_ε(y, y)                      (Feydy et al. 2019, eq. 3)

with the dual values OT_ε of `metrics.transport.sinkhorn`, cost C = ‖x − y‖₂^p or another, and one ε for the three.
For p ≤ 2, S_ε ≥ 0 with equality only at equal clouds (theorem 1). It tends to W_p^p as ε → 0, and as ε → ∞ to

    E C(x, y) − ½E C(x, x′) − ½E C(y, y′),

which is ‖E x − E y‖² for p = 2 and half the squared energy distance for p = 1.

**Gradient.** By the envelope theorem OT_ε has the derivatives of its cost under its plan P, ∂OT_ε/∂x_i =
Σ_j P_ij ∇₁C(x_i, y_j), and for its weights the potentials. They are formed with the solution, while the
plan is at hand: nothing is differentiated through iterations, and backward is O(n·d).

**How it is solved.** Clouds are centred (`_clouds`); self-terms converge in a few Chebyshev steps (`_symmetric`); the
cross term starts from a solution on a few points (`_start`) and goes on by Anderson-accelerated scaling (`_scaling`),
or, where the kernel would not fit into memory, by passes over slabs of it (`_stream`). `_debiased` says how good each
has to be. The kernel is float32 for float32 clouds with ε ≤ E C and tol ≥ 1e-4, otherwise float64. Potentials and
final sums are float64.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.inputs import check_count, check_pair, check_positive, check_tensor, check_weights
from metrics.transport._clouds import Clouds, prepared, scattered
from metrics.transport._cost import check_exponent
from metrics.transport._costs import Cost, divergence_of_costs
from metrics.transport._debiased import Debiased, debiased, entries
from metrics.transport._envelope import attach
from metrics.transport._plan import Scaling, forces
from metrics.transport._start import extended, few
from metrics.transport.sinkhorn import MEMORY

__all__ = ["Options", "Past", "divergence", "sinkhorn_divergence"]

REMEMBERED = 512
"""Points whose potentials are kept for the next problem."""


def sinkhorn_divergence(
    x: Float[Tensor, "*batch n d"],
    y: Float[Tensor, "*batch m d"],
    *,
    eps: float | int | None = None,
    p: float | int = 2,
    weights_x: Float[Tensor, "*batch n"] | None = None,
    weights_y: Float[Tensor, "*batch m"] | None = None,
    cost: Cost | None = None,
    tol: float = 4e-4,
    max_iterations: int = 10_000,
    memory: float | int = MEMORY,
    sharp: bool = False,
) -> Float[Tensor, "*batch"]:
    """Return the Sinkhorn divergence S_ε = OT_ε(x, y) − ½OT_ε(x, x) − ½OT_ε(y, y), cost ‖x − y‖₂^p.

    Never clamped: rounding may leave equal clouds a little below 0.

    Args:
        x: The first cloud, [n, d], or a batch of problems [b, n, d], solved one by one.
        y: The second cloud, [m, d] or [b, m, d].
        eps: ε in units of the cost; None is 0.05 × the mean cost between the clouds, a constant for the
            gradient.
        p: The exponent of the cost, at least 1; up to 2 the divergence is positive.
        weights_x: Weights of x, normalised to sum one; None is uniform; zeros are allowed.
        weights_y: Weights of y.
        cost: A cost of one's own instead of ‖x − y‖₂^p: a differentiable function from two clouds to C [n, m],
            symmetric, not negative, zero between a point and itself. Then p and `memory` do not count.
        tol: The relative error of the gradient to aim at; that of the value is about its square. An aim and no
            bound: of 1080 gradients with ε from 0.005 to 1 of the mean cost the default left one above 2e-3, 1e-2
            between clusters at the smallest ε, where the iteration has modes too slow to be seen; 1e-4 mends it.
        max_iterations: Give up after so many iterations, with a RuntimeWarning.
        memory: Bytes for the largest kernel, (n + m)² numbers at most. A larger one is never stored: memory is then
            O(n + m), and every iteration forms it anew.
        sharp: Return ⟨P, C⟩ debiased instead, without the KL term (Luise et al. 2018). It has no gradient: that of a
            plan that moves with the clouds is not the envelope's.

    Returns:
        S_ε in units of the cost (not its root), in the clouds' type. Differentiable once in the clouds and
        the weights; a second derivative raises a RuntimeError. Debiasing removes the entropic bias and not
        the sampling one: between samples of one law the mean of S_ε is positive.

    Raises:
        ValueError: Clouds that cannot be compared, weights that are no weights, ε ≤ 0, p < 1.
        TypeError: A type that is none of these.

    >>> sinkhorn_divergence(torch.zeros(4, 2), torch.ones(4, 2))
    tensor(2.)
    """
    if isinstance(x, Tensor) and x.ndim == 3:
        each = partial(
            sinkhorn_divergence,
            eps=eps,
            p=p,
            cost=cost,
            tol=tol,
            max_iterations=max_iterations,
            memory=memory,
            sharp=sharp,
        )
        return batched(each, x, y, weights_x, weights_y)
    check_pair(x, y)
    weights = check_weights(weights_x, x, "weights_x"), check_weights(weights_y, y, "weights_y")
    options = Options(eps, check_exponent(p), tol, max_iterations, memory, sharp)
    if cost is not None:
        return divergence_of_costs(
            cost, x, y, *weights, eps=eps, tol=tol, max_iterations=max_iterations, sharp=sharp
        )
    return divergence(x, y, *weights, options)[0]


def batched(
    each: Callable[..., Tensor], x: Tensor, y: Tensor, weights_x: Tensor | None, weights_y: Tensor | None
) -> Tensor:
    """Return the divergences of a batch of problems, [b]."""
    check_tensor(y, "y", shape="[b, m, d]", ndim=3)
    if len(x) != len(y) or len(x) == 0:
        raise ValueError(
            f"x and y must be batches of as many problems, [b, n, d] and [b, m, d], got {list(x.shape)} and "
            f"{list(y.shape)}; repeat one with .expand"
        )
    sides = ((weights_x, x, "weights_x"), (weights_y, y, "weights_y"))
    a, b = (_each_weights(*side) for side in sides)
    problems = zip(x, y, a, b, strict=True)
    return torch.stack([each(u, v, weights_x=a, weights_y=b) for u, v, a, b in problems])


def _each_weights(weights: Tensor | None, clouds: Tensor, name: str) -> Iterable[Tensor | None]:
    """The weights of each problem of a batch."""
    if weights is None:
        return [None] * len(clouds)
    check_tensor(weights, name, shape="[b, n]", ndim=2)
    if weights.shape != clouds.shape[:2]:
        raise ValueError(
            f"{name} must have one entry per point of each problem, {list(clouds.shape[:2])}, got "
            f"{list(weights.shape)}; repeat one row with .expand"
        )
    return weights


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
        return inputs[0].new_tensor(_sharp(clouds, found)), later
    return attach(inputs[0].new_tensor(value), inputs, gradients), later


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
