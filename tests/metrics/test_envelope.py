import pytest
import torch

from metrics.envelope import attach


def square(x):
    return attach(x.detach().square().sum(), (x,), (2 * x.detach(),))


def test_gradient_is_the_one_given_times_what_comes_after():
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    (3 * square(x)).backward()
    assert torch.equal(x.grad, torch.tensor([6.0, 12.0]))


def test_no_gradient_for_none():
    x, y = (torch.ones(2, requires_grad=True) for _ in range(2))
    attach(torch.tensor(1.0), (x, y), (torch.ones(2), None)).backward()
    assert torch.equal(x.grad, torch.ones(2))
    assert y.grad is None


def test_value_needs_no_graph_without_gradients():
    assert not attach(torch.tensor(1.0), (torch.ones(2),), (None,)).requires_grad


@pytest.mark.parametrize("outer", [lambda g, x: g.square().sum(), lambda g, x: g.square().sum() + x.sum()])
def test_second_derivative_raises_also_beside_other_terms(outer):
    """A gradient penalty added to another loss must not lose its gradient in silence."""
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    (gradient,) = torch.autograd.grad(square(x), x, create_graph=True)
    with pytest.raises(RuntimeError, match="can be differentiated once"):
        outer(gradient, x).backward()


def test_first_derivative_survives_create_graph():
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    (gradient,) = torch.autograd.grad(square(x), x, create_graph=True)
    assert torch.equal(gradient, torch.tensor([2.0, 4.0]))
