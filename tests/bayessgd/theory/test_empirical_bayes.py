import pytest
import torch

from bayessgd.theory import LinearRegression, prior_precision_step
from tests.bayessgd.theory.quadratics import random_matrix


def test_maximises_the_expected_log_prior(gen):
    mean, cov = torch.randn(4, dtype=torch.float64, generator=gen), random_matrix(4, gen)
    best = prior_precision_step(mean, cov).requires_grad_()
    root = torch.linalg.cholesky(cov)
    # Symmetric points with exactly this mean and covariance.
    points = torch.cat([mean + 2 * root.T, mean - 2 * root.T])
    expected = torch.distributions.Normal(0.0, best.rsqrt()).log_prob(points).sum(1).mean()
    (slope,) = torch.autograd.grad(expected, best)
    assert abs(float(slope)) < 1e-12


def test_em_converges_to_the_maximum_of_the_evidence(gen):
    """On linear regression EM's fixed point is a stationary point of log p(y | λ), known in closed form."""
    x = torch.randn(50, 3, dtype=torch.float64, generator=gen)
    y = x @ torch.tensor([1.0, -1.0, 0.5]).double() + torch.randn(50, dtype=torch.float64, generator=gen)
    precision = 1.0
    for _ in range(300):
        p = LinearRegression(x, y, prior_precision=precision)
        precision = float(prior_precision_step(p.optimum, torch.linalg.inv(50 * p.curvature)))
    lam = torch.tensor(precision, dtype=torch.float64, requires_grad=True)
    cov = torch.eye(50, dtype=torch.float64) + x @ x.T / lam
    evidence = torch.distributions.MultivariateNormal(torch.zeros(50).double(), cov).log_prob(y)
    (slope,) = torch.autograd.grad(evidence, lam)
    assert abs(float(slope)) < 1e-8


def test_gradcheck(gen):
    mean, root = (
        torch.randn(s, dtype=torch.float64, generator=gen, requires_grad=True) for s in [(2,), (2, 2)]
    )
    assert torch.autograd.gradcheck(
        lambda mean, root: prior_precision_step(mean, root @ root.T), (mean, root)
    )


@pytest.mark.parametrize(
    ("mean", "cov", "error", "match"),
    [
        (torch.ones(2), -torch.eye(2), ValueError, "cov must be positive semi-definite"),
        (torch.ones(3), torch.eye(2), ValueError, r"cov must have shape \[3, 3\]"),
        (torch.zeros(2), torch.zeros(2, 2), ValueError, "must not both be zero"),
        ([1.0], torch.eye(1), TypeError, "mean must be a torch.Tensor"),
    ],
)
def test_refusals(mean, cov, error, match):
    with pytest.raises(error, match=match):
        prior_precision_step(mean, cov)
