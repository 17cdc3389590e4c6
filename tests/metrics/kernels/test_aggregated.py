"""MMDAgg: level, its definition by thresholds, the statistics by brute force, and power where the median has none."""

import math

import pytest
import torch

import metrics
from metrics.evaluation.pair import Pair
from metrics.evaluation.permutation import mmd2_permuted, p_value, permuted_labels
from metrics.kernels import aggregated
from metrics.kernels.aggregated import (
    ProductLaplace,
    _exchanged,
    _permuted,
    _ranks,
    aggregated_mmd_test,
    kernel_collection,
)
from metrics.kernels.kernel import Gaussian, Polynomial


def waves(gen, n, amplitude=0.9, periods=4):
    """n points of [0, 1] with the density 1 + a·sin(2π·periods·t), by rejection."""
    t = torch.rand(20 * n, dtype=torch.float64, generator=gen)
    keep = torch.rand(20 * n, generator=gen) < (1 + amplitude * torch.sin(2 * math.pi * periods * t)) / (
        1 + amplitude
    )
    return t[keep][:n, None]


@pytest.fixture(params=["whole", "blocks"])
def _block(request, monkeypatch):
    if request.param == "blocks":
        monkeypatch.setattr(aggregated, "BLOCK", 50)


@pytest.mark.usefixtures("_block")
def test_statistics_are_those_of_relabelled_clouds(gen):
    kernels = [Gaussian(0.7), ProductLaplace(1.3), Polynomial()]
    x, y = (
        torch.randn(7, 2, dtype=torch.float64, generator=gen),
        torch.randn(5, 2, dtype=torch.float64, generator=gen),
    )
    found = _permuted(x, y, kernels, 4, torch.Generator().manual_seed(1))
    pooled = torch.cat([x, y])
    order = torch.rand(5, 12, generator=torch.Generator().manual_seed(1)).argsort(1)
    order[0] = torch.arange(12)
    for b, row in enumerate(order):
        for k, kernel in enumerate(kernels):
            want = metrics.mmd2(pooled[row < 7], pooled[row >= 7], kernel=kernel)
            torch.testing.assert_close(found[k, b], want, rtol=1e-10, atol=1e-12)


