"""C_T against scipy's Mann–Whitney test, its authors' numbers, and the distribution that it should have."""

import pytest
import torch
from scipy import stats

from metrics.neighbours import data_copying_test
from metrics.neighbours.copying import mann_whitney_z


@pytest.mark.parametrize("ties", [False, True])
def test_z_is_scipys(gen, ties):
    a, b = (torch.randn(n, dtype=torch.float64, generator=gen) for n in (30, 25))
    if ties:
        a, b = a.round(), b.round()
    z = mann_whitney_z(a + 0.3 * (not ties), b)
    told = stats.mannwhitneyu(
        a + 0.3 * (not ties), b, alternative="less", use_continuity=False, method="asymptotic"
    )
    assert stats.norm.cdf(z.item()) == pytest.approx(told.pvalue, rel=1e-9)
    assert mann_whitney_z(torch.ones(3), torch.ones(4)) == 0


def test_is_the_authors_number():
    """casey-meehan/data-copying, C_T of one cell: theirs has a continuity correction of ½, over σ = √(40·40·81/12)."""
    i, j = torch.meshgrid(torch.arange(40.0).double(), torch.arange(5.0).double(), indexing="ij")
    x, y = torch.sin(1 + 3 * i + 7 * j * j), 1.2 * torch.cos(2 * i + 5 * j) + 0.3
    train = torch.sin(2.3 * i * i + j)
    found = data_copying_test(x, train=train, held_out=y, cells=1)
    assert found.statistic.item() + 0.5 / (40 * 40 * 81 / 12) ** 0.5 == pytest.approx(CT, rel=1e-9)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("trials", [75, pytest.param(300, marks=pytest.mark.slow)])
def test_samples_of_the_distribution_have_the_deviation_that_is_told(trials):
    """z = C_T/stderr has mean 0 and variance 1; with errors of .058 and .08 in 300 trials, twice these in 75."""
    z, p = [], []
    for seed in range(trials):
        random = torch.Generator().manual_seed(seed)
        x, train, held = (torch.randn(n, 2, generator=random) for n in (150, 100, 120))
        found = data_copying_test(x, train=train, held_out=held, generator=random)
        z.append(found.statistic / found.stderr)
        p.append(found.p_value)
        assert found.weights.sum().item() == pytest.approx(1, abs=1e-6)
    z = torch.stack(z)
    assert abs(z.mean()) < 4 / trials**0.5
    assert abs(z.var() - 1) < 4 * (2 / trials) ** 0.5
    assert abs(torch.stack(p).mean() - 0.5) < 4 / (12 * trials) ** 0.5


def test_copying_in_one_cell_is_not_hidden_by_another(gen):
    """Copies on the left, points far from the data on the right: opposite signs, cell by cell."""
    train, held = torch.randn(2, 200, 2, dtype=torch.float64, generator=gen).unbind()
    side = torch.where(torch.arange(200) < 100, -50.0, 50.0)
    train[:, 0] += side
    held[:, 0] += side
    samples = torch.cat([train[:100] + 1e-3, held[100:] + torch.tensor([0.0, 8.0])])
    found = data_copying_test(samples, train=train, held_out=held, cells=2)
    assert sorted(found.cells.sign().tolist()) == [-1, 1]
    assert found.cells.abs().min() > 8


def test_refusals():
    x = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="cells must be below 51"):
        data_copying_test(x, train=x, held_out=x, cells=51)
    with pytest.raises(ValueError, match="samples must number at least 20 in some cell, got 9 in 1 cells"):
        data_copying_test(x[:9], train=x, held_out=x, cells=1)
    apart = torch.cat([x[:25], x[25:] + 100])
    with pytest.raises(ValueError, match=r"held_out must have points in every cell .* lower cells"):
        data_copying_test(apart, train=apart, held_out=x[:25], cells=2)
    found = data_copying_test(apart, train=apart, held_out=x[:25], cells=1)
    assert found.statistic.isfinite()


CT = 4.219468217327515
