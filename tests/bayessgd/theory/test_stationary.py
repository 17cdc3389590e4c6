import re

import numpy as np
import pytest
import scipy.linalg
import torch

from bayessgd.theory import largest_stable_rate, stationary_covariance
from tests.bayessgd.theory.quadratics import (
    covariance_error,
    kron_solution,
    random_matrix,
    random_quadratic,
    relative,
    simulate,
)

EYE2 = torch.eye(2, dtype=torch.float64)


def as_matrix(H, d):
    if not isinstance(H, torch.Tensor):
        return H * torch.eye(d, dtype=torch.float64)
    return torch.diag(H) if H.ndim == 1 else H


def preconditioners(problem, gen):
    d = len(problem.A)
    limit = float(largest_stable_rate(problem.A))
    H = random_matrix(d, gen)
    stable = 2 / torch.linalg.eigvals(H @ problem.A).real.max()
    return [0.3 * limit, 0.3 * limit * torch.linspace(0.2, 1, d, dtype=torch.float64), 0.4 * stable * H]


@pytest.mark.parametrize("which", [0, 1, 2], ids=["scalar", "diagonal", "full"])
def test_plain_sgd_agrees_with_scipy(which, gen):
    problem = random_quadratic(4, gen)
    H = preconditioners(problem, gen)[which]
    cov = stationary_covariance(problem.A, problem.C, preconditioner=H, batch_size=20)
    full = as_matrix(H, 4)
    F = torch.eye(4, dtype=torch.float64) - full @ problem.A
    expected = scipy.linalg.solve_discrete_lyapunov(F.numpy(), (full @ problem.C @ full / 20).numpy())
    # Two backward-stable solvers; the condition is 1/(1 − ρ²) < 1e3.
    np.testing.assert_allclose(cov.numpy(), expected, rtol=1e-10)


@pytest.mark.parametrize("which", [0, 1, 2], ids=["scalar", "diagonal", "full"])
def test_momentum_agrees_with_torchs_own_state(which, gen):
    """The oracle's state is (θ, buf), torch's, not (θ, v), and is solved by Kronecker products."""
    problem, m = random_quadratic(3, gen), 0.8
    H = preconditioners(problem, gen)[which]
    full, eye = as_matrix(H, 3), torch.eye(3, dtype=torch.float64)
    F = torch.cat([torch.cat([eye - full @ problem.A, -m * full], 1), torch.cat([problem.A, m * eye], 1)])
    G = torch.cat([-full, eye])
    expected = kron_solution(F, G @ (problem.C / 20) @ G.T)[:3, :3]
    cov = stationary_covariance(problem.A, problem.C, preconditioner=H, batch_size=20, momentum=m)
    torch.testing.assert_close(cov, expected, rtol=1e-9, atol=0)


@pytest.mark.parametrize("m", [0.0, 0.5, 0.9, 0.99])
def test_one_dimension_in_closed_form(m):
    a, c, S, eps = 2.0, 3.0, 10, 0.7
    expected = eps * c / S * (1 + m) / (a * (1 - m) * (2 * (1 + m) - eps * a))
    A, C = torch.tensor([[a]], dtype=torch.float64), torch.tensor([[c]], dtype=torch.float64)
    cov = stationary_covariance(A, C, preconditioner=eps, batch_size=S, momentum=m)
    assert float(cov) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("m", [0.0, 0.9])
def test_continuous_time_is_mandts_equation(m, gen):
    problem, eps = random_quadratic(3, gen), 0.01
    cov = stationary_covariance(
        problem.A, problem.C, preconditioner=eps, batch_size=20, momentum=m, discrete=False
    )
    # AΣ + ΣA = (ε/S) C, with momentum ε/(1−m).
    torch.testing.assert_close(
        problem.A @ cov + cov @ problem.A, eps / (1 - m) / 20 * problem.C, rtol=1e-10, atol=1e-14
    )
    trace = (problem.A * cov).sum()
    assert float(trace) == pytest.approx(float(eps * problem.C.trace() / (2 * (1 - m) * 20)), rel=1e-12)


