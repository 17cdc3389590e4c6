"""FD∞ against a least-squares line by numpy and the bias that is left in closed form."""

import numpy as np
import pytest
import torch

import metrics
from metrics.evaluation.influence import frechet_influence
from metrics.evaluation.pair import Pair
from metrics.evaluation.published import published_measures
from metrics.gaussians import factors, frechet_distance_infinity


def test_is_the_intercept_of_the_line_through_distances_of_subsets(gen, dtype):
    x, y = torch.randn(2, 120, 3, dtype=dtype, generator=gen).unbind()
    found = frechet_distance_infinity(x + 1, y, points=6, least=20)
    assert found.sizes.tolist() == [20, 40, 60, 80, 100, 120]
    assert found.value.dtype == dtype
    slope, value = np.polyfit(1 / found.sizes.numpy(), found.values.double().numpy(), 1)
    assert found.value.item() == pytest.approx(value, rel=1e-4)
    assert found.slope.item() == pytest.approx(slope, rel=1e-4)
    assert float(found.weights @ found.values) == pytest.approx(value, rel=1e-4)
    # The last subset is all of x.
    assert found.values[-1].item() == pytest.approx(metrics.frechet_distance(x + 1, y).item(), rel=1e-5)


def test_leaves_the_bias_of_the_reference_alone():
    """Between N(0, I_4) and itself d(d + 5)/4m of d(d + 5)/4·(1/n + 1/m): 0.0225, where the plain distance has 0.0675;
    the next order, of 1/n², adds some 5 % of the samples' part at the smallest size."""
    found, plain = [], []
    for seed in range(200):
        random = torch.Generator().manual_seed(seed)
        x = torch.randn(200, 4, dtype=torch.float64, generator=random)
        y = torch.randn(400, 4, dtype=torch.float64, generator=random)
        found.append(frechet_distance_infinity(x, y, least=50, generator=random).value)
        plain.append(metrics.frechet_distance(x, y))
    mean, error = torch.stack(found).mean(), torch.stack(found).std() / 200**0.5
    assert (mean - 9 / 400).abs() < 4 * error + 0.004
    assert torch.stack(plain).mean().item() == pytest.approx(9 * (1 / 200 + 1 / 400), rel=0.1)


def test_the_error_is_the_spread_over_fresh_samples():
    """120 fresh pairs: the spread has a relative error of 6.5 %."""
    (measure,) = (m for m in published_measures() if m.rows[0].name == "frechet_infinity")
    values, errors = [], []
    for seed in range(120):
        random = torch.Generator().manual_seed(seed)
        x, y = torch.randn(2, 200, 2, dtype=torch.float64, generator=random).unbind()
        value, error = measure.with_stderr(Pair(0.6 * x + 0.7, y))
        values.append(value)
        errors.append(error)
    ratio = torch.stack(errors).square().mean().sqrt() / torch.stack(values).std()
    assert 1 - 4 * 0.065 < ratio < 1.1 + 4 * 0.065, ratio


def test_blocks_of_points_give_the_factors_of_the_whole(gen, monkeypatch):
    x, y = (torch.randn(n, 5, generator=gen) + 3 for n in (400, 23))
    want = metrics.frechet_distance(x, y), frechet_influence(x, y)
    monkeypatch.setattr(factors, "BLOCK", 30)
    got = metrics.frechet_distance(x, y), frechet_influence(x, y)
    torch.testing.assert_close(got[0], want[0], rtol=1e-6, atol=0)
    for a, b in ((got[1].value, want[1].value), (got[1].x, want[1].x), (got[1].y, want[1].y)):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
    mean, root = factors.mean_and_root(x)
    torch.testing.assert_close(root.T @ root, x.double().T.cov(), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(mean, x.double().mean(0))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: frechet_distance_infinity(x, x, points=1), "points must be at least 2"),
        (lambda x: frechet_distance_infinity(x, x, least=9), "least must be below 9"),
        (lambda x: frechet_distance_infinity(x[:2], x), "x must .* at least 3"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call(torch.randn(9, 2))
