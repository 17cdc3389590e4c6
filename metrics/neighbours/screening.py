"""Comparisons of distances by a matrix product, decided exactly though few distances are computed exactly.

A matrix product gives all squared distances at once,

    ‖x_i − y_j‖² = ‖x_i‖² + ‖y_j‖² − 2⟨x_i, y_j⟩,

far faster than differences do, but with an error that does not shrink with the distance (`metrics.distances` says what
that costs). Here the product only *screens*. With the unit u of its type and clouds of d columns, a sum of d products
in any order is off by at most about du‖x_i‖‖y_j‖ (Higham 2002, "Accuracy and stability of numerical algorithms",
section 3.1), and with the few roundings around it, those of the difference form included, the two forms agree within

    |D²_product − D²_difference| ≤ s_i = 4(d + 8)u(‖x_i‖² + max_j ‖y_j‖²),

generously. A comparison that this bound settles is settled; the difference form is computed for the other
pairs alone. They are a handful in a row, unless there are many copies, or knots of points that are far smaller
than their distance from each other. So every neighbour and every closed ball is the same, to the bit, as from
`metrics.distances`. Clouds in float32 are taken as the float64 numbers that they are, block by block: no second copy of
them is made.

In many columns the product is what takes time. In float32 (u = 2⁻²⁴) it takes half of it, and settles nearly as much
where few pairs are within some times s_i of the nearest, which a sample of them tells. Elsewhere it is in float64
(u = 2⁻⁵³), for which a knot has to be 10⁷ times smaller.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from metrics.centred import mean_of, rows_at_a_time, squared_sizes
from metrics.distances import distances, paired_distances
from metrics.precision import is_rounded

__all__ = ["exact_pairs", "screened"]

BLOCK = 2**20
"""Entries of a block of products: 8 MiB, to stay in a processor's cache."""

WIDE = 48
"""Columns from which on the product may be in float32."""

SAMPLE = 256
"""Points of either cloud whose pairs tell whether float32 settles enough."""

MARGIN, CROWDED = 4, 1 / 64
"""The product is in float64 where a larger share of the sample's pairs is within so many times float32's bound of the
nearest of their row."""


def screened(
    x: Float[Tensor, "n d"], y: Float[Tensor, "m d"], dtype: torch.dtype | None = None
) -> Iterator[tuple[int, Float[Tensor, "b m"], Float[Tensor, " b"], Float[Tensor, " b"]]]:
    """Yield a block's first row, ‖y_j‖² − 2⟨x_i, y_j⟩, ‖x_i‖² and s_i, both clouds seen from the middle of all points.

    The product is in float32 or float64, the others in float64. Beside the clouds there is one copy of y and what a
    block of rows needs.
    """
    n, m, d = len(x), len(y), x.shape[1]
    centre = (n / (n + m)) * mean_of(x) + (m / (n + m)) * mean_of(y)
    squares = squared_sizes(y, centre)
    largest = squares.max()
    dtype = dtype or _type(x, y, centre, largest)
    # ⟨(−2a, 1), (b, ‖b‖²)⟩ in one product.
    right = torch.empty(m, d + 1, dtype=dtype, device=y.device)
    for rows in rows_at_a_time(m, d):
        right[rows, :d] = y[rows] - centre
    right[:, d] = squares
    # In many columns the product is what takes time, and wants more rows than stay in the cache.
    height = max(1, BLOCK // m, d // 16)
    buffer = right.new_empty(min(height, n), m)
    left = right.new_ones(min(height, n), d + 1)
    for start in range(0, n, height):
        a = x[start : start + height].double() - centre
        norm = a.square().sum(1)
        left[: len(a), :d] = a.mul_(-2)
        product = torch.mm(left[: len(a)], right.T, out=buffer[: len(a)])
        yield start, product, norm, _bound(d, dtype) * (norm + largest)


def _bound(d: int, dtype: torch.dtype) -> float:
    return 4 * (d + 8) * torch.finfo(dtype).eps / 2


def _type(x: Tensor, y: Tensor, centre: Tensor, largest: Tensor) -> torch.dtype:
    """Of the product: float32 where that settles most comparisons and saves time."""
    d = x.shape[1]
    # Under TF32 the bound would be that of 10 bits; callers are outside of it, unless they forgot.
    if d < WIDE or is_rounded():
        return torch.float64
    # No square may leave float32's range, nor all be lost below it.
    if not 1e-20 < float(torch.maximum(largest, squared_sizes(x, centre).max())) < 1e30:
        return torch.float64
    a, b = (c[:: -(-len(c) // SAMPLE)].double() - centre for c in (x, y))
    square = distances(a, b).square()
    reach = square.amin(1) + MARGIN * _bound(d, torch.float32) * (a.square().sum(1) + largest)
    crowded = (square <= reach[:, None]).double().mean()
    return torch.float64 if float(crowded) > CROWDED else torch.float32


def exact_pairs(
    x: Float[Tensor, "n d"], y: Float[Tensor, "m d"], mask: Bool[Tensor, "n m"]
) -> tuple[Int[Tensor, " p"], Int[Tensor, " p"], Float[Tensor, " p"]]:
    """Return the rows and columns that a mask marks, and their distances in the difference form, in float64.

    >>> x = torch.tensor([[0.0], [3.0]])
    >>> exact_pairs(x, x, torch.tensor([[False, True], [False, False]]))
    (tensor([0]), tensor([1]), tensor([3.], dtype=torch.float64))
    """
    rows, columns = mask.nonzero(as_tuple=True)
    if 4 * len(rows) > mask.numel():
        return rows, columns, distances(x.double(), y.double())[mask]
    return rows, columns, paired_distances(x, y, rows, columns, dtype=torch.float64)