@pytest.mark.parametrize("m", [0.0, 0.9])
def test_discrete_time_tends_to_the_continuous_limit_linearly(m, gen):
    problem, H = random_quadratic(3, gen), random_matrix(3, gen)
    gaps = []
    for scale in (1e-3, 1e-4):
        pair = [
            stationary_covariance(
                problem.A, problem.C, preconditioner=scale * H, batch_size=20, momentum=m, discrete=d
            )
            for d in (True, False)
        ]
        gaps.append(relative(*pair))
    assert gaps[1] < 1e-3
    # First order: a tenth of the step is a tenth of the gap, up to the second order, 1e-3 relative.
    assert gaps[0] / gaps[1] == pytest.approx(10, rel=0.05)


@pytest.mark.parametrize("chains", [10_000, pytest.param(40_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("m", [0.0, 0.9])
@pytest.mark.parametrize("batch_size", [20, 500], ids=["S/N=2%", "S/N=50%"])
def test_predicts_the_simulated_covariance(batch_size, m, chains, gen):
    """At a rate near the optimum for the batch; 40 000 chains give a relative error of √(4/40000) = 1 % (2)."""
    problem = random_quadratic(3, gen, batch_size=batch_size)
    exact = 2 * (1 - m) * torch.linalg.inv((1 - m) / (1 + m) * problem.A + 1000 / batch_size * problem.C)
    H = (exact + exact.T) / 2
    cov = stationary_covariance(problem.A, problem.C, preconditioner=H, batch_size=batch_size, momentum=m)
    found = simulate(problem.A, problem.C, H, batch_size=batch_size, gen=gen, momentum=m, chains=chains)
    assert relative(found, cov) < 3 * covariance_error(cov, chains) <= 6 / chains**0.5


@pytest.mark.parametrize("m", [0.0, 0.9])
def test_injected_noise_enters_the_velocity(m, gen):
    problem, Q = random_quadratic(2, gen), 1e-3 * random_matrix(2, gen)
    H = 0.2 * (1 - m) * random_matrix(2, gen)
    kwargs = {"preconditioner": H, "batch_size": 20, "momentum": m, "injected": Q}
    cov = stationary_covariance(problem.A, problem.C, **kwargs)
    found = simulate(problem.A, problem.C, H, batch_size=20, gen=gen, momentum=m, injected=Q, chains=20_000)
    assert relative(found, cov) < 3 * covariance_error(cov, 20_000)


@pytest.mark.parametrize("discrete", [True, False])
@pytest.mark.parametrize("m", [0.0, 0.6])
@pytest.mark.parametrize("shape", [(), (2,), (2, 2)])
def test_gradcheck(shape, m, discrete, gen):
    roots = [torch.randn(2, 2, dtype=torch.float64, generator=gen, requires_grad=True) for _ in range(3)]
    h = torch.rand(shape, dtype=torch.float64, generator=gen).add(0.2).requires_grad_()

    def cov(a, c, q, h):
        H = h @ h.T + 0.1 * EYE2 if h.ndim == 2 else h
        A = a @ a.T / 10 + 0.3 * EYE2
        return stationary_covariance(
            A, c @ c.T, preconditioner=H, batch_size=5, momentum=m, discrete=discrete, injected=q @ q.T
        )

    assert torch.autograd.gradcheck(cov, (*roots, h))


def test_float32_in_float32_out_with_float64_inside(gen):
    problem = random_quadratic(3, gen)
    wide = stationary_covariance(
        problem.A.float().double(), problem.C.float().double(), preconditioner=1e-6, batch_size=20
    )
    cov = stationary_covariance(problem.A.float(), problem.C.float(), preconditioner=1e-6, batch_size=20)
    assert cov.dtype == torch.float32
    # One rounding at the end: at 1 − ρ ≈ 1e-7 a float32 recursion would have nothing left.
    torch.testing.assert_close(cov, wide.float(), rtol=3e-7, atol=0)


def test_unstable_is_refused_with_radius_and_rate():
    A = torch.diag(torch.tensor([1.0, 4.0]))
    with pytest.raises(
        ValueError, match=r"spectral radius of 3 \(at least 1\).* below 0\.5 times .*rate: below 0\.5\)"
    ):
        stationary_covariance(A, A, preconditioner=1.0, batch_size=1)
    # z² − (1 + m − λ) z + m = 0 at λ = 4, m = 0.5: z = (−2.5 − √(6.25 − 2)) / 2 = −2.2808.
    with pytest.raises(ValueError, match=r"radius of 2\.281 .* below 0\.75 times"):
        stationary_covariance(A, A, preconditioner=1.0, batch_size=1, momentum=0.5)


@pytest.mark.parametrize("scale", [1.0, 3.0, 7.0, 11.0])
def test_the_rate_that_the_refusal_names_is_stable(scale):
    A = scale * torch.eye(1).double()
    with pytest.raises(ValueError, match="stay below") as refused:
        stationary_covariance(A, A, preconditioner=2.5, batch_size=1)
    share, rate = re.search(r"below (\S+) times .*below (\S+)\)", str(refused.value)).groups()
    for obeyed in (float(share) * 2.5, float(rate)):
        stationary_covariance(A, A, preconditioner=obeyed * (1 - 1e-12), batch_size=1)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("kind", [np.float32, np.float64, torch.tensor])
def test_momentum_is_a_number_of_any_library(kind):
    args = {"preconditioner": 0.1, "batch_size": 1}
    assert torch.equal(
        stationary_covariance(EYE2, EYE2, momentum=kind(0.5), **args),
        stationary_covariance(EYE2, EYE2, momentum=0.5, **args),
    )


def test_largest_stable_rate_takes_an_inverse_by_lu():
    """Whose asymmetry is forgiven as far as its condition number explains it."""
    A = torch.tensor([[1.0, 0.999], [0.999, 1.0]]).double()
    A[0, 1] += 1e-12
    assert float(largest_stable_rate(A)) == pytest.approx(2 / 1.999)


def test_largest_stable_rate_is_the_edge(gen):
    problem = random_quadratic(3, gen)
    for m in (0.0, 0.7):
        edge = float(largest_stable_rate(problem.A, momentum=m))
        stationary_covariance(
            problem.A, problem.C, preconditioner=edge * (1 - 1e-6), batch_size=1, momentum=m
        )
        with pytest.raises(ValueError, match="spectral radius"):
            stationary_covariance(
                problem.A, problem.C, preconditioner=edge * (1 + 1e-6), batch_size=1, momentum=m
            )


GOOD = {"A": EYE2, "C": EYE2, "preconditioner": 0.1, "batch_size": 4}


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"A": [[1.0]]}, TypeError, "A must be a torch.Tensor"),
        ({"A": EYE2.long()}, TypeError, "A must be float32 or float64"),
        ({"A": torch.ones(2, dtype=torch.float64)}, ValueError, r"A must have shape \[d, d\]"),
        ({"A": torch.ones(2, 3, dtype=torch.float64)}, ValueError, "square"),
        (
            {"A": torch.tensor([[1.0, 0.5], [0.0, 1.0]], dtype=torch.float64)},
            ValueError,
            "A must be symmetric",
        ),
        ({"A": EYE2 * torch.nan}, ValueError, "A must be finite"),
        (
            {"A": torch.diag(torch.tensor([1.0, 0.0], dtype=torch.float64))},
            ValueError,
            "A must be positive definite",
        ),
        (
            {"C": torch.diag(torch.tensor([1.0, -1.0], dtype=torch.float64))},
            ValueError,
            "C must be positive semi-def",
        ),
        ({"C": torch.eye(3, dtype=torch.float64)}, ValueError, r"C must have shape \[2, 2\]"),
        ({"C": torch.eye(2)}, TypeError, "same dtype"),
        ({"preconditioner": 0.0}, ValueError, "preconditioner must be finite and above 0"),
        ({"preconditioner": "0.1"}, TypeError, "preconditioner must be a number"),
        ({"preconditioner": torch.tensor([0.1, -0.1])}, ValueError, "preconditioner must be above 0"),
        ({"preconditioner": torch.ones(3)}, ValueError, "preconditioner must have shape"),
        ({"preconditioner": torch.ones(2, 2)}, ValueError, "preconditioner must be positive definite"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1"),
        ({"batch_size": 2.0}, TypeError, "batch_size must be an int"),
        ({"momentum": 1.0}, ValueError, "momentum must be at least 0 and below 1"),
        ({"momentum": -0.1}, ValueError, "momentum must be at least 0"),
        ({"momentum": "0.9"}, TypeError, "momentum must be a number"),
        ({"injected": -EYE2}, ValueError, "injected must be positive semi-definite"),
        ({"injected": torch.eye(3, dtype=torch.float64)}, ValueError, "injected must have shape"),
    ],
)
def test_refusals(change, error, match):
    arguments = GOOD | change
    with pytest.raises(error, match=match):
        stationary_covariance(arguments.pop("A"), arguments.pop("C"), **arguments)
