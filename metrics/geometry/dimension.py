"""Apparent box-counting dimension: how the number of boxes that a set meets grows as they shrink.

N(s) boxes of side s meet the set; the box-counting dimension is the limit of −log N(s)/log s as s → 0 (Falconer 2014,
ch. 2). From a picture no limit can be had. What can be had is the slope of log N against log 1/s over a stated range
of scales, and the local slopes between neighbouring scales, which tell whether there is one slope at all. A decision
boundary of a ReLU or tanh network has the true dimension 1; a slope above 1 says that it is rough *at those scales*,
nothing more. Box counting converges slowly, with errors of order 1/log(1/s): never read an asymptotic value from it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from metrics.inputs import check_count

__all__ = ["BoxCount", "box_counting_dimension"]


@dataclass(frozen=True)
class BoxCount:
    """Boxes that a set meets, by their side.

    Attributes:
        scales: Sides of the boxes in pixels, ascending.
        counts: How many boxes of each side meet the set.
        dimension: The least-squares slope of log count against log 1/side over these scales: an apparent dimension.
        stderr: The slope's standard error from the residuals, if they were independent: the scatter about a line; NaN
            for two scales.
    """

    scales: tuple[int, ...]
    counts: tuple[int, ...]
    dimension: float
    stderr: float

    @property
    def local_slopes(self) -> tuple[float, ...]:
        """The slopes between neighbouring scales: a set that scales shows one number."""
        pairs = pairwise(zip(self.scales, self.counts, strict=True))
        return tuple(math.log(n / m) / math.log(t / s) for (s, n), (t, m) in pairs)

    @property
    def window(self) -> tuple[int, int]:
        """The finest and the coarsest scale, in pixels: the range that the dimension speaks of."""
        return self.scales[0], self.scales[-1]


def box_counting_dimension(mask: Bool[Tensor, "..."] | Int[Tensor, "..."], scales: Sequence[int]) -> BoxCount:
    """Count the boxes of a grid that a set of pixels meets, and fit a slope.

    The grid begins at the first pixel; a box that overhangs the edge counts like any other, which biases the counts
    of sides that do not divide the picture upwards.

    Args:
        mask: The set: true pixels, in one, two or three dimensions.
        scales: Sides of the boxes in pixels, at least two, each at least 1 and at most the picture's shortest side.

    Raises:
        TypeError, ValueError: A mask that is not boolean or is empty, no pixel that is set, scales out of range.

    >>> box_counting_dimension(torch.eye(64, dtype=torch.bool), [1, 2, 4, 8]).dimension
    1.0
    """
    _check_mask(mask)
    if len(set(scales)) < 2:
        raise ValueError(f"scales must hold at least two different sides, got {list(scales)}")
    shortest = min(mask.shape)
    sides = sorted({check_count(scale, "scales", below=shortest + 1) for scale in scales})
    counts = [_boxes(mask, side) for side in sides]
    slope, stderr = _fit([-math.log(s) for s in sides], [math.log(n) for n in counts])
    return BoxCount(tuple(sides), tuple(counts), slope, stderr)


def _boxes(mask: Tensor, side: int) -> int:
    """Boxes of a side that hold a true pixel."""
    boxes = mask.nonzero() // side
    return len(boxes.unique(dim=0))


def _fit(x: list[float], y: list[float]) -> tuple[float, float]:
    n, mean_x, mean_y = len(x), sum(x) / len(x), sum(y) / len(y)
    spread = sum((a - mean_x) ** 2 for a in x)
    slope = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / spread
    residual = sum((b - mean_y - slope * (a - mean_x)) ** 2 for a, b in zip(x, y, strict=True))
    return slope, math.sqrt(residual / (n - 2) / spread) if n > 2 else math.nan


def _check_mask(mask: object) -> None:
    if not isinstance(mask, Tensor):
        raise TypeError(f"mask must be a torch.Tensor, got {type(mask).__name__}; use torch.as_tensor")
    if mask.dtype != torch.bool:
        raise TypeError(f"mask must be boolean, got {mask.dtype}; compare it with a threshold")
    if not 1 <= mask.ndim <= 3 or mask.numel() == 0:
        raise ValueError(f"mask must be a picture of one to three dimensions, got shape {list(mask.shape)}")
    if not bool(mask.any()):
        raise ValueError("mask must have at least one true pixel, got none: an empty set has no dimension")
