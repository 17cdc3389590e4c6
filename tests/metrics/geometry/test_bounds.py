from itertools import product
from math import comb

import pytest
import torch

from metrics.geometry.bounds import (
    max_regions_arrangement,
    montufar_lower_bound,
    raghu_upper_bound,
    serra_upper_bound,
)
from metrics.geometry.plane import linear_regions_in_plane
from tests.metrics.geometry.oracles import random_network


def test_arrangements_by_recursion():
    """A new hyperplane adds as many regions as the others cut it into."""
    for n in range(1, 12):
        for d in range(1, 6):
            rest = max_regions_arrangement(n - 1, d) + max_regions_arrangement(n - 1, d - 1)
            assert max_regions_arrangement(n, d) == rest
    assert max_regions_arrangement(5, 9) == 32
    assert max_regions_arrangement(0, 3) == max_regions_arrangement(4, 0) == 1


def by_enumeration(inputs, widths):
    total = 0
    for active in product(*(range(n + 1) for n in widths)):
        left, term = inputs, 1
        for n, j in zip(widths, active, strict=True):
            if j > min(left, n):
                term = 0
                break
            term *= comb(n, j)
            left = min(left, n - j)
        total += term
    return total


@pytest.mark.parametrize(
    ("inputs", "widths"), [(2, [3]), (2, [4, 4, 4]), (3, [5, 2, 6]), (5, [3, 3]), (1, [7, 7])]
)
def test_serra_by_enumeration_and_below_raghu(inputs, widths):
    assert serra_upper_bound(inputs, widths) == by_enumeration(inputs, widths)
    assert serra_upper_bound(inputs, widths) <= raghu_upper_bound(inputs, widths)
    if min(widths) >= inputs:
        assert montufar_lower_bound(inputs, widths) <= serra_upper_bound(inputs, widths)


def test_shallow_bounds_agree():
    assert montufar_lower_bound(2, [9]) == raghu_upper_bound(2, [9]) == serra_upper_bound(2, [9]) == 46


@pytest.mark.parametrize("seed", range(3))
def test_networks_keep_below(seed):
    net = random_network(2, 5, 5, 5, 1, seed=seed)
    count = linear_regions_in_plane(net, torch.zeros(2), torch.eye(2), (-50, 50, -50, 50)).count
    assert 20 < count <= serra_upper_bound(2, [5, 5, 5])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: max_regions_arrangement(-1, 2), ValueError, "n must be at least 0"),
        (lambda: max_regions_arrangement(2.0, 2), TypeError, "n must be an int"),
        (
            lambda: montufar_lower_bound(4, [8, 3]),
            ValueError,
            "widths must be at least the number of inputs, 4, got 3",
        ),
        (lambda: raghu_upper_bound(2, []), ValueError, "at least one layer"),
        (lambda: serra_upper_bound(0, [2]), ValueError, "inputs must be at least 1"),
        (lambda: serra_upper_bound(2, [0]), ValueError, "widths must be at least 1"),
    ],
)
def test_refusals(call, error, message):
    with pytest.raises(error, match=message):
        call()
