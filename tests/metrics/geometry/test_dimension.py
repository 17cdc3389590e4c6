import math

import numpy as np
import pytest
import torch

from metrics.geometry.dimension import box_counting_dimension


def cantor(level):
    kept = torch.ones(1, dtype=torch.bool)
    for _ in range(level):
        kept = torch.cat([kept, torch.zeros_like(kept), kept])
    return kept


def sierpinski(level):
    kept = torch.ones(1, 1, dtype=torch.bool)
    for _ in range(level):
        kept = torch.cat([torch.cat([kept, torch.zeros_like(kept)], 1), torch.cat([kept, kept], 1)])
    return kept


ROWS = {
    "line": (torch.eye(256, dtype=torch.bool), 2, 1.0),
    "side": (torch.zeros(256, 256).index_fill(0, torch.tensor([7]), 1).bool(), 2, 1.0),
    "square": (torch.ones(256, 256, dtype=torch.bool), 2, 2.0),
    "cube": (torch.ones(16, 16, 16, dtype=torch.bool), 2, 3.0),
    "point": (
        torch.zeros(64, 64).index_put((torch.tensor([9]), torch.tensor([9])), torch.tensor(1.0)).bool(),
        2,
        0.0,
    ),
    "Sierpinski": (sierpinski(8), 2, math.log2(3)),
    "Cantor": (cantor(7), 3, math.log(2) / math.log(3)),
}


@pytest.mark.parametrize("name", ROWS)
def test_sets_that_scale_exactly_on_aligned_grids(name):
    mask, base, want = ROWS[name]
    scales = [base**k for k in range(int(math.log(min(mask.shape), base) + 1e-9) + 1)]
    box = box_counting_dimension(mask, scales)
    assert box.dimension == pytest.approx(want, abs=1e-12)
    assert box.local_slopes == pytest.approx([want] * (len(scales) - 1), abs=1e-12)
    assert box.stderr == pytest.approx(0, abs=1e-7)
    assert box.window == (1, scales[-1])
    assert box.counts[-1] == 1


def test_scales_are_sorted_and_overhanging_boxes_count():
    box = box_counting_dimension(torch.ones(10, dtype=torch.bool), [4, 1, 2, 4])
    assert box.scales == (1, 2, 4)
    assert box.counts == (10, 5, 3)
    x, y = -np.log([1, 2, 4]), np.log([10, 5, 3])
    slope, covariance = np.polyfit(x, y, 1, cov=True)
    assert box.dimension == pytest.approx(slope[0], rel=1e-12)
    assert box.stderr == pytest.approx(covariance[0, 0] ** 0.5, rel=1e-9)
    assert math.isnan(box_counting_dimension(torch.ones(4, dtype=torch.bool), [1, 2]).stderr)


MASK = torch.ones(8, 8, dtype=torch.bool)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((np.ones((8, 8), bool), [1, 2]), TypeError, "mask must be a torch.Tensor"),
        ((MASK.float(), [1, 2]), TypeError, "mask must be boolean"),
        ((~MASK, [1, 2]), ValueError, "at least one true pixel"),
        ((MASK[None, None], [1, 2]), ValueError, "one to three dimensions"),
        ((MASK, [2, 2]), ValueError, "scales must hold at least two"),
        ((MASK, [0, 2]), ValueError, "scales must be at least 1"),
        ((MASK, [2, 9]), ValueError, "scales must be below 9"),
    ],
)
def test_refusals(arguments, error, message):
    with pytest.raises(error, match=message):
        box_counting_dimension(*arguments)
