"""What the theory returns the theory accepts, at any condition number that the type holds."""

import pytest
import torch

from bayessgd.optim import SGFS, PreconditionedSGD
from bayessgd.theory import (
    epoch_covariance,
    injected_noise,
    iterate_average_covariance,
    kl_to_posterior,
    optimal_learning_rate,
    optimal_preconditioner,
    optimal_scale,
    prior_precision_step,
    sgfs_covariance,
    sgfs_preconditioner,
    sgld_covariance,
    stationary_covariance,
)
from tests.bayessgd.theory.quadratics import random_matrix, relative

N, S, D = 1000, 20, 4
RULES = {"num_data": N, "batch_size": S}


def problem(condition, gen, *, units, dtype=torch.float64):
    """A and C alike but not proportional: ill-conditioned by units of the parameters, or in a rotated frame."""
    spectrum = torch.logspace(0, -float(torch.log10(torch.tensor(condition))), D, dtype=torch.float64)
    frame = torch.eye(D).double()
    if not units:
        frame = torch.linalg.qr(torch.randn(D, D, dtype=torch.float64, generator=gen)).Q
    root = frame * spectrum.sqrt()
    A, C = (root @ random_matrix(D, gen, ridge=0.5) @ root.T for _ in range(2))
    return tuple(((M + M.T) / 2).to(dtype) for M in (A, C))


# In units of the parameters the condition costs nothing; in a rotated frame A itself is known to cond·eps only.
CASES = [(True, 1e4), (True, 1e8), (True, 1e14), (True, 1e20), (False, 1e4), (False, 1e8), (False, 1e11)]


def accuracy(units, condition):
    return 1e-8 if units else max(1e-8, 1000 * 2.2e-16 * condition)


@pytest.mark.parametrize("m", [0.0, 0.9])
@pytest.mark.parametrize(("units", "condition"), CASES)
def test_exact_preconditioner_and_its_noise_are_accepted(units, condition, m, gen):
    A, C = problem(condition, gen, units=units)
    H = optimal_preconditioner(C, A=A, momentum=m, **RULES)
    torch.testing.assert_close(H, H.mT, rtol=0, atol=0)
    close = accuracy(units, condition)
    for share in (1.0, 0.3):
        rules = {"preconditioner": share * H, "batch_size": S, "momentum": m}
        Q = injected_noise(A, C, num_data=N, **rules)
        cov = stationary_covariance(A, C, injected=Q, **rules)
        torch.testing.assert_close(cov, cov.mT, rtol=0, atol=0)
        assert abs(float(kl_to_posterior(cov, A, num_data=N))) < close
        assert abs(float(optimal_scale(cov, A, num_data=N)) - 1) < close
        R = torch.linalg.cholesky(A)  # in its coordinates HA's eigenvalues are below 4
        assert float(torch.linalg.eigvalsh(R.T @ Q @ R)[0]) >= -close / N
        PreconditionedSGD(
            [torch.zeros(D).double().requires_grad_()], preconditioner=share * H, noise_covariance=Q
        )
        prior_precision_step(torch.ones(D).double(), cov)


@pytest.mark.parametrize("condition", [3.5e5, 1e8])
def test_an_inverse_by_lu_is_accepted(condition, gen):
    A, C = problem(condition, gen, units=False)
    H = 2 * torch.linalg.inv(A + N / S * C)
    assert not torch.equal(H, H.mT)
    cov = stationary_covariance(A, C, preconditioner=H, batch_size=S)
    assert abs(float(kl_to_posterior(cov, A, num_data=N))) < 1e-2 * condition * 1e-8
    injected_noise(A, C, preconditioner=0.5 * H, num_data=N, batch_size=S)


def test_a_wrong_transpose_is_still_refused(gen):
    A, C = problem(1e8, gen, units=False)
    H = torch.linalg.inv(A + N / S * C)
    H[0, 1] += 1e-6 * H.abs().max()
    with pytest.raises(ValueError, match=r"preconditioner must be symmetric.*cholesky_inverse"):
        stationary_covariance(A, C, preconditioner=H, batch_size=S)


@pytest.mark.parametrize(("units", "condition"), CASES)
def test_averages_epochs_and_langevin(units, condition, gen):
    """The same numbers as in the whitened problem, whose curvature is the identity."""
    A, C = problem(condition, gen, units=units)
    R = torch.linalg.cholesky(A)
    half = torch.linalg.solve_triangular(R, C, upper=False)
    white = torch.linalg.solve_triangular(R, half.mT, upper=False)
    white, one = (white + white.mT) / 2, torch.eye(D).double()
    H = 0.5 * optimal_preconditioner(C, A=A, **RULES)
    W = R.mT @ H @ R
    W = (W + W.mT) / 2
    E, F = R, one  # EEᵀ = A, a covariance of gradients, becomes the identity
    window = {"num_iterates": 50, "batch_size": S}
    fisher = {"learning_rate": 1.0, "batch_size": S}
    calls = [
        lambda A, C, H, E: iterate_average_covariance(A, C, **window),
        lambda A, C, H, E: iterate_average_covariance(A, C, preconditioner=H, momentum=0.5, **window),
        lambda A, C, H, E: iterate_average_covariance(
            A, C, preconditioner=H, replacement=False, num_data=N, **window
        ),
        lambda A, C, H, E: epoch_covariance(A, C, preconditioner=H, **RULES)[-1],
        lambda A, C, H, E: sgld_covariance(A, C, preconditioner=H, **RULES),
        lambda A, C, H, E: stationary_covariance(A, C, preconditioner=H, batch_size=S, discrete=False),
        lambda A, C, H, E: sgfs_covariance(A, C, E, preconditioner=H, **fisher),
    ]
    for call in calls:
        found = call(A, C, H, E)
        torch.testing.assert_close(found, found.mT, rtol=0, atol=0)
        inside = R.mT @ found @ R
        close = accuracy(units, condition)
        assert relative(inside, call(one, white, W, F)) < 10 * close
        assert torch.isfinite(kl_to_posterior(found, A, num_data=N))


