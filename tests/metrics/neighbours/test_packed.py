"""Sets of subsets as bits: the same as booleans, over more subsets than a word has bits."""

import pytest
import torch

from metrics.distances import paired_distances
from metrics.neighbours.packed import Measured, NestedBalls, count_subsets, join_into, packed, unpacked

SUBSETS = (1, 62, 63, 64, 130)


@pytest.mark.parametrize("count", SUBSETS)
def test_sets_are_the_booleans(gen, count):
    subsets = torch.rand(count, 50, generator=gen) < 0.4
    words = packed(subsets)
    assert len(words) == -(-count // 63)
    assert torch.equal(unpacked(words, count), subsets)
    assert torch.equal(count_subsets(words, count), subsets.sum(1))


@pytest.mark.parametrize("count", SUBSETS)
def test_joined_sets_are_unions(gen, count):
    subsets, index = torch.rand(count, 400, generator=gen) < 0.05, torch.randint(7, (400,), generator=gen)
    before = torch.rand(count, 9, generator=gen) < 0.1
    words = packed(before)
    join_into(words, index, packed(subsets))
    expected = torch.stack([before[:, n] | subsets[:, index == n].any(1) for n in range(9)], 1)
    assert torch.equal(unpacked(words, count), expected)


@pytest.mark.parametrize("error", [1e-9, 0.3, 1e3])
@pytest.mark.parametrize("count", SUBSETS)
def test_balls_hold_what_the_difference_form_says(gen, count, error):
    """Balls around points of either cloud, with radii that tie, that some subsets lack, and that are distances."""
    x, y = (torch.randint(6, (30, 2), generator=gen).double() for _ in range(2))
    i, j = (torch.randint(30, (2000,), generator=gen) for _ in range(2))
    distance = paired_distances(x, y, i, j)
    wrong = (2 * torch.rand(2000, generator=gen).double() - 1) * error
    pairs = Measured(x, y, i, j, distance.square() + wrong, torch.full((2000,), error + 1e-12).double())
    radii = torch.randint(-1, 50, (count, 30), generator=gen).double().sqrt().nan_to_num(-1.0)
    balls = NestedBalls.of(radii)
    for points in (i, j):
        assert torch.equal(unpacked(balls.holding(points, pairs), count), distance <= radii[:, points])


def test_no_subset_has_a_ball():
    balls, zero = NestedBalls.of(-torch.ones(3, 2, dtype=torch.float64)), torch.zeros(1, dtype=torch.int64)
    pairs = Measured(torch.ones(2, 1), torch.ones(2, 1), zero, zero, *torch.zeros(2, 1, dtype=torch.float64))
    assert balls.holding(zero, pairs).tolist() == [[0]]
