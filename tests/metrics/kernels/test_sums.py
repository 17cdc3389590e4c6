"""Sums by tiles against whole matrices, wherever the cuts fall."""

import pytest
import torch

from metrics.distances import distances, product_distances
from metrics.kernels import sums
from metrics.kernels.kernel import Gaussian, NegativeDistance, Polynomial, octaves
from metrics.kernels.mmd import mmd2, mmd2_variance
from metrics.kernels.sums import KernelSums
from metrics.kernels.sweep import _tiles, sweep


@pytest.fixture(params=[1, 5, 512])
def _tile(request, monkeypatch):
    monkeypatch.setattr(sums, "TILE", request.param)


@pytest.mark.usefixtures("_tile")
@pytest.mark.parametrize(
    "kernel", [octaves(2.0), NegativeDistance(), Polynomial()], ids=["gaussian", "distance", "polynomial"]
)
@pytest.mark.parametrize("d", [3, 20])
def test_of_tiles_are_those_of_matrices(gen, kernel, d):
    x, y = (torch.randn(n, d, dtype=torch.float64, generator=gen) for n in (17, 13))
    found = sweep(x, y, [kernel]).sums[0]
    whole = KernelSums.of_grams(*(kernel(a, b) for a, b in ((x, x), (x, y), (y, y))))
    torch.testing.assert_close(found.value(), mmd2(x, y, kernel=kernel), rtol=1e-10, atol=0)
    for got, want in zip(found.variance_by_order(), whole.variance_by_order(), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-8, atol=1e-14)
    variance = mmd2_variance(x, y, kernel=kernel)
    torch.testing.assert_close(sum(found.variance_by_order()), variance, rtol=1e-8, atol=1e-14)


@pytest.mark.usefixtures("_tile")
def test_one_pass_gives_what_each_kernel_gives_alone(gen):
    """And the blocks of labels are those of the whole matrix."""
    x, y = (torch.randn(n, 20, generator=gen) for n in (17, 13))
    kernels = [octaves(2.0), Polynomial(), NegativeDistance()]
    labels = torch.stack([torch.arange(30) < 17, torch.arange(30) >= 13]).double()
    found = sweep(x, y, kernels, permuted=kernels[1:], labels=labels)
    for kernel, got in zip(kernels, found.sums, strict=True):
        torch.testing.assert_close(got.value(), sweep(x, y, [kernel]).sums[0].value())
    z = torch.cat([x, y]).double()
    for kernel, blocks in zip(kernels[1:], found.blocks, strict=True):
        gram = kernel(z, z).fill_diagonal_(0)
        for k, a in enumerate(labels > 0):
            torch.testing.assert_close(blocks.xx[k], gram[a][:, a].sum())
            torch.testing.assert_close(blocks.xy[k], gram[a][:, ~a].sum())
            torch.testing.assert_close(blocks.yy[k], gram[~a][:, ~a].sum())


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("trials", [200, pytest.param(600, marks=pytest.mark.slow)])
def test_variance_is_the_spread_of_the_statistic(trials):
    """A variance of 600 fresh pairs (200) has a relative error of √(2/600) = 6 % (10), heavier tails some more."""
    values, told = [], []
    for seed in range(trials):
        random = torch.Generator().manual_seed(seed)
        x, y = torch.randn(2, 20, 2, dtype=torch.float64, generator=random).unbind()
        found = sweep(x + 0.5, 1.5 * y, [Gaussian(1.0)]).sums[0]
        values.append(found.value())
        told.append(sum(found.variance_by_order()))
    assert float(torch.stack(told).mean() / torch.stack(values).var()) == pytest.approx(
        1, abs=4.3 * (2 / trials) ** 0.5
    )


@pytest.mark.usefixtures("_tile")
def test_tiles_cover_every_unordered_pair_once(gen):
    z = torch.randn(18, 2, dtype=torch.float64, generator=gen)
    seen = torch.zeros(18, 18)
    for rows, columns, a, b in _tiles(z[:11], z[11:]):
        assert torch.equal(a.points, z[rows])
        assert torch.equal(b.points, z[columns])
        assert (rows.start < 11) == (rows.stop <= 11)
        seen[rows, columns] += 1
    assert bool((seen + seen.T - (seen * seen.T) >= 1).all())
    assert seen.max() == 1


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_distances_by_a_product_keep_ten_digits(gen, offset):
    x = torch.randn(60, 40, dtype=torch.float64, generator=gen)
    y = torch.cat(
        [x[:20], x[20:40] + 1e-6 * torch.randn(20, 40, dtype=torch.float64, generator=gen), -x[40:]]
    )
    want = distances(x + offset, y + offset)
    got = product_distances(x + offset, y + offset)
    torch.testing.assert_close(got, want, rtol=1e-10, atol=0)
    assert bool((got.diagonal()[:20] == 0).all())
    torch.testing.assert_close(product_distances(x[:1].expand(30, 40), y), want_of(x[:1], y).expand(30, -1))


def want_of(x, y):
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")


@pytest.mark.usefixtures("_tile")
def test_tiles_of_one_cloud_are_seen_from_its_own_middle(gen):
    """From the middle of two clouds far apart all distances within one would be close, and computed one by one."""
    x, y = torch.randn(11, 20, generator=gen) + 1e4, torch.randn(7, 20, generator=gen)
    for rows, columns, a, b in _tiles(x, y):
        far = 20 * (5e3**2) if (rows.start < 11) != (columns.start < 11) else 0.0
        assert float(a.sizes.max()) < 1.5 * far + 200
        for tile in (a, b):
            torch.testing.assert_close(tile.sizes, tile.centred.square().sum(1), rtol=1e-12, atol=0)
        apart = (a.points.double()[:, None] - b.points.double()).square().sum(2)
        torch.testing.assert_close(
            (a.centred[:, None] - b.centred).square().sum(2), apart, rtol=1e-9, atol=1e-9
        )
