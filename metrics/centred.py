"""Points seen from a place in their midst: what products of matrices need so as not to lose digits."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["Centred", "mean_of", "rows_at_a_time", "squared_sizes"]

BLOCK = 2**20
"""Entries that are looked at in one go: 8 MiB in float64, to stay in a processor's cache."""


@dataclass(frozen=True)
class Centred:
    """Points seen from a centre.

    Attributes:
        points: As they are, [n, d].
        centred: From the centre, in float64, [n, d].
        sizes: Their squared distances from it, [n].
    """

    points: Float[Tensor, "n d"]
    centred: Float[Tensor, "n d"]
    sizes: Float[Tensor, " n"]

    @classmethod
    def of(
        cls,
        points: Float[Tensor, "n d"],
        centre: Float[Tensor, " d"],
        sizes: Float[Tensor, " n"] | None = None,
    ) -> "Centred":
        """Look at points from a centre in float64; their sizes are computed unless they are known.

        >>> Centred.of(torch.tensor([[3.0]]), torch.tensor([1.0], dtype=torch.float64)).sizes
        tensor([4.], dtype=torch.float64)
        """
        centred = points - centre
        return cls(points, centred, centred.square().sum(1) if sizes is None else sizes)


def mean_of(x: Float[Tensor, "n d"]) -> Float[Tensor, " d"]:
    """Return the mean in float64, without a copy of all of x in it.

    >>> mean_of(torch.tensor([[1.0], [2.0]]))
    tensor([1.5000], dtype=torch.float64)
    """
    return torch.stack([x[rows].double().sum(0) for rows in rows_at_a_time(*x.shape)]).sum(0) / len(x)


def squared_sizes(x: Float[Tensor, "n d"], centre: Float[Tensor, " d"]) -> Float[Tensor, " n"]:
    """Return ‖x_i − centre‖² in float64, without a copy of all of x in it.

    >>> squared_sizes(torch.tensor([[1.0], [3.0]]), torch.ones(1, dtype=torch.float64))
    tensor([0., 4.], dtype=torch.float64)
    """
    return torch.cat([(x[rows] - centre).square().sum(1) for rows in rows_at_a_time(*x.shape)])


def rows_at_a_time(n: int, d: int) -> list[slice]:
    """Return slices of n rows of d columns, each of some million entries at most.

    >>> rows_at_a_time(3, 2**19)
    [slice(0, 2, None), slice(2, 4, None)]
    """
    height = max(1, BLOCK // d)
    return [slice(start, start + height) for start in range(0, n, height)]
