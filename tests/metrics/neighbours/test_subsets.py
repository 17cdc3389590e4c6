"""Neighbour measures of many subsets at once: each number is the plain function's of the subset."""

import pytest
import torch

import metrics
from metrics.distances import distances
from metrics.neighbours import subsets
from metrics.neighbours.radii import pairs_within, within_radii
from metrics.neighbours.subsets import accuracy_of_subsets, radii_of_subsets, scores_of_subsets


def clouds(gen, n=60, m=50, d=3):
    x = torch.randn(n, d, dtype=torch.float64, generator=gen)
    return x + 0.4, torch.randn(m, d, dtype=torch.float64, generator=gen)


def lattice(gen):
    """Many equal distances and copies."""
    x = torch.randint(4, (60, 2), generator=gen).double()
    return x, torch.randint(4, (50, 2), generator=gen).double()


def halves(gen, n, count=6):
    alive = torch.rand(count, n, generator=gen) < 0.5
    alive[0] = True
    return alive


def narrow(gen):
    """Most of y within every ball of x, none of x within those of y."""
    x, y = clouds(gen)
    return x - 0.4, 0.02 * y


def wide(gen):
    """And the other way round."""
    x, y = clouds(gen)
    return 0.02 * x, y


@pytest.fixture(params=["enough", "too few", "small blocks"])
def _searches(request, monkeypatch):
    if request.param == "too few":
        monkeypatch.setattr(subsets, "_enough", lambda k: k)
    if request.param == "small blocks":
        monkeypatch.setattr(subsets, "ENTRIES", 50)
        monkeypatch.setattr(subsets, "PAIRS", 7)
        monkeypatch.setattr("metrics.neighbours.screening.BLOCK", 128)


@pytest.mark.usefixtures("_searches")
@pytest.mark.parametrize("make", [clouds, lattice, narrow, wide])
@pytest.mark.parametrize("k", [1, 5])
def test_each_subset_has_the_scores_of_the_plain_functions(gen, make, k):
    x, y = make(gen)
    in_x, in_y = halves(gen, len(x)), halves(gen, len(y))
    scores, accuracies = scores_of_subsets(x, y, in_x, in_y, k), accuracy_of_subsets(x, y, in_x, in_y)
    for i, j, found, accuracy in zip(in_x, in_y, scores, accuracies, strict=True):
        plain = metrics.precision_recall_density_coverage(real=x[i], fake=y[j], k=k)
        want = torch.stack([plain.precision, plain.recall, plain.density, plain.coverage])
        torch.testing.assert_close(found, want, rtol=1e-14, atol=0)
        torch.testing.assert_close(
            accuracy, metrics.nearest_neighbour_accuracy(x[i], y[j]), rtol=1e-14, atol=0
        )


@pytest.mark.usefixtures("_searches")
def test_radii_are_distances_within_the_subset(gen):
    x, _ = clouds(gen)
    alive = halves(gen, len(x))
    for row, radii in zip(alive, radii_of_subsets(x, alive, 3), strict=True):
        want = distances(x[row], x[row]).sort(1).values[:, 3]
        torch.testing.assert_close(radii[row], want, rtol=0, atol=0)
        assert bool((radii[~row] == -1).all())


def test_pairs_within_misses_none(gen):
    x, y = clouds(gen)
    radius_x, radius_y = torch.rand(60, generator=gen).double(), torch.rand(50, generator=gen).double()
    d = torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")
    seen = torch.zeros_like(d, dtype=torch.bool)
    ranges = {"radii_x": (0 * radius_x, radius_x), "radii_y": (0 * radius_y, radius_y)}
    for at, sure_x, sure_y, rows, columns, square, error in pairs_within(x, y, **ranges):
        assert sure_x is sure_y is None
        seen[rows + at.start, columns] = True
        exact = d[rows + at.start, columns]
        assert bool(((square - exact.square()).abs() <= error).all())
        # A radius that is the distance itself is decided by the exact one.
        pairs = rows + at.start, columns
        below = exact.nextafter(torch.zeros_like(exact))
        radii = torch.stack([exact, below, 2 * exact, torch.full_like(exact, -1.0)], 1)
        inside = within_radii(x, y, pairs, square, error, radii)
        assert inside.tolist() == [[True, False, True, False]] * len(exact)
    wanted = (d <= radius_x[:, None]) | (d <= radius_y)
    assert wanted.any()
    assert not bool((wanted & ~seen).any())
    assert seen.sum() < wanted.sum() + 5
