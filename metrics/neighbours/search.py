"""Nearest neighbours, to the bit those of the difference form, found by a product (`metrics.neighbours.screening`).

A row's k-th nearest needs no sorting. Cut the columns into g ≥ k groups and let t be the k-th smallest of the groups'
minima: k columns are at most t, so whatever is among the k nearest is at most t + 2s_i. About k²/2g
columns pass that are not.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from metrics.neighbours.screening import exact_pairs, screened

__all__ = ["kth_neighbour", "near_pairs", "nearest_pairs"]

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
    for start, product, _, error in screened(x, y):
        threshold = (_kth_of_groups(product, k) + 2 * error).to(product)
        block = x[start : start + len(product)]
        yield start, len(block), *exact_pairs(block, y, product <= threshold[:, None])


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


def _kth_of_groups(product: Tensor, k: int) -> Tensor:
    """A number per row that at least k of its entries do not exceed, and few more."""
    depth = product.shape[1] // max(GROUPS, 16 * k)
    if depth > 1:
        # A group's columns are far apart, so that points in the order of their classes still spread over the groups.
        groups = product.shape[1] // depth
        product = product[:, : depth * groups].unflatten(1, (depth, groups)).amin(1)
    return product.kthvalue(k, dim=1).values
