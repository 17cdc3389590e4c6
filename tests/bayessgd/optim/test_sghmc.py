import math

import pytest
import torch

from bayessgd.optim import SGHMC, SGLD
from tests.bayessgd.optim.quadratic import D, assert_law, lyapunov, momentum_covariance, problem, simulate

EYE = torch.eye(D, dtype=torch.float64)


# The pair forgets as max(√m, 1 − lr·a/(1 − m))^step: 0.95^400 = 1e-9 at m = 0.9.
@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
@pytest.mark.parametrize(("num_data", "temperature", "batch"), [(20, 1.0, None), (2000, 0.3, 10)])
def test_stationary_covariance(momentum, num_data, temperature, batch):
    a, c = problem()
    lr, noise = 0.3, None if batch is None else c / batch
    samples = simulate(
        lambda p, g: SGHMC(p, lr, num_data=num_data, momentum=momentum, temperature=temperature, generator=g),
        curvature=a,
        noise=noise,
        steps=400,
    )
    w = 2 * (1 - momentum) * lr * temperature / num_data * EYE + (0 if noise is None else lr**2 * noise)
    assert_law(samples, momentum_covariance(a, lr * EYE, momentum, w))


def test_sgd_with_momentum_has_the_law_of_the_same_recursion():
    """torch's SGD is SGHMC without injected noise: its law is the same equation with W = lr²·C/S alone."""
    a, c = problem()
    samples = simulate(
        lambda p, g: torch.optim.SGD(p, 0.3, momentum=0.8), curvature=a, noise=c / 10, steps=300
    )
    assert_law(samples, momentum_covariance(a, 0.3 * EYE, 0.8, 0.09 * c / 10))


def test_gradient_noise_takes_the_batch_noise_off():
    """Isotropic batch noise of known variance: the target is that of full gradients."""
    a, _ = problem()
    variance = 0.02  # half of what is injected: 2(1 − m)·T/(N·lr) = 0.04
    samples = simulate(
        lambda p, g: SGHMC(p, 0.2, num_data=50, momentum=0.8, gradient_noise=variance, generator=g),
        curvature=a,
        noise=variance * EYE,
        steps=300,
    )
    assert_law(samples, momentum_covariance(a, 0.2 * EYE, 0.8, 2 * 0.2 * 0.2 / 50 * EYE))


@pytest.mark.parametrize("m", [0.0, 0.7, 0.95])
def test_documented_variance_in_one_dimension(m):
    lr, a, n, t = 0.3, 1.7, 40, 1.5
    f = torch.tensor([[1 - lr * a, m], [-lr * a, m]], dtype=torch.float64)
    w = torch.full((2, 2), 2 * (1 - m) * lr * t / n, dtype=torch.float64)
    want = t / (n * a) / (1 - lr * a / (2 * (1 + m)))
    assert math.isclose(float(lyapunov(f, w)[0, 0]), want, rel_tol=1e-12)


def run(optimizer, theta, steps=5):
    for _ in range(steps):
        theta.grad = theta.detach() * torch.linspace(0.5, 1.5, len(theta), dtype=theta.dtype)
        optimizer.step()
    return theta.detach()


def test_no_momentum_is_sgld(dtype):
    ours, theirs = (torch.ones(5, dtype=dtype, requires_grad=True) for _ in range(2))
    seeds = [torch.Generator().manual_seed(0) for _ in range(2)]
    left = run(SGHMC([ours], 0.2, num_data=10, momentum=0.0, generator=seeds[0]), ours)
    right = run(SGLD([theirs], 0.2, num_data=10, generator=seeds[1]), theirs)
    torch.testing.assert_close(left, right)


def test_temperature_zero_is_sgd_with_momentum(dtype):
    ours, theirs = (torch.ones(5, dtype=dtype, requires_grad=True) for _ in range(2))
    left = run(SGHMC([ours], 0.2, num_data=10, momentum=0.7, temperature=0.0), ours)
    torch.testing.assert_close(left, run(torch.optim.SGD([theirs], 0.2, momentum=0.7), theirs))


def test_refuses_gradient_noise_hotter_than_the_target():
    theta = torch.ones(2, requires_grad=True)
    sampler = SGHMC([theta], 0.1, num_data=100, momentum=0.9, gradient_noise=0.021)  # the bound is 0.02
    theta.grad = torch.ones(2)
    with pytest.raises(ValueError, match=r"gradient_noise must be at most .* = 0.02, got 0.021"):
        sampler.step()
