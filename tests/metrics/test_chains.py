import math

import numpy as np
import pytest
import torch
from pyro.ops import stats as pyro_stats
from scipy import stats

from metrics.chains import (
    chain_diagnostics,
    effective_sample_size,
    monte_carlo_error,
    r_hat,
    rank_normalise,
)

F64 = torch.float64


def autoregressive(gen, shape, rho):
    """Stationary AR(1) of unit variance along dimension 1: x_t = ρ x_{t−1} + √(1 − ρ²) ξ_t."""
    x = torch.randn(shape, dtype=F64, generator=gen)
    x[:, 1:] *= math.sqrt(1 - rho**2)
    for t in range(1, shape[1]):
        x[:, t] += rho * x[:, t - 1]
    return x


@pytest.mark.parametrize("shape", [(4, 100), (1, 100), (3, 101), (2, 50, 5), (1, 51, 2, 3), (4, 4)])
@pytest.mark.parametrize("rho", [0.0, 0.7])
def test_equal_to_pyros(gen, shape, rho):
    draws = autoregressive(gen, shape, rho)
    want = pyro_stats.effective_sample_size(draws)
    # Ours is capped where pyro's τ approaches 0.
    cap = shape[0] * shape[1] * math.log10(shape[0] * shape[1])
    capped = torch.where((want < 0) | (want > cap), cap, want)
    torch.testing.assert_close(effective_sample_size(draws), capped, rtol=1e-9, atol=0)
    torch.testing.assert_close(r_hat(draws), pyro_stats.split_gelman_rubin(draws))
    assert effective_sample_size(draws).shape == r_hat(draws).shape == shape[2:]


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9, -0.4])
def test_effective_size_of_an_autoregression(gen, rho):
    """MN(1 − ρ)/(1 + ρ), from the mean τ of 40 coordinates within 4 of its standard errors. Keeping only positive,
    decreasing pairs biases τ upwards: the noise of a pair of lags, √(2/8000) = 1.6 %, enters with a factor 2."""
    draws = autoregressive(gen, (4, 2000, 40), rho)
    want = (1 + rho) / (1 - rho)
    tau = 8000 / effective_sample_size(draws)
    assert abs(tau.mean() - want) < 4 * tau.std() / 40**0.5 + 0.032 * want


def test_monte_carlo_error_is_the_scatter_of_the_mean(gen):
    draws = autoregressive(gen, (2, 500, 300), 0.6)
    scatter = draws.mean((0, 1)).std()
    claimed = monte_carlo_error(draws).square().mean().sqrt()
    # A standard deviation of 300 means is known to 1/√600 = 4 %; the bias of τ at this length adds some 5 %.
    assert (claimed / scatter).item() == pytest.approx(1, abs=4 * 0.04 + 0.05)


def test_anticorrelated_draws_are_capped(gen):
    flips = torch.tensor([1.0, -1.0], dtype=F64).repeat(50).expand(2, 100)
    draws = flips + 1e-3 * torch.randn(2, 100, dtype=F64, generator=gen)
    assert effective_sample_size(draws).item() == pytest.approx(200 * math.log10(200))


def test_chains_that_disagree_or_drift_are_found(gen):
    draws = torch.randn(4, 200, 3, dtype=F64, generator=gen)
    draws[0, :, 1] += 3
    draws[:, :, 2] += torch.linspace(-2, 2, 200, dtype=F64)
    good, apart, drift = r_hat(draws).tolist()
    assert good < 1.02
    assert apart > 1.3
    assert drift > 1.3
    assert effective_sample_size(draws)[1] < 20
    # A drift within one chain.
    assert r_hat(draws[:1, :, 2]) > 1.3


def test_draws_that_never_move(dtype):
    """0.1 has a mean that rounds: its variance comes out as 1e-34 and not as 0."""
    frozen = torch.full((3, 7), 0.1, dtype=dtype)
    assert effective_sample_size(frozen).isnan()
    assert r_hat(frozen).isnan()
    assert monte_carlo_error(frozen).isnan()
    apart = frozen + torch.tensor([[0.0], [0.1], [0.2]], dtype=dtype)
    assert r_hat(apart) == torch.inf
    assert effective_sample_size(apart) < 3
    jump = torch.tensor([[0.1] * 4 + [0.3] * 4], dtype=dtype)
    assert r_hat(jump) == torch.inf


