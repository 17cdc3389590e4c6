import math

import numpy as np
import pytest
import torch
from torch import nn

from metrics.geometry.plane import linear_regions_in_plane
from metrics.geometry.regions import linear_regions_on_line
from tests.metrics.geometry.oracles import area, folds, linear, polygons, random_network

SQUARE = (-1, 1, -1, 1)
ORIGIN, EYE = torch.zeros(2), torch.eye(2)


def in_own_plane(net, window=SQUARE):
    return linear_regions_in_plane(net, ORIGIN, EYE, window)


def random_plane(shape, gen):
    return torch.randn(shape, generator=gen), torch.randn(2, *shape, generator=gen)


def assert_whole(regions, window):
    """What holds for every subdivision of a window."""
    left, right, bottom, top = window
    torch.testing.assert_close(
        regions.areas.sum().item(), float((right - left) * (top - bottom)), rtol=1e-12, atol=0
    )
    assert regions.areas.min() > 0
    v, e, f = len(regions.vertices), len(regions.edges), regions.count
    assert v - e + f == 1
    assert (regions.edges[:, 0] != regions.edges[:, 1]).all()
    inside = regions.sides >= 0
    assert torch.equal(inside.all(1), regions.layers > 0)
    assert int(inside.sum()) == len(regions.cells.flat)


def lines(n, gen):
    """n lines at distance at most 1 from the origin, and a window that holds all their crossings."""
    angle = math.pi * (torch.arange(n) + 0.3 * torch.rand(n, generator=gen)) / n
    normal = torch.stack([angle.cos(), angle.sin()], 1).double()
    offset = 2 * torch.rand(n, generator=gen).double() - 1
    i, j = torch.triu_indices(n, n, 1)
    points = torch.linalg.solve(
        torch.stack([normal[i], normal[j]], 1), torch.stack([offset[i], offset[j]], 1)
    )
    reach = 1.1 * float(points.abs().max())
    return linear(normal, -offset), (-reach, reach, -reach, reach)


@pytest.mark.parametrize(("n", "count"), [(3, 7), (10, 56), (30, 466), (100, 5051)])
def test_arrangements_of_lines(gen, n, count):
    layer, window = lines(n, gen)
    regions = in_own_plane(nn.Sequential(layer, nn.ReLU()), window)
    assert regions.count == count == 1 + n + math.comb(n, 2)
    assert len(regions.vertices) == math.comb(n, 2) + 2 * n + 4
    assert_whole(regions, window)


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5])
def test_folds_of_both_coordinates_give_a_grid(depth):
    """Equal and opposite neurons draw one line, and a layer's zeros lie on what earlier layers have drawn."""
    regions = in_own_plane(folds(depth))
    assert regions.count == 4**depth
    torch.testing.assert_close(
        regions.areas, torch.full((4**depth,), 4 / 4**depth).double(), rtol=1e-12, atol=0
    )


def test_parallel_folds_against_successive_folds():
    """n neurons beside one another cut the plane into n(n + 1)/2 + 1, n folds one after the other into 2ⁿ."""
    n = 6
    angles = math.pi * torch.arange(n).double() / n
    normals = torch.stack([angles.cos(), angles.sin()], 1)
    beside = nn.Sequential(linear(normals, -0.1 * torch.arange(n).double()), nn.ReLU())
    assert in_own_plane(beside, (-9, 9, -9, 9)).count == n * (n + 1) // 2 + 1
    modules = []
    for k in range(n):  # the first coordinate folds at 0 and is moved so that the next fold halves every cell
        modules += [linear([[1.0, 0], [-1, 0], [0, 1]], [0, 0, 100.0]), nn.ReLU()]
        modules += [linear([[1.0, 1, 0], [0, 0, 1]], [-(2.0 ** -(k + 1)), -100.0])]
    assert in_own_plane(nn.Sequential(*modules)).count == 2**n


