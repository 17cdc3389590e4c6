import math

import pytest
import torch

from bayessgd.optim import SGLD, PreconditionedSGLD
from tests.bayessgd.optim.quadratic import D, assert_law, lyapunov, problem, simulate

EYE = torch.eye(D, dtype=torch.float64)


# Burn-in: the variance forgets as (1 − lr·0.5)^(2·steps) = 0.8^400, far under the Monte-Carlo error.
@pytest.mark.parametrize("num_data", [20, 3000])
@pytest.mark.parametrize("temperature", [1.0, 0.3])
@pytest.mark.parametrize("batch", [None, 10])
def test_stationary_covariance(num_data, temperature, batch):
    a, c = problem()
    lr = 0.4  # lr·a up to 0.8: SGLD's own bias is 67 %, so that a wrong order of the step would show
    noise = None if batch is None else c / batch
    samples = simulate(
        lambda p, g: SGLD(p, lr, num_data=num_data, temperature=temperature, generator=g),
        curvature=a,
        noise=noise,
    )
    w = 2 * lr * temperature / num_data * EYE + (0 if noise is None else lr**2 * noise)
    assert_law(samples, lyapunov(EYE - lr * a, w))


def test_stationary_covariance_float32():
    a, c = problem()
    samples = simulate(
        lambda p, g: SGLD(p, 0.4, num_data=100, generator=g), curvature=a, noise=c / 10, dtype=torch.float32
    )
    assert_law(samples, lyapunov(EYE - 0.4 * a, 0.8 / 100 * EYE + 0.16 * c / 10))


def test_small_steps_sample_the_posterior():
    """The point of it all: lr → 0 gives (NA)⁻¹·T. At lr·a ≤ 0.04 the bias 1/(1 − lr·a/2) is under 2 %."""
    a, _ = problem()
    samples = simulate(
        lambda p, g: SGLD(p, 0.02, num_data=50, temperature=2.0, generator=g),
        curvature=a,
        chains=5000,
        steps=600,
    )
    ratio = torch.linalg.eigvals(samples.T @ samples / 5000 @ (50 * a / 2)).real
    # A sample covariance's eigenvalues spread by about 2√(D/n) = 5 % around the truth, the bias adds 2 %.
    assert float((ratio - 1).abs().max()) < 0.07


def test_documented_variance_in_one_dimension():
    lr, a, c, s, n, t = 0.3, 1.7, 2.2, 8, 40, 1.5
    one = torch.ones(1, 1, dtype=torch.float64)
    exact = float(lyapunov((1 - lr * a) * one, (2 * lr * t / n + lr**2 * c / s) * one))
    assert math.isclose(exact, (t / (n * a) + lr * c / (2 * s * a)) / (1 - lr * a / 2), rel_tol=1e-12)


def test_one_step_is_the_formula(dtype):
    params = [
        torch.randn(3, 2, dtype=dtype, requires_grad=True),
        torch.randn(40, dtype=dtype, requires_grad=True),
    ]
    start = [p.detach().clone() for p in params]
    for p in params:
        p.grad = torch.randn_like(p)
    SGLD(params, 0.1, num_data=30, temperature=0.5, generator=torch.Generator().manual_seed(3)).step()
    gen = torch.Generator().manual_seed(3)
    for p, p0 in zip(params, start, strict=True):
        xi = torch.empty_like(p0).normal_(generator=gen)
        want = p0 - 0.1 * p.grad + math.sqrt(2 * 0.1 * 0.5 / 30) * xi
        torch.testing.assert_close(p.detach(), want)


def test_temperature_zero_is_sgd(dtype):
    theta, other = (torch.ones(4, dtype=dtype, requires_grad=True) for _ in range(2))
    for optimizer, p in (
        (SGLD([theta], 0.3, num_data=5, temperature=0.0), theta),
        (torch.optim.SGD([other], 0.3), other),
    ):
        for _ in range(3):
            p.grad = p.detach() * 0.7
            optimizer.step()
    torch.testing.assert_close(theta, other)


class TestPreconditioned:
    def test_stationary_covariance_with_a_settled_preconditioner(self):
        """decay → 1 and a given V make G constant: SGLD's Lyapunov equation with G for the step."""
        a, c = problem()
        v = torch.tensor([0.04, 0.25, 1.0], dtype=torch.float64)

        def make(params, generator):
            optimizer = PreconditionedSGLD(
                params, 0.1, num_data=100, temperature=1.5, decay=1 - 1e-12, eps=0.3, generator=generator
            )
            for p, part in zip(params, v.split([2, 1]), strict=True):
                # So many steps that the correction 1 − decay^t is 1; float32 holds 1e15 well enough for that.
                optimizer.state[p] = {"step": torch.tensor(1e15), "square_avg": part.expand_as(p).clone()}
            return optimizer

        g = torch.diag(1 / (0.3 + v.sqrt()))
        want = lyapunov(EYE - 0.1 * g @ a, 2 * 0.1 * 1.5 / 100 * g + 0.01 * g @ (c / 50) @ g)
        assert_law(simulate(make, curvature=a, noise=c / 50, steps=300), want)

    def test_neglected_gamma_has_the_documented_bias(self):
        """decay = 0 on a parabola: G = 1/(λ + |aθ|), density ∝ (λ + |aθ|)·exp(−N·a·θ²/2).

        With u = θ√(Na), λ' = λ√(N/a): E u² = (λ' + 2√(2/π)) / (λ' + √(2/π)), here 1.44 against the
        posterior's 1.
        """
        a, num_data, chains = 2.0, 50, 30_000
        eps = math.sqrt(a / num_data)  # λ' = 1
        theta = torch.zeros(chains, dtype=torch.float64, requires_grad=True)
        optimizer = PreconditionedSGLD(
            [theta],
            0.003 * eps,
            num_data=num_data,
            decay=0.0,
            eps=eps,
            generator=torch.Generator().manual_seed(0),
        )
        for _ in range(1000):  # forgets in 1/(lr·a·G) ≈ 2·10² to 5·10² steps
            theta.grad = a * theta.detach()
            optimizer.step()
        u = theta.detach() * math.sqrt(num_data * a)
        root = math.sqrt(2 / math.pi)
        want, stderr = (1 + 2 * root) / (1 + root), float(u.square().std()) / math.sqrt(chains)
        # Besides the Monte-Carlo error the step: lr·a·G ≤ 0.006 biases by about half of itself.
        assert abs(float(u.square().mean()) - want) < 5 * stderr + 0.005 * want

    def test_first_step_is_not_inflated(self):
        theta = torch.zeros(1, requires_grad=True)
        optimizer = PreconditionedSGLD([theta], 0.1, num_data=10, temperature=0.0, decay=0.99, eps=1e-8)
        theta.grad = torch.tensor([5.0])
        optimizer.step()  # V = ĝ² exactly, so that the step is lr·sign(ĝ)
        assert math.isclose(float(theta.detach()), -0.1, rel_tol=1e-5)
