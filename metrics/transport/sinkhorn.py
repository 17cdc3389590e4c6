"""Entropic optimal transport, by Sinkhorn's iteration.

With weights a [n] and b [m] that sum to one, the cost C_ij = ‖x_i − y_j‖₂^p (no factor ½) and ε > 0,

    OT_ε = min_P ⟨P, C⟩ + ε·KL(P ‖ a⊗b),   P 1 = a,  Pᵀ1 = b                   (Feydy et al. 2019, eq. 1)
         = max_{f,g} ⟨f, a⟩ + ⟨g, b⟩ − ε(Σ_ij a_i b_j exp((f_i + g_j − C_ij)/ε) − 1),

with the plan P_ij = a_i b_j exp((f_i + g_j − C_ij)/ε) at the potentials f, g. The value is the dual one, KL
included: a lower bound whose error is quadratic in that of the plan's marginals. Other programs take ⟨P, C⟩
alone, an entropy instead of the KL divergence (which shifts the value), or half the cost.

OT_ε(x, x) > 0: as a distance between clouds use `sinkhorn_divergence`.
"""

from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.envelope import attach
from metrics.inputs import check_count, check_pair, check_positive, check_tensor, check_weights
from metrics.precision import full_precision
from metrics.transport.cost import Cost, check_exponent, check_powers, cost_between
from metrics.transport.entropic.coupling import Coupling
from metrics.transport.entropic.kernels import Powers, Squares, Table
from metrics.transport.entropic.problem import MEMORY, Goal, Problem
from metrics.transport.entropic.solution import Solution, forces
from metrics.transport.entropic.solvers import choose_solvers
from metrics.transport.entropic.standard import Standard, resolve_eps, scattered, standardise, value_like
from metrics.transport.entropic.start import extended

__all__ = ["SinkhornResult", "entropic_cost", "sinkhorn"]

Forces = tuple[Tensor | None, Tensor | None]


@dataclass(frozen=True)
class SinkhornResult:
    """An entropic transport cost and how it was reached.

    Attributes:
        value: OT_ε, 0-dim, in units of the cost; differentiable once.
        potentials: f [n] and g [m], in units of the cost, known up to a constant (f + c, g − c).
        iterations: How many updates of both potentials were made.
        marginal_error: The L1 distance between the plan's marginals and the weights.
        converged: Whether that error is within the tolerance.
        eps: The ε of the solution, in units of the cost.
        coupling: The plan in standard units, for `plan`, `apply` and `map`.
        points: y, where the problem was given as points.
    """

    value: Float[Tensor, ""]
    potentials: tuple[Float[Tensor, " n"], Float[Tensor, " m"]]
    iterations: int
    marginal_error: float
    converged: bool
    eps: float
    coupling: Coupling = field(repr=False)
    points: Float[Tensor, "m d"] | None = field(repr=False)

    def plan(self) -> Float[Tensor, "n m"]:
        """Return the plan P_ij = a_i b_j exp((f_i + g_j − C_ij)/ε), [n, m], in the clouds' type and without a gradient.

        Formed in float64 from centred clouds, so that it is right wherever they lie; a plan made of `potentials` in
        float32 is not, where their size over ε leaves them no digits. Its rows sum to their weights exactly, its
        columns up to `marginal_error`.

        >>> sinkhorn(torch.zeros(1, 2), torch.ones(2, 2)).plan()
        tensor([[0.5000, 0.5000]])
        """
        with torch.no_grad():
            return self.coupling.plan().to(self.value.dtype)

    def apply(self, v: Float[Tensor, "..."], *, transpose: bool = False) -> Float[Tensor, "..."]:
        """Return P v for v [m] or [m, k]; with `transpose` Pᵀ v for v [n] or [n, k]. P is never stored.

        Raises:
            ValueError: v has not one row per column of P (with `transpose`: per row).
            TypeError: v is of another type than the clouds.

        >>> sinkhorn(torch.zeros(1, 2), torch.ones(2, 2)).apply(torch.tensor([1.0, 3.0]))
        tensor([2.])
        """
        n, m = len(self.coupling.a), len(self.coupling.column)
        size, letter = (n, "n") if transpose else (m, "m")
        if not isinstance(v, Tensor):
            raise TypeError(f"v must be a torch.Tensor, got {type(v).__name__}; use torch.as_tensor")
        if v.ndim not in (1, 2) or len(v) != size:
            raise ValueError(
                f"v must have shape [{letter}] or [{letter}, k] with {letter} = {size}, got {list(v.shape)}; "
                "transpose=True applies the plan's transpose"
            )
        if v.dtype != self.value.dtype or v.device != self.value.device:
            raise TypeError(
                f"v must be {self.value.dtype} on {self.value.device} as the clouds, got {v.dtype} on {v.device}; "
                "convert it with v.to(result.value)"
            )
        with torch.no_grad():
            columns = v.double().reshape(size, -1)
            apply = self.coupling.apply_transposed if transpose else self.coupling.apply
            found = apply(columns).to(v.dtype)
        return found[:, 0] if v.ndim == 1 else found

    def map(self) -> Float[Tensor, "n d"]:
        """Return the barycentric projection T(x_i) = Σ_j P_ij y_j/a_i, [n, d] (Peyré & Cuturi 2019, remark 4.11).

        The mean of where the mass of x_i goes; it tends to the transport map as ε → 0, where there is one, and to the
        mean of y as ε → ∞. Points without weight have theirs from the potentials of y. Without a gradient.

        Raises:
            ValueError: The problem was given as a cost matrix, without points.

        >>> sinkhorn(torch.zeros(1, 1), torch.tensor([[1.0], [3.0]])).map()
        tensor([[2.]])
        """
        if self.points is None:
            raise ValueError(
                "map needs the points y, and a cost matrix has none; divide result.apply(y) by the weights a[:, None]"
            )
        with torch.no_grad():
            return self.coupling.average(self.points.double()).to(self.points.dtype)


