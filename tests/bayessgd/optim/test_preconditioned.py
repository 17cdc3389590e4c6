import pytest
import torch

from bayessgd.optim import PreconditionedSGD
from bayessgd.theory import injected_noise
from tests.bayessgd.optim.quadratic import D, assert_law, lyapunov, momentum_covariance, problem, simulate

EYE = torch.eye(D, dtype=torch.float64)
N, S = 100, 10


def optimal(kind):
    a, c = problem()
    return {
        "number": 2 * S / N * D / float(c.trace()),
        "diagonal": 2 * S / (N * c.diagonal()),
        "full": 2 * S / N * torch.linalg.inv(c),
        "exact": 2 * torch.linalg.inv(a + N * c / S),
    }[kind]


def as_matrix(h):
    return h * EYE if isinstance(h, float) or h.ndim == 1 else h


@pytest.mark.parametrize("kind", ["number", "diagonal", "full", "exact"])
def test_stationary_covariance(kind):
    a, c = problem()
    h = optimal(kind) if kind != "full" else 0.3 * optimal(kind)  # at S/N = 0.1 the paper's full one diverges
    samples = simulate(
        lambda p, g: PreconditionedSGD(p, preconditioner=h, stacked=True), curvature=a, noise=c / S, steps=400
    )
    hm = as_matrix(h)
    assert_law(samples, lyapunov(EYE - hm @ a, hm @ c @ hm.T / S))


def test_exact_preconditioner_samples_the_posterior():
    a, c = problem()
    h = optimal("exact")
    samples = simulate(
        lambda p, g: PreconditionedSGD(p, preconditioner=h, stacked=True), curvature=a, noise=c / S, steps=400
    )
    assert_law(samples, torch.linalg.inv(N * a))


@pytest.mark.parametrize("shrink", [0.9, 0.3])
def test_injected_noise_makes_any_preconditioner_exact(shrink):
    a, c = problem()
    h = shrink * (optimal("exact") + 0.002 * torch.diag(torch.tensor([1.0, -1.0, 0.5], dtype=torch.float64)))
    q = (2 * h - h @ a @ h) / N - h @ c @ h / S
    samples = simulate(
        lambda p, g: PreconditionedSGD(p, preconditioner=h, noise_covariance=q, stacked=True, generator=g),
        curvature=a,
        noise=c / S,
        steps=600,
    )
    assert_law(samples, torch.linalg.inv(N * a))


def test_momentum_has_the_law_of_its_recursion():
    a, c = problem()
    h, m = 0.3 * optimal("exact"), 0.6
    samples = simulate(
        lambda p, g: PreconditionedSGD(p, preconditioner=h, momentum=m, stacked=True),
        curvature=a,
        noise=c / S,
        steps=400,
    )
    assert_law(samples, momentum_covariance(a, h, m, h @ c @ h / S))


def test_injected_noise_with_momentum_is_exact_too():
    a, c = problem()
    h, m = 0.15 * optimal("exact"), 0.6
    q = (1 - m) * (2 * h - h @ a @ h / (1 + m)) / N - h @ c @ h / S
    torch.testing.assert_close(momentum_covariance(a, h, m, q + h @ c @ h / S), torch.linalg.inv(N * a))
    samples = simulate(
        lambda p, g: PreconditionedSGD(
            p, preconditioner=h, noise_covariance=q, momentum=m, stacked=True, generator=g
        ),
        curvature=a,
        noise=c / S,
        steps=400,
    )
    assert_law(samples, torch.linalg.inv(N * a))


@pytest.mark.parametrize("given", [torch.float32, torch.float64])
def test_boundary_noise_is_rounding_and_not_refused(given, dtype):
    """H exact: Q is 0 up to the rounding of H, of either sign; what the theory passes, the optimizer takes."""
    a, c = problem()
    h = optimal("exact").to(given)
    q = injected_noise(a, c, preconditioner=h, num_data=N, batch_size=S)
    theta = torch.zeros(D, dtype=dtype, requires_grad=True)
    PreconditionedSGD([theta], preconditioner=h, noise_covariance=q)


