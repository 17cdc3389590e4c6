import pytest
import torch

from metrics.sorting import ascending


@pytest.mark.parametrize("shape", [(1,), (7,), (5, 1), (4, 33), (2, 3, 100)])
def test_equals_torchs_and_leaves_its_argument_alone(gen, dtype, shape):
    x = torch.randn(shape, dtype=dtype, generator=gen)
    x[..., 0] = x[..., -1]  # a tie
    kept = x.clone()
    assert torch.equal(ascending(x), x.sort(-1).values)
    assert torch.equal(x, kept)
    flipped = x.transpose(0, -1)  # strides of its own
    assert torch.equal(ascending(flipped), flipped.sort(-1).values)


def test_gradient_follows_the_order(gen):
    x = torch.randn(3, 6, dtype=torch.float64, generator=gen, requires_grad=True)
    assert torch.equal(ascending(x), ascending(x.detach()))
    assert torch.autograd.gradcheck(ascending, (x,))


def test_gradient_by_functional_transform(gen):
    x = torch.randn(5, generator=gen)
    weight = torch.arange(5.0)
    got = torch.func.grad(lambda v: (weight * ascending(v)).sum())(x)
    torch.testing.assert_close(got, x.argsort().argsort().float())