@full_precision
def sinkhorn(
    x: Float[Tensor, "n d"],
    y: Float[Tensor, "m d"],
    *,
    eps: float | int | None = None,
    p: float | int = 2,
    weights_x: Float[Tensor, " n"] | None = None,
    weights_y: Float[Tensor, " m"] | None = None,
    cost: Cost | None = None,
    tol: float = 1e-6,
    max_iterations: int = 10_000,
    memory: float | int = MEMORY,
) -> SinkhornResult:
    """Solve entropic transport between two clouds: OT_ε with cost ‖x − y‖₂^p and penalty ε·KL(P ‖ a⊗b).

    Computed in float64.

    Args:
        x: The first cloud, [n, d].
        y: The second cloud, [m, d].
        eps: ε in units of the cost; None is 0.05 × the mean cost between the clouds, a constant for the
            gradient.
        p: The exponent of the cost, at least 1.
        weights_x: Weights of x, normalised to sum one; None is uniform; zeros are allowed.
        weights_y: Weights of y.
        cost: A cost of one's own instead of ‖x − y‖₂^p: a differentiable function from two clouds to C [n, m]. Then p
            and `memory` do not count.
        tol: Stop at this L1 distance between the plan's marginals and the weights.
        max_iterations: Give up after so many iterations, with a RuntimeWarning.
        memory: Bytes for the kernel, n·m numbers. A larger one is never stored: memory is then O(n + m), and every
            iteration forms it anew.

    Returns:
        The value, differentiable once in the clouds and the weights, with the potentials, the plan and the convergence.

    Raises:
        ValueError: Clouds that cannot be compared, costs out of the type's range, weights that are no weights,
            ε ≤ 0 or below 1e-9 of the mean cost, p < 1.
        TypeError: A type that is none of these.

    >>> result = sinkhorn(torch.zeros(1, 2), torch.ones(1, 2))   # one point: the only plan
    >>> float(result.value), result.converged
    (2.0, True)
    """
    check_pair(x, y)
    p = check_exponent(p)
    if cost is None:
        check_powers(x, y, p)
    a, b = check_weights(weights_x, x, "weights_x"), check_weights(weights_y, y, "weights_y")
    if cost is not None:
        c = cost_between(cost, x, y)
        result = entropic_cost(c, a, b, eps=eps, tol=tol, max_iterations=max_iterations)
        return replace(result, points=y.detach())
    goal, limit = Goal(check_positive(tol, "tol")), check_count(max_iterations, "max_iterations")
    eps = None if eps is None else check_positive(eps, "eps")
    inputs = (x, y, a, b)
    live = [t.requires_grad and torch.is_grad_enabled() for t in inputs]
    with torch.no_grad():
        a, b = a.detach().double(), b.detach().double()
        kept = (a > 0, b > 0)
        points = (x.detach()[kept[0]], y.detach()[kept[1]], a[kept[0]] / a.sum(), b[kept[1]] / b.sum())
        each, room = 8 if p == 2 else 24, check_positive(memory, "memory")
        solvers = choose_solvers(len(x), len(y), entry_bytes=each, memory=room, debiased=False)
        standard = standardise(*points, eps=eps, p=p, single=False, dense=solvers.dense)
        u, v, pulled = standard.x, standard.y, {"to_x": live[0], "to_y": live[1]}
        found = solvers.between(
            Problem(
                standard.kernel(u, v),
                standard.a,
                standard.b,
                goal,
                limit,
                lambda pieces: forces(pieces, u, v, p, **pulled),
            )
        )
        found.warn(standard.eps)
        f, g = (t.to(x.dtype) for t in _potentials(standard, found, x, y, kept))
        value = value_like(standard.eps * found.dual + standard.shift_cost, x)
        pulls = _pulls(standard, found.taken, kept)
        slopes = (*(None if t is None else t.to(x.dtype) for t in pulls), f, g)
        gradients = tuple(t if wanted else None for t, wanted in zip(slopes, live, strict=True))
        coupling = _coupling(standard, found, x, y, kept)
    value = attach(value, inputs, gradients)
    return SinkhornResult(
        value, (f, g), found.iterations, found.error, found.converged, standard.eps, coupling, y.detach()
    )


