"""A cloud kept whole: the state of a measure of pairs or of neighbours.

A measure of pairs or neighbours has no sufficient statistic smaller than the points. The cloud is kept in its own
type, n·d numbers, in pieces that are joined as a binary counter carries: no piece is shorter than its successor
twice over, so that n points in any batches are copied O(log n) times each and held in O(log n) pieces.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from metrics.inputs import check_cloud

__all__ = ["Cloud"]


class Cloud:
    """The points themselves, in the type that was fed.

    >>> cloud = Cloud()
    >>> for batch in torch.arange(5.0)[:, None].split(2):
    ...     cloud.add(batch)
    >>> cloud.points()[:, 0]
    tensor([0., 1., 2., 3., 4.])
    """

    def __init__(self) -> None:
        self._pieces: list[Tensor] = []

    @property
    def columns(self) -> int | None:
        """Return d, or None before the first point."""
        return self._pieces[0].shape[1] if self._pieces else None

    def points(self) -> Tensor:
        """Return all points, [n, d]; [0, 0] where there are none."""
        if len(self._pieces) > 1:
            self._pieces = [torch.cat(self._pieces)]
        return self._pieces[0] if self._pieces else torch.zeros(0, 0)

    def samples(self, name: str) -> Tensor:
        """Return the points for a measure of two clouds, or refuse that there are none."""
        if not self._pieces:
            raise ValueError(f"{name} must hold at least 2 samples, got 0; update({name}=...)")
        return self.points()

    def add(self, batch: Tensor) -> None:
        """Take in a copy of a batch [n, d]: the caller may fill its memory anew."""
        self._append(batch.clone())

    def tensors(self) -> dict[str, Tensor]:
        """Return the points."""
        return {"points": self.points()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take these points in place of its own."""
        points = tensors["points"]
        self._pieces = [check_cloud(points, "points").clone()] if points.numel() else []

    def absorb(self, other: "Cloud") -> None:
        """Take the points of another cloud in."""
        for piece in list(other._pieces):
            self._append(piece)

    def _append(self, piece: Tensor) -> None:
        self._pieces.append(piece)
        while len(self._pieces) > 1 and len(self._pieces[-2]) <= 2 * len(self._pieces[-1]):
            last = self._pieces.pop()
            self._pieces[-1] = torch.cat([self._pieces[-1], last])
