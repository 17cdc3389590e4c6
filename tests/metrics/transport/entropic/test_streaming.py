import pytest
import torch

from metrics.transport import sinkhorn, sinkhorn_divergence
from metrics.transport.entropic import start as starting
from metrics.transport.entropic import streaming
from metrics.transport.entropic.kernels import Powers, Squares
from metrics.transport.entropic.problem import Goal
from tests.metrics.transport.entropic.solving import plan_of, solve, solve_in_slabs


@pytest.fixture
def small_slabs(monkeypatch):
    monkeypatch.setattr(streaming, "SLAB", 100)
    monkeypatch.setattr(streaming, "START", 32)


def clouds(gen, n=70, m=50, d=3, dtype=torch.float64):
    x, y = (torch.randn(k, d, dtype=dtype, generator=gen) for k in (n, m))
    a, b = (0.1 + torch.rand(k, dtype=dtype, generator=gen) for k in (n, m))
    return x, 0.5 + 2 * y, a / a.sum(), b / b.sum()


@pytest.mark.parametrize("scale", [0.3, 2.0, 8.0])
@pytest.mark.usefixtures("small_slabs")
def test_equals_the_dense_solution(gen, scale):
    x, y, a, b = clouds(gen)
    kernel = Squares(scale * x, scale * y)
    goal = Goal(1e-10)
    dense = solve(kernel, a, b, goal=goal, max_iterations=5000)
    found = solve_in_slabs(kernel, a, b, goal=goal, max_iterations=5000)
    assert found.converged
    assert found.dual == pytest.approx(dense.dual, rel=1e-12)
    assert len(found.taken) == 5  # slabs of sixteen rows
    plans = (plan_of(solution, 70, 50) for solution in (found, dense))
    torch.testing.assert_close(*plans, rtol=1e-6, atol=1e-12)


@pytest.mark.usefixtures("small_slabs")
@pytest.mark.parametrize("start", ["solution", "useless"])
def test_start_is_used_if_it_is_good_and_dropped_if_not(gen, start):
    x, y, a, b = clouds(gen)
    kernel, goal = Squares(2 * x, 2 * y), Goal(1e-8)
    cold = solve_in_slabs(kernel, a, b, goal=goal, max_iterations=5000)
    g = cold.g if start == "solution" else 1e4 * torch.randn(len(b), dtype=torch.float64, generator=gen)
    warm = solve_in_slabs(kernel, a, b, goal=goal, max_iterations=5000, start=g)
    assert warm.iterations == 1 if start == "solution" else warm.converged
    assert warm.dual == pytest.approx(cold.dual, rel=1e-12)


@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.usefixtures("small_slabs")
def test_divergence_is_the_same_in_pieces(gen, dtype, p):
    """Value and all gradients, where a bound on memory asks for it."""
    inputs = [t.requires_grad_() for t in clouds(gen, dtype=dtype)]
    x, y, a, b = inputs
    values, gradients = [], []
    for memory in (2**20, 1):
        value = sinkhorn_divergence(x, y, p=p, weights_x=a, weights_y=b, memory=memory)
        values.append(value)
        gradients.append(torch.autograd.grad(value, inputs))
    # The default tolerance is 3e-4, of which the value takes the square.
    torch.testing.assert_close(values[1], values[0], rtol=1e-5, atol=0)
    for one, other in zip(*gradients, strict=True):
        assert (one - other).norm() <= 2e-3 * other.norm()


@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.usefixtures("small_slabs")
def test_sinkhorn_is_the_same_in_pieces(gen, p):
    x, y, a, b = clouds(gen)
    x.requires_grad_()
    dense, pieces = (
        sinkhorn(x, y, p=p, weights_x=a, weights_y=b, tol=1e-9, memory=memory) for memory in (2**20, 1)
    )
    assert pieces.value.item() == pytest.approx(dense.value.item(), rel=1e-12)
    force, again = (torch.autograd.grad(r.value, x)[0] for r in (dense, pieces))
    torch.testing.assert_close(again, force, rtol=1e-6, atol=1e-9)


def test_powers_are_the_kernel_of_the_distance(gen):
    x, y, a, b = clouds(gen)
    kernel = Powers(x, y, 3.0, 0.5)
    s = -2 * torch.cdist(x, y) ** 3
    rows = slice(3, 9)
    torch.testing.assert_close(kernel.fill(b, torch.empty(6, 50).double(), rows), s[rows] + b)
    torch.testing.assert_close(kernel.T.fill(a, torch.empty(50, 70).double()), s.T + a)


def test_potentials_are_extended_by_their_equation_in_pieces(gen):
    x, y, _, _ = clouds(gen, 40, 3000)
    kernel = Squares(x, y)
    s = -torch.cdist(x, y).square() / 2
    f = torch.randn(40, dtype=torch.float64, generator=gen)
    got = starting.extended(kernel, f)
    torch.testing.assert_close(got, -torch.logsumexp(f[:, None] + s, 0), rtol=1e-12, atol=1e-12)


def test_giving_up_is_reported(gen):
    x, y, a, b = clouds(gen)
    found = solve_in_slabs(Squares(9 * x, 9 * y), a, b, goal=Goal(1e-12), max_iterations=3)
    assert not found.converged
    assert found.iterations == 3
