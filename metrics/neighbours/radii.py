"""Which pairs are within given radii, to the bit as by the difference form (`metrics.neighbours.screening`)."""

from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from metrics.distances import paired_distances
from metrics.neighbours.screening import exact_pairs, screened

__all__ = ["ball_blocks", "pairs_within", "within_radii"]

MANY = 1 / 64
"""The share of a block's pairs above which a matrix of booleans costs less than a list."""


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
    for start, product, norm, error in screened(x, y):
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
    for start, product, norm, error in screened(x, y, torch.float64):
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


def _settled(
    product: Tensor, bound: Tensor, error: Tensor, x: Tensor, y: Tensor, radius: Tensor
) -> Bool[Tensor, "b m"]:
    """Whether D ≤ radius, from product ≤ bound ± error where that says it."""
    inside = product <= (bound - error)[:, None].to(product)
    maybe = product <= (bound + error)[:, None].to(product)
    if int(maybe.count_nonzero()) > int(inside.count_nonzero()):
        open_pairs = maybe & ~inside
        rows, columns, distance = exact_pairs(x, y, open_pairs)
        inside[rows, columns] = distance <= radius.expand(inside.shape)[rows, columns]
    return inside