@pytest.mark.parametrize("condition", [1e4, 1e8])
def test_searches_reach_the_closest_diagonal(condition, gen):
    """With commuting matrices the exact preconditioner is a diagonal, and the search has to find it."""
    spectrum = torch.logspace(0, -float(torch.log10(torch.tensor(condition))), D, dtype=torch.float64)
    A, C = torch.diag(spectrum), torch.diag(spectrum * torch.tensor([1.0, 2.0, 0.5, 1.0]).double())
    found = optimal_preconditioner(C, A=A, kind="diagonal", **RULES)
    torch.testing.assert_close(found, 2 / (A + N / S * C).diagonal(), rtol=1e-4, atol=0)
    rate = optimal_learning_rate(C, A=A, **RULES)
    assert 0 < float(rate) < 2 / float(spectrum[0])


@pytest.mark.parametrize("m", [0.0, 0.9])
def test_float32_holds_what_it_can_and_refuses_the_rest(m, gen):
    A, C = problem(1e2, gen, units=False, dtype=torch.float32)
    H = optimal_preconditioner(C, A=A, momentum=m, **RULES)
    Q = injected_noise(A, C, preconditioner=H, momentum=m, **RULES)
    cov = stationary_covariance(A, C, preconditioner=H, batch_size=S, momentum=m, injected=Q)
    assert abs(float(kl_to_posterior(cov, A, num_data=N))) < 1e-3
    A, C = problem(1e10, gen, units=False, dtype=torch.float32)
    with pytest.raises(
        ValueError, match=r"A must be positive definite beyond the rounding of torch.float32.*float64|A must"
    ):
        stationary_covariance(A, C, preconditioner=1e-3, batch_size=S)
    A, C = problem(
        1e8, gen, units=True, dtype=torch.float32
    )  # well known, and yet beyond float32's range of a step
    H = optimal_preconditioner(C, A=A, momentum=m, **RULES)
    assert (
        abs(
            float(
                kl_to_posterior(
                    stationary_covariance(A, C, preconditioner=H, batch_size=S, momentum=m), A, num_data=N
                )
            )
        )
        < 1e-3
    )


def test_float32_refuses_what_it_cannot_hold_and_float64_holds_it(gen):
    A, C = problem(1e7, gen, units=False)
    narrow = [M.float() for M in (A, C)]
    with pytest.raises(ValueError, match=r"float32.*float64"):
        optimal_preconditioner(narrow[1], A=narrow[0], **RULES)
    H = optimal_preconditioner(C, A=A, **RULES)
    stationary_covariance(A, C, preconditioner=H, batch_size=S)


def test_an_optimizer_of_float32_refuses_what_it_cannot_hold(gen):
    A, C = problem(1e8, gen, units=False)
    H = optimal_preconditioner(C, A=A, **RULES)
    with pytest.raises(ValueError, match=r"preconditioner must be representable.*model.double\(\)"):
        PreconditionedSGD([torch.zeros(D, requires_grad=True)], preconditioner=H)
    PreconditionedSGD([torch.zeros(D).double().requires_grad_()], preconditioner=H)
    mild = optimal_preconditioner(torch.eye(D).double(), **RULES)
    PreconditionedSGD([torch.zeros(D, requires_grad=True)], preconditioner=mild)


def test_fisher_scoring_in_float32_names_the_rounding():
    row = torch.tensor(
        [1e6, 3e6, 7e6, 0.3e6]
    )  # a covariance of rank one, beside which 2/N is nothing in float32
    rules = {"num_data": 10**9, "batch_size": 1, "per_example": True}
    theta = torch.zeros(4, requires_grad=True)
    sampler = SGFS([theta], 1.0, **rules)
    sampler.observe([torch.stack([row, -row])])
    theta.grad = torch.ones(4)
    with pytest.raises(ValueError, match=r"injected must keep .* beyond the rounding of torch.float32"):
        sampler.step()
    sampler = SGFS([theta], 1.0, injected=1e9, **rules)
    sampler.observe([torch.stack([row, -row])])
    sampler.step()


def test_sgfs_preconditioner_at_any_condition(gen):
    A, C = problem(1e8, gen, units=False)
    E = torch.linalg.cholesky(A)
    H = sgfs_preconditioner(C, E, learning_rate=1.0, **RULES)
    total = C / S + E @ E.T
    torch.testing.assert_close(H @ total * N / 2, torch.eye(D).double(), rtol=0, atol=1e-6)
    sgfs_covariance(A, C, E, preconditioner=H, learning_rate=0.1, batch_size=S)


@pytest.mark.parametrize("bad", [torch.zeros(2, 2), torch.diag(torch.tensor([1.0, -1.0]))])
def test_refusals_of_indefinite_matrices(bad):
    with pytest.raises(ValueError, match=r"A must be positive definite"):
        stationary_covariance(bad.double(), torch.eye(2).double(), preconditioner=0.1, batch_size=1)


def test_collinear_columns_are_named():
    x = torch.tensor([[1.0, 1.0], [1.0, 1.0]]).double()
    with pytest.raises(ValueError, match=r"beyond the rounding of torch.float64.*collinear"):
        stationary_covariance(x, torch.eye(2).double(), preconditioner=0.1, batch_size=1)