def _potentials(
    standard: Standard, found: Solution[Forces], x: Tensor, y: Tensor, kept: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """Both potentials at all points, in units of the cost; those without weight have theirs from their equations."""
    f = standard.eps * found.f + standard.slope(standard.x) + float(standard.shift @ standard.shift)
    g = standard.eps * found.g - standard.slope(standard.y)
    f, g = scattered(f, kept[0]), scattered(g, kept[1])
    if not bool(kept[0].all()):
        z = standard.inside(x.detach()[~kept[0]], standard.centre)
        there = extended(standard.kernel(standard.y, z), found.g + standard.b.log())
        f[~kept[0]] = standard.eps * there + standard.slope(z) + float(standard.shift @ standard.shift)
    if not bool(kept[1].all()):
        z = standard.inside(y.detach()[~kept[1]], standard.centre - standard.shift)
        there = extended(standard.kernel(standard.x, z), found.f + standard.a.log())
        g[~kept[1]] = standard.eps * there - standard.slope(z)
    return f, g


def _pulls(standard: Standard, pulled: Forces, kept: tuple[Tensor, Tensor]) -> Forces:
    """∂OT_ε/∂x and ∂OT_ε/∂y: the forces of the plan, and those of what centring has taken off."""
    on_x, on_y = pulled
    push = 2 * standard.shift
    gx = None if on_x is None else scattered(standard.unit * on_x + standard.a[:, None] * push, kept[0])
    gy = None if on_y is None else scattered(standard.unit * on_y - standard.b[:, None] * push, kept[1])
    return gx, gy


def _coupling(
    standard: Standard, found: Solution[Forces], x: Tensor, y: Tensor, kept: tuple[Tensor, Tensor]
) -> Coupling:
    """The plan between all points."""
    u, v = standard.x, standard.y
    if not bool(kept[0].all()):
        u = standard.inside(x.detach(), standard.centre)
    if not bool(kept[1].all()):
        v = standard.inside(y.detach(), standard.centre - standard.shift)
    kernel = Squares(u, v) if standard.p == 2 else Powers(u, v, standard.p, standard.eps)
    column = found.g.new_full((len(y),), -torch.inf)
    column[kept[1]] = found.g + standard.b.log()
    return Coupling(kernel, column, scattered(standard.a, kept[0]))


@full_precision
def entropic_cost(
    cost: Float[Tensor, "n m"],
    a: Float[Tensor, " n"] | None = None,
    b: Float[Tensor, " m"] | None = None,
    *,
    eps: float | int | None = None,
    tol: float = 1e-6,
    max_iterations: int = 10_000,
) -> SinkhornResult:
    """Solve entropic transport for a cost matrix; else as `sinkhorn`.

    Differentiable once in the cost and the weights.

    >>> result = entropic_cost(1 - torch.eye(2), eps=1.0)
    >>> round(float(result.value), 4)   # −log((1 + e⁻¹)/2)
    0.3799
    """
    check_tensor(cost, "cost", shape="[n, m]", ndim=2)
    a, b = check_weights(a, cost, "a"), check_weights(b, cost.T, "b")
    inputs = (cost, a, b)
    with torch.no_grad():
        c, a64, b64 = (t.detach().double() for t in inputs)
        rows, columns, a64, b64 = a64 > 0, b64 > 0, a64 / a64.sum(), b64 / b64.sum()
        eps = resolve_eps(eps, float(a64 @ c @ b64))
        goal, limit = Goal(check_positive(tol, "tol")), check_count(max_iterations, "max_iterations")
        s, wa, wb = c * (-1 / eps), a64[rows], b64[columns]
        solvers = choose_solvers(len(wa), len(wb), entry_bytes=0, memory=MEMORY, debiased=False)
        part = Table(s[rows][:, columns])
        found = solvers.between(Problem(part, wa, wb, goal, limit, lambda pieces: next(pieces).plan()))
        found.warn(eps)
        plan = torch.zeros_like(s)
        plan[rows.nonzero(), columns.nonzero()[:, 0]] = found.taken
        # Points without weight have potentials from their equations.
        f, g = (
            extended(Table(s[:, columns].T), found.g + wb.log()),
            extended(Table(s[rows]), found.f + wa.log()),
        )
        f[rows], g[columns] = found.f, found.g
        coupling = Coupling(Table(s), g + b64.log(), a64)
        f, g = (eps * f).to(cost), (eps * g).to(cost)
        value = value_like(eps * found.dual, cost)
    value = attach(value, inputs, (plan.to(cost), f, g))
    return SinkhornResult(
        value, (f, g), found.iterations, found.error, found.converged, eps, coupling, points=None
    )
