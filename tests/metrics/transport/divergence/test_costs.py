import pytest
import torch

from metrics.transport import entropic_cost, sinkhorn, sinkhorn_divergence


def squares(x, y):
    return (x[:, None] - y).square().sum(-1)


def clouds(gen, n=12, m=9, d=3):
    x, y = (torch.randn(k, d, dtype=torch.float64, generator=gen) for k in (n, m))
    a, b = (0.1 + torch.rand(k, dtype=torch.float64, generator=gen) for k in (n, m))
    return [t.requires_grad_() for t in (x, 0.5 + 2 * y, a, b)]


def slopes(value, inputs):
    return torch.autograd.grad(value, inputs)


def test_the_squared_distance_as_a_function(gen):
    inputs = x, y, a, b = clouds(gen)
    weights = {"weights_x": a, "weights_y": b}
    own = sinkhorn_divergence(x, y, cost=squares, tol=1e-7, **weights)
    built_in = sinkhorn_divergence(x, y, tol=1e-7, **weights)
    torch.testing.assert_close(own, built_in, rtol=1e-10, atol=0)
    torch.testing.assert_close(slopes(own, inputs), slopes(built_in, inputs), rtol=1e-5, atol=1e-8)
    own, built_in = (sinkhorn(x, y, cost=c, tol=1e-10, **weights).value for c in (squares, None))
    torch.testing.assert_close(own, built_in, rtol=1e-10, atol=0)
    torch.testing.assert_close(slopes(own, inputs), slopes(built_in, inputs), rtol=1e-6, atol=1e-9)


def test_a_cosine_cost_is_made_of_three_entropic_costs(gen):
    def cosine(x, y):
        x, y = (torch.nn.functional.normalize(z, dim=1) for z in (x, y))
        return 1 - x @ y.T

    x, y, _, _ = clouds(gen)
    xy, xx, yy = (entropic_cost(cosine(u, v), eps=0.1, tol=1e-10).value for u, v in ((x, y), (x, x), (y, y)))
    got = sinkhorn_divergence(x, y, cost=cosine, eps=0.1, tol=1e-7)
    torch.testing.assert_close(got, xy - xx / 2 - yy / 2, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("p", [1, 2])
def test_sharp_value_is_the_cost_of_the_plans(gen, p):
    """⟨P, C⟩ with the plans that the potentials of three problems give."""
    x, y, a, b = (t.detach() for t in clouds(gen))
    a, b, eps, want = a / a.sum(), b / b.sum(), 0.7, 0.0
    for (u, wu), (v, wv), sign in (((x, a), (y, b), 1), ((x, a), (x, a), -0.5), ((y, b), (y, b), -0.5)):
        cost = torch.cdist(u, v) ** p
        f, g = sinkhorn(u, v, eps=eps, p=p, weights_x=wu, weights_y=wv, tol=1e-11).potentials
        want += sign * float(((((f[:, None] + g - cost) / eps).exp() * wu[:, None] * wv) * cost).sum())
    options = {"eps": eps, "weights_x": a, "weights_y": b, "tol": 1e-8, "sharp": True}
    assert sinkhorn_divergence(x, y, p=p, **options).item() == pytest.approx(want, rel=1e-6)
    own = sinkhorn_divergence(x, y, cost=lambda u, v: torch.cdist(u, v) ** p, **options)
    assert own.item() == pytest.approx(want, rel=1e-6)


def test_sharp_value_has_no_gradient_and_no_shift(gen):
    x, y, _, _ = clouds(gen)
    assert not sinkhorn_divergence(x, y, sharp=True).requires_grad
    assert sinkhorn_divergence(x, x + 3.0, sharp=True).item() == pytest.approx(27.0, rel=1e-6)


def test_a_batch_of_what_is_solved_one_by_one_is_a_stack(gen):
    x, y = (torch.randn(3, n, 2, dtype=torch.float64, generator=gen).requires_grad_() for n in (8, 6))
    a = 0.1 + torch.rand(3, 8, dtype=torch.float64, generator=gen)
    got = sinkhorn_divergence(x, y, p=1, weights_x=a)
    want = torch.stack([sinkhorn_divergence(u, v, p=1, weights_x=w) for u, v, w in zip(x, y, a, strict=True)])
    torch.testing.assert_close(got, want, rtol=1e-12, atol=0)
    gradients = (torch.autograd.grad(v.sum(), x)[0] for v in (got, want))
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("cost", "weights", "match"),
    [
        (lambda x, y: squares(x, y)[:-1], None, r"cost\(x, y\) must have shape"),
        (lambda x, y: squares(x, y) + 1, None, "zeros on its diagonal"),
        (lambda x, y: -squares(x, y), None, "must not be negative"),
        (squares, torch.tensor([0.0, 1, 1]), "weights must be positive"),
    ],
)
def test_refuses_costs_that_have_no_divergence(cost, weights, match):
    x, y = torch.randn(3, 2), torch.randn(4, 2)
    with pytest.raises(ValueError, match=match):
        sinkhorn_divergence(x, y, cost=cost, weights_x=weights)


def test_refuses_batches_that_do_not_fit():
    with pytest.raises(ValueError, match="batches of as many problems"):
        sinkhorn_divergence(torch.ones(2, 3, 1), torch.ones(3, 3, 1))
