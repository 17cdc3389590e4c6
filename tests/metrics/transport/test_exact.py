import numpy as np
import ot
import pytest
import scipy.stats
import torch

from metrics.transport import program, transport_cost, wasserstein
from tests.targets import random_gaussian


def clouds(gen, n=12, m=9, d=3, dtype=torch.float64):
    x = torch.randn(n, d, dtype=torch.float64, generator=gen)
    return x.to(dtype), (0.5 + 2 * torch.randn(m, d, dtype=torch.float64, generator=gen)).to(dtype)


def weights(gen, n):
    return 0.1 + torch.rand(n, dtype=torch.float64, generator=gen)


def test_published_values():
    # scipy's documentation of wasserstein_distance and of wasserstein_distance_nd.
    line = torch.tensor([[0.0], [1.0], [3.0]])
    assert wasserstein(line, torch.tensor([[5.0], [6.0], [8.0]]), p=1).item() == 5.0
    x, y = torch.tensor([[0.0, 2, 3], [1, 2, 5]]), torch.tensor([[3.0, 2, 3], [4, 2, 5]])
    assert wasserstein(x, y, p=1).item() == 3.0


@pytest.mark.parametrize("p", [1, 1.5, 2, 3])
@pytest.mark.parametrize(("n", "m", "d"), [(12, 9, 3), (9, 9, 2), (150, 150, 5), (7, 5, 1), (1, 6, 2)])
@pytest.mark.parametrize("weighted", [False, True])
def test_equals_pot(gen, n, m, d, p, weighted):
    x, y = clouds(gen, n, m, d)
    a, b = (
        (weights(gen, n), weights(gen, m)) if weighted else (torch.ones(n).double(), torch.ones(m).double())
    )
    cost = ot.dist(x.numpy(), y.numpy(), metric="euclidean") ** p
    want = ot.emd2((a / a.sum()).numpy(), (b / b.sum()).numpy(), cost, numItermax=10**7) ** (1 / p)
    got = wasserstein(x, y, p=p, weights_x=a, weights_y=b) if weighted else wasserstein(x, y, p=p)
    assert got.item() == pytest.approx(want, rel=1e-12)


def test_equals_scipy_in_many_dimensions(gen):
    x, y = clouds(gen)
    a, b = weights(gen, len(x)), weights(gen, len(y))
    want = scipy.stats.wasserstein_distance_nd(x, y, a, b)
    # HiGHS's own feasibility tolerance is 1e-7.
    assert wasserstein(x, y, p=1, weights_x=a, weights_y=b).item() == pytest.approx(want, rel=1e-7)


def test_assignment_and_simplex_agree(gen):
    size = program.ASSIGNMENT_SIZE
    cost = torch.cdist(*clouds(gen, size, size)).square()
    by_simplex = transport_cost(cost, torch.ones(size).double())
    torch.testing.assert_close(transport_cost(cost), by_simplex, rtol=1e-13, atol=0)


@pytest.mark.parametrize("d", [2, 7])
def test_gaussians_in_closed_form_without_monte_carlo_error(gen, d):
    """A cloud with exactly the moments of P, and its image under the Brenier map from P to Q.

    The map T is the gradient of a convex function, so x_i → T x_i is optimal between the clouds too, and its cost
    depends on two moments only: W_2 is that of the Gaussians, up to rounding.
    """
    p, q = random_gaussian(d, gen), random_gaussian(d, gen)
    z = torch.randn(60, d, dtype=torch.float64, generator=gen)
    z = (z - z.mean(0)) @ torch.linalg.inv(torch.linalg.cholesky(z.T.cov(correction=0))).T
    x = p.mean + z @ torch.linalg.cholesky(p.cov).T
    root, inverse = (_power(p.cov, e) for e in (0.5, -0.5))
    brenier = inverse @ _power(root @ q.cov @ root, 0.5) @ inverse
    y = q.mean + (x - p.mean) @ brenier
    shuffled = y[torch.randperm(60, generator=gen)]
    assert wasserstein(x, shuffled).item() == pytest.approx(p.w2_squared(q) ** 0.5, rel=1e-10)


def _power(matrix, e):
    values, vectors = torch.linalg.eigh(matrix)
    return vectors * values**e @ vectors.T


@pytest.mark.parametrize("p", [1, 2, 5])
@pytest.mark.parametrize("d", [1, 3])
def test_a_shift_costs_its_length(gen, dtype, p, d):
    x, _ = clouds(gen, d=d, dtype=dtype)
    shift = torch.full((d,), 2.0, dtype=dtype)
    # Coordinates of order 4 are rounded after the shift.
    assert wasserstein(x, x.flip(0) + shift, p=p).item() == pytest.approx(
        2 * d**0.5, rel=8 * torch.finfo(dtype).eps
    )


@pytest.mark.parametrize("d", [1, 3])
def test_symmetry_permutation_scale_and_identity(gen, d):
    x, y = clouds(gen, d=d)
    a, b = weights(gen, len(x)), weights(gen, len(y))
    forward = wasserstein(x, y, weights_x=a, weights_y=b)
    order = torch.randperm(len(x), generator=gen)
    torch.testing.assert_close(wasserstein(y, x, weights_x=b, weights_y=a), forward, rtol=1e-13, atol=0)
    torch.testing.assert_close(
        wasserstein(x[order], y, weights_x=a[order], weights_y=b), forward, rtol=1e-13, atol=0
    )
    torch.testing.assert_close(
        wasserstein(3 * x, 3 * y, weights_x=7 * a, weights_y=b), 3 * forward, rtol=1e-13, atol=0
    )
    assert wasserstein(x, x).item() == 0
    assert wasserstein(x, x[order]).item() == 0


