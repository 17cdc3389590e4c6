import math

import pytest
import torch
from torch import nn

from bayessgd.likelihoods import LearnedScale
from bayessgd.params import named_parameters
from bayessgd.theory import LearnedScaleRegression, injected_noise, optimal_preconditioner
from bayessgd.theory._learned_scale import by_quantile, excess_of_products
from bayessgd.theory._whitening import Whitening


def problem(gen, n=20, d=3, prior=None):
    x = torch.randn(n, d, dtype=torch.float64, generator=gen)
    y = x.sum(1) + 0.5 * torch.randn(n, dtype=torch.float64, generator=gen)
    if prior is None:
        return LearnedScaleRegression(x, y)
    precision = torch.tensor([0.0, 1.0, 30.0]).double()
    return LearnedScaleRegression(
        x, y, prior_mean=0.5, prior_precision=precision, log_prior=lambda s: s - 2 * s**2
    )


def loss(p, theta):
    """The mean negative log joint at θ = (log σ, β), written again."""
    s, beta = theta[0], theta[1:]
    fit = p.num_data * s + 0.5 * torch.exp(-2 * s) * (p.targets - p.features @ beta).square().sum()
    ridge = torch.as_tensor(p.prior_precision) * (beta - p.prior_mean) ** 2
    prior = 0.0 if p.log_prior is None else p.log_prior(s)
    return (fit + 0.5 * ridge.sum() - prior) / p.num_data


def per_datum(p, theta):
    s, beta = theta[0], theta[1:]
    residual, w = p.targets - p.features @ beta, torch.exp(-2 * s)
    return torch.cat([(1 - w * residual**2)[:, None], -(w * residual)[:, None] * p.features], 1)


