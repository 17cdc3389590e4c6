import dataclasses
import math

import numpy as np
import ot
import pytest
import torch

from metrics.transport import entropic_cost, sinkhorn, wasserstein
from tests.metrics.transport.oracles import (
    entropic_gaussians,
    gaussian_on_a_grid,
    log_domain_sinkhorn,
    uniform,
)


def clouds(gen, n=12, m=9, d=3, dtype=torch.float64):
    x = torch.randn(n, d, dtype=torch.float64, generator=gen)
    return x.to(dtype), (0.5 + 2 * torch.randn(m, d, dtype=torch.float64, generator=gen)).to(dtype)


def weights(gen, n):
    return 0.1 + torch.rand(n, dtype=torch.float64, generator=gen)


@pytest.mark.parametrize("eps", [1e-3, 1.0, 1e3, None])
@pytest.mark.parametrize("p", [1, 2, 3])
def test_one_point_against_many_has_one_plan(gen, eps, p):
    """P = a⊗b, KL = 0: OT_ε is the mean cost, whatever ε is."""
    x, y = clouds(gen, 1, 6)
    result = sinkhorn(x, y, eps=eps, p=p)
    assert result.value.item() == pytest.approx((torch.cdist(x, y) ** p).mean().item(), rel=1e-12)


@pytest.mark.parametrize("eps", [0.05, 0.5, 2.0, 50.0])
def test_two_points_against_themselves(eps):
    """f = g = const: f = −ε log(½e^{f/ε}(1 + e^{−1/ε})), so OT_ε = 2f = −ε log((1 + e^{−1/ε})/2)."""
    x = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    want = -eps * math.log((1 + math.exp(-1 / eps)) / 2)
    assert sinkhorn(x, x, eps=eps).value.item() == pytest.approx(want, rel=1e-12)


@pytest.mark.parametrize("eps", [0.1, 1.0, 10.0])
def test_gaussians_in_closed_form(eps):
    """On a grid: the trapezoidal rule of smooth functions is exact beyond 1e-10 here."""
    (x, a), (y, b) = gaussian_on_a_grid(0.0, 1.0), gaussian_on_a_grid(1.5, 0.6)
    want = entropic_gaussians(1.5, 1.0, 0.6, eps)
    got = sinkhorn(x, y, eps=eps, weights_x=a, weights_y=b, tol=1e-9).value.item()
    assert got == pytest.approx(want, rel=1e-9)


