import math

import pytest
import torch

from metrics.transport.entropic import symmetric
from metrics.transport.entropic.kernels import Squares, Table
from metrics.transport.entropic.solution import forces
from metrics.transport.entropic.symmetric import CHEBYSHEV, tile_entries
from tests.metrics.transport.entropic.solving import plan_of, solve_self
from tests.metrics.transport.oracles import log_domain_symmetric, uniform


def cloud(gen, n=25, d=2):
    x = torch.randn(n, d, dtype=torch.float64, generator=gen)
    a = 0.1 + torch.rand(n, dtype=torch.float64, generator=gen)
    return x, a / a.sum()


def solved(s, a, *, tol=1e-12, max_iterations=200):
    return solve_self(
        Table(s), a, tol=tol, max_iterations=max_iterations, buffer=a.new_empty(tile_entries(len(a)))
    )


def test_a_cycle_is_the_chebyshev_polynomial():
    """Π (1 − θ_k λ) = T_4(3 − 2λ)/T_4(3): at most 1/577 on [1, 2], and below one on all of (0, 2]."""
    grid = torch.linspace(1e-3, 2, 2001, dtype=torch.float64)
    product = math.prod(1 - theta * grid for theta in CHEBYSHEV)
    assert product[grid >= 1].abs().max().item() == pytest.approx(1 / 577, rel=1e-3)
    assert product.abs().max() < 1


@pytest.mark.parametrize("relative", [3e-3, 0.05, 1.0])
def test_equals_the_log_domain_loop(gen, relative):
    x, a = cloud(gen)
    cost = torch.cdist(x, x).square()
    eps = relative * cost.mean().item()
    value, plan, f = log_domain_symmetric(cost, a, eps)
    found = solved(-cost / eps, a)
    assert found.converged
    assert found.iterations <= 33  # 577⁻⁸ in eight cycles would do for an error of 1e-12, and it starts small
    assert eps * found.dual == pytest.approx(value, rel=1e-12)
    torch.testing.assert_close(plan_of(found, 25, 25), plan, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(eps * found.f, f, rtol=1e-9, atol=1e-9 * eps)


def test_dual_is_a_lower_bound_with_a_quadratic_error(gen):
    """Its plan has a mass that errs, which the dual value accounts for.

    With r = c/a − 1 the dual is short by ⟨r, (1 + P)⁻¹ r⟩_a to second order, at most χ² = Σ a r² for P ≥ 0.
    """
    x, _ = cloud(gen)
    s = -torch.cdist(x, x).square() / 0.5
    best = solved(s, uniform(25))
    for tol in (3e-1, 1e-2, 1e-3):
        found = solved(s, uniform(25), tol=tol)
        chi2 = ((plan_of(found, 25, 25).sum(1) * 25 - 1).square() / 25).sum().item()
        assert -1e-13 <= best.dual - found.dual <= 1.5 * chi2


@pytest.mark.parametrize("stored", [True, False])
@pytest.mark.parametrize("n", [1, 12, 13, 40])
def test_tiles_make_the_whole(gen, monkeypatch, stored, n):
    x, a = cloud(gen, n, 3)
    kernel = Squares(x, x)
    options = {
        "tol": 1e-12,
        "max_iterations": 200,
        "wanted": lambda p: forces(p, x, x, 2.0, to_x=True, to_y=False),
    }
    whole = solve_self(kernel, a, buffer=a.new_empty(n * n), **options)
    monkeypatch.setattr(symmetric, "TILE", 6)
    assert tile_entries(n) <= n * (n + 11) / 2
    buffer = a.new_empty(tile_entries(n)) if stored else None
    tiled = solve_self(kernel, a, buffer=buffer, **options)
    assert tiled.dual == pytest.approx(whole.dual, rel=1e-13)
    torch.testing.assert_close(tiled.f, whole.f, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(tiled.taken[0], whole.taken[0], rtol=1e-10, atol=1e-13)


def test_far_points_are_as_good_as_absent(gen, dtype):
    """A kernel whose entries would be denormal numbers or zero: the plan is the diagonal, (a e^f)² = a."""
    x = torch.arange(5, dtype=dtype)[:, None] * torch.tensor([13.5], dtype=dtype)  # s = −91 and below
    a = torch.tensor([1.0, 2, 3, 2, 2], dtype=dtype) / 10
    found = solve_self(Squares(x, x), a, tol=1e-6, max_iterations=50, buffer=a.new_empty(25))
    torch.testing.assert_close(found.f, -a.double().log() / 2, rtol=1e-6, atol=0)


def test_giving_up_is_reported(gen):
    x, a = cloud(gen)
    found = solved(-torch.cdist(x, x), a, tol=1e-15, max_iterations=2)
    assert (found.converged, found.iterations) == (False, 2)
