"""Which points are near: nearest neighbours and balls, decided exactly though few distances are computed exactly.

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

A row's k-th nearest needs no sorting. Cut the columns into g ≥ k groups and let t be the k-th smallest of the groups'
minima: k columns are at most t, so whatever is among the k nearest is at most t + 2s_i. About k²/2g
columns pass that are not.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from metrics.distances import distances, paired_distances

__all__ = [
    "ball_blocks",
    "kth_neighbour",
    "near_pairs",
    "nearest_pairs",
    "pairs_within",
    "within_radii",
]

BLOCK = 2**20
"""Entries of a block of products: 8 MiB, to stay in a processor's cache."""

MANY = 1 / 64
"""The share of a block's pairs above which a matrix of booleans costs less than a list."""

WIDE = 48
"""Columns from which on the product may be in float32."""

SAMPLE = 256
"""Points of either cloud whose pairs tell whether float32 settles enough."""

MARGIN, CROWDED = 4, 1 / 64
"""The product is in float64 where a larger share of the sample's pairs is within so many times float32's bound of the
nearest of their row."""

GROUPS = 256
"""At least so many groups of columns, and 16k, have minima that stand for a row."""


@torch.no_grad()
def near_pairs(
    x: Float[Tensor, "n d"], y: Float[Tensor, "m d"], k: int
) -> Iterator[tuple[int, int, Int[Tensor, " p"], Int[Tensor, " p"], Float[Tensor, " p"]]]:
    """Yield pairs with their exact distances, among them all that are no farther than their row's k-th smallest.

    Args:
        x: The points that look, [n, d].
        y: The points that are looked at, [m, d]; a point of x in it is a neighbour as any other.
        k: From 1 to m.

    Yields:
        The first row of a block and its number of rows; then of each pair the row within the block (ascending), the
        column, and the distance ‖x_i − y_j‖.

    >>> x = torch.tensor([[0.0], [2.0], [9.0]], dtype=torch.float64)
    >>> for _, _, rows, columns, d in near_pairs(x, x, 1):
    ...     print(rows.tolist(), columns.tolist(), d.tolist())
    [0, 1, 2] [0, 1, 2] [0.0, 0.0, 0.0]
    """
    for start, product, _, error in _screened(x, y):
        threshold = (_kth_of_groups(product, k) + 2 * error).to(product)
        block = x[start : start + len(product)]
        yield start, len(block), *_exact(block, y, product <= threshold[:, None])


@torch.no_grad()
def kth_neighbour(
    x: Float[Tensor, "n d"], y: Float[Tensor, "m d"], k: int
) -> tuple[Float[Tensor, " n"], Int[Tensor, " n"]]:
    """Return the distance of every x to its k-th nearest y, and which one that is; of equal ones, any.

    Args:
        x: [n, d].
        y: [m, d]; where y is x itself, a point is its own first neighbour.
        k: From 1 to m.

    >>> x = torch.tensor([[0.0], [2.0], [9.0]], dtype=torch.float64)
    >>> kth_neighbour(x, x, 2)
    (tensor([2., 2., 7.], dtype=torch.float64), tensor([1, 0, 1]))
    """
    kept = []
    for _, height, rows, columns, distance in near_pairs(x, y, k):
        count = rows.bincount(minlength=height)
        place = torch.arange(len(rows), device=x.device) - (count.cumsum(0) - count)[rows]
        table = distance.new_full((height, int(count.max())), torch.inf)
        table[rows, place] = distance
        which = torch.zeros_like(table, dtype=torch.int64)
        which[rows, place] = columns
        value, at = table.kthvalue(k, dim=1)
        kept.append((value, which.gather(1, at[:, None])[:, 0]))
    values, indices = zip(*kept, strict=True)
    return torch.cat(values), torch.cat(indices)


@torch.no_grad()
def nearest_pairs(
    x: Float[Tensor, "n d"], y: Float[Tensor, "m d"] | None = None
) -> tuple[Int[Tensor, " p"], Int[Tensor, " p"]]:
    """Return each point of x with its nearest of y, or of the other points of x; with all of them where several tie.

    Args:
        x: [n, d].
        y: [m, d]; None is x, n ≥ 2, and no point is then its own neighbour.

    Returns:
        Rows, ascending, and columns.

    >>> x = torch.tensor([[0.0], [2.0], [4.0]], dtype=torch.float64)
    >>> nearest_pairs(x)
    (tensor([0, 1, 1, 2]), tensor([1, 0, 2, 1]))
    """
    found = []
    for start, height, rows, columns, distance in near_pairs(x, x if y is None else y, 2 if y is None else 1):
        if y is None:
            distance = distance.masked_fill(rows + start == columns, torch.inf)
        least = distance.new_full((height,), torch.inf).scatter_reduce(0, rows, distance, "amin")
        tied = distance == least[rows]
        found.append((rows[tied] + start, columns[tied]))
    rows, columns = zip(*found, strict=True)
    return torch.cat(rows), torch.cat(columns)