def test_a_matrix_that_is_not_symmetric_is_not_transposed(dtype):
    h = torch.tensor([[1.0, 2.0], [0.0, 1.0]], dtype=dtype)
    theta = torch.zeros(2, dtype=dtype, requires_grad=True)
    theta.grad = torch.tensor([0.0, 1.0], dtype=dtype)
    PreconditionedSGD([theta], 0.5, preconditioner=h).step()
    torch.testing.assert_close(theta.detach(), torch.tensor([-1.0, -0.5], dtype=dtype))


def test_each_group_has_its_own_preconditioner():
    left, right = torch.zeros(2, requires_grad=True), torch.zeros(3, requires_grad=True)
    groups = [{"params": [left], "preconditioner": torch.tensor([1.0, 2.0])}, {"params": [right], "lr": 2.0}]
    optimizer = PreconditionedSGD(groups, preconditioner=0.1)
    left.grad, right.grad = torch.ones(2), torch.ones(3)
    optimizer.step()
    torch.testing.assert_close(left.detach(), torch.tensor([-1.0, -2.0]))
    torch.testing.assert_close(right.detach(), torch.full((3,), -0.2))


def test_each_chain_has_its_own_matrices(gen):
    h = torch.randn(2, 3, 3, generator=gen, dtype=torch.float64)  # not symmetric: a transpose would show
    roots = torch.randn(2, 3, 3, generator=gen, dtype=torch.float64)
    theta = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    theta.grad = torch.randn(2, 3, generator=gen, dtype=torch.float64)
    PreconditionedSGD([theta], preconditioner=h, stacked=True).step()
    torch.testing.assert_close(theta.detach()[1], -h[1] @ theta.grad[1])
    chains = 4000
    still = torch.zeros(2 * chains, 3, dtype=torch.float64, requires_grad=True)
    still.grad = torch.zeros_like(still)
    q = (roots @ roots.mT).repeat_interleave(chains, 0)
    matrices = {"preconditioner": 1e3 * torch.eye(3).double(), "noise_covariance": q}
    PreconditionedSGD([still], **matrices, stacked=True, generator=torch.Generator().manual_seed(0)).step()
    for found, true in zip(still.detach().split(chains), roots @ roots.mT, strict=True):
        spread = (true.diagonal().outer(true.diagonal()) + true.square()).sqrt()
        assert ((found.T.cov() - true).abs() < 5 * spread / chains**0.5).all()


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        (
            {"preconditioner": torch.ones(4)},
            ValueError,
            r"preconditioner must be a number, \[3\] or \[3, 3\]",
        ),
        ({"preconditioner": "full"}, TypeError, "preconditioner must be a number or a torch.Tensor, got str"),
        ({"preconditioner": torch.ones(3).int()}, TypeError, "preconditioner must be float32 or float64"),
        ({"preconditioner": torch.tensor(torch.nan)}, ValueError, "preconditioner must be finite"),
        (
            {"preconditioner": 0.1, "noise_covariance": -0.1},
            ValueError,
            "positive semi-definite, got the eigenvalue -0.1",
        ),
        (
            {"preconditioner": 0.1, "noise_covariance": torch.eye(3) + torch.ones(3, 3).triu(1)},
            ValueError,
            "noise_covariance must be symmetric",
        ),
        ({"preconditioner": 0.1, "noise_covariance": 0.1, "lr": 0.5}, ValueError, "lr must stay 1"),
        ({"preconditioner": 0.1, "momentum": 1.0}, ValueError, r"momentum must be in \[0, 1\)"),
        ({"preconditioner": 0.1, "weight_decay": 0.1}, ValueError, "weight_decay must stay 0"),
    ],
)
def test_refusals(arguments, error, match):
    with pytest.raises(error, match=match):
        PreconditionedSGD([torch.zeros(3, requires_grad=True)], **arguments)


def test_refuses_half_a_group_of_gradients():
    params = [torch.zeros(2, requires_grad=True) for _ in range(2)]
    optimizer = PreconditionedSGD(params, preconditioner=0.1)
    params[0].grad = torch.ones(2)
    with pytest.raises(ValueError, match="params of one group must all have gradients, got 1 without"):
        optimizer.step()


def test_refuses_chains_of_different_number():
    params = [torch.zeros(2, 3, requires_grad=True), torch.zeros(3, 3, requires_grad=True)]
    with pytest.raises(ValueError, match="params must share the leading dimension"):
        PreconditionedSGD(params, preconditioner=0.1, stacked=True)
