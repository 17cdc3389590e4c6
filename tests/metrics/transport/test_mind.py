"""MIND against torch-fidelity's numbers and in closed form."""

import pytest
import torch

from metrics.transport import monge_inception_distance, sliced_wasserstein
from tests.metrics.kernels.test_inception_distance import waves


def test_is_torch_fidelitys_number():
    """Its metric_mind: exactly in one column, where all directions are one, and up to 20 000 directions in five."""
    x, y = waves()
    assert monge_inception_distance(x[:, :1], y[:, :1]).item() == pytest.approx(ONE, rel=1e-6)
    five = monge_inception_distance(x, y, num_projections=20_000)
    assert five.item() == pytest.approx(FIVE, rel=0.02)


def test_a_shift_is_three_times_its_square(gen, dtype):
    x = torch.randn(50, 3, dtype=dtype, generator=gen)
    shift = torch.tensor([1.0, -2.0, 0.5], dtype=dtype)
    found = monge_inception_distance(x, x + shift, num_projections=20_000)
    assert found.dtype == dtype
    assert found.item() == pytest.approx(3 * shift.square().sum().item(), rel=0.03)


def test_other_sizes_are_merged_and_the_gradient_is_that_of_the_distance(gen):
    x = torch.randn(30, 2, dtype=torch.float64, generator=gen, requires_grad=True)
    y = torch.randn(20, 2, dtype=torch.float64, generator=gen)
    value = monge_inception_distance(x, y, num_projections=64)
    assert value.item() == pytest.approx(6 * sliced_wasserstein(x, y, num_projections=64).item() ** 2)
    assert torch.autograd.grad(value, x)[0].abs().sum() > 0


def test_refusals():
    x = torch.zeros(3, 2)
    with pytest.raises(ValueError, match="num_projections must be at least 1"):
        monge_inception_distance(x, x, num_projections=0)
    with pytest.raises(ValueError, match="x and y must have"):
        monge_inception_distance(x, x[:, :1])


ONE, FIVE = 0.4004998952150345, 4.016881585121155


def test_the_default_is_a_thousand_directions(gen):
    x, y = torch.randn(30, 4, generator=gen), torch.randn(20, 4, generator=gen)
    assert float(monge_inception_distance(x, y)) == float(
        monge_inception_distance(x, y, num_projections=1000)
    )
