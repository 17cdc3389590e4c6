"""The delete-half jackknife: exact for means whatever the splits, right where deleting few points is not."""

import math

import pytest
import torch

from metrics.evaluation.jackknife import degrees_of_freedom, jackknife
from metrics.evaluation.pair import Pair
from metrics.evaluation.standard import standard_measures


def gap(pair):
    return pair.x.mean(0) - pair.y.mean(0)


@pytest.mark.parametrize(("n", "m"), [(200, 200), (80, 300), (101, 61)])
def test_of_a_difference_of_means_is_the_textbook_error(gen, n, m):
    """(θ_A − θ_Aᶜ)²/4 has the mean s_x²/n + s_y²/m over splits, exactly for even sizes and up to 1/n² for odd ones;
    over S = 1000 splits the root has a relative error of 1/√(2S) = 2.2 %."""
    x = torch.randn(n, 1, dtype=torch.float64, generator=gen)
    y = 2 * torch.randn(m, 1, dtype=torch.float64, generator=gen)
    got = jackknife(gap, Pair(x, y), splits=1000, generator=gen)
    exact = (x.var() / n + y.var() / m).sqrt()
    torch.testing.assert_close(got[0], exact, rtol=4 * 0.022, atol=0)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("trials", [25, pytest.param(100, marks=pytest.mark.slow)])
def test_of_a_median_and_of_neighbours_is_the_spread_over_fresh_samples(trials):
    """Where deleting single points fails: a median, 1-NN accuracy, precision, recall, density, coverage.

    Over 100 fresh pairs (25) the spread has a relative error of 7 % (14), the root mean square of as many errors with
    12 splits each 1/√(2·12·100) = 2 % (4); beyond these it may be off by some percent, since the variance of neighbours
    does not fall quite like 1/n."""
    neighbours = [m for m in standard_measures(k=3) if m.with_stderr is None]

    def measure(pair):
        rows = torch.cat([m.compute(pair) for m in neighbours])
        return torch.cat([pair.x.median()[None], rows])

    values, errors = [], []
    for seed in range(trials):
        gen = torch.Generator().manual_seed(seed)
        x, y = torch.randn(2, 100, 2, dtype=torch.float64, generator=gen).unbind()
        pair = Pair(0.7 * x + 0.5, y)
        values.append(measure(pair))
        errors.append(jackknife(measure, pair, splits=12, generator=gen))
    ratio = torch.stack(errors).square().mean(0).sqrt() / torch.stack(values).std(0)
    noise = math.sqrt(100 / trials)
    assert bool(((ratio - 1).abs() < 0.1 + 4 * 0.07 * noise).all()), ratio
    # On average over the six a factor of √2 shows.
    assert 1 - 0.15 * noise < ratio.mean() < 1 + 0.2 * noise, ratio


@pytest.mark.usefixtures("unchecked")
def test_errs_to_the_safe_side_of_a_degenerate_statistic():
    """Of (x̄ − ȳ)² at P = Q, whose variance 2v² falls like 1/n², the error is √2 times too large."""
    values, errors = [], []
    for seed in range(400):
        gen = torch.Generator().manual_seed(seed)
        pair = Pair(*torch.randn(2, 60, 1, dtype=torch.float64, generator=gen).unbind())
        values.append(gap(pair).square())
        errors.append(jackknife(lambda p: gap(p).square(), pair, splits=5, generator=gen))
    ratio = torch.stack(errors).square().mean().sqrt() / torch.stack(values).std()
    # A squared normal has kurtosis 15: its spread over 400 has a relative error of √(14/1600) = 9 %, the error too.
    assert abs(ratio - math.sqrt(2)) < 4 * 0.13, ratio


def test_half_of_a_pair_shares_its_distances(gen, monkeypatch):
    pair = Pair(*torch.randn(2, 40, 3, generator=gen).unbind())
    assert len(pair.xx) == len(pair.xy) == len(pair.yy) == 40
    monkeypatch.setattr("metrics.evaluation.pair.distances", None)  # calling it again would fail
    assert jackknife(lambda p: p.xy.mean()[None] + p.xx.mean() + p.yy.mean(), pair, splits=3) > 0


def test_the_same_generator_gives_the_same_error_and_none_is_seeded(gen):
    pair = Pair(*torch.randn(2, 40, 1, generator=gen).unbind())
    assert torch.equal(jackknife(gap, pair), jackknife(gap, pair))
    other = jackknife(gap, pair, generator=torch.Generator().manual_seed(1))
    assert not torch.equal(jackknife(gap, pair), other)


def test_degrees_of_freedom_grow_with_the_splits_up_to_those_of_the_points():
    """Relative variances of se² add: 2/S over splits, 2/20 over points."""
    assert 2 / degrees_of_freedom(5) == pytest.approx(2 / 5 + 2 / 20)
    assert degrees_of_freedom(10**6) == pytest.approx(20, rel=1e-4)
