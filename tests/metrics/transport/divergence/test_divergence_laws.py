"""Laws that hold over decades of ε, for clouds that hypothesis makes up."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics.transport import sinkhorn_divergence

SIZES = st.integers(1, 12)
DECADES = st.floats(-4, 4)


def cloud(seed, n, d, dtype, *, spread=1.0):
    generator = torch.Generator().manual_seed(seed)
    points = spread * torch.randn(n, d, dtype=torch.float64, generator=generator)
    # Now and then a point is there twice.
    return (
        points[torch.randint(n, (n,), generator=generator)].to(dtype) if seed % 3 == 0 else points.to(dtype)
    )


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), SIZES, SIZES, st.sampled_from([1, 2, 7]), DECADES, st.sampled_from([1, 2]))
def test_symmetric_finite_and_not_negative(seed, n, m, d, decade, p):
    """In float32, whatever ε is: S ≥ −1e-6 of the mean cost, and S(x, y) = S(y, x) within 1e-3."""
    x, y = cloud(seed, n, d, torch.float32), 0.3 + cloud(seed + 1, m, d, torch.float32, spread=2.0)
    mean = (torch.cdist(x, y) ** p).mean().item() or 1.0
    x.requires_grad_()
    value = sinkhorn_divergence(x, y, eps=10**decade * mean, p=p)
    assert torch.autograd.grad(value, x)[0].isfinite().all()
    assert value.item() >= -1e-6 * mean
    back = sinkhorn_divergence(y, x.detach(), eps=10**decade * mean, p=p).item()
    assert value.item() == pytest.approx(back, rel=1e-3, abs=1e-6 * mean)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), SIZES, st.sampled_from([1, 2, 7]), DECADES, st.sampled_from([0.0, 1e6]))
def test_zero_between_a_cloud_and_its_permutation(seed, n, d, decade, apart):
    x = cloud(seed, n, d, torch.float32) + apart
    mean = torch.cdist(x.double(), x.double()).square().mean().item() or 1.0
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    assert abs(sinkhorn_divergence(x, x[order], eps=10**decade * mean).item()) <= 2e-6 * mean


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), SIZES, SIZES, DECADES)
def test_float32_is_right_to_a_thousandth(seed, n, m, decade):
    """Against the converged solution in float64; what cancels leaves a rounding of the mean cost."""
    x, y = cloud(seed, n, 3, torch.float32), 0.3 + cloud(seed + 1, m, 3, torch.float32)
    mean = torch.cdist(x.double(), y.double()).square().mean().item()
    eps = 10**decade * mean
    want = sinkhorn_divergence(x.double(), y.double(), eps=eps, tol=1e-7).item()
    assert sinkhorn_divergence(x, y, eps=eps).item() == pytest.approx(want, rel=1e-3, abs=2e-6 * mean)
