"""Precision, recall, density and coverage of two clouds that come in pieces.

A ball's radius is the distance to the k-th neighbour in the *whole* cloud, so the clouds are kept, (n + m)·d numbers in
their own type. `compute` goes over the distances in blocks of rows, in O((n + m)² d) time: the matrices, n² + nm + m²
numbers, are never whole in memory.
"""

from typing import SupportsIndex

from metrics.inputs import check_count
from metrics.neighbours.balls import NeighbourScores, precision_recall_density_coverage
from metrics.precision import full_precision
from metrics.streaming.clouds import Cloud
from metrics.streaming.two_clouds import TwoClouds, TwoSampleAccumulator

__all__ = ["PrecisionRecallDensityCoverage"]


class PrecisionRecallDensityCoverage(TwoSampleAccumulator[Cloud, NeighbourScores]):
    """`precision_recall_density_coverage` in pieces, the same numbers to the bit.

    >>> import torch
    >>> scores = PrecisionRecallDensityCoverage(k=1)
    >>> for point in (0.0, 1.0, 2.0):
    ...     scores.update(real=torch.tensor([[point]]))
    >>> scores.update(fake=torch.tensor([[0.5], [9.0]]))
    >>> scores.compute().precision  # 0.5 lies in the unit balls of 0 and 1
    tensor(0.5000)
    """

    def __init__(self, *, k: SupportsIndex = 5) -> None:
        """Make it for the k-th neighbour, the point itself not counted; below the size of either cloud.

        Raises:
            TypeError, ValueError: k that is no whole number above 0.
        """
        super().__init__(TwoClouds(Cloud))
        self._k = check_count(k, "k")

    def _settings(self) -> dict[str, object]:
        return {"k": self._k}

    @full_precision
    def _value(self, state: TwoClouds[Cloud]) -> NeighbourScores:
        real, fake = state.real.samples("real"), state.fake.samples("fake")
        return precision_recall_density_coverage(real=real, fake=fake, k=self._k)
