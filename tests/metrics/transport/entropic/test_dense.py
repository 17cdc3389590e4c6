import math

import pytest
import torch

from metrics.transport.entropic import dense
from metrics.transport.entropic.kernels import Table
from metrics.transport.entropic.problem import Goal, Problem
from tests.metrics.transport.entropic.solving import solve
from tests.metrics.transport.oracles import log_domain_sinkhorn, uniform

TIGHT = Goal(1e-11)


def problem(gen, n=30, m=20, d=2, dtype=torch.float64):
    x = torch.randn(n, d, dtype=torch.float64, generator=gen)
    y = 0.5 + 2 * torch.randn(m, d, dtype=torch.float64, generator=gen)
    a, b = (0.1 + torch.rand(k, dtype=torch.float64, generator=gen) for k in (n, m))
    return torch.cdist(x, y).square().to(dtype), (a / a.sum()).to(dtype), (b / b.sum()).to(dtype)


def plan_of(found):
    ((_, plan),) = found.taken
    return plan


def absorbed(kernel, a, b):
    return dense._Absorbed(Problem(kernel, a, b, TIGHT, 100), a.new_empty(len(a), len(b)))


def centred(f):
    return f - f.mean()


@pytest.mark.parametrize("relative", [3e-3, 0.05, 1.0, 100.0])
def test_equals_the_log_domain_loop(gen, relative):
    cost, a, b = problem(gen)
    eps = relative * cost.mean().item()
    value, plan, f, g = log_domain_sinkhorn(cost, a, b, eps)
    found = solve(Table(-cost / eps), a, b, goal=TIGHT, max_iterations=20_000)
    assert found.converged
    assert eps * found.dual == pytest.approx(value, rel=1e-12)
    # Potentials err by the marginals' error over the spectral gap, here at worst some 1e-4.
    torch.testing.assert_close(plan_of(found), plan, rtol=1e-6, atol=1e-12)
    torch.testing.assert_close(centred(eps * found.f), centred(f), rtol=1e-6, atol=1e-6 * eps)
    torch.testing.assert_close(centred(eps * found.g), centred(g), rtol=1e-6, atol=1e-6 * eps)


@pytest.mark.parametrize("relative", [3e-3, 0.05, 1.0])
def test_plan_potentials_and_errors_belong_together(gen, dtype, relative):
    cost, a, b = problem(gen, dtype=dtype)
    s = -cost / (relative * cost.mean())
    found = solve(Table(s), a, b, goal=Goal(1e-4), max_iterations=5000)
    # An exponent of size 1/relative is rounded to its own eps.
    rtol = 64 / relative * torch.finfo(dtype).eps
    plan = (found.f[:, None] + found.g + s.double()).exp() * a.double()[:, None] * b.double()
    got = plan_of(found)
    torch.testing.assert_close(got.double(), plan, rtol=rtol, atol=1e-12)
    torch.testing.assert_close(got.sum(1), a, rtol=64 * torch.finfo(dtype).eps, atol=0)
    error = (got.sum(0) - b).abs().sum().item()
    assert found.error == pytest.approx(error, abs=64 * torch.finfo(dtype).eps)
    assert found.error <= 1e-4
    dual = (found.f @ a.double() + found.g @ b.double()).item()
    assert found.dual == pytest.approx(dual, abs=64 / relative * torch.finfo(dtype).eps)


def test_dual_is_a_lower_bound_with_a_quadratic_error(gen):
    """At a marginal error e the dual is short by KL(b ‖ c) at least, and of the order of e²/gap at most."""
    cost, a, b = problem(gen)
    s = -cost / (0.05 * cost.mean())
    best = solve(Table(s), a, b, goal=TIGHT, max_iterations=20_000).dual
    for tol in (1e-1, 1e-2, 1e-3):
        found = solve(Table(s), a, b, goal=Goal(tol), max_iterations=20_000)
        assert -1e-12 <= best - found.dual <= 20 * found.error**2


def test_taking_a_step_back_leads_to_the_plain_one(gen):
    """The plain step of a point that was looked at is a sweep from it, up to the rounding of a few operations."""
    cost, a, b = problem(gen)
    home = absorbed(Table(-cost / cost.mean()), a, b)
    home.absorb(torch.zeros_like(b))
    v = torch.rand(len(b), dtype=torch.float64, generator=gen) + 0.1
    at = home.look(v)
    torch.testing.assert_close(home.reach(at.g + at.residual), home.sweep(v), rtol=1e-13, atol=0)


