"""What a solution's plan does, without the plan: the plan itself is the oracle, and that of the log-domain loop."""

import pytest
import torch

from metrics.transport import entropic_cost, sinkhorn
from metrics.transport.entropic import coupling
from tests.metrics.transport.oracles import log_domain_sinkhorn, uniform


@pytest.fixture
def clouds(gen):
    x = torch.randn(12, 3, dtype=torch.float64, generator=gen)
    return x, 0.5 + 2 * torch.randn(9, 3, dtype=torch.float64, generator=gen)


@pytest.mark.parametrize("p", [1, 2])
def test_plan_is_that_of_the_log_domain_loop(clouds, p):
    x, y = clouds
    cost = torch.cdist(x, y) ** p
    _, plan, *_ = log_domain_sinkhorn(cost, uniform(12), uniform(9), 0.5)
    for result in (
        sinkhorn(x, y, eps=0.5, p=p, tol=1e-11),
        sinkhorn(x, y, eps=0.5, p=p, tol=1e-11, memory=1),
        entropic_cost(cost, eps=0.5, tol=1e-11),
    ):
        torch.testing.assert_close(result.plan(), plan, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_float32_plan_far_from_the_origin(gen, offset):
    """The clouds themselves are rounded there; the plan of the rounded clouds in float64 is the oracle."""
    x, y = (torch.randn(n, 3, generator=gen) + offset for n in (40, 30))
    x, y = x.requires_grad_(), y
    result = sinkhorn(x, y, tol=1e-8)
    with torch.no_grad():
        centre = x.double().mean(0)
        exact = sinkhorn(x.double() - centre, y.double() - centre, eps=result.eps, tol=1e-8)
    plan = result.plan()
    assert plan.dtype == torch.float32
    assert not plan.requires_grad
    assert (plan.double() - exact.plan()).abs().sum() < 1e-5
    torch.testing.assert_close(result.map().double(), exact.map() + centre, rtol=1e-6, atol=1e-5)


def test_apply_and_map_in_slabs(gen, clouds, monkeypatch):
    x, y = clouds
    a = 0.1 + torch.rand(12, dtype=torch.float64, generator=gen)
    a[3] = 0
    b = 0.1 + torch.rand(9, dtype=torch.float64, generator=gen)
    b[5] = 0
    result = sinkhorn(x, y, weights_x=a, weights_y=b, tol=1e-10)
    plan, a, b = result.plan(), a / a.sum(), b / b.sum()
    torch.testing.assert_close(plan.sum(1), a)
    torch.testing.assert_close(plan.sum(0), b, rtol=1e-8, atol=1e-12)
    monkeypatch.setattr(coupling, "SLAB", 27)  # three rows
    v, w = (torch.randn(n, 2, dtype=torch.float64, generator=gen) for n in (9, 12))
    torch.testing.assert_close(result.apply(v), plan @ v)
    torch.testing.assert_close(result.apply(v[:, 0]), plan @ v[:, 0])
    torch.testing.assert_close(result.apply(w, transpose=True), plan.T @ w)
    kept = a > 0
    torch.testing.assert_close(result.map()[kept], (plan @ y)[kept] / a[kept, None])
    # A point without weight is mapped as one with a weight that changes nothing.
    a[3] = 1e-13
    there = sinkhorn(x, y, weights_x=a, weights_y=b, eps=result.eps, tol=1e-10).map()[3]
    torch.testing.assert_close(result.map()[3], there, rtol=1e-6, atol=1e-8)


def test_map_of_one_point_is_a_mean_and_at_a_small_eps_a_permutation(gen, clouds):
    x, y = clouds
    torch.testing.assert_close(sinkhorn(x[:1], y).map(), y.mean(0, keepdim=True))
    order = torch.randperm(12, generator=gen)
    moved = 3 * x[order] + 5
    torch.testing.assert_close(sinkhorn(x, moved, eps=1e-2).map(), 3 * x + 5, rtol=1e-3, atol=1e-2)


def test_refusals_and_their_remedies(clouds):
    x, y = clouds
    result = sinkhorn(x, y, eps=0.5)
    with pytest.raises(
        ValueError, match=r"v must have shape \[m\] or \[m, k\] with m = 9, got \[12\].*transpose=True"
    ):
        result.apply(torch.ones(12).double())
    assert result.apply(torch.ones(12).double(), transpose=True).shape == (9,)
    with pytest.raises(TypeError, match=r"v must be torch.float64.*v.to\(result.value\)"):
        result.apply(torch.ones(9))
    assert result.apply(torch.ones(9).to(result.value)).sum().item() == pytest.approx(1)
    matrix = entropic_cost(torch.cdist(x, y).square(), eps=0.5)
    with pytest.raises(ValueError, match=r"result.apply\(y\)"):
        matrix.map()
    torch.testing.assert_close(matrix.apply(y) * 12, result.map(), rtol=1e-4, atol=1e-4)
