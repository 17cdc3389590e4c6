"""The Sinkhorn divergence: entropic transport without its bias.

    S_ε(x, y) = OT_ε(x, y) − ½OT_ε(x, x) − ½OT_ε(y, y)                      (Feydy et al. 2019, eq. 3)

with the dual values OT_ε of `metrics.transport.sinkhorn`, cost C = ‖x − y‖₂^p or another, and one ε for the three.
For p ≤ 2, S_ε ≥ 0 with equality only at equal clouds (theorem 1). It tends to W_p^p as ε → 0, and as ε → ∞ to

    E C(x, y) − ½E C(x, x′) − ½E C(y, y′),

which is ‖E x − E y‖² for p = 2 and half the squared energy distance for p = 1.

**Gradient.** By the envelope theorem OT_ε has the derivatives of its cost under its plan P, ∂OT_ε/∂x_i =
Σ_j P_ij ∇₁C(x_i, y_j), and for its weights the potentials. They are formed with the solution, while the
plan is at hand: nothing is differentiated through iterations, and backward is O(n·d).

**How it is solved.** `single` reads in one pass: solvers are chosen (`entropic.solvers`), clouds are made standard
(`entropic.standard`), the self-terms converge in a few Chebyshev steps, the cross term by Anderson-accelerated scaling
as far as the difference asks for (`debiased`), and the value and its slopes go back to the user's units (`restore`). A
batch of small problems shares its operations (`batch`). The kernel is float32 for float32 clouds with ε ≤ E C and
tol ≥ 1e-4, otherwise float64. Potentials and final sums are float64.
"""

from collections.abc import Callable
from typing import Literal, overload

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.inputs import check_alike, check_pair, check_tensor, check_weights
from metrics.precision import full_precision
from metrics.transport.cost import Cost, check_powers
from metrics.transport.divergence.batch import SMALL, divergences
from metrics.transport.divergence.costs import divergence_of_costs
from metrics.transport.divergence.result import Options, SinkhornDivergenceResult
from metrics.transport.divergence.single import divergence
from metrics.transport.entropic.problem import MEMORY

__all__ = ["sinkhorn_divergence"]


@overload
def sinkhorn_divergence(
    x: Float[Tensor, "*batch n d"],
    y: Float[Tensor, "*batch m d"],
    *,
    eps: float | int | None = None,
    p: float | int = 2,
    weights_x: Float[Tensor, "*batch n"] | None = None,
    weights_y: Float[Tensor, "*batch m"] | None = None,
    cost: Cost | None = None,
    tol: float = 3e-4,
    max_iterations: int = 10_000,
    memory: float | int = MEMORY,
    sharp: bool = False,
    return_result: Literal[False] = False,
) -> Float[Tensor, "*batch"]: ...


@overload
def sinkhorn_divergence(
    x: Float[Tensor, "*batch n d"],
    y: Float[Tensor, "*batch m d"],
    *,
    eps: float | int | None = None,
    p: float | int = 2,
    weights_x: Float[Tensor, "*batch n"] | None = None,
    weights_y: Float[Tensor, "*batch m"] | None = None,
    cost: Cost | None = None,
    tol: float = 3e-4,
    max_iterations: int = 10_000,
    memory: float | int = MEMORY,
    sharp: bool = False,
    return_result: Literal[True],
) -> SinkhornDivergenceResult: ...