NETWORKS = {
    "wide": lambda: random_network(2, 12, 1, seed=1),
    "deep": lambda: random_network(2, 6, 6, 6, 6, 2, seed=2),
    "leaky": lambda: random_network(2, 7, 7, 3, seed=3, activation=nn.LeakyReLU(0.2)),
    "hard tanh": lambda: random_network(2, 6, 5, 1, seed=4, activation=nn.Hardtanh()),
    "relu6": lambda: random_network(2, 6, 5, 1, seed=4, activation=nn.ReLU6()),
    "ends in a kink": lambda: nn.Sequential(*random_network(2, 6, 6, seed=5), nn.ReLU()),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_cells_equal_polygons_split_one_by_one(name):
    net, window = NETWORKS[name](), (-2, 3, -2.5, 2)
    regions = in_own_plane(net, window)
    assert_whole(regions, window)
    slow = polygons(net, lambda u: u, window)
    assert regions.count == len(slow)
    want = torch.tensor(sorted(area(cell) for cell in slow), dtype=torch.float64)
    # Corners of size 3 with a few roundings each; the smallest cells cancel to an absolute error.
    torch.testing.assert_close(regions.areas.sort().values, want, rtol=1e-9, atol=1e-13)


def convolutional(gen):
    net = nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1),
        nn.BatchNorm2d(2),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(8, 5)),
        nn.BatchNorm1d(5),
        nn.PReLU(5),
        nn.Linear(5, 3),
    )
    for p in net.parameters():
        p.data.copy_(torch.randn(p.shape, generator=gen))
    net(torch.randn(20, 1, 4, 4, generator=gen))  # running statistics
    return net.eval()


def test_cells_of_a_convolutional_network(gen):
    net = convolutional(gen)
    origin, basis = random_plane((1, 4, 4), gen)
    regions = linear_regions_in_plane(net, origin, basis, ((-1, 1), (-1, 2)))
    assert_whole(regions, (-1, 1, -1, 2))
    flat = nn.Sequential(*(m for part in net for m in (part if isinstance(part, nn.Sequential) else [part])))
    flat[8] = nn.LeakyReLU()  # the oracle knows its kink, and evaluates only what is before it
    assert regions.count == len(polygons(flat, regions.lift, (-1, 1, -1, 2)))


@pytest.mark.parametrize("seed", range(3))
def test_a_side_of_the_window_is_the_line(seed):
    net = random_network(5, 20, 20, 20, 4, seed=seed)
    origin, basis = random_plane((5,), torch.Generator().manual_seed(seed))
    regions = linear_regions_in_plane(net, origin, basis, (0, 1, 0, 2))
    line = linear_regions_on_line(net, origin, origin + basis[0])
    bottom = (regions.layers == 0) & (regions.vertices[regions.edges][..., 1] == 0).all(1)
    assert int(bottom.sum()) == line.count
    ends = regions.vertices[regions.edges[bottom]][:, 1, 0].sort().values[:-1]
    # basis[0] goes through float32 when it is added to the origin.
    torch.testing.assert_close(ends, line.breakpoints, rtol=0, atol=1e-5)