@torch.no_grad()
def ball_blocks(
    x: Float[Tensor, "n d"],
    y: Float[Tensor, "m d"],
    *,
    radius_x: Float[Tensor, " n"],
    radius_y: Float[Tensor, " m"],
) -> Iterator[tuple[Bool[Tensor, "b m"], Bool[Tensor, "b m"]]]:
    """Yield, in blocks of rows i, whether ‖x_i − y_j‖ is within the radius of x_i, and within that of y_j.

    Args:
        x: [n, d].
        y: [m, d].
        radius_x: Radii of the closed balls around the x.
        radius_y: Those around the y.

    >>> x, y = torch.zeros(1, 1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    >>> list(ball_blocks(x, y, radius_x=torch.ones(1).double(), radius_y=torch.ones(1).double() / 2))
    [(tensor([[True]]), tensor([[False]]))]
    """
    for start, product, norm, error in _screened(x, y):
        rows = slice(start, start + len(product))
        around_x = _settled(product, radius_x[rows].square() - norm, error, x[rows], y, radius_x[rows, None])
        around_y = _settled(product.sub_(radius_y.square()), -norm, error, x[rows], y, radius_y[None])
        yield around_x, around_y


Ranges = tuple[Tensor, Tensor]
"""Of every point the least and the largest radius of some balls around it."""


@torch.no_grad()
def pairs_within(
    x: Float[Tensor, "n d"], y: Float[Tensor, "m d"], *, radii_x: Ranges, radii_y: Ranges
) -> Iterator[
    tuple[
        slice,
        Tensor | None,
        Tensor | None,
        Int[Tensor, " p"],
        Int[Tensor, " p"],
        Float[Tensor, " p"],
        Float[Tensor, " p"],
    ]
]:
    """Yield what there is to know of pairs for balls whose radii are within ranges.

    Args:
        x: [n, d].
        y: [m, d].
        radii_x: The least and the largest radius of the closed balls around the x, [n] each.
        radii_y: Those around the y, [m] each.

    Yields:
        A block's rows; of its pairs [b, m] which are within the least radius of x_i, and within that of y_j, or None
        where those are so few that they are among the pairs; then of each pair that is not settled so, and
        may be within a largest radius, the row within the block, the column, D² by the product in float64, and s_i.

    >>> x = torch.tensor([[0.0], [5.0]], dtype=torch.float64)
    >>> widest, zero = torch.tensor([1.0, 0.5]).double(), torch.zeros(2).double()
    >>> for *_, rows, columns, square, _ in pairs_within(x, x + 1, radii_x=(zero, widest), radii_y=(zero, zero)):
    ...     print(rows.tolist(), columns.tolist(), square.tolist())
    [0] [0] [1.0]
    """
    # In float64: float32 would leave most pairs whose D² is between the radii to the difference form.
    for start, product, norm, error in _screened(x, y, torch.float64):
        at = slice(start, start + len(product))
        low, high = -(norm + error)[:, None], (error - norm)[:, None]
        inside, unsettled = [], torch.zeros_like(product, dtype=torch.bool)
        for least, widest in ((radii_x[0][at, None], radii_x[1][at, None]), radii_y):
            sure = product <= least.square() + low
            near = product <= widest.square() + high
            many = int(sure.count_nonzero()) > MANY * sure.numel()
            inside.append(sure if many else None)
            unsettled |= near & ~sure if many else near
        rows, columns = unsettled.nonzero(as_tuple=True)
        yield at, *inside, rows, columns, product[rows, columns] + norm[rows], error[rows]  # type: ignore[misc]