@full_precision
def sinkhorn_divergence(
    x: Float[Tensor, "*batch n d"],
    y: Float[Tensor, "*batch m d"],
    *,
    eps: float | int | None = None,
    p: float | int = 2,
    weights_x: Float[Tensor, "*batch n"] | None = None,
    weights_y: Float[Tensor, "*batch m"] | None = None,
    cost: Cost | None = None,
    tol: float = 3e-4,
    max_iterations: int = 10_000,
    memory: float | int = MEMORY,
    sharp: bool = False,
    return_result: bool = False,
) -> Float[Tensor, "*batch"] | SinkhornDivergenceResult:
    """Return the Sinkhorn divergence S_ε = OT_ε(x, y) − ½OT_ε(x, x) − ½OT_ε(y, y), cost ‖x − y‖₂^p.

    Never clamped: rounding may leave equal clouds a little below 0.

    Args:
        x: The first cloud, [n, d], or a batch of problems [b, n, d]: solved together up to some 300 points each.
        y: The second cloud, [m, d] or [b, m, d].
        eps: ε in units of the cost; None is 0.05 × the mean cost between the clouds, a constant for the
            gradient.
        p: The exponent of the cost, at least 1; up to 2 the divergence is positive.
        weights_x: Weights of x, normalised to sum one; None is uniform; zeros are allowed.
        weights_y: Weights of y.
        cost: A cost of one's own instead of ‖x − y‖₂^p: a differentiable function from two clouds to C [n, m],
            symmetric, not negative, zero between a point and itself. Then p and `memory` do not count.
        tol: The relative error of the gradient to aim at; that of the value is about its square. A target, not
            a guarantee: of 1080 gradients with ε from 0.005 to 1 of the mean cost the default left the worst at 1.5e-3.
        max_iterations: Give up after so many iterations, with a RuntimeWarning.
        memory: Bytes for the largest kernel, (n + m)² numbers at most. A larger one is never stored: memory is then
            O(n + m), and every iteration forms it anew.
        sharp: Return ⟨P, C⟩ debiased instead, without the KL term (Luise et al. 2018). It has no gradient: that of a
            plan that moves with the clouds is not the envelope's.
        return_result: Return a `SinkhornDivergenceResult` instead, which also tells convergence as a value.

    Returns:
        S_ε in units of the cost (not its root), in the clouds' type. Differentiable once in the clouds and
        the weights; a second derivative raises a RuntimeError. Debiasing removes the entropic bias and not
        the sampling one: between samples of one distribution the mean of S_ε is positive.

    Raises:
        ValueError: Clouds that cannot be compared, costs out of the type's range, weights that are no weights,
            ε ≤ 0 or below 1e-9 of the mean cost, p < 1.
        TypeError: A type that is none of these.

    >>> sinkhorn_divergence(torch.zeros(4, 2), torch.ones(4, 2))
    tensor(2.)
    """
    options = Options.checked(
        eps=eps, p=p, tol=tol, max_iterations=max_iterations, memory=memory, sharp=sharp
    )

    def one(
        x: Tensor, y: Tensor, weights_x: Tensor | None, weights_y: Tensor | None
    ) -> SinkhornDivergenceResult:
        check_pair(x, y)
        a, b = check_weights(weights_x, x, "weights_x"), check_weights(weights_y, y, "weights_y")
        if cost is not None:
            return divergence_of_costs(cost, x, y, a, b, options)
        check_powers(x, y, options.p)
        return divergence(x, y, a, b, options)[0]

    batched = isinstance(x, Tensor) and x.ndim == 3
    if batched:
        result = _of_a_batch(one, x, y, weights_x, weights_y, options, own_cost=cost is not None)
    else:
        result = one(x, y, weights_x, weights_y)
    return result if return_result else result.value


def _of_a_batch(
    one: Callable[[Tensor, Tensor, Tensor, Tensor], SinkhornDivergenceResult],
    x: Tensor,
    y: Tensor,
    weights_x: Tensor | None,
    weights_y: Tensor | None,
    options: Options,
    *,
    own_cost: bool,
) -> SinkhornDivergenceResult:
    """The divergences of a batch of problems, [b]: small ones together, others one by one."""
    check_tensor(x, "x", shape="[b, n, d]", ndim=3)
    check_tensor(y, "y", shape="[b, m, d]", ndim=3)
    check_alike(x, y, ("x", "y"))
    if len(x) != len(y) or x.shape[2] != y.shape[2]:
        raise ValueError(
            f"x and y must be batches of as many problems, [b, n, d] and [b, m, d], got {list(x.shape)} and "
            f"{list(y.shape)}; repeat a single cloud with .expand({max(len(x), len(y))}, -1, -1)"
        )
    sides = ((weights_x, x, "weights_x"), (weights_y, y, "weights_y"))
    a, b = (_each_weights(*side) for side in sides)
    entries = max(x.shape[1], y.shape[1]) ** 2
    count = int(options.memory / (4 * x.element_size() * entries))  # two kernels across and one for each side
    easy = options.p == 2 and not (own_cost or options.sharp) and entries <= SMALL and count > 0
    if easy and bool((a > 0).all() & (b > 0).all()):
        parts = zip(*(t.split(count) for t in (x, y, a, b)), strict=True)
        return _joined([divergences(u, v, w, z, options) for u, v, w, z in parts], torch.cat)
    problems = zip(x, y, a, b, strict=True)
    return _joined([one(u, v, w, z) for u, v, w, z in problems], torch.stack)


def _joined(
    results: list[SinkhornDivergenceResult], join: Callable[[list[Tensor]], Tensor]
) -> SinkhornDivergenceResult:
    """Results as one."""
    columns = ([getattr(r, name) for r in results] for name in ("converged", "marginal_error", "eps"))
    converged, error, eps = (join([torch.as_tensor(v) for v in column]) for column in columns)
    value = join([r.value for r in results])
    return SinkhornDivergenceResult(value, converged, max(r.iterations for r in results), error, eps)


def _each_weights(weights: Tensor | None, clouds: Tensor, name: str) -> Tensor:
    """The weights of each problem of a batch, [b, n], which sum to one."""
    if weights is None:
        return clouds.new_full(clouds.shape[:2], 1 / clouds.shape[1])
    check_tensor(weights, name, shape="[b, n]", ndim=2)
    if weights.shape != clouds.shape[:2]:
        raise ValueError(
            f"{name} must have one entry per point of each problem, {list(clouds.shape[:2])}, got "
            f"{list(weights.shape)}; repeat one row with .expand"
        )
    return torch.stack([check_weights(w, z, name) for w, z in zip(weights, clouds, strict=True)])