@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("relative", [0.02, 0.3])
def test_equals_pot(gen, p, relative):
    x, y = clouds(gen)
    a, b = weights(gen, 12), weights(gen, 9)
    a, b = a / a.sum(), b / b.sum()
    cost = torch.cdist(x, y) ** p
    eps = relative * cost.mean().item()
    want = ot.solve(cost.numpy(), a.numpy(), b.numpy(), reg=eps, reg_type="KL", tol=1e-12, max_iter=100_000)
    result = sinkhorn(x, y, eps=eps, p=p, weights_x=a, weights_y=b, tol=1e-10)
    assert result.value.item() == pytest.approx(float(want.value), rel=1e-10)
    f, g = result.potentials
    plan = (f[:, None] + g - cost).div(eps).exp() * a[:, None] * b
    torch.testing.assert_close(plan, torch.as_tensor(want.plan), rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize("relative", [5e-3, 0.05, 1.0])
def test_equals_the_log_domain_loop(gen, dtype, relative):
    x, y = clouds(gen, dtype=dtype)
    cost = torch.cdist(x.double(), y.double()).square()
    eps = relative * cost.mean().item()
    value, *_ = log_domain_sinkhorn(cost, uniform(12), uniform(9), eps)
    result = sinkhorn(x, y, eps=eps)
    assert result.value.dtype == result.potentials[0].dtype == dtype
    # Float64 inside, so only the last rounding; the solution itself is good to the square of its tolerance.
    assert result.value.item() == pytest.approx(value, rel=torch.finfo(dtype).eps + 1e-10)


def test_result_tells_what_was_reached(gen):
    x, y = clouds(gen)
    result = sinkhorn(x, y, tol=1e-8)
    assert result.eps == pytest.approx(0.05 * torch.cdist(x, y).square().mean().item(), rel=1e-13)
    assert result.converged
    assert 1 < result.iterations < 1000
    assert result.marginal_error <= 1e-8
    f, g = result.potentials
    plan = (f[:, None] + g - torch.cdist(x, y).square()).div(result.eps).exp() / (12 * 9)
    torch.testing.assert_close(plan.sum(1), uniform(12), rtol=1e-12, atol=0)
    # The error of the same sum, up to its rounding through potentials of size 1/0.05.
    assert (plan.sum(0) - 1 / 9).abs().sum().item() == pytest.approx(result.marginal_error, abs=1e-13)
    assert ((f.sum() / 12) + (g.sum() / 9)).item() == pytest.approx(result.value.item(), rel=1e-13)
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.value = 0


@pytest.mark.parametrize("p", [1, 2, 3])
def test_lies_between_the_exact_cost_and_that_plus_eps_log_n(gen, p):
    """KL(P ‖ a⊗b) is a mutual information: between 0 and the entropy of the smaller cloud, log 9."""
    x, y = clouds(gen)
    exact = wasserstein(x, y, p=p).item() ** p
    for relative in (1e-2, 1e-1):
        result = sinkhorn(x, y, p=p, eps=relative * exact)
        assert exact <= result.value.item() + 1e-12 <= exact + relative * exact * math.log(9)


@pytest.mark.parametrize("p", [1, 2])
def test_tends_to_the_mean_cost_for_large_eps(gen, p):
    """From below, by at most range²/(8ε): Hoeffding's bound on −ε log E e^{−C/ε}, the dual at constant f, g."""
    x, y = clouds(gen)
    cost = torch.cdist(x, y) ** p
    for relative in (1e1, 1e3, 1e5):
        eps = relative * cost.mean().item()
        gap = cost.mean().item() - sinkhorn(x, y, p=p, eps=eps).value.item()
        assert -1e-11 * eps <= gap <= (cost.max() - cost.min()).item() ** 2 / (8 * eps) + 1e-11 * eps


@pytest.mark.parametrize("p", [1, 1.5, 2, 3])
def test_gradients(gen, p):
    x, y = (c.requires_grad_() for c in clouds(gen, 6, 4))
    a, b = weights(gen, 6).requires_grad_(), weights(gen, 4).requires_grad_()

    def value(x, y, a, b):
        return sinkhorn(x, y, eps=0.5, p=p, weights_x=a, weights_y=b, tol=1e-12).value

    assert torch.autograd.gradcheck(value, (x, y, a, b))


def test_gradient_of_the_cost_is_the_plan(gen):
    cost = torch.rand(6, 4, dtype=torch.float64, generator=gen).requires_grad_()
    assert torch.autograd.gradcheck(lambda c: entropic_cost(c, eps=0.3, tol=1e-12).value, (cost,))
    entropic_cost(cost, eps=0.3, tol=1e-12).value.backward()
    torch.testing.assert_close(cost.grad.sum(0), uniform(4))


def test_default_eps_is_a_constant_for_the_gradient(gen):
    x, y = (c.requires_grad_() for c in clouds(gen))
    result = sinkhorn(x, y)
    free = torch.autograd.grad(result.value, x)[0]
    held = torch.autograd.grad(sinkhorn(x, y, eps=result.eps).value, x)[0]
    torch.testing.assert_close(free, held)


def test_second_derivative_raises(gen):
    cost = torch.rand(6, 4, dtype=torch.float64, generator=gen).requires_grad_()
    (plan,) = torch.autograd.grad(entropic_cost(cost).value, cost, create_graph=True)
    with pytest.raises(RuntimeError, match="can be differentiated once"):
        plan.square().sum().backward()


def test_symmetry_and_permutation(gen):
    x, y = clouds(gen)
    forward = sinkhorn(x, y, eps=0.5, tol=1e-10).value
    order = torch.randperm(len(x), generator=gen)
    torch.testing.assert_close(sinkhorn(y, x, eps=0.5, tol=1e-10).value, forward, rtol=1e-12, atol=0)
    torch.testing.assert_close(sinkhorn(x[order], y, eps=0.5, tol=1e-10).value, forward, rtol=1e-12, atol=0)


def test_points_without_weight_do_not_count_but_have_potentials_and_gradients(gen):
    x, y = clouds(gen)
    a = weights(gen, 12)
    a[[1, 7]] = 0
    kept = a > 0
    part = sinkhorn(x[kept], y, eps=0.5, weights_x=a[kept])
    a.requires_grad_()
    x.requires_grad_()
    result = sinkhorn(x, y, eps=0.5, weights_x=a)
    assert result.value.item() == pytest.approx(part.value.item(), rel=1e-12)
    assert all(v.isfinite().all() for v in result.potentials)
    result.value.backward()
    assert a.grad.isfinite().all()
    assert x.grad[~kept].abs().max() == 0


@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("apart", [0.0, 1e6])
@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 5), (8, 8)])
@pytest.mark.parametrize("copies", [1, 3])
def test_never_nan(gen, dtype, p, apart, n, m, copies):
    x, y = clouds(gen, n, m, dtype=dtype)
    x, y = x.repeat(copies, 1).requires_grad_(), (y + apart).repeat(copies, 1).requires_grad_()
    for other in (y, x.detach().flip(0)):
        result = sinkhorn(x, other, p=p)
        (gradient,) = torch.autograd.grad(result.value, x)
        assert result.value.isfinite()
        assert gradient.isfinite().all()


def test_clouds_that_are_one_point_cost_nothing():
    x = torch.full((5, 2), 0.1)
    assert sinkhorn(x, x[:3]).value.item() == pytest.approx(0, abs=1e-12)