def test_flat_posterior_is_normal_inverse_chi_squared(gen):
    """e^{−2s}·RSS ~ χ²_ν, ν = N − d: β has the covariance RSS/(ν − 2)·(XᵀX)⁻¹, and log σ ½(log RSS − E log χ²)."""
    p = problem(gen)
    x, nu = p.features, p.num_data - 3
    fit = torch.linalg.solve(x.T @ x, x.T @ p.targets)
    rss = (p.targets - x @ fit).square().sum()
    half = torch.tensor(nu / 2, dtype=torch.float64)
    torch.testing.assert_close(p.mean[1:], fit, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(
        p.mean[0], (rss.log() - half.digamma() - math.log(2)) / 2, rtol=1e-9, atol=1e-12
    )
    torch.testing.assert_close(
        p.covariance[1:, 1:], rss / (nu - 2) * torch.linalg.inv(x.T @ x), rtol=1e-8, atol=0
    )
    torch.testing.assert_close(p.covariance[0, 0], torch.polygamma(1, half) / 4, rtol=1e-8, atol=0)
    torch.testing.assert_close(p.curvature[1:, 1:], nu / rss * x.T @ x / p.num_data, rtol=1e-8, atol=0)


@pytest.mark.parametrize("prior", [None, "proper"])
def test_means_over_the_posterior(prior, gen):
    """Draws reproduce mean and covariance; curvature and noise are means over them; E[∇L (θ − θ̄)ᵀ] = I/N."""
    p, n = problem(gen, prior=prior), 40_000
    draws = p.draws(n, generator=gen)
    spread = p.covariance.diagonal().sqrt()
    assert float(((draws.mean(0) - p.mean) / spread).abs().max()) < 4 * n**-0.5
    root = torch.linalg.cholesky(p.covariance)
    white = torch.linalg.solve_triangular(root, draws.T - p.mean[:, None], upper=False)
    one = torch.eye(4).double()
    assert float((white @ white.T / n - one).norm()) < 6 * (20 / n) ** 0.5
    slope = torch.func.vmap(torch.func.grad(lambda t: loss(p, t)))(draws)
    stein = p.num_data * root.T @ slope.T @ white.T / n
    assert float((stein - one).norm()) < 12 * (20 / n) ** 0.5
    some = draws[:4000]
    A = torch.func.vmap(torch.func.hessian(lambda t: loss(p, t)))(some)
    C = torch.func.vmap(lambda t: per_datum(p, t).T.cov(correction=0))(some)
    for found, each in ((p.curvature, A), (p.mean_noise, C)):
        error = each.std(0) / len(some) ** 0.5
        assert float(((each.mean(0) - found).abs() - 5 * error).max()) < 1e-12


@pytest.mark.parametrize("precision", [None, 3.0])
def test_the_noise_of_few_data_is_exact(precision, gen):
    """With nine data and three columns the gradient's own mean square, of order 1/N beside the noise, is seen.

    So is what a prior far from the data adds to it.
    """
    p, n = problem(gen, n=9), 400_000
    if precision is not None:
        p = LearnedScaleRegression(p.features, p.targets, prior_mean=4.0, prior_precision=precision)
    each = []
    for theta in p.draws(n, generator=gen).split(20_000):
        s, beta = theta[:, :1], theta[:, 1:]
        residual, w = p.targets - beta @ p.features.T, torch.exp(-2 * s)
        slopes = torch.cat([(1 - w * residual**2)[..., None], -(w * residual)[..., None] * p.features], 2)
        slopes = slopes - slopes.mean(1, keepdim=True)
        each.append(slopes.mT @ slopes / p.num_data)
    C = torch.cat(each)
    error = C.std(0) / n**0.5
    assert float(((C.mean(0) - p.mean_noise).abs() / error).max()) < 5
    assert float((error / C.mean(0).abs()).diagonal().max()) < 0.01


def test_quantiles_are_even_within_the_cells_of_the_nodes():
    nodes, weights = torch.tensor([0.0, 1.0, 2.0]).double(), torch.tensor([1.0, 2.0, 1.0]).double()
    uniform = torch.tensor([0.0, 0.125, 0.25, 0.5, 0.75, 1.0]).double()
    wanted = torch.tensor([-0.5, 0.0, 0.5, 1.0, 1.5, 2.5]).double()
    torch.testing.assert_close(by_quantile(nodes, weights, uniform), wanted)


@pytest.mark.parametrize("prior", [None, "proper"])
def test_the_noise_of_excursions_is_the_mean_over_data_and_draws(prior, gen):
    """E[H_i Σ H_i] − AΣA of the data's own curvatures, by autograd at each draw, where the metric is any."""
    p, root = problem(gen, prior=prior), torch.randn(4, 4, dtype=torch.float64, generator=gen).tril()
    white = Whitening(root @ root.T + torch.eye(4))
    sigma = torch.randn(4, 6, dtype=torch.float64, generator=gen)
    sigma = sigma @ sigma.T

    def datum(theta, x, y):
        return theta[0] + 0.5 * torch.exp(-2 * theta[0]) * (y - x @ theta[1:]) ** 2

    of_data = torch.func.vmap(torch.func.hessian(datum), (None, 0, 0))
    H = torch.func.vmap(of_data, (0, None, None))(p.draws(4000, generator=gen), p.features, p.targets)
    inverse = torch.linalg.inv(white.root)
    H = inverse @ H @ inverse.T
    A = H.mean((0, 1))
    each = (H @ sigma @ H).mean(1)
    error = (
        each.std(0) / len(each) ** 0.5 + 2 * (H.mean(1).std(0) / len(H) ** 0.5).norm() * (sigma @ A).norm()
    )
    found = excess_of_products(p.features, p._powers[2], white, white.noise(p._data_curvature))(sigma)
    assert float(((found - (each.mean(0) - A @ sigma @ A)).abs() / error).max()) < 4
    assert float((found.abs() / error).max()) > 40  # so that a factor of two is seen


def test_parameters_are_in_the_order_of_learned_scale(gen):
    named = named_parameters(LearnedScale(nn.Linear(3, 1, bias=False), scale=1.0))
    assert [value.numel() for value in named.values()] == [1, 3]
    assert problem(gen).mean.shape == (4,)


def test_second_moments_are_kept_by_the_mean_curvature_and_noise(gen):
    """With H and Q for them equation (1) of `forecast` vanishes, for any posterior; with others it does not."""
    p = problem(gen)
    rules = {"num_data": p.num_data, "batch_size": 5}
    H = 0.2 * optimal_preconditioner(p.mean_noise, A=p.curvature, **rules)
    Q = injected_noise(p.curvature, p.mean_noise, preconditioner=H, **rules)
    told = p.forecast(preconditioner=H, injected=Q, batch_size=5)
    assert told.holds
    assert told.balance == pytest.approx((1, 1), rel=1e-8)
    with pytest.warns(UserWarning, match="use `curvature` and `mean_noise`"):
        p.forecast(preconditioner=2 * H, injected=2 * Q, batch_size=5)


def test_plain_sgd_with_few_data_is_warned_of(gen):
    p = problem(gen, n=15, d=8)
    H = optimal_preconditioner(p.mean_noise, A=p.curvature, num_data=15, batch_size=2)
    with pytest.warns(UserWarning, match="log σ is skewed"):
        p.forecast(preconditioner=H, batch_size=2)


X, Y = torch.randn(12, 2, generator=torch.Generator().manual_seed(0)).double(), torch.arange(12.0).double()


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"targets": Y[:3]}, "targets must have one entry per row"),
        ({"prior_mean": torch.zeros(3)}, r"prior_mean must be a finite number or \[2\]"),
        ({"prior_mean": math.nan}, "prior_mean must be .*, got NaN or infinity"),
        ({"prior_precision": -1.0}, "prior_precision must not be below 0"),
        ({"features": torch.ones(12, 2).double()}, "features must have full column rank"),
        ({"targets": X.sum(1)}, "targets must not lie on a plane"),
        ({"features": X[:4], "targets": Y[:4]}, "features must leave enough data for σ"),
        ({"log_prior": torch.log}, "log_prior must be a number or −infinity"),
    ],
)
def test_refusals(arguments, match):
    with pytest.raises(ValueError, match=match):
        LearnedScaleRegression(**({"features": X, "targets": Y} | arguments))
