"""Inside autocast and inference mode the numbers are those outside, to the bit."""

import pytest
import torch

from metrics.transport import (
    SinkhornDivergence,
    entropic_cost,
    sinkhorn,
    sinkhorn_divergence,
    sliced_wasserstein,
    wasserstein,
)

FUNCTIONS = {
    "divergence": sinkhorn_divergence,
    "divergence of a batch": lambda x, y: sinkhorn_divergence(x[None], y[None])[0],
    "divergence in pieces": lambda x, y: sinkhorn_divergence(x, y, memory=1),
    "divergence of a cost": lambda x, y: sinkhorn_divergence(
        x, y, cost=lambda u, v: (u[:, None] - v).square().sum(-1)
    ),
    "keywords": lambda x, y: sinkhorn_divergence(x=x, y=y),
    "warm": lambda x, y: SinkhornDivergence()(x, y),
    "sinkhorn": lambda x, y: sinkhorn(x, y).value,
    "cost matrix": lambda x, y: entropic_cost((x[:, None] - y).square().sum(-1)).value,
    "exact": wasserstein,
    "sliced": sliced_wasserstein,
}


def slope(function, x, y):
    x = x.clone().requires_grad_()
    value = function(x, y)
    return value.detach(), torch.autograd.grad(value, x)[0]


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_autocast_changes_nothing(gen, name, half):
    x = torch.randn(30, 16, generator=gen)
    y = x[torch.randperm(30, generator=gen)] + 0.05 * torch.randn(30, 16, generator=gen)
    want = slope(FUNCTIONS[name], x, y)
    with torch.autocast("cpu", dtype=half):
        assert torch.is_autocast_enabled("cpu")
        got = slope(FUNCTIONS[name], x, y)
    assert torch.equal(got[0], want[0])
    assert torch.equal(got[1], want[1])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_inference_mode_changes_nothing_and_leaves_nothing_behind(gen, name):
    """The second call outside uses the buffers of the one inside."""
    x, y = (torch.randn(30, 16, generator=gen) for _ in range(2))
    with torch.inference_mode():
        inside = FUNCTIONS[name](x, y)
        again = FUNCTIONS[name](x.clone(), y.clone())  # inference tensors themselves
    outside = slope(FUNCTIONS[name], x, y)[0]
    assert torch.equal(inside, outside)
    assert torch.equal(again, outside)
