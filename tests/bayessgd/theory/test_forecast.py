import math
import warnings
from dataclasses import replace

import pytest
import torch

from bayessgd.theory import LinearRegression, injected_noise, optimal_preconditioner


def lever(leverage=0.8, n=20, d=2, seed=3):
    """A regression whose first row has this leverage, with noise of variance one."""
    gen = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, dtype=torch.float64, generator=gen)
    # x₀ᵀ(G + c²x₀x₀ᵀ)⁻¹x₀c² = c²q/(1 + c²q) with G the other rows' Gram matrix and q = x₀ᵀG⁻¹x₀.
    q = x[0] @ torch.linalg.solve(x[1:].T @ x[1:], x[0])
    x[0] *= (leverage / (1 - leverage) / q).sqrt()
    return LinearRegression(x, x.sum(1) + torch.randn(n, dtype=torch.float64, generator=gen))


def exact(p, C, S):
    return optimal_preconditioner(C, A=p.curvature, num_data=p.num_data, batch_size=S)


def test_leverage_is_that_of_the_hat_matrix():
    p = lever(0.8)
    x = p.features
    torch.testing.assert_close(p.leverage, (x @ torch.linalg.inv(x.T @ x) @ x.T).diagonal())
    assert abs(float(p.leverage[0]) - 0.8) < 1e-12
    assert abs(float(p.leverage.sum()) - 2) < 1e-12


def test_mean_noise_makes_sgd_exact_where_that_of_the_optimum_is_too_little():
    p, S = lever(), 4
    for share in (1.0, 0.4):
        H = share * exact(p, p.mean_noise, S)
        Q = injected_noise(p.curvature, p.mean_noise, preconditioner=H, num_data=20, batch_size=S)
        cov = p.stationary_covariance(preconditioner=H, injected=Q, batch_size=S)
        torch.testing.assert_close(cov, p.covariance, rtol=1e-9, atol=0)
    assert float(p.mean_noise.trace()) > 2 * float(p.noise_at_optimum.trace())


@pytest.mark.parametrize("share", [0.05, 0.15])
def test_ratios_are_those_of_the_stationary_covariance(share):
    p, S = lever(), 4
    H = share * exact(p, p.noise_at_optimum, S)
    told = p.forecast(preconditioner=H, batch_size=S, tolerance=10)
    cov = p.stationary_covariance(preconditioner=H, batch_size=S)
    torch.testing.assert_close(told.ratios, (cov.diagonal() / p.covariance.diagonal()).sqrt())
    root = torch.linalg.cholesky(torch.linalg.inv(p.covariance))
    low, high = torch.linalg.eigvalsh(root.T @ cov @ root)[[0, -1]].sqrt().tolist()
    assert told.extremes == pytest.approx((low, high), rel=1e-9)
    assert (told.row, told.leverage) == (0, pytest.approx(0.8))


def test_the_radius_is_where_moments_end():
    """One column, small steps: x ← (1 − h + √v ξ)x has a second moment iff ρ = v/(2h − h²) is below one."""
    x = torch.tensor([[1.0], [1.0], [1.0], [3.0]]).double()
    p = LinearRegression(x, torch.tensor([1.0, 0.0, -1.0, 0.0]).double())
    told = p.forecast(preconditioner=0.05, batch_size=2, tolerance=10)
    h, v = 0.05 * 3, 0.05**2 * ((3 + 81) / 4 - 9) / 2
    assert told.radius == pytest.approx(v / (2 * h - h**2), rel=1e-12)
    assert told.tail_index == pytest.approx(1 + 1 / told.radius)


def test_warns_before_the_run_and_names_the_cause():
    p, S = lever(0.9), 2
    H = exact(p, p.noise_at_optimum, S)
    with pytest.warns(
        UserWarning, match=r"no stationary covariance.*batches of 2 with row 0 of leverage 0\.90"
    ):
        told = p.forecast(preconditioner=H, batch_size=S)
    assert not told.holds
    assert told.ratios.isinf().all()
    assert told.extremes == (0, math.inf)
    assert told.balance != (0, math.inf)
    with pytest.raises(ValueError, match=r"mean square .* row 0 of leverage 0\.90 in batches of 2"):
        p.stationary_covariance(preconditioner=H, batch_size=S)


def test_warns_of_the_noise_at_the_mode_and_of_rare_excursions():
    p = lever(0.7)
    with pytest.warns(UserWarning, match="use `curvature` and `mean_noise`"):
        p.forecast(preconditioner=exact(p, p.noise_at_optimum, 10), batch_size=10)
    with pytest.warns(UserWarning, match="rare excursions: moments beyond order"):
        p.forecast(preconditioner=exact(p, p.mean_noise, 2), batch_size=2)
    with pytest.warns(UserWarning, match="the mean of the iterates diverges"):
        told = p.forecast(preconditioner=1e3, batch_size=2)
    assert told.tail_index == 1
    assert told.extremes == told.balance == (0, math.inf)


def test_is_silent_where_it_holds():
    p = lever(0.1)
    H = exact(p, p.mean_noise, 10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        told = p.forecast(preconditioner=H, batch_size=10)
    assert told.holds
    assert told.causes == ()
    assert told.extremes == pytest.approx((1, 1), rel=1e-9)
    assert not told.within(-1.0).holds
    # What no other cause explains is the growth of the noise, and it is told alone.
    (cause,) = replace(told, extremes=(1.0, 1.2)).causes
    assert cause.startswith("the noise grows away from the optimum (batches of 10 with row")
    assert len(replace(told, extremes=(1.0, 1.2), balance=(1.0, 1.2)).causes) == 1
    assert math.isfinite(told.tail_index)
    # A part of the deficit is a cause from half of the tolerance on.
    for share in (0.4, 0.6):
        (cause,) = replace(told, extremes=(1.0, 1.2), skewed=share * told.tolerance).causes
        assert ("log σ is skewed" in cause) == (share > 0.5), share


def test_forecast_refusals():
    p = lever()
    with pytest.raises(ValueError, match="tolerance"):
        p.forecast(preconditioner=0.1, batch_size=2, tolerance=0.0)
    with pytest.raises(ValueError, match="injected must be positive semi-definite"):
        p.forecast(preconditioner=0.1, batch_size=2, injected=-torch.eye(2).double())
