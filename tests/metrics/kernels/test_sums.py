"""Sums by tiles against whole matrices, wherever the cuts fall."""

import pytest
import torch

from metrics.distances import distances, product_distances
from metrics.kernels import sums
from metrics.kernels.kernel import Gaussian, NegativeDistance, octaves
from metrics.kernels.mmd import mmd2, mmd2_variance
from metrics.kernels.sums import KernelSums, kernel_sums, tiles_within


@pytest.fixture(params=[1, 5, 512])
def _tile(request, monkeypatch):
    monkeypatch.setattr(sums, "TILE", request.param)


@pytest.mark.usefixtures("_tile")
@pytest.mark.parametrize("kernel", [octaves(2.0), NegativeDistance()], ids=["gaussian", "distance"])
@pytest.mark.parametrize("d", [3, 20])
def test_of_tiles_are_those_of_matrices(gen, kernel, d):
    x, y = (torch.randn(n, d, dtype=torch.float64, generator=gen) for n in (17, 13))
    found = kernel_sums(x, y, kernel)
    whole = KernelSums.of_grams(*(kernel(a, b) for a, b in ((x, x), (x, y), (y, y))))
    torch.testing.assert_close(found.value(), mmd2(x, y, kernel=kernel), rtol=1e-10, atol=0)
    for got, want in zip(found.variance_by_order(), whole.variance_by_order(), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-8, atol=1e-14)
    variance = mmd2_variance(x, y, kernel=kernel)
    torch.testing.assert_close(sum(found.variance_by_order()), variance, rtol=1e-8, atol=1e-14)


def test_variance_is_the_spread_of_the_statistic():
    """600 fresh pairs: a variance has a relative error of √(2/600) = 6 %, heavier tails some more."""
    values, told = [], []
    for seed in range(600):
        random = torch.Generator().manual_seed(seed)
        x, y = torch.randn(2, 20, 2, dtype=torch.float64, generator=random).unbind()
        found = kernel_sums(x + 0.5, 1.5 * y, Gaussian(1.0))
        values.append(found.value())
        told.append(sum(found.variance_by_order()))
    assert float(torch.stack(told).mean() / torch.stack(values).var()) == pytest.approx(1, abs=0.25)


@pytest.mark.usefixtures("_tile")
def test_tiles_cover_every_unordered_pair_once(gen):
    x = torch.randn(11, 2, dtype=torch.float64, generator=gen)
    seen = torch.zeros(11, 11)
    for rows, columns, r in tiles_within(x):
        torch.testing.assert_close(r, distances(x[rows], x[columns]))
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
