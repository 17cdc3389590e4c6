import numpy as np
import pytest
import torch
from torch import nn

from metrics.geometry.patterns import sampled_patterns
from metrics.geometry.plane import linear_regions_in_plane
from tests.metrics.geometry.oracles import random_network


def test_samples_of_a_plane_see_at_most_its_cells(gen):
    net = random_network(2, 10, 10, 1, seed=1)
    exact = linear_regions_in_plane(net, torch.zeros(2), torch.eye(2), (-3, 3, -3, 3))
    few, many = (sampled_patterns(net, 6 * torch.rand(n, 2, generator=gen) - 3) for n in (50, 200_000))
    assert few.seen < few.chao <= exact.count * 1.5
    # A cell of a share p is missed by n points with probability (1 − p)ⁿ.
    share = exact.areas / 36
    missed = ((1 - share) ** 200_000).sum().item()
    assert exact.count - missed - 4 * (missed + 1) ** 0.5 <= many.seen <= exact.count
    assert few.samples == 50
    # Good's coverage against the area of the cells that were met, whose error is about √(f₁ + 2f₂)/n.
    inside = {tuple(p.tolist()) for p in exact.patterns()}
    assert len(inside) == exact.count
    assert 1 - many.coverage < 1e-3


def test_coverage_is_the_share_of_the_law_that_was_seen():
    net = random_network(2, 12, 12, 1, seed=1)
    exact = linear_regions_in_plane(net, torch.zeros(2), torch.eye(2), (-3, 3, -3, 3))
    area = dict(zip(map(bytes, exact.patterns().numpy()), (exact.areas / 36).tolist(), strict=True))
    gaps = []
    for seed in range(30):
        x = 6 * torch.rand(200, 2, generator=torch.Generator().manual_seed(seed)) - 3
        patterns = exact._network.pieces(x.double()).numpy()
        seen = sum(area[p] for p in {bytes(p) for p in patterns})
        gaps.append(sampled_patterns(net, x).coverage - seen)
    gaps = np.array(gaps)
    # Good's estimate is of the coverage of n − 1 points: a bias of at most 1/n.
    assert abs(gaps.mean()) < 4 * gaps.std() / 30**0.5 + 1 / 200


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((nn.Tanh(), torch.zeros(3, 2)), ValueError, "got Tanh; served are"),
        ((nn.Linear(3, 2), torch.zeros(3, 2)), ValueError, "inputs must fit net"),
        ((nn.Linear(3, 2), torch.zeros(3)), ValueError, r"inputs must have shape \[n, \*input\]"),
        ((nn.Linear(3, 2), np.zeros((3, 3))), TypeError, "inputs must be a torch.Tensor"),
    ],
)
def test_refusals(arguments, error, message):
    with pytest.raises(error, match=message):
        sampled_patterns(*arguments)
