import pytest
import torch
from torch import nn

from metrics.geometry.regions import linear_regions_on_line
from tests.metrics.geometry.oracles import folds, linear, random_network, tents

ZERO, ONE = torch.zeros(1), torch.ones(1)


@pytest.mark.parametrize("depth", [1, 2, 5, 10, 14])
def test_tents_have_exactly_two_to_the_depth(depth):
    regions = linear_regions_on_line(tents(depth), ZERO, ONE)
    assert regions.count == 2**depth
    # Halves of halves, and thresholds that are powers of two: no rounding at all.
    assert torch.equal(regions.breakpoints, torch.arange(1, 2**depth).double() / 2**depth)
    slope, _ = regions.affine_maps()
    sign = torch.tensor([1.0, -1.0]).double().repeat(2 ** (depth - 1))
    assert torch.equal(slope[:, 0], sign * 2**depth)
    first = torch.arange(1, 2**depth)
    assert torch.equal(regions.layers, depth - (first & -first).double().log2().long())


@pytest.mark.parametrize("n", [1, 7, 40])
def test_shallow_networks_have_one_more_than_neurons(n, gen):
    cut = torch.rand(n, generator=gen).double().sort().values
    sign = torch.randn(n, generator=gen).double()
    regions = linear_regions_on_line(nn.Sequential(linear(sign[:, None], -sign * cut), nn.ReLU()), ZERO, ONE)
    assert regions.count == n + 1
    torch.testing.assert_close(regions.breakpoints, cut, rtol=1e-12, atol=1e-14)


def test_folds_of_the_diagonal():
    """Both coordinates fold together."""
    assert linear_regions_on_line(folds(6), -torch.ones(2), torch.ones(2)).count == 2**6


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.LeakyReLU(0.1), nn.Hardtanh(-0.5, 0.7), nn.ReLU6()])
def test_pieces_found_by_a_fine_grid(activation, gen):
    """The pattern at the points of a grid changes exactly where breakpoints lie between them."""
    net = random_network(4, 10, 10, 10, 2, seed=5, activation=activation).double()
    a, b = torch.randn(2, 4, generator=gen)
    regions = linear_regions_on_line(net, 3 * a, 3 * b)
    assert len(regions.breakpoints) > 12
    assert (regions.breakpoints.diff() > 0).all()
    grid = torch.linspace(0, 1, 20_001).double()
    patterns = regions._network.pieces(regions.lift(grid))
    change = (patterns[1:] != patterns[:-1]).any(1)
    between = torch.bucketize(regions.breakpoints, grid).unique()
    assert torch.equal(change.nonzero()[:, 0] + 1, between)
    assert len(regions.patterns()) == regions.count
    assert (regions.patterns()[1:] != regions.patterns()[:-1]).any(1).all()


def test_maps_are_the_network(gen):
    net = random_network(4, 20, 20, 20, 3, seed=5)
    a, b = torch.randn(2, 4, generator=gen)
    regions = linear_regions_on_line(net, a, b)
    slope, offset = regions.affine_maps()
    t = torch.rand(500, generator=gen).double()
    cell = torch.bucketize(t, regions.breakpoints)
    want = net.double()(regions.lift(t))
    torch.testing.assert_close(regions.outputs(t), want, rtol=0, atol=1e-12)
    torch.testing.assert_close(slope[cell] * t[:, None] + offset[cell], want, rtol=0, atol=1e-12)


def test_he_networks_have_about_one_breakpoint_per_neuron():
    """Hanin & Rolnick 2019: as many as neurons on a whole line, whatever the depth; measured 0.99 to 1.01 of them."""
    ratios = []
    for seed in range(20):
        net = random_network(20, 50, 50, 50, 50, 1, seed=seed)
        direction = torch.randn(20, generator=torch.Generator().manual_seed(seed))
        regions = linear_regions_on_line(net, -1000 * direction, 1000 * direction)
        ratios.append(len(regions.breakpoints) / 200)
    mean = sum(ratios) / len(ratios)
    spread = (sum((r - mean) ** 2 for r in ratios) / 19 / 20) ** 0.5
    assert abs(mean - 1) < 0.02 + 4 * spread
    assert spread < 0.02


def test_degenerate_lines(gen):
    relu = nn.ReLU()
    twice = nn.Sequential(linear([[1.0], [1.0], [-2.0]], [-0.5, -0.5, 1.0]), relu)
    rows = [
        (twice, 2),
        (nn.Sequential(linear([[1.0]], [0.0]), relu), 1),  # at the segment's end
        (nn.Sequential(linear([[1.0]], [-0.5]), relu, linear([[1.0]], [0.0]), relu), 2),  # zero on a stretch
        (nn.Sequential(linear([[0.0]], [0.0]), relu, linear([[1.0]], [0.0]), relu), 1),
        (nn.Sequential(linear([[1.0]])), 1),
        (nn.Sequential(linear([[1.0], [1.0]], [-0.3, -0.3]), relu, linear([[1.0, -1]], [0.0]), relu), 2),
    ]
    for net, count in rows:
        assert linear_regions_on_line(net, ZERO, ONE).count == count, net


def test_a_convolution_and_a_line_of_images(gen):
    net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2))
    a, b = torch.randn(2, 1, 4, 4, generator=gen)
    regions = linear_regions_on_line(net, a, b)
    assert regions.lift(regions.breakpoints).shape == (len(regions.breakpoints), 1, 4, 4)
    values = nn.Sequential(*net.double()[:1])(torch.stack([a, b]).double())
    assert len(regions.breakpoints) == int((values[0] * values[1] < 0).sum()) > 0


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((nn.Sequential(nn.Linear(1, 1), nn.GELU()), ZERO, ONE), ValueError, "got GELU; served are"),
        ((nn.Linear(1, 1), ZERO, ZERO), ValueError, "a and b must be two different points"),
        ((nn.Linear(1, 1), ZERO, torch.ones(2)), ValueError, "b must have the shape of one input of net"),
        ((nn.Linear(1, 1), [0.0], ONE), TypeError, "a must be a torch.Tensor"),
        (("net", ZERO, ONE), TypeError, "net must be a torch.nn.Module"),
    ],
)
def test_refusals(arguments, error, message):
    with pytest.raises(error, match=message):
        linear_regions_on_line(*arguments)
