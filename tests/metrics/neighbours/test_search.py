import pytest
import torch

from metrics.distances import distances
from metrics.neighbours import screening, search
from metrics.neighbours.radii import ball_blocks
from metrics.neighbours.screening import screened
from metrics.neighbours.search import kth_neighbour, near_pairs, nearest_pairs

SCENES = {
    "one law": lambda x, y: (x, y),
    "an offset": lambda x, y: (x + 1e6, y + 1e6),
    "clouds apart": lambda x, y: (x, y + 1e7),
    "an outlier": lambda x, y: (x, torch.cat([y, 1e9 * y[:1]])),
    "an outlier that looks": lambda x, y: (torch.cat([1e25 * x[:1], x]), y),
    "copies": lambda x, y: (torch.cat([x, x[:40]]), torch.cat([x[:30], y, y[:20]])),
    "all the same": lambda x, y: (x[:1].repeat(len(x), 1), x[:1].repeat(len(y), 1)),
    "knots": lambda x, y: (
        1e9 * x[:3].repeat(len(x) // 3, 1) + x[: len(x) // 3 * 3],
        1e9 * x[:3].repeat(40, 1) + y[:120],
    ),
    "a lattice": lambda x, y: (x.round(), y.round()),
    "tiny": lambda x, y: (2.0**-400 * x, 2.0**-400 * y),
    "huge": lambda x, y: (2.0**400 * x, 2.0**400 * y),
}
"""Clouds on which a product of the coordinates alone would mistake neighbours, most of them."""


def clouds(gen, scene, d, n=150, m=170):
    draw = {"dtype": torch.float64, "generator": gen}
    return SCENES[scene](torch.randn(n, d, **draw), torch.randn(m, d, **draw))


@pytest.fixture(params=[(2**20, 256), (1000, 32)], ids=["one block", "many"])
def _sizes(request, monkeypatch):
    monkeypatch.setattr(screening, "BLOCK", request.param[0])
    monkeypatch.setattr(search, "GROUPS", request.param[1])


@pytest.mark.usefixtures("_sizes")
@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize(("d", "k"), [(1, 1), (3, 5), (64, 2)])
def test_neighbours_are_those_of_all_differences_to_the_bit(gen, scene, d, k):
    x, y = clouds(gen, scene, d)
    for a, b in ((x, y), (x, x)):
        gap = distances(a, b)
        value, index = kth_neighbour(a, b, k)
        assert torch.equal(value, gap.sort(1).values[:, k - 1])
        assert torch.equal(gap.gather(1, index[:, None])[:, 0], value)


@pytest.mark.usefixtures("_sizes")
@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("d", [1, 3, 64])
def test_balls_are_those_of_all_differences_to_the_bit(gen, scene, d):
    """Radii that are distances of the pairs themselves: closed balls have to hold the points on their spheres."""
    x, y = clouds(gen, scene, d)
    gap = distances(x, y)
    radius_x, radius_y = gap.sort(1).values[:, 7], gap.sort(0).values[4]
    around_x, around_y = map(
        torch.cat, zip(*ball_blocks(x, y, radius_x=radius_x, radius_y=radius_y), strict=True)
    )
    assert torch.equal(around_x, gap <= radius_x[:, None])
    assert torch.equal(around_y, gap <= radius_y)


@pytest.mark.parametrize("scene", SCENES)
def test_near_pairs_leave_out_no_tie(gen, scene):
    x, y = clouds(gen, scene, 3)
    gap, k = distances(x, y), 4
    found = torch.full_like(gap, torch.inf)
    for start, _, rows, columns, distance in near_pairs(x, y, k):
        assert (rows.diff() >= 0).all()
        found[start + rows, columns] = distance
    near = gap <= gap.sort(1).values[:, k - 1 : k]
    assert torch.equal(found[near], gap[near])
    assert torch.equal(found[found < torch.inf], gap[found < torch.inf])


@pytest.mark.usefixtures("_sizes")
@pytest.mark.parametrize("scene", SCENES)
def test_nearest_pairs_are_all_of_the_nearest(gen, scene):
    x, y = clouds(gen, scene, 2)
    gap = distances(x, y)
    assert torch.equal(
        torch.stack(nearest_pairs(x, y), 1), (gap == gap.min(1, keepdim=True).values).nonzero()
    )
    gap = distances(x, x).fill_diagonal_(torch.inf)
    assert torch.equal(torch.stack(nearest_pairs(x), 1), (gap == gap.min(1, keepdim=True).values).nonzero())


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("d", [1, 64, 1000])
def test_the_bound_holds(gen, scene, d):
    x, y = clouds(gen, scene, d)
    square = distances(x, y).square()
    for start, product, norm, error in screened(x, y):
        rows = slice(start, start + len(product))
        assert ((product + norm[:, None] - square[rows]).abs() <= error[:, None]).all()


@pytest.mark.parametrize("scene", SCENES)
def test_float32_settles_nothing_wrongly_however_crowded(gen, scene, monkeypatch):
    """Wherever its squares have a value: it may leave many pairs to the difference form, and no wrong one."""
    monkeypatch.setattr(screening, "CROWDED", 2)
    x, y = clouds(gen, scene, 64)
    gap = distances(x, y)
    assert torch.equal(kth_neighbour(x, y, 3)[0], gap.sort(1).values[:, 2])
    radius_x, radius_y = gap.sort(1).values[:, 7], gap.sort(0).values[4]
    around = ball_blocks(x, y, radius_x=radius_x, radius_y=radius_y)
    around_x, around_y = map(torch.cat, zip(*around, strict=True))
    assert torch.equal(around_x, gap <= radius_x[:, None])
    assert torch.equal(around_y, gap <= radius_y)


def test_float32_is_taken_where_it_settles_most(gen):
    """A cloud in 64 columns; not in 16, not where all are within its bound, not where its squares have no value."""

    def chosen(scene, d=64):
        return next(screened(*clouds(gen, scene, d)))[1].dtype

    assert chosen("one law") == chosen("copies") == chosen("a lattice") == torch.float32
    assert chosen("one law", 16) == torch.float64
    for scene in (
        "knots",
        "clouds apart",
        "all the same",
        "an outlier",
        "an outlier that looks",
        "tiny",
        "huge",
    ):
        assert chosen(scene) == torch.float64, scene


def test_few_pairs_are_computed_exactly(gen):
    """k + k²/2g = 5.04 and a hundredth for columns left over; the rest is for the scatter of 2000 rows."""
    x, y = torch.randn(2, 2000, 16, dtype=torch.float64, generator=gen).unbind()
    assert sum(len(rows) for _, _, rows, _, _ in near_pairs(x, y, 5)) / 2000 < 5.1