@pytest.mark.usefixtures("_block")
def test_exchanges_leave_pairs_of_one_index_out(gen):
    x, y = torch.randn(2, 6, 2, dtype=torch.float64, generator=gen).unbind()
    kernel = ProductLaplace(0.8)
    found = _exchanged(x, y, [kernel], 3, torch.Generator().manual_seed(1))[0]
    coins = torch.randint(2, (4, 6), generator=torch.Generator().manual_seed(1)).bool()
    coins[0] = True
    for b, heads in enumerate(coins):
        u, v = (torch.where(heads[:, None], one, other) for one, other in ((x, y), (y, x)))
        h = kernel(u, u) + kernel(v, v) - kernel(u, v) - kernel(v, u)
        want = (h.sum() - h.diagonal().sum()) / 30
        torch.testing.assert_close(found[b], want, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("alpha", [0.05, 0.2, 0.5])
def test_p_is_at_most_alpha_where_any_kernel_passes_its_corrected_level(gen, alpha):
    """The definition: u_α the largest u at which at most a share α of the relabellings has a p_k ≤ u·w_k."""
    agreed = set()
    for _ in range(30):
        statistics = torch.randn(3, 40, dtype=torch.float64, generator=gen)
        statistics[:, 0] += 1
        w = torch.tensor([0.5, 0.3, 0.2]).double()
        ratios = (_ranks(statistics) / w[:, None]).amin(0)
        p = float((ratios <= ratios[0]).double().mean())
        grid = ratios.unique()
        passing = [u for u in grid if float((ratios <= u).double().mean()) <= alpha]
        rejects = bool(passing) and bool((_ranks(statistics)[:, 0] <= max(passing) * w).any())
        assert rejects == (p <= alpha)
        agreed.add(rejects)
    assert agreed == {True, False}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("trials", [100, pytest.param(400, marks=pytest.mark.slow)])
@pytest.mark.parametrize("m", [20, 14])
def test_level_under_the_null(m, trials):
    """Pairs of one law: P(p ≤ α) ≤ α, and with 199 relabellings of six kernels not far below it."""
    found = []
    for seed in range(trials):
        gen = torch.Generator().manual_seed(seed)
        x, y = torch.randn(20, 2, generator=gen), torch.randn(m, 2, generator=gen)
        kernels = kernel_collection(x, y, bandwidths=3)
        found.append(aggregated_mmd_test(x, y, kernels=kernels, relabellings=199, generator=gen).p_value)
    p = torch.stack(found)
    for alpha in (0.1, 0.5):
        noise = math.sqrt(alpha * (1 - alpha) / trials)
        share = float((p <= alpha).double().mean())
        assert alpha - 0.05 - 3 * noise < share < alpha + 3 * noise, (alpha, share)


def test_sees_waves_that_the_median_bandwidth_does_not():
    """Of 20 pairs: four waves on the line are far finer than the median distance of ⅓."""
    ours, median = [], []
    for seed in range(20):
        gen = torch.Generator().manual_seed(seed)
        x, y = torch.rand(100, 1, dtype=torch.float64, generator=gen), waves(gen, 100)
        ours.append(aggregated_mmd_test(x, y, relabellings=499, generator=gen).p_value <= 0.05)
        labels = permuted_labels(100, 100, 199, gen)
        single = Gaussian(metrics.median_heuristic(x, y))
        statistics = _permuted(x, y, [single], 199, gen)[0]
        median.append(p_value(statistics) <= 0.05)
        assert mmd2_permuted(Pair(x, y), labels).isfinite().all()
    assert sum(map(int, ours)) >= 14
    assert sum(map(int, ours)) > sum(map(int, median)) + 5


def test_two_bandwidths_are_the_ends_of_the_collection(gen):
    x, y = torch.randn(2, 30, 3, generator=gen).unbind()
    two, ten = kernel_collection(x, y, bandwidths=2), kernel_collection(x, y)
    wanted = [ten[k].bandwidth for k in (0, 9, 10, 19)]
    assert [kernel.bandwidth for kernel in two] == pytest.approx(wanted, rel=1e-12)


def test_nearly_all_weight_on_a_kernel_is_its_test(gen):
    """The other kernel's p-value counts for 1/w of its own: it decides nothing that a rank could tell."""
    x, y = torch.randn(2, 40, 1, generator=gen).unbind()
    kernels = [Gaussian(1.0), Gaussian(0.01)]
    found = aggregated_mmd_test(x, y + 0.4, kernels=kernels, weights=[1.0, 1e-6], relabellings=199)
    assert found.p_value == found.p_values[0] != found.p_values[1]


def test_one_kernel_is_its_permutation_test(gen, dtype):
    x, y = (
        torch.randn(30, 2, dtype=dtype, generator=gen),
        torch.randn(25, 2, dtype=dtype, generator=gen) + 0.5,
    )
    found = aggregated_mmd_test(x, y, kernels=[Gaussian(1.0)], relabellings=99)
    statistics = _permuted(x.double(), y.double(), [Gaussian(1.0)], 99, torch.Generator().manual_seed(0))[0]
    assert float(found.p_value) == pytest.approx(p_value(statistics), rel=1e-6)
    assert found.p_values.dtype == dtype
    assert found.kernel == Gaussian(1.0)


def test_the_collection_is_that_of_the_pooled_points(gen):
    x, y = torch.randn(2, 30, 3, dtype=torch.float64, generator=gen).unbind()
    pooled = torch.cat([x, y])
    kernels = kernel_collection(x, y)
    assert len(kernels) == 20
    for part, p, scale in ((kernels[:10], 1, 1.0), (kernels[10:], 2, math.sqrt(2))):
        bandwidths = torch.tensor([float(k.bandwidth) * scale for k in part]).double()
        r = torch.pdist(pooled, p=p).sort().values
        assert float(bandwidths[-1]) == pytest.approx(2 * float(r[-1]))
        assert float(bandwidths[0]) == pytest.approx(float(r.quantile(0.05)) / 2, rel=0.02)
        torch.testing.assert_close(bandwidths.log().diff(), bandwidths.log().diff()[:1].expand(9))
    apart = [float(k.bandwidth) for k in kernel_collection(*pooled.flip(0).split(30))]
    assert apart == pytest.approx([float(k.bandwidth) for k in kernels])


def test_equal_points_are_never_told_apart():
    found = aggregated_mmd_test(torch.zeros(5, 2), torch.zeros(5, 2), relabellings=19)
    assert float(found.p_value) == 1


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"kernels": []}, ValueError, "kernels must hold at least one"),
        ({"kernels": ["rbf"]}, TypeError, "kernel must be callable"),
        ({"weights": [1.0]}, ValueError, "weights must be 20 positive numbers"),
        ({"kernels": [Gaussian(1.0)], "weights": [0.0]}, ValueError, "weights must be 1 positive numbers"),
        ({"relabellings": 0}, ValueError, "relabellings must be at least 1"),
    ],
)
def test_refusals(given, error, message):
    with pytest.raises(error, match=message):
        aggregated_mmd_test(torch.randn(9, 2), torch.randn(9, 2), **given)