@pytest.mark.parametrize("d", [1, 3])
def test_points_without_weight_do_not_count(gen, d):
    x, y = clouds(gen, d=d)
    a = weights(gen, len(x))
    a[[0, 4]] = 0
    kept = a > 0
    got = wasserstein(x, y, weights_x=a)
    torch.testing.assert_close(got, wasserstein(x[kept], y, weights_x=a[kept]), rtol=1e-13, atol=0)


@pytest.mark.parametrize("p", [1, 2, 3])
@pytest.mark.parametrize(("n", "m", "d"), [(5, 5, 2), (6, 4, 3), (6, 4, 1)])
def test_gradients(gen, n, m, d, p):
    """W is piecewise smooth: random clouds have one optimal plan, with a margin beyond gradcheck's 1e-6."""
    x, y = (c.requires_grad_() for c in clouds(gen, n, m, d))
    assert torch.autograd.gradcheck(lambda x, y: wasserstein(x, y, p=p), (x, y))
    a, b = weights(gen, n).requires_grad_(), weights(gen, m).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x, y, a, b: wasserstein(x, y, p=p, weights_x=a, weights_y=b), (x, y, a, b)
    )


def test_gradient_of_the_cost_matrix(gen):
    cost = torch.rand(6, 4, dtype=torch.float64, generator=gen).requires_grad_()
    assert torch.autograd.gradcheck(transport_cost, (cost,))
    transport_cost(cost).backward()
    torch.testing.assert_close(cost.grad.sum(1), torch.full((6,), 1 / 6, dtype=torch.float64))


@pytest.mark.parametrize("d", [1, 3])
@pytest.mark.parametrize("p", [1, 2, 3])
def test_gradient_is_zero_and_not_nan_at_zero(gen, d, p):
    x = clouds(gen, d=d)[0].repeat(2, 1).requires_grad_()
    wasserstein(x, x.detach().flip(0), p=p).backward()
    assert torch.equal(x.grad, torch.zeros_like(x))


def test_second_derivative_raises(gen):
    x, y = clouds(gen)
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(transport_cost(torch.cdist(x, y)), x, create_graph=True)
    with pytest.raises(RuntimeError, match=r"once|not implemented"):
        gradient.square().sum().backward()


@pytest.mark.parametrize("p", [1, 2])
def test_float32_far_apart_is_as_good_as_its_input(gen, p):
    x, y = clouds(gen, dtype=torch.float32)
    got = wasserstein(x, y + 1e6, p=p)
    want = wasserstein(x.double(), (y + 1e6).double(), p=p)
    assert got.dtype == torch.float32
    assert got.item() == pytest.approx(want.item(), rel=torch.finfo(torch.float32).eps)


def test_costs_may_be_negative_and_shifted(gen):
    cost = torch.randn(6, 4, dtype=torch.float64, generator=gen)
    torch.testing.assert_close(transport_cost(cost - 5), transport_cost(cost) - 5)


def test_a_simplex_that_stops_early_is_an_error(gen, monkeypatch):
    monkeypatch.setattr(program, "MAX_PIVOTS", 1)
    with pytest.raises(RuntimeError, match="no optimal plan"):
        wasserstein(*clouds(gen))


ONES = torch.ones(3, 2)


@pytest.mark.parametrize(
    ("args", "options", "error", "match"),
    [
        ((torch.ones(3), ONES), {}, ValueError, "x must have shape"),
        ((ONES, torch.ones(3, 4)), {}, ValueError, "same number of columns"),
        ((ONES, torch.ones(0, 2)), {}, ValueError, "y must not be empty"),
        ((ONES, ONES * torch.nan), {}, ValueError, "y must be finite"),
        ((ONES, ONES.double()), {}, TypeError, "same dtype"),
        ((np.ones((3, 2)), ONES), {}, TypeError, "x must be a torch.Tensor"),
        ((ONES.int(), ONES.int()), {}, TypeError, "float32 or float64"),
        ((ONES, ONES), {"p": 0}, ValueError, "p must be finite and at least 1"),
        ((ONES, ONES), {"p": 0.5}, ValueError, "p must be finite and at least 1"),
        ((ONES, ONES), {"p": float("inf")}, ValueError, "p must be finite"),
        ((ONES, ONES), {"p": "2"}, TypeError, "p must be a number"),
        ((ONES, ONES), {"p": True}, TypeError, "p must be a number"),
        ((ONES, ONES), {"weights_x": -torch.ones(3)}, ValueError, "weights_x must not be negative"),
        ((ONES, ONES), {"weights_y": torch.zeros(3)}, ValueError, "weights_y must have a positive sum"),
        ((ONES, ONES), {"weights_y": torch.ones(4)}, ValueError, "weights_y must have one entry per sample"),
    ],
)
def test_refusals(args, options, error, match):
    with pytest.raises(error, match=match):
        wasserstein(*args, **options)


@pytest.mark.parametrize(
    ("args", "error", "match"),
    [
        ((torch.ones(3),), ValueError, r"cost must have shape \[n, m\]"),
        ((torch.tensor([[torch.inf]]),), ValueError, "cost must be finite"),
        ((ONES, torch.ones(2)), ValueError, "a must have one entry per sample, 3"),
        ((ONES, None, torch.ones(3)), ValueError, "b must have one entry per sample, 2"),
        (([[1.0]],), TypeError, "cost must be a torch.Tensor"),
    ],
)
def test_refusals_of_the_core(args, error, match):
    with pytest.raises(error, match=match):
        transport_cost(*args)
