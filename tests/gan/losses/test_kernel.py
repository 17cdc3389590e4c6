import pytest
import torch

from gan.losses import MMD, Energy
from metrics.kernels.energy import energy_distance
from metrics.kernels.kernel import Gaussian, NegativeDistance
from metrics.kernels.mmd import mmd2


@pytest.fixture
def clouds(gen):
    x, y = torch.randn(2, 20, 3, dtype=torch.float64, generator=gen)
    return x, y + 1


@pytest.mark.parametrize("kernel", [None, Gaussian(0.7), NegativeDistance()], ids=repr)
def test_mmd_is_the_unbiased_measure(clouds, kernel):
    assert torch.equal(MMD(kernel)(*clouds), mmd2(*clouds, kernel=kernel))


def test_energy_is_the_squared_measure(clouds):
    assert torch.equal(Energy()(*clouds), energy_distance(*clouds, squared=True))
    x = torch.tensor([[0.0], [0.0]])
    torch.testing.assert_close(float(Energy()(x, x + 3)), 6.0)  # 2·3 − 0 − 0


def test_mmd_may_be_negative_and_keeps_its_gradient(gen):
    """A clamp at zero would leave half of the batches of one law without a slope."""
    below = 0
    for _ in range(20):
        x, y = torch.randn(2, 16, 2, dtype=torch.float64, generator=gen)
        y.requires_grad_()
        value = MMD(Gaussian(1.0))(x, y)
        (grad,) = torch.autograd.grad(value, y)
        assert float(grad.norm()) > 0
        below += int(value.item() < 0)
    assert below > 0


def test_energy_is_mmd_of_the_negative_distance_up_to_the_bias_of_its_self_terms(clouds):
    """The V-statistic keeps the zero distances of points to themselves: U·(n−1)/n in each self-term."""
    x, y = clouds
    n = len(x)
    within = (torch.cdist(x, x).sum() + torch.cdist(y, y).sum()) / (n * (n - 1))
    torch.testing.assert_close(Energy()(x, y), MMD(NegativeDistance())(x, y) + within / n)


@pytest.mark.parametrize("make", [MMD, Energy])
def test_learned_cost_is_free_of_scale_and_reaches_both_clouds(make, clouds):
    loss = make(learned_cost=True)
    x, y = (cloud.requires_grad_() for cloud in clouds)
    torch.testing.assert_close(loss(7 * x, 0.1 * y), loss(x, y))
    for grad in torch.autograd.grad(loss(x, y), (x, y)):
        assert bool(grad.isfinite().all())
        assert float(grad.abs().max()) > 0


def test_refuses_a_single_sample():
    with pytest.raises(ValueError, match="at least 2 samples"):
        MMD()(torch.zeros(1, 2), torch.zeros(3, 2))
