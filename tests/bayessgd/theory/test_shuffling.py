"""Epoch shuffling, against permutations of real data and against the law (1) written out as a matrix."""

import pytest
import torch

from bayessgd.theory import epoch_covariance, iterate_average_covariance, stationary_covariance
from bayessgd.theory.stationary import transition
from tests.bayessgd.theory.quadratics import (
    covariance_error,
    kron_solution,
    random_matrix,
    random_quadratic,
    relative,
)

EYE2 = torch.eye(2, dtype=torch.float64)


def written_out(A, C, H, S, N, m):
    """Covariances of θ after each step, and of an epoch's mean, from Cov(b_k, b_l) as one block matrix."""
    d, K = len(A), N // S
    F = transition(A, H, m)
    enter = torch.eye(d, dtype=torch.float64).tile(len(F) // d, 1) @ -H
    gram = torch.full((K, K), -1 / (N - 1), dtype=torch.float64)
    gram.fill_diagonal_((N - S) / (S * (N - 1)))
    noise = torch.kron(gram, C)

    def response(steps):
        """θ_steps as a linear map of the epoch's noises."""
        parts = [torch.linalg.matrix_power(F, steps - 1 - k) @ enter for k in range(steps)]
        return torch.cat(parts + [torch.zeros_like(enter)] * (K - steps), 1)

    start = kron_solution(torch.linalg.matrix_power(F, K), response(K) @ noise @ response(K).T)
    powers = [torch.linalg.matrix_power(F, k) for k in range(1, K + 1)]
    responses = [response(k) for k in range(1, K + 1)]
    after = [p @ start @ p.T + r @ noise @ r.T for p, r in zip(powers, responses, strict=True)]
    p, r = sum(powers) / K, sum(responses) / K
    mean = p @ start @ p.T + r @ noise @ r.T
    return torch.stack([x[:d, :d] for x in after]), mean[:d, :d]


@pytest.mark.parametrize("m", [0.0, 0.6])
@pytest.mark.parametrize(("N", "S"), [(12, 3), (14, 3), (6, 6), (5, 3), (8, 1)])
def test_agrees_with_the_law_written_out(N, S, m, gen):
    problem, H = random_quadratic(2, gen), 0.3 * random_matrix(2, gen)
    kwargs = {"preconditioner": H, "batch_size": S, "momentum": m, "num_data": N}
    after, mean = written_out(problem.A, problem.C, H, S, N, m)
    # Where one batch is the whole data set the noise vanishes, and what is left is rounding of C H²/S.
    torch.testing.assert_close(epoch_covariance(problem.A, problem.C, **kwargs), after, rtol=1e-9, atol=1e-15)
    window = iterate_average_covariance(
        problem.A, problem.C, num_iterates=N // S, replacement=False, **kwargs
    )
    torch.testing.assert_close(window, mean, rtol=1e-9, atol=1e-15)


@pytest.fixture(scope="module")
def permuted():
    """3000 chains over 30 epochs: permutations of 60 data, batches of 7 (4 data are dropped), momentum."""
    gen = torch.Generator().manual_seed(0)
    N, S, chains, m, H = 60, 7, 3000, 0.5, 0.2
    data = torch.randn(N, 2, dtype=torch.float64, generator=gen) ** 3
    data = data - data.mean(0)
    A = random_matrix(2, gen, ridge=0.3)
    theta = v = torch.zeros(chains, 2, dtype=torch.float64)
    epochs = []
    for _ in range(30):
        order = torch.rand(chains, N, generator=gen).argsort(1)
        epochs.append([])
        for k in range(N // S):
            v = m * v - H * (theta @ A + data[order[:, k * S : (k + 1) * S]].mean(1))
            theta = theta + v
            epochs[-1].append(theta)
    kwargs = {"preconditioner": H, "batch_size": S, "momentum": m}
    return A, data.T @ data / N, N, epochs, kwargs


def test_iterates_of_real_permutations(permuted):
    A, C, N, epochs, kwargs = permuted
    cov = epoch_covariance(A, C, num_data=N, **kwargs)
    assert len(cov) == N // 7
    for theta, expected in zip(epochs[-1], cov, strict=True):
        assert relative(theta.T @ theta / len(theta), expected) < 3 * covariance_error(expected, len(theta))


@pytest.mark.parametrize("T", [3, 8, 20])
def test_means_of_real_permutations(T, permuted):
    """Windows within an epoch, of an epoch, and over more than two."""
    A, C, N, epochs, kwargs = permuted
    cov = iterate_average_covariance(A, C, num_iterates=T, num_data=N, replacement=False, **kwargs)
    mean = torch.stack([theta for epoch in epochs[-3:] for theta in epoch][:T]).mean(0)
    assert relative(mean.T @ mean / len(mean), cov) < 3 * covariance_error(cov, len(mean))


def test_epoch_means_are_far_below_the_posterior():
    """Why iterate averaging needs iid batches: N = 1000, S = 50, ε = 0.5, a well-specified model."""
    A = torch.diag(torch.tensor([1.0, 0.1])).double()
    kwargs = {"num_iterates": 20, "batch_size": 50, "preconditioner": 0.5}
    iid = 1000 * (A @ iterate_average_covariance(A, A, **kwargs)).diagonal()
    shuffled = (
        1000 * (A @ iterate_average_covariance(A, A, **kwargs, replacement=False, num_data=1000)).diagonal()
    )
    assert (shuffled < 0.15 * iid).all()


def test_one_huge_epoch_is_iid(gen):
    """The correction is (time to forget)/K, 1/(0.3·K) in one dimension, and falls as 1/K."""
    problem = random_quadratic(2, gen)
    A, kwargs = torch.eye(2, dtype=torch.float64), {"preconditioner": 0.3, "batch_size": 1}
    iid = stationary_covariance(A, problem.C, **kwargs)
    gaps = [relative(epoch_covariance(A, problem.C, num_data=K, **kwargs)[K // 2], iid) for K in (500, 1000)]
    assert gaps[1] < 0.01
    assert gaps[0] / gaps[1] == pytest.approx(2, rel=0.02)


def test_gradcheck(gen):
    r, s = (torch.randn(2, 2, dtype=torch.float64, generator=gen, requires_grad=True) for _ in range(2))

    def cov(r, s):
        kwargs = {"preconditioner": 0.3, "batch_size": 5, "num_data": 16, "momentum": 0.3}
        return epoch_covariance(r @ r.T / 10 + EYE2, s @ s.T, **kwargs)

    assert torch.autograd.gradcheck(cov, (r, s))


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"A": -EYE2}, ValueError, "A must be positive definite"),
        ({"C": -EYE2}, ValueError, "C must be positive semi-definite"),
        ({"preconditioner": 3.0}, ValueError, "spectral radius of 2"),
        ({"batch_size": 0}, ValueError, "batch_size"),
        ({"num_data": 4}, ValueError, "num_data must be at least 5"),
        ({"num_data": 10.5}, TypeError, "num_data must be an int"),
        ({"momentum": 1.0}, ValueError, "momentum"),
    ],
)
def test_refusals(change, error, match):
    arguments = {"A": EYE2, "C": EYE2, "preconditioner": 0.1, "batch_size": 5, "num_data": 20} | change
    with pytest.raises(error, match=match):
        epoch_covariance(arguments.pop("A"), arguments.pop("C"), **arguments)
