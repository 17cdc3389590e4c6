import math

import pytest
import torch

from metrics.transport._scaling import Goal, _Point, solve, solve_symmetric
from tests.metrics.transport.oracles import log_domain_sinkhorn, log_domain_symmetric, uniform

TIGHT = Goal(1e-11)


def problem(gen, n=30, m=20, d=2, dtype=torch.float64):
    x = torch.randn(n, d, dtype=torch.float64, generator=gen)
    y = 0.5 + 2 * torch.randn(m, d, dtype=torch.float64, generator=gen)
    a, b = (0.1 + torch.rand(k, dtype=torch.float64, generator=gen) for k in (n, m))
    return torch.cdist(x, y).square().to(dtype), (a / a.sum()).to(dtype), (b / b.sum()).to(dtype)


def centred(f):
    return f - f.mean()


@pytest.mark.parametrize("relative", [3e-3, 0.05, 1.0, 100.0])
def test_equals_the_log_domain_loop(gen, relative):
    cost, a, b = problem(gen)
    eps = relative * cost.mean().item()
    value, plan, f, g = log_domain_sinkhorn(cost, a, b, eps)
    found = solve(-cost / eps, a, b, goal=TIGHT, max_iterations=20_000)
    assert found.converged
    assert eps * found.dual == pytest.approx(value, rel=1e-12)
    # Potentials err by the marginals' error over the spectral gap, here at worst some 1e-4.
    torch.testing.assert_close(found.plan, plan, rtol=1e-6, atol=1e-12)
    torch.testing.assert_close(centred(eps * found.f), centred(f), rtol=1e-6, atol=1e-6 * eps)
    torch.testing.assert_close(centred(eps * found.g), centred(g), rtol=1e-6, atol=1e-6 * eps)