def test_giving_up_warns_and_says_what_to_do(gen):
    x, y = clouds(gen)
    with pytest.warns(RuntimeWarning, match=r"after .* iterations.*raise eps .*max_iterations or tol"):
        result = sinkhorn(x, y, eps=0.01, max_iterations=3)
    assert not result.converged
    assert result.marginal_error > 1e-6
    assert result.value.isfinite()


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
        ((ONES, ONES), {"eps": 0.0}, ValueError, "eps must be finite and above 0"),
        ((ONES, ONES), {"eps": -1}, ValueError, "eps must be finite and above 0"),
        ((ONES, ONES), {"eps": math.nan}, ValueError, "eps must be finite and above 0"),
        ((ONES, ONES), {"eps": "1"}, TypeError, "eps must be a number"),
        ((ONES, ONES), {"p": 0}, ValueError, "p must be finite and at least 1"),
        ((ONES, ONES), {"p": None}, TypeError, "p must be a number"),
        ((ONES, ONES), {"tol": 0.0}, ValueError, "tol must be finite and above 0"),
        ((ONES, ONES), {"max_iterations": 0}, ValueError, "max_iterations must be at least 1"),
        ((ONES, ONES), {"max_iterations": 1e3}, TypeError, "max_iterations must be an int"),
        ((ONES, ONES), {"weights_x": -torch.ones(3)}, ValueError, "weights_x must not be negative"),
        ((ONES, ONES), {"weights_y": torch.zeros(3)}, ValueError, "weights_y must have a positive sum"),
        ((ONES, ONES), {"weights_y": torch.ones(4)}, ValueError, "weights_y must have one entry per sample"),
    ],
)
def test_refusals(args, options, error, match):
    with pytest.raises(error, match=match):
        sinkhorn(*args, **options)


@pytest.mark.parametrize(
    ("args", "options", "error", "match"),
    [
        ((torch.ones(3),), {}, ValueError, r"cost must have shape \[n, m\]"),
        ((torch.tensor([[torch.nan]]),), {}, ValueError, "cost must be finite"),
        ((ONES, torch.ones(2)), {}, ValueError, "a must have one entry per sample, 3"),
        ((ONES,), {"eps": 0}, ValueError, "eps must be finite and above 0"),
    ],
)
def test_refusals_of_the_core(args, options, error, match):
    with pytest.raises(error, match=match):
        entropic_cost(*args, **options)


def test_a_negative_mean_cost_has_no_default_eps_and_is_refused():
    with pytest.raises(ValueError, match=r"the mean cost is negative.*pass eps"):
        entropic_cost(-torch.ones(2, 2))
    assert entropic_cost(-torch.ones(2, 2), eps=1.0).value.item() == pytest.approx(-1)


@pytest.mark.parametrize("p", [1.5, 2])
def test_potentials_of_points_without_weight_solve_their_equations(p, gen):
    """f_i = −ε log Σ_j b_j exp((g_j − C_ij)/ε), also where a_i = 0; the same for g; of weights that differ."""
    x, y = (torch.randn(n, 2, dtype=torch.float64, generator=gen) + n for n in (6, 5))
    a, b = (torch.rand(n, dtype=torch.float64, generator=gen) + 0.1 for n in (6, 5))
    a[1], b[3] = 0.0, 0.0
    eps, cost = 2.0, torch.cdist(x, y) ** p
    found = sinkhorn(x, y, weights_x=a, weights_y=b, eps=eps, p=p, tol=1e-12)
    f, g = found.potentials
    other_f = -eps * torch.logsumexp((g - cost) / eps + (b / b.sum()).log(), 1)
    other_g = -eps * torch.logsumexp((f[:, None] - cost) / eps + (a / a.sum()).log()[:, None], 0)
    torch.testing.assert_close(f, other_f, rtol=0, atol=1e-9)
    torch.testing.assert_close(g, other_g, rtol=0, atol=1e-9)


def test_the_least_eps_is_of_the_costs_of_centred_clouds(gen):
    """A distance between the clouds is in no potential: ε may be as small as for clouds around one place."""
    x, y = torch.randn(2, 6, 2, dtype=torch.float64, generator=gen).unbind()
    eps = 1e-3
    near, far = sinkhorn(x, y, eps=eps), sinkhorn(x, y + 1e4, eps=eps)  # 1e-9 of |1e4, 1e4|² is .2
    moved = (x.mean(0) - y.mean(0) - 1e4).square().sum() - (x.mean(0) - y.mean(0)).square().sum()
    assert far.value - moved == pytest.approx(float(near.value), abs=1e-7)
    with pytest.raises(ValueError, match="eps must be at least 1e-09 of the mean cost of centred clouds"):
        sinkhorn(x, y + 1e4, eps=1e-11)


def test_a_result_is_told_in_a_line_without_its_plan(gen):
    x, y = torch.randn(2, 6, 2, generator=gen).unbind()
    assert "coupling" not in repr(sinkhorn(x, y))
