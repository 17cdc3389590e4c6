import re

import pytest
import torch

from bayessgd.theory import injected_noise, kl_to_posterior, optimal_preconditioner, stationary_covariance
from tests.bayessgd.theory.quadratics import (
    covariance_error,
    random_matrix,
    random_quadratic,
    relative,
    simulate,
)

EYE2 = torch.eye(2, dtype=torch.float64)


def largest_feasible(problem, H, m):
    G = problem.A / (1 + m) + problem.num_data / problem.batch_size * problem.C / (1 - m)
    return 2 / float(torch.linalg.eigvals(H @ G).real.max())


@pytest.mark.parametrize("m", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("batch_size", [20, 500])
@pytest.mark.parametrize("shape", ["scalar", "diagonal", "full"])
def test_any_preconditioner_samples_the_posterior(shape, batch_size, m, gen):
    for share in (0.01, 0.5, 1 - 1e-6):
        problem = random_quadratic(4, gen, batch_size=batch_size)
        full = {
            "scalar": torch.eye(4, dtype=torch.float64),
            "diagonal": torch.diag(torch.rand(4, dtype=torch.float64, generator=gen) + 0.1),
            "full": random_matrix(4, gen),
        }[shape]
        full = share * largest_feasible(problem, full, m) * full
        H = {"scalar": float(full[0, 0]), "diagonal": full.diagonal(), "full": full}[shape]
        kwargs = {"preconditioner": H, "batch_size": batch_size, "momentum": m}
        Q = injected_noise(problem.A, problem.C, num_data=1000, **kwargs)
        assert float(torch.linalg.eigvalsh(Q)[0]) > -1e-12
        cov = stationary_covariance(problem.A, problem.C, injected=Q, **kwargs)
        assert abs(float(kl_to_posterior(cov, problem.A, num_data=1000))) < 1e-8


def test_formula_without_momentum(gen):
    problem, H = random_quadratic(3, gen), 1e-3 * random_matrix(3, gen)
    A, C = problem.A, problem.C
    Q = injected_noise(A, C, preconditioner=H, num_data=1000, batch_size=20)
    torch.testing.assert_close(Q, (2 * H - H @ A @ H) / 1000 - H @ C @ H / 20)


@pytest.mark.parametrize("m", [0.0, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_exact_preconditioner_is_the_boundary(m, dtype, gen):
    problem = random_quadratic(4, gen)
    A, C = problem.A.to(dtype), problem.C.to(dtype)
    H = optimal_preconditioner(C, num_data=1000, batch_size=20, A=A, momentum=m)
    Q = injected_noise(A, C, preconditioner=H, num_data=1000, batch_size=20, momentum=m)
    # The rounding of H, 2 eps relative, times the two terms that cancel, (1 − m)·2H/N.
    assert float(Q.abs().max()) < 100 * torch.finfo(dtype).eps * float(2 * H.abs().max() / 1000)
    cov = stationary_covariance(A, C, preconditioner=H, batch_size=20, momentum=m, injected=Q)
    assert abs(float(kl_to_posterior(cov, A, num_data=1000))) < (1e-8 if dtype == torch.float64 else 1e-5)


@pytest.mark.parametrize("m", [0.0, 0.9])
def test_simulated_within_a_twentieth_of_a_nat(m, gen):
    problem, H = random_quadratic(3, gen, batch_size=500), random_matrix(3, gen)
    H = 0.5 * largest_feasible(problem, H, m) * H
    Q = injected_noise(problem.A, problem.C, preconditioner=H, num_data=1000, batch_size=500, momentum=m)
    found = simulate(problem.A, problem.C, H, batch_size=500, gen=gen, momentum=m, injected=Q, chains=10_000)
    # Estimating a covariance from n draws costs d(d+1)/(4n) = 3e-4 nats.
    assert float(kl_to_posterior(found, problem.A, num_data=1000)) < 0.05
    posterior = torch.linalg.inv(1000 * problem.A)
    assert relative(found, posterior) < 3 * covariance_error(posterior, 10_000)


def test_gradcheck(gen):
    r, s = (0.1 * torch.randn(2, 2, dtype=torch.float64, generator=gen) for _ in range(2))
    r.requires_grad_(), s.requires_grad_()

    def noise(r, s):
        return injected_noise(
            r @ r.T + EYE2, s @ s.T, preconditioner=0.1, num_data=10, batch_size=10, momentum=0.5
        )

    assert torch.autograd.gradcheck(noise, (r, s))


@pytest.mark.parametrize("m", [0.0, 0.9])
def test_refuses_what_is_infeasible_and_names_the_edge(m, gen):
    problem, H = random_quadratic(3, gen), random_matrix(3, gen)
    edge = largest_feasible(problem, H, m)
    kwargs = {"num_data": 1000, "batch_size": 20, "momentum": m}
    injected_noise(problem.A, problem.C, preconditioner=edge * (1 - 1e-6) * H, **kwargs)
    with pytest.raises(ValueError, match=r"smallest eigenvalue of -.*; scale it by 0\.5 or less"):
        injected_noise(problem.A, problem.C, preconditioner=2 * edge * H, **kwargs)


@pytest.mark.parametrize("edge", [0.2, 1 / 3, 2 / 3, 1 / 7])
def test_the_scale_that_the_refusal_names_is_feasible(edge):
    one = torch.ones(1, 1).double()
    kwargs = {"num_data": 1, "batch_size": 1}
    with pytest.raises(ValueError, match="or less") as refused:
        injected_noise(one, (2 / edge - 1) * one, preconditioner=0.7, **kwargs)
    share = float(re.search(r"scale it by (\S+) or less", str(refused.value))[1])
    assert share * 0.7 == pytest.approx(edge, rel=1e-3)
    injected_noise(one, (2 / edge - 1) * one, preconditioner=share * 0.7, **kwargs)


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"A": -EYE2}, ValueError, "A must be positive definite"),
        ({"C": -EYE2}, ValueError, "C must be positive semi-definite"),
        ({"C": torch.tensor([[1.0, 1.0], [0.0, 1.0]]).double()}, ValueError, "C must be symmetric"),
        ({"preconditioner": -1.0}, ValueError, "preconditioner must be finite and above 0"),
        ({"num_data": -1}, ValueError, "num_data must be finite and above 0"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1"),
        ({"momentum": 1.0}, ValueError, "momentum must be"),
    ],
)
def test_refusals(change, error, match):
    arguments = {"A": EYE2, "C": EYE2, "preconditioner": 0.01, "num_data": 10, "batch_size": 10} | change
    with pytest.raises(error, match=match):
        injected_noise(arguments.pop("A"), arguments.pop("C"), **arguments)
