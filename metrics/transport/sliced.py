"""The sliced Wasserstein distance: the mean of what every direction sees.

    SW_p(x, y) = (E_θ W_p^p(θ·x, θ·y))^{1/p},   θ uniform on the unit sphere    (Bonneel et al. 2015, eq. 3),

estimated with L directions, SW_p^p ≈ (1/L) Σ_l W_p^p(θ_l·x, θ_l·y). The estimate of SW_p^p is unbiased in
the directions, with a variance of Var_θ(W_p^p)/L; its root SW_p is biased downwards by O(1/L). Every W_p^p
is on the line, by quantiles (`metrics.transport.line`), which costs a sort; weights and unequal sizes merge the
levels of the two quantile functions.

For distributions that differ by a shift m alone SW_2² = ‖m‖²/d: a distance of the order of W_2/√d.
"""

from functools import partial
from typing import SupportsIndex

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from metrics.batches import Weights, batch_weights, check_batches, is_batch, over_batch
from metrics.inputs import check_count, check_generator, check_pair, check_weights, repeatable
from metrics.transport.cost import check_exponent, leaves_range, root
from metrics.transport.line import largest_gap, line_cost

__all__ = ["sliced_wasserstein"]

BLOCK = 2**22
"""Projections of points that are held at once: 32 MiB in float64."""


def sliced_wasserstein(
    x: Float[Tensor, "*#batch n d"],
    y: Float[Tensor, "*#batch m d"],
    *,
    p: float | int = 2,
    num_projections: SupportsIndex = 512,
    weights_x: Float[Tensor, "*#batch n"] | None = None,
    weights_y: Float[Tensor, "*#batch m"] | None = None,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "*#batch"]:
    """Return SW_p = (mean over directions θ of W_p^p(θ·x, θ·y))^{1/p}.

    Args:
        x: The first cloud, [n, d]; or a batch of problems, [b, n, d], which share the directions.
        y: The second cloud, [m, d] or [b, m, d]; m may differ from n. One cloud beside a batch is every problem's.
        p: The exponent, at least 1.
        num_projections: L, the number of directions; the relative error of SW_p^p is O(1/√L).
        weights_x: Weights of x, normalised to sum one; None is uniform; zeros are allowed.
        weights_y: Weights of y.
        generator: Draws the directions, in float64 on its own device. None is a fresh one with seed 0.

    Returns:
        SW_p, or [b], in the units of the clouds, in their type; computed in float64. Differentiable in both clouds and
        in the weights, with gradient 0 at SW_p = 0. Memory stays bounded in L: blocks of directions are computed
        anew in the backward pass.

    Raises:
        ValueError: Clouds that cannot be compared, weights that are no weights, p < 1, no projections.
        TypeError: A type that is none of these.

    >>> round(float(sliced_wasserstein(torch.zeros(4, 2), torch.ones(4, 2))), 1)   # √(‖m‖²/d) = 1
    1.0
    """
    p = check_exponent(p)
    count = check_count(num_projections, "num_projections")
    check_generator(generator)
    batch = is_batch(x, y)
    u, v = check_batches(x, y) if batch else check_pair(x, y)
    # Without weights the levels of all directions are the same: None stays None.
    if batch:
        a, b = batch_weights(weights_x, x, u, "weights_x"), batch_weights(weights_y, y, v, "weights_y")
    else:
        a = None if weights_x is None else check_weights(weights_x, x, "weights_x")
        b = None if weights_y is None else check_weights(weights_y, y, "weights_y")
    directions = _directions(count, u.shape[-1], generator).to(u.device)
    if leaves_range(u, v, p):
        alone = partial(_steep, directions=directions, p=p)
        return (over_batch(u, v, a, b, one=alone) if batch else alone(u, v, a, b)).to(u.dtype)
    points = u.shape[:-1].numel() + v.shape[:-1].numel()
    blocks = directions.split(max(1, BLOCK // points))
    return root(_total(u, v, blocks, p, a, b) / count, p).to(u.dtype)


def _total(
    x: Tensor, y: Tensor, blocks: tuple[Tensor, ...], p: float, a: Weights, b: Weights
) -> Float[Tensor, "*batch"]:
    """Σ_l W_p^p, one block of directions at a time where they are many."""
    if len(blocks) == 1:
        return _block_sum(x, y, blocks[0], p, a, b)
    sums = [
        checkpoint(_block_sum, x, y, d, p, a, b, use_reentrant=False, preserve_rng_state=False)
        for d in blocks
    ]
    return torch.stack(sums).sum(0)


def _steep(x: Tensor, y: Tensor, a: Weights, b: Weights, *, directions: Tensor, p: float) -> Tensor:
    """The distance in a unit of its own, the longest way in any direction, where powers leave float64's range."""
    x, y = x.double(), y.double()
    blocks = directions.split(max(1, BLOCK // (len(x) + len(y))))
    unit = max(largest_gap(d @ x.detach().T, d @ y.detach().T, a=a, b=b) for d in blocks)
    if unit == 0:
        return _total(x, y, blocks, 1, a, b)
    return unit * root(_total(x / unit, y / unit, blocks, p, a, b) / len(directions), p)


def _directions(count: int, d: int, generator: torch.Generator | None) -> Float[Tensor, "l d"]:
    """Unit vectors; float64 whatever the clouds' type, so that it does not change the directions."""
    source = repeatable(generator)
    normal = torch.randn(count, d, dtype=torch.float64, generator=source, device=source.device)
    return normal / normal.norm(dim=1, keepdim=True)


def _block_sum(
    x: Tensor, y: Tensor, directions: Tensor, p: float, a: Weights, b: Weights
) -> Float[Tensor, "*batch"]:
    """Σ_l W_p^p along the directions of one block, of one problem or of each."""
    along_x, along_y = (directions @ cloud.double().mT for cloud in (x, y))
    if x.ndim == 2:
        return line_cost(along_x, along_y, p=p, a=a, b=b).sum()
    count = len(directions)
    a, b = (None if w is None else w.repeat_interleave(count, 0) for w in (a, b))
    costs = line_cost(along_x.flatten(0, 1), along_y.flatten(0, 1), p=p, a=a, b=b)
    return costs.unflatten(0, (-1, count)).sum(1)