def test_blocks_change_nothing(gen, monkeypatch):
    draws = torch.randn(2, 30, 4, 3, dtype=F64, generator=gen)
    ess, rhat = effective_sample_size(draws), r_hat(draws)
    monkeypatch.setattr("metrics.chains.BLOCK", 130)
    torch.testing.assert_close(effective_sample_size(draws), ess, rtol=1e-12, atol=0)
    torch.testing.assert_close(r_hat(draws), rhat, rtol=1e-12, atol=0)


def test_long_chains_need_no_quadratic_memory(gen):
    """pyro's own form would hold (N/2)² = 10¹⁰ numbers here."""
    assert effective_sample_size(torch.randn(1, 200_000, generator=gen)) > 100_000


def test_rank_normalised_draws_are_normal_scores(gen, dtype):
    draws = torch.randn(3, 40, 2, dtype=dtype, generator=gen).exp().round(decimals=1)
    got = rank_normalise(draws)
    assert got.dtype == dtype
    for k in range(2):
        ranks = stats.rankdata(draws[..., k].flatten().numpy())
        want = stats.norm.ppf((ranks - 0.375) / (120.25)).reshape(3, 40)
        np.testing.assert_allclose(got[..., k].numpy(), want, rtol=20 * torch.finfo(dtype).eps, atol=1e-7)
    # A monotone map changes nothing, and neither do the tails of a Cauchy law.
    torch.testing.assert_close(rank_normalise(draws**3), got)
    cauchy = torch.tan(math.pi * (torch.rand(4, 500, dtype=F64, generator=gen) - 0.5))
    assert r_hat(rank_normalise(cauchy)) < 1.02


def test_diagnostics_of_named_draws(gen, dtype):
    draws = {
        "weight": torch.randn(4, 100, 2, 3, dtype=dtype, generator=gen),
        "dead": torch.zeros(4, 100, 5, dtype=dtype),
        "scale": torch.randn(4, 100, dtype=dtype, generator=gen),
    }
    result = chain_diagnostics(draws)
    assert {name: tuple(v.shape) for name, v in result.ess.items()} == {
        "weight": (2, 3),
        "dead": (5,),
        "scale": (),
    }
    assert torch.equal(result.r_hat["weight"], r_hat(draws["weight"]))
    assert result.ess["scale"].dtype == dtype
    assert result.min_ess == min(result.ess["weight"].min().item(), result.ess["scale"].item())
    assert result.max_r_hat == max(result.r_hat["weight"].max().item(), result.r_hat["scale"].item())
    assert math.isnan(chain_diagnostics({"dead": draws["dead"]}).min_ess)


@pytest.mark.parametrize("measure", [effective_sample_size, r_hat, monte_carlo_error, rank_normalise])
@pytest.mark.parametrize(
    ("draws", "error", "message"),
    [
        (torch.zeros(100), ValueError, r"draws must have shape \[chains, draws, ...\], got \[100\]"),
        (torch.zeros(2, 3), ValueError, "at least 4 draws per chain, got 3"),
        (torch.zeros(0, 9), ValueError, "draws must not be empty"),
        (torch.zeros(2, 9, 0), ValueError, "draws must not be empty"),
        (torch.zeros(2, 9).long(), TypeError, "float32 or float64"),
        (torch.full((2, 9), torch.nan), ValueError, "draws must be finite, got 18 NaN"),
        (np.zeros((2, 9)), TypeError, "torch.Tensor"),
    ],
)
def test_refusals(measure, draws, error, message):
    with pytest.raises(error, match=message):
        measure(draws)


@pytest.mark.parametrize(
    ("draws", "error", "message"),
    [
        (torch.zeros(2, 9), TypeError, "draws must map names to tensors, got Tensor"),
        ({}, ValueError, "draws must not be empty"),
        ({"w": torch.zeros(9)}, ValueError, r"w must have shape \[chains, draws, ...\]"),
        ({"w": torch.zeros(9, 2)}, ValueError, "w must hold at least 4 draws per chain, got 2"),
    ],
)
def test_refusals_of_named_draws(draws, error, message):
    with pytest.raises(error, match=message):
        chain_diagnostics(draws)
