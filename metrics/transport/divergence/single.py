"""One Sinkhorn divergence between clouds, from checked inputs to a value with its gradients.

Choose solvers, make the clouds standard, solve xx, yy and xy (`debiased`), and bring value and slopes back to the units
of the cost (`restore`).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.envelope import attach
from metrics.transport.divergence.debiased import Debiased, solve_debiased
from metrics.transport.divergence.restore import Forces, restored_slopes, sharp_value
from metrics.transport.divergence.result import Options, SinkhornDivergenceResult
from metrics.transport.entropic.solution import Piece, forces
from metrics.transport.entropic.solvers import Solvers, choose_solvers
from metrics.transport.entropic.standard import Standard, standardise, value_like
from metrics.transport.entropic.start import extended, few

__all__ = ["Past", "divergence"]

REMEMBERED = 512
"""Points whose potentials are kept for the next problem."""


@dataclass(frozen=True)
class Past:
    """Points of x in an earlier problem, with f + ε log a at each, in units of the cost."""

    x: Float[Tensor, "n d"]
    f: Float[Tensor, " n"]

    @classmethod
    def of(cls, x: Tensor, standard: Standard, found: Debiased[Forces]) -> "Past":
        """What a later problem may start from."""
        some = few(len(x), REMEMBERED)
        f = standard.eps * (found.xy.f + standard.a.double().log()) + standard.slope(standard.x)
        return cls(x[some].detach(), f[some])

    def start(self, standard: Standard) -> Float[Tensor, " m"]:
        """Extend the potentials to the y of another problem."""
        x = standard.inside(self.x, standard.centre)
        return extended(standard.kernel(x, standard.y), (self.f - standard.slope(x)) / standard.eps)


def divergence(
    x: Tensor,
    y: Tensor,
    a: Tensor,
    b: Tensor,
    options: Options,
    past: Past | None = None,
    *,
    remember: bool = False,
) -> tuple[SinkhornDivergenceResult, Past | None]:
    """Return the divergence between checked clouds, and what a later problem may start from."""
    inputs = (x, y, a, b)
    live = [t.requires_grad and torch.is_grad_enabled() and not options.sharp for t in inputs]
    with torch.no_grad():
        a, b = (w.detach().double() / w.detach().double().sum() for w in (a, b))
        kept = (a > 0, b > 0)
        if not bool(kept[0].all() & kept[1].all()):
            x, y, a, b = x[kept[0]], y[kept[1]], a[kept[0]], b[kept[1]]
        each = x.element_size() + (16 if options.p != 2 else 0)
        solvers = choose_solvers(len(x), len(y), entry_bytes=each, memory=options.memory)
        single = x.dtype == torch.float32 and options.tol >= 1e-4
        standard = standardise(x, y, a, b, eps=options.eps, p=options.p, single=single, dense=solvers.dense)
        start = None if past is None else past.start(standard)
        found = _solved(standard, options, solvers, live, start)
        value = standard.eps * found.dual + standard.shift_cost
        if options.sharp:
            value = sharp_value(standard, found)
        slopes = restored_slopes(standard, found, inputs, kept, live)
        later = Past.of(x, standard, found) if remember else None
    value = value_like(value, inputs[0])
    if not options.sharp:
        value = attach(value, inputs, slopes)
    worst = found.worst
    result = SinkhornDivergenceResult(
        value,
        worst.converged,
        found.xy.iterations,
        max(s.error for s in (found.xx, found.yy, found.xy)),
        standard.eps,
    )
    return result, later


def _solved(
    standard: Standard, options: Options, solvers: Solvers, live: list[bool], start: Tensor | None
) -> Debiased[Forces]:
    """The three solutions, with the forces that are wanted."""
    x, y = standard.x, standard.y
    to_x, to_y = live[0] or options.sharp, live[1] or options.sharp
    pairs = ((x, x, to_x, False), (y, y, to_y, False), (x, y, to_x, to_y))

    def pull(u: Tensor, v: Tensor, to_u: bool, to_v: bool) -> Callable[[Iterable[Piece]], Forces]:
        return lambda pieces: forces(pieces, u, v, standard.p, to_x=to_u, to_y=to_v)

    return solve_debiased(
        [partial(standard.kernel, u, v) for u, v, _, _ in pairs],
        [pull(*pair) for pair in pairs],
        standard.a,
        standard.b,
        solvers,
        tol=options.tol,
        max_iterations=options.max_iterations,
        scale=standard.scale,
        shift_cost=standard.shift_cost / standard.eps,
        eps=standard.eps,
        start=start,
    )
