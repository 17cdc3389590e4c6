import math

import pytest
import torch
from torch import nn

from metrics.geometry.boundary import decision_boundary
from metrics.geometry.plane import linear_regions_in_plane
from tests.metrics.geometry.oracles import linear, random_network

ORIGIN, EYE = torch.zeros(2), torch.eye(2)


def boundary_of(net, window=(-2, 2, -2, 2)):
    regions = linear_regions_in_plane(net, ORIGIN, EYE, window)
    return regions, decision_boundary(regions)


def test_sectors_of_linear_logits():
    """Logits x·e_k for k directions at equal angles: k rays from the origin, each between neighbours."""
    k = 5
    angle = 2 * math.pi * torch.arange(k).double() / k + 0.1
    _, boundary = boundary_of(nn.Sequential(linear(torch.stack([angle.cos(), angle.sin()], 1))))
    assert {tuple(c.tolist()) for c in boundary.classes} == {(0, 1), (1, 2), (2, 3), (3, 4), (0, 4)}
    middles = boundary.segments.mean(1)
    rays = torch.atan2(middles[:, 1], middles[:, 0]).sort().values
    want = ((angle + math.pi / k + math.pi) % (2 * math.pi) - math.pi).sort().values
    torch.testing.assert_close(rays, want, rtol=0, atol=1e-12)
    assert boundary.segments.norm(dim=2).min(1).values.max() < 1e-12


def test_a_class_that_wins_between_the_corners():
    """No vertex of the window has class 2, which is the strip |x| < 0.1."""
    net = nn.Sequential(linear([[1.0, 0], [-1, 0], [0, 0]], [0.0, 0, 0.1]))
    _, boundary = boundary_of(net)
    assert sorted(map(tuple, boundary.classes.tolist())) == [(0, 2), (1, 2)]
    assert boundary.length == pytest.approx(8, rel=1e-13)


@pytest.mark.parametrize("outputs", [1, 2, 4])
@pytest.mark.parametrize("seed", range(3))
def test_the_class_changes_across_every_segment_and_nowhere_else(outputs, seed):
    net = random_network(2, 12, 12, outputs, seed=seed)
    regions, boundary = boundary_of(net)

    def classes(u):
        logits = regions.outputs(u)
        return logits.argmax(1) if outputs > 1 else (logits[:, 0] > 0).long()

    tail, along = boundary.segments[:, 0], boundary.segments.diff(dim=1)[:, 0]
    long = along.norm(dim=1) > 1e-6
    middle = (tail + 0.5 * along)[long]
    normal = torch.stack([-along[:, 1], along[:, 0]], 1)[long] / along[long].norm(dim=1, keepdim=True)
    sides = torch.stack([classes(middle + 1e-9 * normal), classes(middle - 1e-9 * normal)], 1)
    assert torch.equal(sides.sort(1).values, boundary.classes[long])
    # Changes along the lines of a grid are crossings of the segments, which a fine grid nearly all resolves.
    grid = torch.linspace(-2, 2, 2001).double()[:-1] + 1e-4 * math.pi
    crossings = changes = 0
    for level in torch.linspace(-1.9, 1.9, 9).double() + 1e-3 * math.e:
        changes += int((classes(torch.stack([grid, level.expand(2000)], 1)).diff() != 0).sum())
        crossings += int(
            ((boundary.segments[:, 0, 1] - level) * (boundary.segments[:, 1, 1] - level) < 0).sum()
        )
    assert abs(crossings - changes) <= 2


def test_a_constant_classifier_has_no_boundary():
    net = nn.Sequential(nn.Identity(), nn.ReLU(), linear([[1.0, 1]], [1.0]))
    _, boundary = boundary_of(net)
    assert boundary.segments.shape == (0, 2, 2)
    assert boundary.length == 0
