"""Transport on the line: the plan that joins quantile to quantile.

For clouds on the line with quantile functions F⁻¹ and G⁻¹, and a convex cost |x − y|^p, p ≥ 1,

    W_p^p = ∫₀¹ |F⁻¹(t) − G⁻¹(t)|^p dt                       (Peyré & Cuturi 2019, remark 2.30).

Both quantile functions are steps, so the integral is a finite sum over the merged levels 0 < t_1 < … < t_K
= 1,

    W_p^p = Σ_k (t_k − t_{k−1}) |x_{i(k)} − y_{j(k)}|^p,

with at most n + m − 1 terms, exact for unequal sizes and weights. With uniform weights the levels i/n and
j/m are compared as integers, i·m and j·n, so that equal levels are equal.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from metrics.sorting import ascending

__all__ = ["largest_gap", "line_cost"]


def line_cost(
    x: Float[Tensor, "l n"],
    y: Float[Tensor, "l m"],
    *,
    p: float | int,
    a: Float[Tensor, " n"] | Float[Tensor, "l n"] | None = None,
    b: Float[Tensor, " m"] | Float[Tensor, "l m"] | None = None,
) -> Float[Tensor, " l"]:
    """Return W_p^p (p ≥ 1) for l pairs of clouds on the line.

    Args:
        x: l clouds of n positions.
        y: l clouds of m positions.
        p: The exponent of the cost.
        a: Weights of the n positions, of all pairs or of each, normalised to sum one; None is uniform.
        b: Weights of the m positions.

    Returns:
        [l], in float64; differentiable in the positions and the weights.

    >>> line_cost(torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 3.0]]), p=1)
    tensor([0.5000], dtype=torch.float64)
    """
    gap, width = _gaps(x.double(), y.double(), a, b)
    powers = gap.abs() ** p
    return powers.mean(1) if width is None else (width * powers).sum(1)


@torch.no_grad()
def largest_gap(
    x: Float[Tensor, "l n"], y: Float[Tensor, "l m"], *, a: Tensor | None, b: Tensor | None
) -> float:
    """Return W_∞, the farthest that the plan moves anything, over all pairs of clouds.

    >>> largest_gap(torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 3.0]]), a=None, b=None)
    1.0
    """
    gap, width = _gaps(x.double(), y.double(), a, b)
    moved = gap.abs() if width is None else gap.abs() * (width > 0)
    return float(moved.max())


def _gaps(x: Tensor, y: Tensor, a: Tensor | None, b: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Signed lengths of the plan's pieces, and their masses; None where all have the same."""
    n, m = x.shape[1], y.shape[1]
    if a is None and b is None:
        x, y = ascending(x), ascending(y)
        if n == m:
            return x - y, None
        i, j, width = _uniform_levels(n, m, x.device)
        gap = x[:, i] - y[:, j]
    else:
        (x, order_x), (y, order_y) = x.sort(stable=True), y.sort(stable=True)
        a, b = (_normalised(*side, x.device).expand(len(x), -1) for side in ((a, n), (b, m)))
        i, j, width = _weighted_levels(a.gather(1, order_x), b.gather(1, order_y))
        gap = x.gather(1, i) - y.gather(1, j)
    return gap, width


def _normalised(weights: Tensor | None, n: int, device: torch.device) -> Tensor:
    if weights is None:
        return torch.full((n,), 1 / n, dtype=torch.float64, device=device)
    return weights.double() / weights.double().sum(-1, keepdim=True)


def _uniform_levels(
    n: int, m: int, device: torch.device
) -> tuple[Int[Tensor, " k"], Int[Tensor, " k"], Float[Tensor, " k"]]:
    """Ranks i(k), j(k) and widths, the same ones for every pair."""
    ends_x = m * torch.arange(1, n + 1, device=device)
    ends_y = n * torch.arange(1, m + 1, device=device)
    ends = torch.cat([ends_x, ends_y]).unique()
    width = ends.diff(prepend=ends.new_zeros(1)).double() / (n * m)
    return (ends - 1) // m, (ends - 1) // n, width


def _weighted_levels(
    a: Float[Tensor, "l n"], b: Float[Tensor, "l m"]
) -> tuple[Int[Tensor, "l k"], Int[Tensor, "l k"], Float[Tensor, "l k"]]:
    """Ranks i(k), j(k) and widths, pair by pair, from the weights in the order of the positions."""
    ends_x, ends_y = a.cumsum(1), b.cumsum(1)
    ends = torch.cat([ends_x, ends_y], 1).sort().values
    width = ends.diff(prepend=torch.zeros_like(ends[:, :1]))
    return _ranks(ends_x, ends), _ranks(ends_y, ends), width


def _ranks(ends: Tensor, levels: Tensor) -> Tensor:
    """The first point whose cumulated weight reaches each level; rounding at level 1 stays in range."""
    found = torch.searchsorted(ends.detach(), levels.detach())
    return found.clamp(max=ends.shape[1] - 1)
