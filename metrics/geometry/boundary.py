"""The decision boundary of a piecewise-linear classifier in a plane, exactly.

On a cell every logit is affine, so that two logits are equal on a chord. The boundary between classes a and b is the
part of the chord on which no third logit is larger, which each third logit's own linear inequality cuts down to an
interval. With a single output the boundary is its zero set, and the classes are 0 (below zero) and 1.

The boundary is a polygon: its true dimension is 1. How rough it looks at a range of scales is another question, for
`metrics.geometry.dimension`.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from metrics.geometry._chords import chords_of
from metrics.geometry._layers import ROUNDING, chunks
from metrics.geometry._refine import Born
from metrics.geometry._zeros import edge_zeros, signs_of
from metrics.geometry.plane import PlaneRegions

__all__ = ["DecisionBoundary", "decision_boundary"]


@dataclass(frozen=True, eq=False)
class DecisionBoundary:
    """Segments on which the class changes, each inside one cell.

    Attributes:
        segments: Their ends in the plane's coordinates, [S, 2, 2].
        cells: The cell that each lies in, [S].
        classes: The two classes that meet there, the lower first, [S, 2].
    """

    segments: Float64[Tensor, "S 2 2"]
    cells: Int64[Tensor, " S"]
    classes: Int64[Tensor, "S 2"]

    @cached_property
    def length(self) -> float:
        """The boundary's length in the plane's coordinates."""
        return float((self.segments[:, 1] - self.segments[:, 0]).norm(dim=1).sum())


def decision_boundary(regions: PlaneRegions) -> DecisionBoundary:
    """Return where the class with the largest output changes, or where a single output changes its sign.

    Args:
        regions: Of a network whose outputs are logits, or one score.

    Returns:
        Segments that together are the boundary; where a whole cell is undecided it has none.

    >>> from metrics.geometry.plane import linear_regions_in_plane
    >>> score = torch.nn.Sequential(torch.nn.Identity(), torch.nn.ReLU(), torch.nn.Linear(2, 1))
    >>> _ = score[2].weight.data.fill_(1), score[2].bias.data.fill_(-1)
    >>> boundary = decision_boundary(linear_regions_in_plane(score, torch.zeros(2), torch.eye(2), (-2, 2, -2, 2)))
    >>> print(f"{len(boundary.segments)} segments, {boundary.length:.4f}")  # x = 1 below, x + y = 1, y = 1 on the left
    3 segments, 5.4142
    """
    plane = regions._subdivision
    with torch.no_grad():
        logits = regions.outputs(regions.vertices).numpy()
    if logits.shape[1] == 1:
        pairs = np.zeros((1, 2), np.int64)
        scores = np.concatenate([logits, np.zeros_like(logits)], 1)
        pairs[0, 1] = 1
    else:
        pairs, scores = np.stack(np.triu_indices(logits.shape[1], 1), 1), logits
    gaps = scores[:, pairs[:, 0]] - scores[:, pairs[:, 1]]
    rounding = ROUNDING * (np.abs(scores).max(0)[pairs].sum(1))
    signs = signs_of(gaps, rounding)
    zeros = edge_zeros(gaps, plane.edges, rounding, signs)
    chords = chords_of(plane, zeros, signs, distinct=False)
    born = Born(plane.edges[zeros.point_edge], zeros.share, len(zeros.share))
    ends = born.extend(plane.points)[chords.ends]
    low, high = _where_largest(born.extend(scores), chords.ends, pairs[chords.column])
    kept = high > low
    tail, along = ends[kept, 0], ends[kept, 1] - ends[kept, 0]
    cut = np.stack([tail + low[kept, None] * along, tail + high[kept, None] * along], 1)
    return DecisionBoundary(
        *(torch.from_numpy(x) for x in (cut, chords.cell[kept], pairs[chords.column[kept]])),
    )


def _where_largest(scores: np.ndarray, ends: np.ndarray, pair: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The interval of [0, 1] along each chord on which no score is above that of its pair."""
    low, high = np.zeros(len(ends)), np.ones(len(ends))
    for part in chunks(len(ends), 4 * scores.shape[1]):
        own = pair[part, 0][:, None]
        excess = [scores[end] - np.take_along_axis(scores[end], own, 1) for end in ends[part].T]
        for values in excess:
            np.put_along_axis(values, pair[part], 0.0, 1)
        start, stop = excess
        with np.errstate(divide="ignore", invalid="ignore"):
            root = start / (start - stop)
        low[part] = np.where((start > 0) & (stop <= 0), root, 0.0).max(1)
        high[part] = np.where((start <= 0) & (stop > 0), root, 1.0).min(1)
        high[part] = np.where(((start > 0) & (stop > 0)).any(1), 0.0, high[part])
    return low, high
