"""Exact optimal transport: the Wasserstein distance between two weighted clouds.

For weights a [n] and b [m] that sum to one, and the cost C_ij = ‖x_i − y_j‖₂^p,

    W_p = (min_P ⟨P, C⟩)^{1/p},   P ≥ 0,  P 1 = a,  Pᵀ1 = b        (Peyré & Cuturi 2019, sections 2.3, 2.4).

It is a linear program (`metrics.transport.program`). On the line the plan joins quantiles and needs no solver
(`metrics.transport.line`).

The minimum's derivative is that of the cost under the optimal plan (envelope theorem): ∂⟨P, C⟩/∂C = P, and
the dual potentials are those for a and b. Where several plans are optimal it is a subgradient.

As an estimate of the distance between the distributions behind the clouds W_p is biased upwards, by the order of
n^{−1/d} for d > 2p (Fournier & Guillin 2015, theorem 1): compare it with its value between two samples of one
distribution.

Any p from 1 on: beyond 4, and for lengths whose powers float64 cannot hold, they are measured in a unit near the
longest way that the plan goes (`metrics.transport.steep`), so that W_p tends to W_∞ and neither vanishes nor overflows.
"""

from functools import partial

from jaxtyping import Float
from torch import Tensor

from metrics.batches import Weights, batch_weights, check_batches, is_batch, over_batch
from metrics.distances import distances
from metrics.inputs import check_pair, check_weights
from metrics.transport.cost import check_exponent, leaves_range, power_cost, root
from metrics.transport.line import largest_gap, line_cost
from metrics.transport.program import transport_cost
from metrics.transport.steep import steep_distance

__all__ = ["wasserstein"]


def wasserstein(
    x: Float[Tensor, "*#batch n d"],
    y: Float[Tensor, "*#batch m d"],
    *,
    p: float | int = 2,
    weights_x: Float[Tensor, "*#batch n"] | None = None,
    weights_y: Float[Tensor, "*#batch m"] | None = None,
) -> Float[Tensor, "*#batch"]:
    """Return the exact Wasserstein distance W_p = (min ⟨P, C⟩)^{1/p}, with C_ij = ‖x_i − y_j‖₂^p.

    O((n + m) log(n + m)) for d = 1. Otherwise memory O(n·m) and time of about O(n³): a second for 2000 points
    against 2000. Computed in float64.

    Args:
        x: The first cloud, [n, d]; or a batch of problems, [b, n, d], solved one by one but on the line.
        y: The second cloud, [m, d]; or [b, m, d]. One cloud beside a batch is that of every problem.
        p: The exponent, at least 1.
        weights_x: Weights of x, normalised to sum one; None is uniform.
        weights_y: Weights of y.

    Returns:
        W_p, or [b], in the units of the clouds (not its power p), in their type. Differentiable once in the clouds and
        the weights, with gradient 0 at W_p = 0.

    Raises:
        ValueError: Clouds that cannot be compared, weights that are no weights, p < 1.
        TypeError: A type that is none of these.

    >>> import torch
    >>> wasserstein(torch.tensor([[0.0, 0.0], [1.0, 0.0]]), torch.tensor([[4.0, 4.0], [4.0, 3.0]]))
    tensor(5.)
    """
    p = check_exponent(p)
    one = partial(_one, p=p)
    if is_batch(x, y):
        u, v = check_batches(x, y)
        a, b = batch_weights(weights_x, x, u, "weights_x"), batch_weights(weights_y, y, v, "weights_y")
        if u.shape[2] == 1 and not leaves_range(u, v, p):
            return root(line_cost(u[..., 0], v[..., 0], p=p, a=a, b=b), p).to(x.dtype)
        return over_batch(u, v, a, b, one=one)
    check_pair(x, y)
    return one(x, y, weights_x, weights_y)


def _one(x: Tensor, y: Tensor, weights_x: Weights, weights_y: Weights, *, p: float) -> Tensor:
    a = None if weights_x is None else check_weights(weights_x, x, "weights_x").double()
    b = None if weights_y is None else check_weights(weights_y, y, "weights_y").double()
    on_line, wide = x.shape[1] == 1, leaves_range(x, y, p)
    if on_line:
        unit = largest_gap(x.T, y.T, a=a, b=b) if wide else 1.0
        if unit == 0:
            return root(line_cost(x.T, y.T, p=1, a=a, b=b)[0], 1).to(x.dtype)
        return (unit * root(line_cost(x.T / unit, y.T / unit, p=p, a=a, b=b)[0], p)).to(x.dtype)
    if wide:
        return steep_distance(distances(x.double(), y.double()), p, a, b).to(x.dtype)
    return root(transport_cost(power_cost(x, y, p), a, b), p).to(x.dtype)