def test_potentials_that_are_far_are_absorbed_and_the_point_is_the_same(gen):
    cost, a, b = problem(gen)
    home = absorbed(Table(-cost / cost.mean()), a, b)
    home.absorb(torch.zeros_like(b))
    near, far = (torch.linspace(-c, c, len(b), dtype=torch.float64) for c in (20.0, 60.0))
    origin = home.origin
    at = home.look(home.reach(near))
    assert home.origin is origin
    home.absorb(near)
    again = home.look(torch.ones_like(b))
    torch.testing.assert_close((at.dual, at.error), (again.dual, again.error), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(at.potentials(), again.potentials(), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(home.reach(far + near), torch.ones_like(b))
    assert home.origin is not origin


def test_a_kernel_that_float32_cannot_hold(gen):
    """ε of 1e-3 of the mean cost: without absorption all entries of a row underflow."""
    cost, a, b = problem(gen, dtype=torch.float32)
    s = -cost / (1e-3 * cost.mean())
    assert (s.exp().sum(1) == 0).any()
    found = solve(Table(s), a, b, goal=Goal(1e-3), max_iterations=20_000)
    a, b = (w.double() / w.double().sum() for w in (a, b))  # float32 weights sum to one only nearly
    double = solve(Table(s.double()), a, b, goal=Goal(1e-9), max_iterations=20_000)
    assert found.converged
    assert double.converged
    # Concavity bounds what an unfinished dual lacks by ⟨g* − g, b − c⟩; potentials are rounded as they are absorbed.
    spread = double.g - found.g
    lack = found.error * (spread.max() - spread.min()).item() / 2
    rounding = 4 * torch.finfo(torch.float32).eps * max(double.f.abs().max(), double.g.abs().max()).item()
    assert abs(found.dual - double.dual) <= lack + rounding
    assert lack + rounding < 1e-4 * double.dual


@pytest.mark.parametrize("start", ["solution", "useless"])
def test_start_is_used_if_it_is_good_and_dropped_if_not(gen, start):
    cost, a, b = problem(gen)
    s = -cost / (0.01 * cost.mean())
    cold = solve(Table(s), a, b, goal=TIGHT, max_iterations=20_000)
    g = cold.g if start == "solution" else 1e4 * torch.randn(len(b), dtype=torch.float64, generator=gen)
    warm = solve(Table(s), a, b, goal=TIGHT, max_iterations=20_000, start=g)
    assert warm.iterations == 1 if start == "solution" else warm.converged
    assert warm.dual == pytest.approx(cold.dual, rel=1e-12)


def test_giving_up_is_reported(gen):
    cost, a, b = problem(gen)
    found = solve(Table(-cost / (1e-3 * cost.mean())), a, b, goal=TIGHT, max_iterations=20)
    assert not found.converged
    assert 20 <= found.iterations < 25
    assert found.error > TIGHT.tol
    assert plan_of(found).isfinite().all()


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("p", [1, 3])
def test_repeated_points_at_small_eps_do_not_trap_the_mixing(seed, p):
    """Anderson mixing alone runs in circles on some of these, where plain iterations converge."""
    gen = torch.Generator().manual_seed(seed)
    x = torch.randn(5, 3, dtype=torch.float64, generator=gen).repeat(4, 1)
    y = torch.randn(5, 3, dtype=torch.float64, generator=gen).repeat(3, 1)
    cost = torch.cdist(x, y) ** p
    found = solve(
        Table(-cost / (0.01 * cost.mean())), uniform(20), uniform(15), goal=Goal(1e-6), max_iterations=2000
    )
    assert found.converged


@pytest.mark.parametrize(("p", "seed"), [(1, 0), (2, 1), (3, 1)])
def test_a_tiny_eps_on_the_line_converges(p, seed):
    """ε of 1e-4 of the mean cost, in 600 to 1300 iterations.

    The first does not without taking back mixed steps, the other two not without mending in the log domain.
    """
    gen = torch.Generator().manual_seed(seed)
    x = torch.randn(50, 1, dtype=torch.float64, generator=gen)
    y = 1 + 0.1 * torch.randn(40, 1, dtype=torch.float64, generator=gen)
    cost = torch.cdist(x, y) ** p
    found = solve(
        Table(-cost / (1e-4 * cost.mean())), uniform(50), uniform(40), goal=Goal(1e-6), max_iterations=4000
    )
    assert found.converged


def test_goal_without_a_baseline_is_absolute_and_with_one_relative():
    assert Goal(1e-3).error(5.0) == 1e-3
    goal = Goal(1e-3, baseline=1.0, scale=4.0, floor=1e-6)
    assert goal.error(2.0) == pytest.approx(1e-3 * math.sqrt(0.25))
    assert goal.error(1e6) == 1e-3
    assert goal.error(1.0) == goal.error(0.5) == 1e-6


def test_a_start_far_from_the_solution_is_mended_in_the_log_domain(gen):
    """Potentials of another problem: corrections leave the range of floating point, and are absorbed."""
    cost, a, b = problem(gen)
    s = -cost / (1e-3 * cost.mean())
    cold = solve(Table(s), a, b, goal=TIGHT, max_iterations=20_000)
    assert cold.converged
    assert cold.iterations < 2000


def test_floats_without_denormal_numbers(gen):
    """A kernel that spans hundreds of powers of e is zero where it is negligible."""
    cost, a, b = problem(gen, dtype=torch.float32)
    k = solve(
        Table(-cost / (0.02 * cost.mean())), a, b, goal=Goal(1e-3), max_iterations=5000, wanted=_kernel_of
    ).taken
    assert ((k == 0) | (k >= dense.NEGLIGIBLE)).all()


def _kernel_of(pieces):
    (piece,) = pieces
    return piece.k
