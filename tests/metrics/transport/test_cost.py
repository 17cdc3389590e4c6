import pytest
import torch
from scipy.spatial.distance import cdist

from metrics.transport.cost import power_cost, root


@pytest.mark.parametrize("p", [1.0, 1.5, 2.0, 3.0])
def test_cost_equals_scipy_in_double(gen, dtype, p):
    x, y = (torch.randn(n, 4, dtype=dtype, generator=gen) for n in (6, 5))
    want = torch.as_tensor(cdist(x.double().numpy(), y.double().numpy()) ** p)
    torch.testing.assert_close(power_cost(x, y, p), want, rtol=1e-14, atol=0)


@pytest.mark.parametrize("p", [1.0, 1.5, 2.0, 3.0])
def test_cost_has_a_gradient_that_is_zero_between_copies(gen, p):
    x = torch.randn(4, 3, dtype=torch.float64, generator=gen).requires_grad_()
    y = torch.randn(5, 3, dtype=torch.float64, generator=gen).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, y: power_cost(x, y, p), (x, y))
    z = torch.ones(3, 2, requires_grad=True)
    power_cost(z, z.detach(), p).sum().backward()
    assert torch.equal(z.grad, torch.zeros_like(z))


def test_root_is_zero_at_zero_and_so_is_its_gradient():
    total = torch.tensor(0.0, requires_grad=True)
    value = root(total, 2.0)
    value.backward()
    assert value == 0
    assert total.grad == 0
    total = torch.tensor(8.0, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: root(t, 3.0), (total,))
