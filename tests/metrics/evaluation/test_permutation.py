"""Permutation tests: relabelled statistics against recomputation, uniform p-values under the null, power."""

import itertools

import pytest
import torch

import metrics
from metrics.evaluation.pair import Pair
from metrics.evaluation.permutation import (
    block_sums,
    energy_permuted,
    frechet_permuted,
    mmd2_permuted,
    nearest_neighbour_permuted,
    p_value,
    permuted_labels,
)
from metrics.evaluation.shared import block_sums_of, pooled_kernels
from metrics.kernels.kernel import Gaussian, median_heuristic

ONE_BY_ONE = [energy_permuted, frechet_permuted, nearest_neighbour_permuted]
"""Those whose value under one labelling does not depend on the others."""
STATISTICS = [*ONE_BY_ONE, mmd2_permuted]


def clouds(gen, n=14, m=9, d=2, shift=0.5):
    x = torch.randn(n, d, dtype=torch.float64, generator=gen)
    return x, torch.randn(m, d, dtype=torch.float64, generator=gen) + shift


def recomputed(statistic, x, y):
    if statistic is energy_permuted:
        return metrics.energy_distance(x, y, squared=True)
    if statistic is frechet_permuted:
        return metrics.frechet_distance(x, y)
    n, m = len(x), len(y)
    return (metrics.nearest_neighbour_accuracy(x, y) - (n + m - 2) / (2 * (n + m - 1))).abs()


@pytest.mark.parametrize("copies", [False, True], ids=["continuous", "ties"])
@pytest.mark.parametrize("statistic", ONE_BY_ONE)
def test_a_relabelled_statistic_is_that_of_the_relabelled_clouds(gen, statistic, copies, dtype):
    x, y = (c.to(dtype) for c in clouds(gen))
    if copies:
        x, y = x.round(), y.round()
    labels = permuted_labels(len(x), len(y), 6, gen)
    pooled = torch.cat([x, y]).double()
    got = statistic(Pair(x, y), labels)
    wanted = torch.stack([recomputed(statistic, pooled[a > 0], pooled[a == 0]) for a in labels])
    # The Fréchet distance takes roots of eigenvalues, which halves the digits; distances have those of the type.
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("copies", [False, True], ids=["continuous", "ties"])
def test_mmd2_is_the_largest_score_of_its_kernels(gen, copies, dtype):
    x, y = (c.to(dtype) for c in clouds(gen))
    if copies:
        x, y = x.round(), y.round()
    labels = permuted_labels(len(x), len(y), 30, gen)
    pooled = torch.cat([x, y]).double()
    median = median_heuristic(pooled)
    kernels = [Gaussian(tuple(scale * median for scale in (0.25, 0.5, 1.0, 2.0, 4.0)))]
    kernels += [Gaussian(median / 16), Gaussian(median / 64)]
    t = torch.stack(
        [
            torch.stack([metrics.mmd2(pooled[a > 0], pooled[a == 0], kernel=kernel) for a in labels])
            for kernel in kernels
        ]
    )
    wanted = (t - t.mean(1, keepdim=True)) / t.std(1, correction=0, keepdim=True)
    # Distances have the digits of the type; a score divides them by a spread of a tenth.
    torch.testing.assert_close(mmd2_permuted(Pair(x, y), labels), wanted.amax(0), rtol=1e-4, atol=1e-4)


def test_mmd2_has_no_score_where_all_labellings_are_alike(gen):
    """One place, or all points at one distance: no labels tell the clouds apart, whatever the rounding."""
    labels = permuted_labels(6, 5, 30, gen)
    turned = torch.linalg.qr(torch.randn(11, 11, dtype=torch.float64, generator=gen)).Q
    for points in (torch.full((11, 3), 0.1).double(), turned):
        scores = mmd2_permuted(Pair(points[:6], points[6:]), labels)
        assert scores.tolist() == [0.0] * 31
        assert p_value(scores) == 1


def test_the_width_of_modes_is_seen_by_a_narrow_kernel(gen):
    """A grid of 25 modes 2 apart, of widths .05 and .08: the five octaves around the median alone cannot tell."""
    told, blind = [], []
    for _ in range(10):
        centres = torch.cartesian_prod(*[torch.arange(-4.0, 5, 2)] * 2).double()
        x, y = (
            centres[torch.randint(25, (400,), generator=gen)]
            + width * torch.randn(400, 2, dtype=torch.float64, generator=gen)
            for width in (0.05, 0.08)
        )
        pair, labels = Pair(x, y), permuted_labels(400, 400, 99, gen)
        told.append(p_value(mmd2_permuted(pair, labels)))
        sums = block_sums_of(pair, pooled_kernels(pair)[0], labels)
        blind.append(p_value(sums.xx + sums.yy - 2 * sums.xy))
    assert sum(p <= 0.05 for p in told) >= 7
    assert sum(p <= 0.05 for p in blind) <= 3