def test_patterns_are_unique_and_maps_are_the_network(gen):
    net = random_network(6, 16, 16, 16, 3, seed=7)
    origin, basis = random_plane((6,), gen)
    regions = linear_regions_in_plane(net, origin, basis, (-2, 2, -2, 2))
    assert len(regions.patterns().unique(dim=0)) == regions.count > 300
    matrix, offset = regions.affine_maps()
    some = torch.randperm(regions.count, generator=gen)[:50]
    torch.testing.assert_close(regions.affine_maps(some), (matrix[some], offset[some]))
    cell = torch.arange(regions.count).repeat_interleave(regions.cells.starts.diff())
    # A random point of each cell: random weights of its corners.
    weight = torch.rand(len(cell), generator=gen).double()
    total = torch.zeros(regions.count).double().index_add(0, cell, weight)
    corner = (weight / total[cell])[:, None] * regions.vertices[regions.cells.flat]
    points = torch.zeros(regions.count, 2).double().index_add(0, cell, corner)
    want = net.double()(regions.lift(points))
    torch.testing.assert_close((matrix @ points[..., None])[..., 0] + offset, want, rtol=0, atol=1e-12)
    torch.testing.assert_close(regions.outputs(points), want, rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("shift", [0.0, 0.25])
def test_no_bias(seed, shift):
    """Every layer's lines meet at one point, inside the window and not."""
    gen = torch.Generator().manual_seed(seed)
    one = nn.Sequential(linear(torch.randn(9, 2, generator=gen)), nn.ReLU())
    window = (-1 + shift, 1, -1, 1)
    assert in_own_plane(one).count == 18
    deep = nn.Sequential(*one, linear(torch.randn(8, 9, generator=gen)), nn.ReLU())
    deep = nn.Sequential(*deep, linear(torch.randn(8, 8, generator=gen)), nn.ReLU())
    regions = in_own_plane(deep, window)
    assert_whole(regions, window)
    assert regions.count == len(polygons(deep, lambda u: u, window))


def test_degenerate_lines(gen):
    """Each row: layers, window, cells."""
    relu, cross = nn.ReLU(), linear([[1.0, 0], [0, 1]])
    diagonals = linear([[1.0, 1], [1, -1]])
    weight = torch.randn(5, 2, generator=gen).double()
    twice = linear(
        torch.cat([weight, weight, -2 * weight]), torch.cat([weight[:, 0], weight[:, 0], -2 * weight[:, 0]])
    )
    once = linear(weight, weight[:, 0])
    rows = [
        ([nn.Identity()], SQUARE, 1),
        ([cross], SQUARE, 1),
        ([cross, relu], (0, 1, 0, 1), 1),  # lines along the window's sides
        ([cross, relu], (0, 1, -1, 1), 2),
        ([diagonals, relu], SQUARE, 4),  # lines through the window's corners
        ([linear([[1.0, 1], [1, 1 + 1e-3]]), relu], (0, 1, 0, 1), 1),  # lines that touch a corner
        ([cross, relu, linear([[1.0, 0]], [0.0]), relu], SQUARE, 4),  # a zero on whole cells
        ([cross, relu, linear([[1.0, 1]], [0.0]), relu], SQUARE, 4),  # zero on a cell, positive beside it
        ([cross, relu, linear([[1.0, -1]], [0.0]), relu], SQUARE, 5),  # its line ends where the cell is dead
        ([linear([[0.0, 0]], [-1.0]), relu, linear([[1.0]]), relu], SQUARE, 1),  # dead from the start
        ([linear([[0.0, 0]], [0.0]), relu], SQUARE, 1),
        ([linear([[1.0, 0], [0, 1], [1, 1], [1, 2], [-3, 1]]), relu], SQUARE, 10),
        ([linear([[1.0, 0], [0, 1], [1, 1]], [-0.1, -0.3, -0.4]), relu], SQUARE, 6),  # three lines, one point
        ([nn.Hardtanh(), cross, nn.Hardtanh()], (-2, 2, -2, 2), 9),
    ]
    for layers, window, count in rows:
        assert in_own_plane(nn.Sequential(*layers), window).count == count, layers
    window = (-3, 3, -3, 3)
    doubled, single = (in_own_plane(nn.Sequential(m, relu), window) for m in (twice, once))
    assert doubled.count == single.count
    torch.testing.assert_close(doubled.areas.sort().values, single.areas.sort().values, rtol=1e-12, atol=0)


def test_lines_through_crossings_of_earlier_layers(gen):
    """The third layer's neurons are zero at crossings that the first two have made."""
    for scale in (1e-6, 1.0, 1e6):
        weight = torch.tensor([[1.0, 0], [0, 1], [1, 1], [1, -1]]).double()
        first = linear(weight, scale * torch.tensor([0.0, 0, 0, 0.5]).double())
        second = linear([[1.0, -1, 0, 0], [0, 1, -1, 0], [1, 1, -1, 1]], [0, 0, 0])
        third = linear([[1.0, -1, 0], [0, 1, -1], [1, 0, -1]], [0, 0, 0])
        net = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), third, nn.ReLU())
        window = tuple(scale * side for side in SQUARE)
        regions = in_own_plane(net, window)
        unit = nn.Sequential(linear(weight, [0.0, 0, 0, 0.5]), *net[1:])
        assert regions.count == len(polygons(unit, lambda u: u, SQUARE))
        assert_whole(regions, window)