@pytest.mark.parametrize("relative", [3e-3, 0.05, 1.0])
def test_symmetric_problem_equals_the_log_domain_loop(gen, relative):
    x = torch.randn(25, 2, dtype=torch.float64, generator=gen)
    a = 0.1 + torch.rand(25, dtype=torch.float64, generator=gen)
    a /= a.sum()
    cost = torch.cdist(x, x).square()
    eps = relative * cost.mean().item()
    value, plan, f = log_domain_symmetric(cost, a, eps)
    found = solve_symmetric(-cost / eps, a, tol=1e-12, max_iterations=200)
    assert found.converged
    assert found.iterations < 50  # an error at least halves in each
    assert eps * found.dual == pytest.approx(value, rel=1e-12)
    torch.testing.assert_close(found.plan, plan, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(eps * found.f, f, rtol=1e-9, atol=1e-9 * eps)


@pytest.mark.parametrize("relative", [3e-3, 0.05, 1.0])
def test_plan_potentials_and_errors_belong_together(gen, dtype, relative):
    cost, a, b = problem(gen, dtype=dtype)
    s = -cost / (relative * cost.mean())
    found = solve(s, a, b, goal=Goal(1e-4), max_iterations=5000)
    # An exponent of size 1/relative is rounded to its own eps.
    rtol = 64 / relative * torch.finfo(dtype).eps
    plan = (found.f[:, None] + found.g + s.double()).exp() * a.double()[:, None] * b.double()
    torch.testing.assert_close(found.plan.double(), plan, rtol=rtol, atol=1e-12)
    torch.testing.assert_close(found.plan.sum(1), a, rtol=64 * torch.finfo(dtype).eps, atol=0)
    error = (found.plan.sum(0) - b).abs().sum().item()
    assert found.error == pytest.approx(error, abs=64 * torch.finfo(dtype).eps)
    assert found.error <= 1e-4
    dual = (found.f @ a.double() + found.g @ b.double()).item()
    assert found.dual == pytest.approx(dual, abs=64 / relative * torch.finfo(dtype).eps)


def test_dual_is_a_lower_bound_with_a_quadratic_error(gen):
    """At a marginal error e the dual is short by KL(b ‖ c) at least, and of the order of e²/gap at most."""
    cost, a, b = problem(gen)
    s = -cost / (0.05 * cost.mean())
    best = solve(s, a, b, goal=TIGHT, max_iterations=20_000).dual
    for tol in (1e-1, 1e-2, 1e-3):
        found = solve(s, a, b, goal=Goal(tol), max_iterations=20_000)
        assert -1e-12 <= best - found.dual <= 20 * found.error**2


def test_dual_of_the_symmetric_problem_is_a_lower_bound_with_a_quadratic_error(gen):
    """Its plan has a mass that errs, which the dual value accounts for.

    With r = c/a − 1 the dual is short by ⟨r, (1 + P)⁻¹ r⟩_a to second order, at most χ² = Σ a r² for P ≥ 0.
    """
    x = torch.randn(25, 2, dtype=torch.float64, generator=gen)
    s = -torch.cdist(x, x).square() / 0.5
    best = solve_symmetric(s.clone(), uniform(25), tol=1e-12, max_iterations=200)
    for tol in (3e-1, 1e-2, 1e-3):
        found = solve_symmetric(s.clone(), uniform(25), tol=tol, max_iterations=200)
        if tol > 0.1:
            assert abs(found.plan.sum().item() - 1) > 0.005
        chi2 = ((found.plan.sum(1) * 25 - 1).square() / 25).sum().item()
        assert -1e-13 <= best.dual - found.dual <= 1.5 * chi2


def test_a_kernel_that_float32_cannot_hold(gen):
    """ε of 1e-3 of the mean cost: without absorption all entries of a row underflow."""
    cost, a, b = problem(gen, dtype=torch.float32)
    s = -cost / (1e-3 * cost.mean())
    assert (s.exp().sum(1) == 0).any()
    found = solve(s, a, b, goal=Goal(1e-3), max_iterations=20_000)
    a, b = (w.double() / w.double().sum() for w in (a, b))  # float32 weights sum to one only nearly
    double = solve(s.double(), a, b, goal=Goal(1e-9), max_iterations=20_000)
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
    cold = solve(s, a, b, goal=TIGHT, max_iterations=20_000)
    g = cold.g if start == "solution" else 1e4 * torch.randn(len(b), dtype=torch.float64, generator=gen)
    warm = solve(s, a, b, goal=TIGHT, max_iterations=20_000, start=g)
    assert warm.iterations == 1 if start == "solution" else warm.converged
    assert warm.dual == pytest.approx(cold.dual, rel=1e-12)


def test_points_without_weight_change_nothing_and_have_potentials(gen):
    cost, a, b = problem(gen)
    a[[0, 3]] = 0
    b[5] = 0
    a, b = a / a.sum(), b / b.sum()
    s = -cost / (0.05 * cost.mean())
    found = solve(s, a, b, goal=TIGHT, max_iterations=5000)
    rows, columns = a > 0, b > 0
    part = solve(s[rows][:, columns], a[rows], b[columns], goal=TIGHT, max_iterations=5000)
    assert found.dual == part.dual
    assert torch.equal(found.plan[rows][:, columns], part.plan)
    assert found.plan.sum(1)[~rows].tolist() == [0, 0]
    # The equations hold at every point, with weight or without.
    f = -torch.logsumexp(s + found.g + b.log(), 1)
    g = -torch.logsumexp(s.T + found.f + a.log(), 1)
    torch.testing.assert_close(found.f, f, rtol=0, atol=1e-9)
    torch.testing.assert_close(found.g, g, rtol=0, atol=1e-9)


def test_points_without_weight_in_the_symmetric_problem(gen):
    x = torch.randn(12, 2, dtype=torch.float64, generator=gen)
    a = uniform(12)
    a[4] = 0
    a, kept = a / a.sum(), a > 0
    s = -torch.cdist(x, x).square() / 0.3
    found = solve_symmetric(s.clone(), a, tol=1e-12, max_iterations=100)
    part = solve_symmetric(s[kept][:, kept], a[kept], tol=1e-12, max_iterations=100)
    assert found.dual == pytest.approx(part.dual, rel=1e-13)
    torch.testing.assert_close(found.f, -torch.logsumexp(s + found.f + a.log(), 1), rtol=0, atol=1e-10)


def test_giving_up_is_reported(gen):
    cost, a, b = problem(gen)
    found = solve(-cost / (1e-3 * cost.mean()), a, b, goal=TIGHT, max_iterations=20)
    assert not found.converged
    assert 20 <= found.iterations < 25
    assert found.error > TIGHT.tol
    assert found.plan.isfinite().all()
    symmetric = solve_symmetric(-torch.cdist(cost, cost), a, tol=1e-15, max_iterations=2)
    assert (symmetric.converged, symmetric.iterations) == (False, 2)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("p", [1, 3])
def test_repeated_points_at_small_eps_do_not_trap_the_mixing(seed, p):
    """Anderson mixing alone runs in circles on some of these, where plain iterations converge."""
    gen = torch.Generator().manual_seed(seed)
    x = torch.randn(5, 3, dtype=torch.float64, generator=gen).repeat(4, 1)
    y = torch.randn(5, 3, dtype=torch.float64, generator=gen).repeat(3, 1)
    cost = torch.cdist(x, y) ** p
    found = solve(
        -cost / (0.01 * cost.mean()), uniform(20), uniform(15), goal=Goal(1e-6), max_iterations=2000
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
        -cost / (1e-4 * cost.mean()), uniform(50), uniform(40), goal=Goal(1e-6), max_iterations=4000
    )
    assert found.converged


def test_a_step_improves_by_the_dual_or_where_rounding_hides_it_by_the_error():
    def point(error, dual):
        return _Point(torch.ones(1), torch.ones(1), error, dual)

    here = point(1e-6, 10.0)
    assert point(1.0, 10.1).improves(here, 1e-15)
    assert not point(1e-9, 9.9).improves(here, 1e-15)
    assert point(1e-7, 10.0 - 5e-15).improves(here, 1e-15)
    assert not point(1e-5, 10.0).improves(here, 1e-15)


def test_goal_without_a_baseline_is_absolute_and_with_one_relative():
    assert Goal(1e-3).error(5.0) == 1e-3
    goal = Goal(1e-3, baseline=1.0, scale=4.0, floor=1e-6)
    assert goal.error(2.0) == pytest.approx(1e-3 * math.sqrt(0.25))
    assert goal.error(1e6) == 1e-3
    assert goal.error(1.0) == goal.error(0.5) == 1e-6
