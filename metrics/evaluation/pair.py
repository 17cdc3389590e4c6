"""Two clouds and the distances between their points, computed once and shared by every measure.

Most measures see the clouds only through the three matrices of Euclidean distances. A `Pair` computes each at first
use and keeps it; a subset of a pair (a jackknife replicate) indexes the matrices of the whole instead of computing
its own.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from metrics.distances import distances
from metrics.inputs import check_pair

__all__ = ["Pair"]


@dataclass(frozen=True, eq=False)
class Pair:
    """Samples x [n, d], reference y [m, d], and their distances.

    >>> pair = Pair(torch.tensor([[0.0], [3.0]]), torch.tensor([[1.0]]))
    >>> pair.xy.tolist(), pair.subset(torch.tensor([1]), torch.tensor([0])).xy.tolist()
    ([[1.0], [2.0]], [[2.0]])
    """

    x: Float[Tensor, "n d"]
    y: Float[Tensor, "m d"]
    whole: "tuple[Pair, Tensor, Tensor] | None" = None

    def __post_init__(self) -> None:
        if self.whole is None:
            check_pair(self.x, self.y)

    @cached_property
    def xx(self) -> Float[Tensor, "n n"]:
        """Distances within the samples."""
        if self.whole is None:
            return distances(self.x, self.x)
        pair, i, _ = self.whole
        return pair.xx[i[:, None], i]

    @cached_property
    def xy(self) -> Float[Tensor, "n m"]:
        """Distances from the samples to the reference."""
        if self.whole is None:
            return distances(self.x, self.y)
        pair, i, j = self.whole
        return pair.xy[i[:, None], j]

    @cached_property
    def yy(self) -> Float[Tensor, "m m"]:
        """Distances within the reference."""
        if self.whole is None:
            return distances(self.y, self.y)
        pair, _, j = self.whole
        return pair.yy[j[:, None], j]

    @cached_property
    def pooled(self) -> Float[Tensor, "N N"]:
        """Distances within the pooled cloud, x first."""
        return torch.cat([torch.cat([self.xx, self.xy], 1), torch.cat([self.xy.T, self.yy], 1)])

    def subset(self, i: Int[Tensor, " k"], j: Int[Tensor, " l"]) -> "Pair":
        """The samples i against the reference j, sharing the distances of this pair."""
        return Pair(self.x[i], self.y[j], (self, i, j))
