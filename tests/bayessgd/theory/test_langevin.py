import pytest
import torch

from bayessgd.theory import (
    kl_to_posterior,
    sgfs_covariance,
    sgfs_preconditioner,
    sgld_covariance,
    stationary_covariance,
)
from tests.bayessgd.theory.quadratics import covariance_error, random_matrix, random_quadratic, relative

EYE2 = torch.eye(2, dtype=torch.float64)


def test_sgld_solves_mandts_equation(gen):
    """AΣ + ΣA = (2/N) I + (εN/2S) C, with Welling & Teh's ε = 2·lr/N."""
    problem, lr = random_quadratic(3, gen), 0.01
    cov = sgld_covariance(
        problem.A, problem.C, preconditioner=lr, num_data=1000, batch_size=20, discrete=False
    )
    eps = 2 * lr / 1000
    expected = 2 / 1000 * torch.eye(3, dtype=torch.float64) + eps * 1000 / (2 * 20) * problem.C
    torch.testing.assert_close(problem.A @ cov + cov @ problem.A, expected, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("m", [0.0, 0.9])
def test_small_steps_sample_the_posterior(m, gen):
    problem = random_quadratic(3, gen)
    for T in (1.0, 4.0):
        kwargs = {"num_data": 1000, "batch_size": 20, "temperature": T, "momentum": m}
        cov = sgld_covariance(problem.A, problem.C, preconditioner=1e-7, **kwargs)
        # The gradient's noise adds lr·N·C/(2S) relative to T.
        assert relative(cov, T * torch.linalg.inv(1000 * problem.A)) < 1e-4


def test_unadjusted_langevin_in_closed_form():
    """Full gradients, one dimension: 2h/N / (1 − (1 − ha)²) = 1/(N a (1 − ha/2))."""
    a, h, n = 2.0, 0.3, 50
    A = torch.tensor([[a]], dtype=torch.float64)
    cov = sgld_covariance(A, torch.zeros_like(A), preconditioner=h, num_data=n, batch_size=1)
    assert float(cov) == pytest.approx(1 / (n * a * (1 - h * a / 2)), rel=1e-12)


@pytest.mark.parametrize("m", [0.0, 0.8])
def test_simulated(m, gen):
    """The update of the module's docstring, (1) and (2), word by word."""
    problem, lr, n, chains = random_quadratic(2, gen), 0.02, 1000, 10_000
    root = torch.linalg.cholesky(problem.C / 20)
    theta = v = torch.zeros(chains, 2, dtype=torch.float64)
    for _ in range(1000 if m else 1500):
        z, xi = (torch.randn(chains, 2, dtype=torch.float64, generator=gen) for _ in range(2))
        v = m * v - lr * (theta @ problem.A + z @ root.T) + (2 * (1 - m) * lr / n) ** 0.5 * xi
        theta = theta + v
    cov = sgld_covariance(problem.A, problem.C, preconditioner=lr, num_data=n, batch_size=20, momentum=m)
    assert relative(theta.T @ theta / chains, cov) < 3 * covariance_error(cov, chains)


def test_optimal_sgfs_is_the_posterior_in_continuous_time(gen):
    problem, E = random_quadratic(3, gen), torch.randn(3, 3, dtype=torch.float64, generator=gen)
    H = sgfs_preconditioner(problem.C, E, learning_rate=5.0, num_data=1000, batch_size=20)
    torch.testing.assert_close(
        H, 2 / 1000 * torch.linalg.inv(5.0 / 20 * problem.C + E @ E.T), rtol=1e-9, atol=0
    )
    cov = sgfs_covariance(
        problem.A, problem.C, E, preconditioner=H, learning_rate=5.0, batch_size=20, discrete=False
    )
    assert abs(float(kl_to_posterior(cov, problem.A, num_data=1000))) < 1e-8


def test_diagonal_sgfs(gen):
    problem, E = random_quadratic(3, gen), random_matrix(3, gen)
    h = sgfs_preconditioner(problem.C, E, learning_rate=5.0, num_data=1000, batch_size=20, kind="diagonal")
    expected = 2 / 1000 / (5.0 / 20 * problem.C.diagonal() + E.square().sum(1))
    torch.testing.assert_close(h, expected)


def test_sgfs_is_sgd_with_its_noise(gen):
    problem, E, h = random_quadratic(3, gen), random_matrix(3, gen), 1e-3
    cov = sgfs_covariance(problem.A, problem.C, E, preconditioner=h, learning_rate=2.0, batch_size=20)
    expected = stationary_covariance(
        problem.A, problem.C, preconditioner=2 * h, batch_size=20, injected=2 * h**2 * E @ E.T
    )
    torch.testing.assert_close(cov, expected)


def test_gradcheck(gen):
    r, s, e = (torch.randn(2, 2, dtype=torch.float64, generator=gen, requires_grad=True) for _ in range(3))

    def both(r, s, e):
        A, C = r @ r.T / 10 + EYE2, s @ s.T
        H = sgfs_preconditioner(C, e, learning_rate=1.0, num_data=10, batch_size=10)
        fisher = sgfs_covariance(A, C, e, preconditioner=H, learning_rate=0.1, batch_size=10)
        return fisher + sgld_covariance(A, C, preconditioner=0.1, num_data=10, batch_size=10, momentum=0.5)

    assert torch.autograd.gradcheck(both, (r, s, e))


SGLD = {"A": EYE2, "C": EYE2, "preconditioner": 0.1, "num_data": 10, "batch_size": 10}


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"A": -EYE2}, ValueError, "A must be positive definite"),
        ({"C": -EYE2}, ValueError, "C must be positive semi-definite"),
        ({"preconditioner": 0}, ValueError, "preconditioner must be finite and above 0"),
        ({"preconditioner": 3.0}, ValueError, "spectral radius of 2"),
        ({"num_data": 0}, ValueError, "num_data"),
        ({"batch_size": 0}, ValueError, "batch_size"),
        ({"temperature": 0.0}, ValueError, "temperature must be finite and above 0"),
        ({"momentum": 1.0}, ValueError, "momentum"),
    ],
)
def test_sgld_refusals(change, error, match):
    arguments = SGLD | change
    with pytest.raises(error, match=match):
        sgld_covariance(arguments.pop("A"), arguments.pop("C"), **arguments)


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"C": -EYE2}, ValueError, "C must be positive semi-definite"),
        ({"E": torch.eye(3).double()}, ValueError, r"E must have shape \[2, 2\]"),
        ({"E": "E"}, TypeError, "E must be a torch.Tensor"),
        ({"learning_rate": 0.0}, ValueError, "learning_rate must be finite and above 0"),
        ({"num_data": 0}, ValueError, "num_data"),
        ({"batch_size": 0}, ValueError, "batch_size"),
        ({"kind": "scalar"}, ValueError, 'kind must be "full" or "diagonal"'),
        ({"C": 0 * EYE2, "E": 0 * EYE2}, ValueError, "E must make"),
        ({"C": 0 * EYE2, "E": torch.tensor([[0.1, 0.3], [0.3, 0.9]]).double()}, ValueError, "E must make"),
    ],
)
def test_sgfs_refusals(change, error, match):
    arguments = {"C": EYE2, "E": EYE2, "learning_rate": 1.0, "num_data": 10, "batch_size": 10} | change
    with pytest.raises(error, match=match):
        sgfs_preconditioner(arguments.pop("C"), arguments.pop("E"), **arguments)