def test_the_first_labels_are_the_true_ones_and_the_rest_draw_every_choice_alike(gen):
    labels = permuted_labels(2, 3, 6000, gen)
    assert labels[0].tolist() == [1, 1, 0, 0, 0]
    assert bool((labels.sum(1) == 2).all())
    chosen, counts = labels[1:].unique(dim=0, return_counts=True)
    assert len(chosen) == len(list(itertools.combinations(range(5), 2))) == 10
    # Each of 10 has 600 in expectation, with a deviation of √(6000·0.1·0.9) = 23.
    assert bool(((counts - 600).abs() < 4.5 * 23).all())


def test_block_sums_of_a_matrix_that_is_not_symmetric(gen):
    matrix = torch.randn(7, 7, dtype=torch.float64, generator=gen)
    labels = permuted_labels(3, 4, 5, gen)
    got = block_sums(matrix, labels)
    for k, a in enumerate(labels > 0):
        torch.testing.assert_close(got.xx[k], matrix[a][:, a].sum())
        torch.testing.assert_close(got.xy[k], matrix[a][:, ~a].sum())
        torch.testing.assert_close(got.yy[k], matrix[~a][:, ~a].sum())


def test_a_p_value_counts_the_true_labels_and_ties_as_large():
    assert p_value(torch.tensor([3.0, 1.0, 2.0, 0.0])) == 0.25
    assert p_value(torch.tensor([1.0, 1.0, 2.0, 0.0])) == 0.75
    assert p_value(torch.tensor([1.0, 1.0 - 1e-15, 0.0, 0.0]).double()) == 0.5
    assert p_value(torch.tensor([-1.0, -3.0])) == 0.5


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("trials", [150, pytest.param(600, marks=pytest.mark.slow)])
@pytest.mark.parametrize("statistic", STATISTICS)
def test_p_values_are_uniform_where_the_laws_are_one(statistic, trials):
    """p(B + 1) is uniform on 1 … B + 1 for a continuous statistic and larger with ties: in 600 trials (150) of B = 19
    each P(p ≤ j/20) = j/20 has a standard error of at most 2 % (4). That of 1-NN has many ties: only the bound from
    above."""
    found = []
    for seed in range(trials):
        gen = torch.Generator().manual_seed(seed)
        # Heavy tails, and a scale that a bandwidth has to follow.
        z = torch.randn(36, 2, dtype=torch.float64, generator=gen) ** 3
        labels = permuted_labels(16, 20, 19, gen)
        found.append(p_value(statistic(Pair(z[:16], z[16:]), labels)))
    p = torch.tensor(found, dtype=torch.float64)
    for j in (1, 2, 5, 10, 15, 19):
        level = j / 20
        share, error = (p <= level + 1e-9).double().mean(), (level * (1 - level) / trials) ** 0.5
        assert share < level + 4 * error
        if statistic is not nearest_neighbour_permuted:
            assert share > level - 4 * error


@pytest.mark.parametrize("statistic", STATISTICS)
def test_laws_that_differ_are_told_apart(gen, statistic):
    x, y = clouds(gen, n=100, m=80, shift=1.5)
    assert p_value(statistic(Pair(x, y), permuted_labels(100, 80, 99, gen))) == 0.01


def test_a_copy_is_told_from_an_independent_sample_by_its_neighbours(gen):
    x = torch.randn(60, 2, dtype=torch.float64, generator=gen)
    labels = permuted_labels(60, 60, 99, gen)
    copy = Pair(x, x + 1e-6 * torch.randn(60, 2, dtype=torch.float64, generator=gen))
    assert p_value(nearest_neighbour_permuted(copy, labels)) == 0.01
    assert p_value(energy_permuted(copy, labels)) == 1


def test_wide_covariances_are_left_out(gen):
    x = torch.randn(20, 257, generator=gen)
    assert frechet_permuted(Pair(x, x), permuted_labels(20, 20, 1, gen)) is None


def test_refuses_no_permutations():
    with pytest.raises(ValueError, match="count must be at least 1"):
        permuted_labels(3, 3, 0, torch.Generator())