def test_float32_networks_and_planes_give_float64_cells(gen):
    net = random_network(3, 8, 8, 1, seed=9)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    regions = linear_regions_in_plane(net, *random_plane((3,), gen), SQUARE)
    assert regions.vertices.dtype == regions.areas.dtype == torch.float64
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    again = linear_regions_in_plane(net, *random_plane((3,), torch.Generator().manual_seed(0)), SQUARE)
    assert torch.equal(regions.vertices, again.vertices)


def test_spectral_norm_is_read_as_its_weight(gen):
    net = random_network(2, 6, 1, seed=3)
    torch.nn.utils.parametrizations.spectral_norm(net[0])
    net.eval()
    plain = nn.Sequential(linear(net[0].weight.detach(), net[0].bias.detach()), nn.ReLU(), net[2].double())
    assert in_own_plane(net, (-3, 3, -3, 3)).count == in_own_plane(plain, (-3, 3, -3, 3)).count


def test_many_cells_obey_euler_and_the_count_of_hanin_and_rolnick(gen):
    """A window of a 784-D input space, three layers of 64: 0.73 to 0.81 of N²/2 was measured at He's scale."""
    net = random_network(784, 64, 64, 64, 10, seed=1)
    basis = torch.linalg.qr(torch.randn(784, 2, generator=gen))[0].T.contiguous()
    regions = linear_regions_in_plane(net, torch.zeros(784), basis, (-60, 60, -60, 60))
    assert_whole(regions, (-60, 60, -60, 60))
    assert 0.6 < regions.count / (192**2 / 2) < 1.1


def test_cells_are_a_sequence():
    cells = in_own_plane(folds(1)).cells
    assert len(cells) == len(list(cells)) == 4
    assert torch.equal(cells[-1], cells[3])
    assert [len(c) for c in cells[1:3]] == [4, 4]
    assert repr(cells) == "Cells(4)"
    with pytest.raises(IndexError, match="cell 4 of 4"):
        cells[4]


NET = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((lambda x: x, ORIGIN, EYE, SQUARE), TypeError, "net must be a torch.nn.Module, got function"),
        (
            (nn.Sequential(nn.Linear(2, 2), nn.Tanh()), ORIGIN, EYE, SQUARE),
            ValueError,
            "got Tanh; served are Linear",
        ),
        ((nn.Sequential(nn.BatchNorm1d(2)), ORIGIN, EYE, SQUARE), ValueError, r"call net.eval\(\)"),
        ((nn.Sequential(nn.Dropout(), NET), ORIGIN, EYE, SQUARE), ValueError, "Dropout in training"),
        (
            (nn.BatchNorm1d(2, track_running_stats=False).eval(), ORIGIN, EYE, SQUARE),
            ValueError,
            "running stat",
        ),
        ((NET, np.zeros(2), EYE, SQUARE), TypeError, "origin must be a torch.Tensor"),
        ((NET, torch.zeros(3), EYE, SQUARE), ValueError, "origin must have the shape of one input of net"),
        ((NET, torch.tensor(0.0), EYE, SQUARE), ValueError, "origin must have the shape of one input"),
        ((NET, torch.tensor([0, torch.nan]), EYE, SQUARE), ValueError, "origin must be finite"),
        (
            (NET, ORIGIN, torch.eye(3)[:, :2], SQUARE),
            ValueError,
            r"basis must hold two directions .* as basis.T",
        ),
        ((NET, ORIGIN, torch.ones(2, 2), SQUARE), ValueError, "basis must hold two independent"),
        ((NET, ORIGIN, EYE, (0, 1)), ValueError, "window must be four finite numbers"),
        ((NET, ORIGIN, EYE, (0, math.inf, 0, 1)), ValueError, "window must be four finite numbers"),
        ((NET, ORIGIN, EYE, (0, 1, 2, 2)), ValueError, "window must have left < right"),
    ],
)
def test_refusals(arguments, error, message):
    with pytest.raises(error, match=message):
        linear_regions_in_plane(*arguments)
