import pytest
import torch

from metrics.transport import SinkhornDivergence, sinkhorn_divergence
from metrics.transport.entropic import dense


def batches(gen, steps=6, n=100, d=5):
    """Fresh batches of two laws, one of which drifts."""
    for step in range(steps):
        x = torch.randn(n, d, generator=gen) * 0.5 + 0.02 * step
        yield x.requires_grad_(), torch.randn(n, d, generator=gen)


def test_agrees_with_the_cold_solution(gen):
    """Each errs by its tolerance, 3e-4, times the constants of the problem."""
    loss = SinkhornDivergence()
    for x, y in batches(gen):
        cold, warm = sinkhorn_divergence(x, y), loss(x, y)
        torch.testing.assert_close(warm, cold, rtol=1e-5, atol=0)
        one, other = (torch.autograd.grad(v, x)[0] for v in (warm, cold))
        assert (one - other).norm() <= 4e-3 * other.norm()


def test_no_cold_start_after_the_first_call(gen, monkeypatch):
    calls = []
    cold = dense.cold_start
    monkeypatch.setattr(dense, "cold_start", lambda *args: calls.append(1) or cold(*args))
    loss = SinkhornDivergence(eps=1.0)
    for x, y in batches(gen):
        loss(x, y)
    assert len(calls) == 1
    loss.forget()
    loss(x, y)
    assert len(calls) == 2


@pytest.mark.parametrize("p", [1, 2])
def test_a_past_of_another_kind_does_no_harm(gen, p):
    """Other sizes, far away, in other dimensions: a start that is no good is dropped."""
    loss = SinkhornDivergence(p=p)
    for n, m, d, far in ((30, 20, 2, 0.0), (20, 40, 2, 1e3), (30, 30, 4, 0.0)):
        x, y = torch.randn(n, d, generator=gen) + far, torch.randn(m, d, generator=gen)
        torch.testing.assert_close(loss(x, y), sinkhorn_divergence(x, y, p=p), rtol=1e-5, atol=0)


def test_the_first_call_is_the_function(gen):
    x, y = torch.randn(2, 50, 3, generator=gen)
    assert torch.equal(SinkhornDivergence(eps=0.5)(x, y), sinkhorn_divergence(x, y, eps=0.5))


@pytest.mark.parametrize(
    ("options", "match"),
    [({"eps": 0.0}, "eps"), ({"p": 0.5}, "p must"), ({"tol": 0.0}, "tol"), ({"memory": -1}, "memory")],
)
def test_refuses(options, match):
    with pytest.raises(ValueError, match=match):
        SinkhornDivergence(**options)
