import numpy as np
import pytest
import scipy.linalg
import torch

from bayessgd.theory import continuous_lyapunov, discrete_lyapunov
from tests.bayessgd.theory.quadratics import random_matrix

# Both solvers are backward stable: they differ by rounding times the condition, 1/(1 − ρ²) ≤ 1e4 here.
RTOL = 1e-10


def random_map(d, gen, radius):
    F = torch.randn(d, d, dtype=torch.float64, generator=gen)
    return F * radius / torch.linalg.eigvals(F).abs().max()


@pytest.mark.parametrize("radius", [0.0, 0.3, 0.9, 0.9999])
@pytest.mark.parametrize("d", [1, 2, 5])
def test_discrete_agrees_with_scipy(d, radius, gen):
    F, W = random_map(d, gen, radius), random_matrix(d, gen)
    expected = scipy.linalg.solve_discrete_lyapunov(F.numpy(), W.numpy())
    np.testing.assert_allclose(
        discrete_lyapunov(F, W).numpy(), expected, rtol=RTOL, atol=RTOL * np.abs(expected).max()
    )


@pytest.mark.parametrize("d", [1, 2, 5])
@pytest.mark.parametrize("stiffness", [1.0, 1e4])
def test_continuous_agrees_with_scipy(d, stiffness, gen):
    M = random_matrix(d, gen) @ random_matrix(d, gen) * stiffness
    W = random_matrix(d, gen)
    expected = scipy.linalg.solve_continuous_lyapunov(M.numpy(), W.numpy())
    np.testing.assert_allclose(
        continuous_lyapunov(M, W).numpy(), expected, rtol=RTOL, atol=RTOL * np.abs(expected).max()
    )


def test_radius_close_to_one():
    # Σ = w/(1 − f²); 1 − f carries the rounding of f, 1e-16/1e-9.
    F = torch.tensor([[1 - 1e-9]], dtype=torch.float64)
    exact = 1 / ((1 - float(F)) * (1 + float(F)))
    assert float(discrete_lyapunov(F, torch.ones_like(F))) == pytest.approx(exact, rel=1e-6)


def test_many_right_hand_sides(gen):
    F = random_map(3, gen, 0.8)
    W = torch.stack([random_matrix(3, gen) for _ in range(4)])
    each = torch.stack([discrete_lyapunov(F, w) for w in W])
    torch.testing.assert_close(discrete_lyapunov(F, W), each, rtol=1e-13, atol=1e-13)


def test_gradients_of_first_and_second_order(gen):
    F, W = random_map(3, gen, 0.7).requires_grad_(), torch.randn(3, 3, dtype=torch.float64, generator=gen)
    W.requires_grad_()
    assert torch.autograd.gradcheck(discrete_lyapunov, (F, W))
    assert torch.autograd.gradgradcheck(discrete_lyapunov, (F, W))
    M = (random_matrix(3, gen) + random_map(3, gen, 0.05)).requires_grad_()
    assert torch.autograd.gradcheck(continuous_lyapunov, (M, W))


def test_gradient_with_a_batch(gen):
    F = random_map(2, gen, 0.7).requires_grad_()
    W = torch.randn(3, 2, 2, dtype=torch.float64, generator=gen, requires_grad=True)
    assert torch.autograd.gradcheck(discrete_lyapunov, (F, W))


def test_equal_eigenvalues_have_a_gradient():
    F = (0.5 * torch.eye(2, dtype=torch.float64)).requires_grad_()
    discrete_lyapunov(F, torch.eye(2, dtype=torch.float64)).trace().backward()
    # d/df of 1/(1 − f²) is 2f/(1 − f²)².
    torch.testing.assert_close(F.grad, torch.eye(2, dtype=torch.float64) / 0.75**2)


@pytest.mark.parametrize("scale", [1.0, 1.5])
def test_refuses_unstable_maps(scale):
    with pytest.raises(ValueError, match="F must have a spectral radius below 1"):
        discrete_lyapunov(scale * torch.eye(2), torch.eye(2))


def test_refuses_drift_that_grows():
    with pytest.raises(ValueError, match="positive real parts, got one of -1"):
        continuous_lyapunov(torch.diag(torch.tensor([1.0, -1.0])), torch.eye(2))
