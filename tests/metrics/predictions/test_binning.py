import pytest
import torch

from metrics.predictions.binning import (
    bin_forecasts,
    bin_index,
    binomial_stderr,
    equal_mass_edges,
    equal_width_edges,
)


@pytest.mark.parametrize("bins", [1, 2, 7, 10, 15, 100])
def test_a_forecast_at_an_edge_belongs_to_the_bin_below(dtype, bins):
    """Also where b/B is no binary fraction: 3/10 in float32 is above 0.3, yet it is the third bin's end."""
    at = torch.tensor([[b / bins] for b in range(bins + 1)], dtype=dtype)
    want = [0, *range(bins)]
    assert bin_index(at, equal_width_edges(at, bins))[:, 0].tolist() == want
    above = torch.nextafter(at, torch.tensor(2.0, dtype=dtype))[:-1]
    assert bin_index(above, equal_width_edges(at, bins))[:, 0].tolist() == list(range(bins))


def test_forecasts_a_rounding_above_one_stay_in_the_last_bin():
    over = torch.tensor([[1 + 1e-6]])
    assert bin_index(over, equal_width_edges(over, 5)).item() == 4


@pytest.mark.parametrize("adaptive", [False, True])
def test_sums_are_those_of_a_loop(gen, adaptive):
    p = torch.rand(60, 3, dtype=torch.float64, generator=gen)
    h = (torch.rand(60, 3, generator=gen) < 0.4).double()
    table = bin_forecasts(p, h, bins=6, adaptive=adaptive)
    for k in range(3):
        for b in range(6):
            lo, hi = table.edges[b, k], table.edges[b + 1, k]
            held = [i for i in range(60) if lo < p[i, k] <= hi]
            assert table.count[b, k] == len(held)
            assert all(table.index[i, k] == b for i in held)
            if held:
                torch.testing.assert_close(table.forecast[b, k], p[held, k].mean())
                torch.testing.assert_close(table.frequency[b, k], h[held, k].mean())
            else:
                assert table.forecast[b, k] == table.frequency[b, k] == 0


@pytest.mark.parametrize(("n", "bins"), [(60, 6), (61, 7), (5, 9)])
def test_equal_mass_is_equal_to_one(gen, n, bins):
    p = torch.rand(n, 2, generator=gen)
    count = bin_forecasts(p, torch.zeros_like(p), bins=bins, adaptive=True).count
    assert count.sum(0).tolist() == [n, n]
    assert (count.max(0).values - count.min(0).values).max() <= 1


def test_equal_forecasts_share_a_bin_in_any_order(gen):
    p = torch.tensor([1.0] * 50 + [0.3, 0.4, 0.5])[:, None]
    h = (torch.rand(53, 1, generator=gen) < 0.5).double()
    table = bin_forecasts(p, h, bins=10, adaptive=True)
    assert len(table.index[:50].unique()) == 1
    order = torch.randperm(53, generator=gen)
    other = bin_forecasts(p[order], h[order], bins=10, adaptive=True)
    assert torch.equal(table.frequency, other.frequency)
    assert torch.equal(equal_mass_edges(p, 10), equal_mass_edges(p[order], 10))


def test_binomial_error_is_the_scatter_of_a_share(gen):
    """The variance of a share of 100 at q = 0.3 is 0.0021; p̃ sits within 4 % of it, the rest is Monte Carlo."""
    share = torch.bernoulli(torch.full((4000, 100), 0.3, dtype=torch.float64), generator=gen).mean(1)
    claimed = binomial_stderr(share * 100, torch.full_like(share, 100)).square().mean()
    # A variance from 4000 draws is known to √(2/4000) = 2.2 %.
    assert claimed / share.var() == pytest.approx(1, abs=4 * 0.022 + 0.04)
    assert binomial_stderr(torch.zeros(1), torch.ones(1)) > 0.2
