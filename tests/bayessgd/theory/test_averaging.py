import pytest
import torch

from bayessgd.theory import iterate_average_covariance, stationary_covariance
from bayessgd.theory.stationary import state_noise, transition
from tests.bayessgd.theory.quadratics import (
    covariance_error,
    kron_solution,
    random_matrix,
    random_quadratic,
    relative,
)

EYE2 = torch.eye(2, dtype=torch.float64)


def brute_force(A, C, H, S, T, m, extra=None):
    """The double sum (1/T²) Σ_{s,t} Cov(θ_s, θ_t), term by term."""
    F = transition(A, H, m)
    W = H @ C @ H / S + (0 if extra is None else extra)
    state = kron_solution(F, state_noise(W, m))
    total = torch.zeros_like(state)
    for s in range(T):
        for t in range(T):
            lagged = torch.linalg.matrix_power(F, abs(s - t)) @ state
            total += lagged if s >= t else lagged.T
    return (total / T**2)[: len(A), : len(A)]


@pytest.mark.parametrize("m", [0.0, 0.7])
@pytest.mark.parametrize("T", [1, 2, 7, 30])
def test_finite_windows_agree_with_the_double_sum(T, m, gen):
    problem, H, Q = random_quadratic(3, gen), 0.05 * random_matrix(3, gen), 1e-4 * random_matrix(3, gen)
    kwargs = {"preconditioner": H, "batch_size": 20, "momentum": m}
    cov = iterate_average_covariance(problem.A, problem.C, num_iterates=T, injected=Q, **kwargs)
    torch.testing.assert_close(cov, brute_force(problem.A, problem.C, H, 20, T, m, Q), rtol=1e-9, atol=1e-14)
    if T == 1:
        torch.testing.assert_close(
            cov, stationary_covariance(problem.A, problem.C, injected=Q, **kwargs), rtol=1e-9, atol=1e-14
        )


def test_short_windows_of_slow_iterates_lose_nothing():
    """At Tλ = 1e-8 the closed form T(I−F)⁻¹ − … would have no digit left; here Cov → Σ."""
    one = torch.ones(1, 1, dtype=torch.float64)
    kwargs = {"preconditioner": 1e-9, "batch_size": 10}
    cov = iterate_average_covariance(one, one, num_iterates=10, **kwargs)
    # Σ (1 − (T² − 1)/(3T) λ + …)
    expected = float(stationary_covariance(one, one, **kwargs)) * (1 - 99 / 30 * 1e-9)
    assert float(cov) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("m", [0.0, 0.9])
def test_long_windows_tend_to_the_sandwich_whatever_the_step(m, gen):
    problem = random_quadratic(3, gen)
    limit = iterate_average_covariance(problem.A, problem.C, num_iterates=10**7, batch_size=20)
    inverse = torch.linalg.inv(problem.A)
    torch.testing.assert_close(limit, inverse @ problem.C @ inverse / (20 * 10**7), rtol=1e-10, atol=0)
    for H in (0.05, 0.1 * torch.linspace(0.1, 1, 3, dtype=torch.float64), 0.1 * random_matrix(3, gen)):
        cov = iterate_average_covariance(
            problem.A, problem.C, num_iterates=10**7, batch_size=20, preconditioner=H, momentum=m
        )
        # What is left is 1/(T λ_min(HA)) < 1e-4.
        assert relative(cov, limit) < 1e-4


def test_well_specified_windows_of_n_over_s_are_the_posterior(gen):
    A = random_matrix(3, gen)
    cov = iterate_average_covariance(A, A, num_iterates=50, batch_size=20)
    torch.testing.assert_close(cov, torch.linalg.inv(1000 * A), rtol=1e-9, atol=0)


@pytest.mark.parametrize("m", [0.0, 0.5])
def test_simulated(m, gen):
    problem, T, chains, H = random_quadratic(2, gen), 50, 20_000, 0.3
    root = torch.linalg.cholesky(problem.C / 20)
    theta = v = total = torch.zeros(chains, 2, dtype=torch.float64)
    for t in range(150 + T):
        v = m * v - H * (
            theta @ problem.A + torch.randn(chains, 2, dtype=torch.float64, generator=gen) @ root.T
        )
        theta = theta + v
        total = total + theta if t >= 150 else total
    mean = total / T
    cov = iterate_average_covariance(
        problem.A, problem.C, num_iterates=T, batch_size=20, preconditioner=H, momentum=m
    )
    assert relative(mean.T @ mean / chains, cov) < 3 * covariance_error(cov, chains)


def test_gradcheck(gen):
    r, s = (torch.randn(2, 2, dtype=torch.float64, generator=gen, requires_grad=True) for _ in range(2))
    h = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    for extra in ({}, {"replacement": False, "num_data": 20}):

        def average(r, s, h, extra=extra):
            A, C = r @ r.T / 10 + EYE2, s @ s.T
            kwargs = {"num_iterates": 4, "batch_size": 5, "preconditioner": h, "momentum": 0.4}
            return iterate_average_covariance(A, C, **kwargs, **extra)

        assert torch.autograd.gradcheck(average, (r, s, h))
    assert torch.autograd.gradcheck(
        lambda r, s: iterate_average_covariance(r @ r.T + EYE2, s @ s.T, num_iterates=4, batch_size=5), (r, s)
    )


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"A": -EYE2}, ValueError, "A must be positive definite"),
        ({"C": -EYE2}, ValueError, "C must be positive semi-definite"),
        ({"num_iterates": 0}, ValueError, "num_iterates must be at least 1"),
        ({"num_iterates": 2.5}, TypeError, "num_iterates must be an int"),
        ({"batch_size": 0}, ValueError, "batch_size"),
        ({"preconditioner": 3.0}, ValueError, "spectral radius of 2"),
        ({"momentum": -1.0}, ValueError, "momentum"),
        ({"injected": -EYE2, "preconditioner": 0.1}, ValueError, "injected must be positive semi-definite"),
        ({"injected": EYE2}, ValueError, "preconditioner must be given"),
        ({"replacement": False}, ValueError, "preconditioner must be given"),
        ({"replacement": False, "preconditioner": 0.1}, ValueError, "num_data must be given"),
        (
            {"replacement": False, "preconditioner": 0.1, "num_data": 4},
            ValueError,
            "num_data must be at least 5",
        ),
    ],
)
def test_refusals(change, error, match):
    arguments = {"A": EYE2, "C": EYE2, "num_iterates": 4, "batch_size": 5} | change
    with pytest.raises(error, match=match):
        iterate_average_covariance(arguments.pop("A"), arguments.pop("C"), **arguments)
