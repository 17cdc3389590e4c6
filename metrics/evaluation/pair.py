"""Two clouds as every measure sees them, parts of them, and how much memory may be taken.

Standard measures go over tiles of distances and keep none. A measure of one's own may ask a `Pair` for a whole matrix
of distances: it is computed at first use and kept where it fits into `memory`, a subset of a pair (a jackknife
replicate) indexes the matrices of the whole, and one that does not fit is refused.
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from metrics.distances import distances
from metrics.inputs import check_pair
from metrics.kernels.kernel import median_heuristic

__all__ = ["MEDIAN_POINTS", "Pair", "median_of_some", "some_rows"]

MEDIAN_POINTS = 3000
"""Points whose distances have the median that sets a bandwidth: its error is then some 0.5 %."""


@dataclass(frozen=True, eq=False)
class Pair:
    """Samples x [n, d], reference y [m, d], and their distances.

    `shared` holds what several measures of this pair have in common (`metrics.evaluation.shared`).

    >>> pair = Pair(torch.tensor([[0.0], [3.0]]), torch.tensor([[1.0]]))
    >>> pair.xy.tolist(), pair.subset(torch.tensor([1]), torch.tensor([0])).xy.tolist()
    ([[1.0], [2.0]], [[2.0]])
    """

    x: Float[Tensor, "n d"]
    y: Float[Tensor, "m d"]
    whole: "tuple[Pair, Tensor, Tensor] | None" = None
    memory: float = 2.0**30
    shared: dict[object, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if self.whole is None:
            check_pair(self.x, self.y)

    @property
    def sizes(self) -> tuple[int, int]:
        """The counts n and m."""
        return len(self.x), len(self.y)

    @cached_property
    def xx(self) -> Float[Tensor, "n n"]:
        """Distances within the samples."""
        if self.whole is not None and self.whole[0].fits():
            pair, i, _ = self.whole
            return pair.xx[i[:, None], i]
        return distances(self._checked().x, self.x)

    @cached_property
    def xy(self) -> Float[Tensor, "n m"]:
        """Distances from the samples to the reference."""
        if self.whole is not None and self.whole[0].fits():
            pair, i, j = self.whole
            return pair.xy[i[:, None], j]
        return distances(self._checked().x, self.y)

    @cached_property
    def yy(self) -> Float[Tensor, "m m"]:
        """Distances within the reference."""
        if self.whole is not None and self.whole[0].fits():
            pair, _, j = self.whole
            return pair.yy[j[:, None], j]
        return distances(self._checked().y, self.y)

    @cached_property
    def pooled(self) -> Float[Tensor, "N N"]:
        """Distances within the pooled cloud, x first."""
        return torch.cat([torch.cat([self.xx, self.xy], 1), torch.cat([self.xy.T, self.yy], 1)])

    def fits(self) -> bool:
        """Whether the largest matrix of distances, in float64 as it is computed, is within the memory."""
        return 8 * max(self.sizes) ** 2 <= self.memory

    def subset(self, i: Int[Tensor, " k"], j: Int[Tensor, " l"]) -> "Pair":
        """The samples i against the reference j, sharing the distances of this pair."""
        return Pair(self.x[i], self.y[j], (self, i, j), self.memory)

    def at_most(self, most: int | None, seed: int) -> "Pair":
        """The same pair, or random subsets of clouds that hold more than `most` points.

        >>> Pair(torch.zeros(9, 1), torch.zeros(4, 1)).at_most(5, seed=0).sizes
        (5, 4)
        """
        if most is None or max(self.sizes) <= most:
            return self
        x, y = (some_rows(cloud, most, seed + k) for k, cloud in enumerate((self.x, self.y)))
        return Pair(x, y, memory=self.memory)

    def _checked(self) -> "Pair":
        if not self.fits():
            n, m = self.sizes
            raise ValueError(
                f"memory must hold a matrix of distances for this measure, {8 * max(n, m) ** 2:,} bytes for {n} and "
                f"{m} points, got {self.memory:,.0f}; raise memory=, or give the measure most=, the "
                "points of a random subset"
            )
        return self


def some_rows(cloud: Float[Tensor, "n d"], most: int, seed: int) -> Float[Tensor, "k d"]:
    """Return a cloud, or `most` of its points at random where it holds more.

    >>> some_rows(torch.arange(3.0)[:, None], 2, seed=0).shape
    torch.Size([2, 1])
    """
    if len(cloud) <= most:
        return cloud
    pick = torch.randperm(len(cloud), generator=torch.Generator().manual_seed(seed))[:most]
    return cloud[pick.to(cloud.device)]


def median_of_some(cloud: Float[Tensor, "n d"]) -> float:
    """Return the median distance within a cloud, of 3000 of its points at most, always the same ones.

    >>> median_of_some(torch.tensor([[0.0], [1.0], [5.0]]))
    4.0
    """
    return median_heuristic(some_rows(cloud, MEDIAN_POINTS, seed=0))