@torch.no_grad()
def within_radii(
    x: Float[Tensor, "n d"],
    y: Float[Tensor, "m d"],
    pairs: tuple[Int[Tensor, " p"], Int[Tensor, " p"]],
    square: Float[Tensor, " p"],
    error: Float[Tensor, " p"],
    radii: Float[Tensor, "p s"],
) -> Bool[Tensor, "p s"]:
    """Return whether ‖x_i − y_j‖ ≤ r for some pairs and each of their radii; a radius below 0 holds nothing.

    From D² up to an error, as `pairs_within` gives it; by the difference form where a radius is too near for that.

    >>> x, one = torch.tensor([[0.0], [3.0]]), torch.ones(1).double()
    >>> pair = torch.tensor([0]), torch.tensor([1])
    >>> within_radii(x, x, pair, 8.9 * one, 0.2 * one, torch.tensor([[3.0, 2.99, 9.0]]).double())
    tensor([[ True, False,  True]])
    """
    gap = (radii * radii.abs()).sub_(square[:, None])
    found = gap >= 0
    doubt = (gap.abs_() <= error[:, None]).any(1).nonzero()[:, 0]
    if len(doubt):
        distance = paired_distances(x, y, pairs[0][doubt], pairs[1][doubt], dtype=torch.float64)
        found[doubt] = distance[:, None] <= radii[doubt]
    return found


def _screened(
    x: Tensor, y: Tensor, dtype: torch.dtype | None = None
) -> Iterator[tuple[int, Tensor, Tensor, Tensor]]:
    """A block's first row, ‖y_j‖² − 2⟨x_i, y_j⟩, ‖x_i‖² and s_i, both clouds seen from the middle of all points.

    The product is in float32 or float64, the others in float64. Beside the clouds there is one copy of y and what a
    block of rows needs.
    """
    n, m, d = len(x), len(y), x.shape[1]
    centre = (n / (n + m)) * _mean(x) + (m / (n + m)) * _mean(y)
    squares = _squares(y, centre)
    largest = squares.max()
    dtype = dtype or _type(x, y, centre, largest)
    # ⟨(−2a, 1), (b, ‖b‖²)⟩ in one product.
    right = torch.empty(m, d + 1, dtype=dtype, device=y.device)
    for rows in _blocks(m, d):
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
    if d < WIDE:
        return torch.float64
    # No square may leave float32's range, nor all be lost below it.
    if not 1e-20 < float(torch.maximum(largest, _squares(x, centre).max())) < 1e30:
        return torch.float64
    a, b = (c[:: -(-len(c) // SAMPLE)].double() - centre for c in (x, y))
    square = distances(a, b).square()
    reach = square.amin(1) + MARGIN * _bound(d, torch.float32) * (a.square().sum(1) + largest)
    crowded = (square <= reach[:, None]).double().mean()
    return torch.float64 if float(crowded) > CROWDED else torch.float32


def _squares(x: Tensor, centre: Tensor) -> Float[Tensor, " n"]:
    """‖x_i − centre‖² in float64."""
    return torch.cat([(x[rows] - centre).square().sum(1) for rows in _blocks(*x.shape)])


def _mean(x: Tensor) -> Float[Tensor, " d"]:
    """The mean in float64, without a copy of all of x in it."""
    return torch.stack([x[rows].double().sum(0) for rows in _blocks(*x.shape)]).sum(0) / len(x)


def _blocks(n: int, d: int) -> list[slice]:
    """Rows of at most `BLOCK` entries."""
    height = max(1, BLOCK // d)
    return [slice(start, start + height) for start in range(0, n, height)]


def _kth_of_groups(product: Tensor, k: int) -> Tensor:
    """A number per row that at least k of its entries do not exceed, and few more."""
    depth = product.shape[1] // max(GROUPS, 16 * k)
    if depth > 1:
        # A group's columns are far apart, so that points in the order of their classes still spread over the groups.
        groups = product.shape[1] // depth
        product = product[:, : depth * groups].unflatten(1, (depth, groups)).amin(1)
    return product.kthvalue(k, dim=1).values


def _settled(
    product: Tensor, bound: Tensor, error: Tensor, x: Tensor, y: Tensor, radius: Tensor
) -> Bool[Tensor, "b m"]:
    """Whether D ≤ radius, from product ≤ bound ± error where that says it."""
    inside = product <= (bound - error)[:, None].to(product)
    maybe = product <= (bound + error)[:, None].to(product)
    if int(maybe.count_nonzero()) > int(inside.count_nonzero()):
        open_pairs = maybe & ~inside
        rows, columns, distance = _exact(x, y, open_pairs)
        inside[rows, columns] = distance <= radius.expand(inside.shape)[rows, columns]
    return inside


def _exact(x: Tensor, y: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The rows and columns that a mask marks, and their distances in the difference form, in float64."""
    rows, columns = mask.nonzero(as_tuple=True)
    if 4 * len(rows) > mask.numel():
        return rows, columns, distances(x.double(), y.double())[mask]
    return rows, columns, paired_distances(x, y, rows, columns, dtype=torch.float64)
