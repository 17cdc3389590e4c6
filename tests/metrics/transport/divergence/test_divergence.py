import math

import numpy as np
import pytest
import torch

from metrics.transport import sinkhorn, sinkhorn_divergence, wasserstein
from tests.metrics.transport.oracles import (
    divergence,
    entropic_gaussians,
    gaussian_on_a_grid,
    uniform,
)


def clouds(gen, n=12, m=9, d=3, dtype=torch.float64):
    x = torch.randn(n, d, dtype=torch.float64, generator=gen)
    return x.to(dtype), (0.5 + 2 * torch.randn(m, d, dtype=torch.float64, generator=gen)).to(dtype)


def weights(gen, n):
    w = 0.1 + torch.rand(n, dtype=torch.float64, generator=gen)
    return w / w.sum()


def gradient(x, y, **options):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(sinkhorn_divergence(x, y, **options), x)[0].double()


@pytest.mark.parametrize("p", [1, 1.5, 2, 3])
@pytest.mark.parametrize("relative", [0.1, 1.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_equals_three_log_domain_loops(gen, p, relative, weighted):
    x, y = clouds(gen)
    a, b = (weights(gen, 12), weights(gen, 9)) if weighted else (uniform(12), uniform(9))
    eps = relative * (torch.cdist(x, y) ** p).mean().item()
    given = {"weights_x": a, "weights_y": b} if weighted else {}
    got = sinkhorn_divergence(x, y, eps=eps, p=p, tol=1e-7, **given).item()
    # tol² over the spectral gap, and the roundings of three sums of the size of the cost.
    assert got == pytest.approx(divergence(x, y, a, b, eps, p), rel=1e-11)


@pytest.mark.parametrize("p", [1, 2])
def test_is_made_of_three_sinkhorn_values(gen, p):
    x, y = clouds(gen)
    xy, xx, yy = (sinkhorn(u, v, eps=0.5, p=p, tol=1e-9).value for u, v in ((x, y), (x, x), (y, y)))
    got = sinkhorn_divergence(x, y, eps=0.5, p=p, tol=1e-6)
    torch.testing.assert_close(got, xy - xx / 2 - yy / 2, rtol=1e-11, atol=0)


@pytest.mark.parametrize("eps", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("gap", [0.0, 1.5])
def test_gaussians_in_closed_form(eps, gap):
    """On a grid: the trapezoidal rule of smooth functions is exact beyond 1e-10 here."""
    (x, a), (y, b) = gaussian_on_a_grid(0.0, 1.0), gaussian_on_a_grid(gap, 0.6)
    self_terms = entropic_gaussians(0.0, 1.0, 1.0, eps) + entropic_gaussians(0.0, 0.6, 0.6, eps)
    want = entropic_gaussians(gap, 1.0, 0.6, eps) - self_terms / 2
    got = sinkhorn_divergence(x, y, eps=eps, weights_x=a, weights_y=b, tol=1e-6).item()
    assert got == pytest.approx(want, rel=1e-8)


@pytest.mark.parametrize("eps", [0.01, 1.0, 100.0, None])
@pytest.mark.parametrize("p", [1, 2, 3])
def test_between_two_points_it_is_their_cost(gen, dtype, eps, p):
    x, y = clouds(gen, 1, 1, dtype=dtype)
    want = (torch.cdist(x.double(), y.double()) ** p).item()
    assert sinkhorn_divergence(x, y, eps=eps, p=p).item() == pytest.approx(
        want, rel=4 * torch.finfo(dtype).eps
    )


@pytest.mark.parametrize("p", [1, 2])
def test_tends_to_the_exact_cost_for_small_eps(gen, p):
    """OT_ε − W_p^p lies in [0, ε log n] for each of the three, so S_ε − W_p^p in ±ε log 12."""
    x, y = clouds(gen)
    exact = wasserstein(x, y, p=p).item() ** p
    for relative in (1e-1, 1e-2, 1e-3):
        eps = relative * exact
        assert abs(sinkhorn_divergence(x, y, p=p, eps=eps).item() - exact) <= eps * math.log(12)


@pytest.mark.parametrize("p", [1, 2])
def test_tends_to_the_energy_distance_for_large_eps(gen, dtype, p):
    """To E C(x,y) − ½E C(x,x′) − ½E C(y,y′), within range²/(8ε) by Hoeffding's bound on each OT_ε."""
    x, y = clouds(gen, dtype=dtype)
    x64, y64 = x.double(), y.double()
    cost = [torch.cdist(u, v) ** p for u, v in ((x64, y64), (x64, x64), (y64, y64))]
    limit = (cost[0].mean() - cost[1].mean() / 2 - cost[2].mean() / 2).item()
    if p == 2:
        assert limit == pytest.approx((x64.mean(0) - y64.mean(0)).square().sum().item(), rel=1e-12)
    width = max(c.max() for c in cost).item()
    for eps in (1e1 * width, 1e3 * width, 1e5 * width):
        got = sinkhorn_divergence(x, y, p=p, eps=eps).item()
        rounding = torch.finfo(dtype).eps * limit + 1e-14 * eps
        assert abs(got - limit) <= width**2 / (8 * eps) + rounding


@pytest.mark.parametrize("p", [1, 1.5, 2, 3])
@pytest.mark.parametrize("eps", [0.3, 30.0])
def test_gradients(gen, p, eps):
    x, y = (c.requires_grad_() for c in clouds(gen, 6, 4))
    a, b = weights(gen, 6).requires_grad_(), weights(gen, 4).requires_grad_()

    def value(x, y, a, b):
        return sinkhorn_divergence(x, y, eps=eps, p=p, weights_x=a, weights_y=b, tol=1e-8)

    assert torch.autograd.gradcheck(value, (x, y, a, b), fast_mode=True)


def test_gradients_beside_points_without_weight(gen):
    x, y = (c.requires_grad_() for c in clouds(gen, 6, 4))
    a = torch.tensor([0.0, 1, 2, 0, 1, 1], dtype=torch.float64)
    kept = a > 0
    got = sinkhorn_divergence(x, y, eps=0.5, weights_x=a, tol=1e-8)
    want = sinkhorn_divergence(x[kept], y, eps=0.5, weights_x=a[kept], tol=1e-8)
    torch.testing.assert_close(got, want, rtol=1e-11, atol=0)
    for g, w in zip(torch.autograd.grad(got, (x, y)), torch.autograd.grad(want, (x, y)), strict=True):
        torch.testing.assert_close(g, w, rtol=1e-7, atol=1e-10)


def test_gradient_at_a_weight_of_zero_is_the_one_sided_derivative(gen):
    """By a difference of 1e-6, whose own error is of that order where ε is no smaller than the costs."""
    x, y = clouds(gen, 6, 4)
    a = torch.tensor([0.0, 1, 2, 0, 1, 1], dtype=torch.float64, requires_grad=True)
    value = sinkhorn_divergence(x, y, eps=20.0, weights_x=a, tol=1e-8)
    (slope,) = torch.autograd.grad(value, a)
    for i in (0, 3):
        more = a.detach().clone()
        more[i] += 1e-6
        raised = sinkhorn_divergence(x, y, eps=20.0, weights_x=more, tol=1e-8)
        assert slope[i].item() == pytest.approx((raised - value).item() / 1e-6, rel=1e-4)


KINDS = {
    "apart": lambda x, z: z.flip(1) + 0.5,
    "same law": lambda x, z: z,
    "near": lambda x, z: x.flip(0) + 0.05 * z,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("d", [2, 64])
@pytest.mark.parametrize("relative", [0.05, 0.01])
def test_float32_gradient_is_as_good_as_promised(gen, kind, d, relative):
    """The default tol aims at 3e-4; constants of the problem may make six times that of it, hardly ever more."""
    scale = torch.linspace(0.5, 1.5, d)
    x, z = (scale * torch.randn(64, d, generator=gen) for _ in range(2))
    y = KINDS[kind](x, z)
    eps = relative * torch.cdist(x, y).square().mean().item()
    best = gradient(x.double(), y.double(), eps=eps, tol=1e-8)
    got = gradient(x, y, eps=eps)
    assert (got - best).norm() <= 2e-3 * best.norm()
    value = sinkhorn_divergence(x, y, eps=eps).item()
    want = sinkhorn_divergence(x.double(), y.double(), eps=eps, tol=1e-8).item()
    # The unfinished solution, tol², and float32's cancellation between terms of the size of the mean cost.
    assert value == pytest.approx(want, rel=1e-5, abs=4 * torch.finfo(torch.float32).eps * eps / relative)


def test_converged_gradient_is_that_of_the_oracle(gen):
    """Central differences of the log-domain loop in one random direction: their error is of the order of h² = 1e-8."""
    x, y = clouds(gen)
    along, h = torch.randn(x.shape, dtype=x.dtype, generator=gen), 1e-4
    ends = [divergence(x + s * h * along, y, uniform(12), uniform(9), 0.5, 2) for s in (1, -1)]
    want = (ends[0] - ends[1]) / (2 * h)
    assert (gradient(x, y, eps=0.5, tol=1e-8) * along).sum().item() == pytest.approx(want, rel=1e-6)


@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("d", [1, 3, 64])
@pytest.mark.parametrize("order", ["same", "permuted"])
def test_equal_clouds_are_at_zero_with_a_zero_gradient(gen, dtype, p, d, order):
    """Up to rounding: 1e-12 in float64, that of sums of 200 terms in float32 (p = 1 works in float64)."""
    x, _ = clouds(gen, 200, d=d, dtype=dtype)
    y = x.clone() if order == "same" else x[torch.randperm(200, generator=gen)]
    scale = (torch.cdist(x.double(), x.double()) ** p).mean().item()
    bound = 1e-12 if dtype == torch.float64 else 5e-7
    assert abs(sinkhorn_divergence(x, y, p=p).item()) <= bound * scale
    # A gradient of size scale/n per point is what a cloud at that distance would have.
    assert gradient(x, y, p=p).norm(dim=1).max() <= 10 * bound * scale / 200


def test_is_positive_and_not_clamped_between_equal_laws(gen):
    for _ in range(20):
        x, y = (torch.randn(20, 2, dtype=torch.float64, generator=gen) for _ in range(2))
        assert sinkhorn_divergence(x, y).item() > 0


@pytest.mark.parametrize("p", [1, 2])
def test_symmetry_and_permutation(gen, p):
    x, y = clouds(gen)
    order = torch.randperm(12, generator=gen)
    forward = sinkhorn_divergence(x, y, p=p, tol=1e-6)
    torch.testing.assert_close(sinkhorn_divergence(y, x, p=p, tol=1e-6), forward, rtol=1e-11, atol=0)
    torch.testing.assert_close(sinkhorn_divergence(x[order], y, p=p, tol=1e-6), forward, rtol=1e-11, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_sum_to_that_of_the_means(gen, dtype):
    """Moving a whole cloud moves S_ε by ‖Δ‖² alone: Σ_i ∂S/∂x_i = 2Δ, to rounding, however loose tol is."""
    x, y = clouds(gen, 40, 30)
    x, y = x.to(dtype).requires_grad_(), (y + 3).to(dtype).requires_grad_()
    gx, gy = torch.autograd.grad(sinkhorn_divergence(x, y, eps=0.05, tol=0.1), (x, y))
    twice = 2 * (x.detach().mean(0) - y.detach().mean(0))
    rounding = 40 * torch.finfo(dtype).eps  # in sums of 40 terms, relative to ‖Δ‖
    torch.testing.assert_close(gx.sum(0), twice, rtol=rounding, atol=rounding)
    torch.testing.assert_close(gy.sum(0), -twice, rtol=rounding, atol=rounding)


def test_a_shift_adds_its_square(gen):
    """S_ε(x, y + m) − S_ε(x, y) = ‖m‖² + 2m·(E y − E x), exactly, for p = 2."""
    x, y = clouds(gen)
    m = torch.tensor([3.0, -1.0, 10.0], dtype=torch.float64)
    gap = sinkhorn_divergence(x, y + m, eps=0.5, tol=1e-6) - sinkhorn_divergence(x, y, eps=0.5, tol=1e-6)
    torch.testing.assert_close(gap, m @ m + 2 * m @ (y.mean(0) - x.mean(0)), rtol=1e-11, atol=0)


@pytest.mark.parametrize("p", [1, 2])
def test_float32_far_apart_is_as_good_as_its_input(gen, p):
    x, y = clouds(gen, dtype=torch.float32)
    y += 1e6
    got, want = sinkhorn_divergence(x, y, p=p), sinkhorn_divergence(x.double(), y.double(), p=p)
    assert got.item() == pytest.approx(want.item(), rel=4 * torch.finfo(torch.float32).eps)
    near, far = gradient(x, y, p=p), gradient(x.double(), y.double(), p=p)
    torch.testing.assert_close(near, far, rtol=1e-5, atol=0)


@pytest.mark.parametrize("p", [1, 1.5, 2, 3])
@pytest.mark.parametrize("relative", [1e-2, 1.0, 1e4])
@pytest.mark.parametrize("apart", [0.0, 1e6])
@pytest.mark.parametrize("copies", [1, 3])
def test_never_nan(gen, dtype, p, relative, apart, copies):
    x, y = clouds(gen, 8, 5, dtype=dtype)
    x, y = x.repeat(copies, 1), (y + apart).repeat(copies, 1)
    eps = relative * (torch.cdist(x, y) ** p).mean().item()
    pairs = [(x, y), (x, x.clone()), (x, x.flip(0)), (x[:1], y), (x[:1], x[:1]), (x[:1].repeat(4, 1), x[:1])]
    for u, v in pairs:
        u, v = u.clone().requires_grad_(), v.clone().requires_grad_()
        value = sinkhorn_divergence(u, v, eps=eps, p=p)
        assert value.isfinite()
        assert all(g.isfinite().all() for g in torch.autograd.grad(value, (u, v)))


def test_clouds_that_are_one_point_are_at_zero(dtype):
    x = torch.full((5, 2), 0.1, dtype=dtype).requires_grad_()
    value = sinkhorn_divergence(x, x.detach()[:3])
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-12)
    assert x.grad.abs().max() <= 1e-7


@pytest.mark.parametrize("scale", [1e-18, 1e-12, 1e-6, 1e18])
def test_units_that_float32_has_no_squares_for(gen, scale):
    x, y = scale * torch.randn(20, 2, generator=gen), scale * torch.randn(20, 2, generator=gen)
    want = sinkhorn_divergence(x.double() / scale, y.double() / scale)
    got = sinkhorn_divergence(x, y)
    assert got.item() / scale**2 == pytest.approx(want.item(), rel=1e-3)  # the default tolerance
    one = x[:1].expand(12, 2)
    assert sinkhorn_divergence(one, one).item() == pytest.approx(0, abs=1e-6 * scale**2 + 1e-15)


@pytest.mark.parametrize("p", [1, 2])
def test_default_eps_is_a_twentieth_of_the_mean_cost(gen, p):
    x, y = clouds(gen)
    a = weights(gen, 12)
    eps = 0.05 * (a @ (torch.cdist(x, y) ** p)).mean().item()
    default, given = (sinkhorn_divergence(x, y, p=p, weights_x=a, eps=e, tol=1e-6) for e in (None, eps))
    torch.testing.assert_close(default, given, rtol=1e-11, atol=0)
    torch.testing.assert_close(
        gradient(x, y, p=p, tol=1e-6), gradient(x, y, p=p, eps=_mean(x, y, p), tol=1e-6)
    )


def _mean(x, y, p):
    return 0.05 * (torch.cdist(x, y) ** p).mean().item()


def test_a_repeated_point_is_a_weight(gen):
    x, y = clouds(gen, 4, 3)
    counts = torch.tensor([2, 1, 0, 3])
    repeated = sinkhorn_divergence(x.repeat_interleave(counts, 0), y, eps=0.5, tol=1e-6)
    weighted = sinkhorn_divergence(x, y, eps=0.5, weights_x=counts.double(), tol=1e-6)
    torch.testing.assert_close(weighted, repeated, rtol=1e-11, atol=0)


def test_second_derivative_raises(gen):
    x, y = clouds(gen)
    x.requires_grad_()
    (first,) = torch.autograd.grad(sinkhorn_divergence(x, y), x, create_graph=True)
    with pytest.raises(RuntimeError, match="can be differentiated once"):
        (first.square().sum() + x.sum()).backward()


def test_no_gradient_is_formed_where_none_is_wanted(gen):
    x, y = (c.requires_grad_() for c in clouds(gen))
    with torch.no_grad():
        assert not sinkhorn_divergence(x, y).requires_grad
    assert not sinkhorn_divergence(x.detach(), y.detach()).requires_grad


def test_entries_that_were_negligible_come_back_when_the_corrections_have_grown():
    """A Gaussian against four clusters at a small ε: the corrections reach 10²⁰ on both sides.

    The kernel in float32 has zeros below 10⁻³⁴ where it was absorbed, so that its own solution is another problem's:
    the gradient was off by 1e-2.
    """
    generator = torch.Generator().manual_seed(0)
    scale = torch.linspace(0.5, 1.5, 5)
    x, z = (scale * torch.randn(n, 5, generator=generator) for n in (300, 150))
    y = 0.3 * z + 2 * (torch.randint(0, 4, (150, 1), generator=generator) - 1.5) / 5**0.5
    eps = 0.005 * torch.cdist(x.double(), y.double()).square().mean().item()
    x.requires_grad_()
    (got,) = torch.autograd.grad(sinkhorn_divergence(x, y, eps=eps), x)
    fine = x.detach().double().requires_grad_()
    (want,) = torch.autograd.grad(sinkhorn_divergence(fine, y.double(), eps=eps, tol=1e-10), fine)
    assert (got - want).norm() < 2e-3 * want.norm()


def test_giving_up_warns_and_returns_what_it_has(gen):
    x, y = clouds(gen)
    with pytest.warns(RuntimeWarning, match=r"raise eps .*max_iterations or tol"):
        assert sinkhorn_divergence(x, y, eps=0.01, max_iterations=1).isfinite()


ONES = torch.ones(3, 2)
STEPS = torch.arange(6.0).view(3, 2)


@pytest.mark.parametrize(
    ("args", "options", "error", "match"),
    [
        ((torch.ones(3), ONES), {}, ValueError, "x must have shape"),
        ((ONES, torch.ones(3, 4)), {}, ValueError, "same number of columns"),
        ((ONES, torch.ones(0, 2)), {}, ValueError, "y must not be empty"),
        ((ONES, ONES * torch.nan), {}, ValueError, "y must be finite"),
        ((ONES, ONES.double()), {}, TypeError, "same dtype"),
        ((np.ones((3, 2)), ONES), {}, TypeError, "x must be a torch.Tensor"),
        ((ONES.half(), ONES.half()), {}, TypeError, "float32 or float64"),
        ((ONES, ONES), {"eps": 0.0}, ValueError, "eps must be finite and above 0"),
        ((ONES, ONES), {"eps": -1}, ValueError, "eps must be finite and above 0"),
        ((ONES, ONES), {"eps": "1"}, TypeError, "eps must be a number"),
        ((ONES, ONES), {"p": 0}, ValueError, "p must be finite and at least 1"),
        ((ONES, ONES), {"p": "2"}, TypeError, "p must be a number"),
        ((ONES, ONES), {"tol": -1.0}, ValueError, "tol must be finite and above 0"),
        ((ONES, ONES), {"max_iterations": 0}, ValueError, "max_iterations must be at least 1"),
        ((ONES, ONES), {"max_iterations": None}, TypeError, "max_iterations must be an int"),
        ((ONES, ONES), {"weights_x": -torch.ones(3)}, ValueError, "weights_x must not be negative"),
        ((ONES, ONES), {"weights_y": torch.zeros(3)}, ValueError, "weights_y must have a positive sum"),
        ((ONES, ONES), {"weights_y": torch.ones(4)}, ValueError, "weights_y must have one entry per sample"),
        ((ONES, ONES), {"weights_y": [1, 1, 1]}, TypeError, "weights_y must be a torch.Tensor"),
        ((ONES.tolist(), ONES), {}, TypeError, "x must be a torch.Tensor"),
        ((ONES, ONES), {"cost": "l2"}, TypeError, "cost must be a function from two clouds"),
        ((STEPS, STEPS + 1), {"eps": 1e-9}, ValueError, "eps must be at least 1e-09 of the mean cost"),
        ((STEPS[None], STEPS[None] + 1), {"eps": 1e-9}, ValueError, "eps must be at least 1e-09 of the mean"),
        ((ONES, ONES), {"eps": 10**400}, ValueError, "eps must be finite and above 0"),
        ((1e20 * ONES, -ONES), {}, ValueError, "leave the range of their type"),
        ((1e20 * ONES[None], -ONES[None]), {}, ValueError, "leave the range of their type"),
        ((1e200 * ONES.double(), -ONES.double()), {"eps": 1}, ValueError, "leave the range of their type"),
        ((ONES[None], ONES), {}, ValueError, r"y must have shape \[b, m, d\]"),
        ((ONES[None], ONES[None]), {"weights_x": ONES[0]}, ValueError, r"weights_x must have shape \[b, n\]"),
        ((ONES[None], ONES[None]), {"weights_y": ONES}, ValueError, "one entry per point of each problem"),
        ((ONES[None], ONES[None]), {"weights_y": [1.0]}, TypeError, "weights_y must be a torch.Tensor"),
    ],
)
def test_refusals(args, options, error, match):
    with pytest.raises(error, match=match):
        sinkhorn_divergence(*args, **options)
