"""Batches: the solution of one problem at a time is the oracle."""

import pytest
import torch

from metrics.transport import sinkhorn_divergence
from metrics.transport.divergence import divergence as module


def problems(gen, b=5, n=30, m=40, d=3, dtype=torch.float64):
    """Clouds of different sizes and distances, with weights."""
    x = torch.linspace(0.3, 3, b, dtype=dtype)[:, None, None] * torch.randn(
        b, n, d, dtype=dtype, generator=gen
    )
    y = torch.randn(b, m, d, dtype=dtype, generator=gen) + torch.linspace(0, 4, b, dtype=dtype)[:, None, None]
    a, c = (0.1 + torch.rand(b, k, dtype=dtype, generator=gen) for k in (n, m))
    return [t.requires_grad_() for t in (x, y, a, c)]


def one_by_one(x, y, a, c, **options):
    return torch.stack(
        [
            sinkhorn_divergence(u, v, weights_x=w, weights_y=z, **options)
            for u, v, w, z in zip(x, y, a, c, strict=True)
        ]
    )


def together(x, y, a, c, **options):
    return sinkhorn_divergence(x, y, weights_x=a, weights_y=c, **options)


@pytest.mark.parametrize("eps", [None, 0.1, 1.0, 50.0])
def test_values_and_gradients_of_one_problem_at_a_time(gen, eps):
    """Both converged to 1e-10; what a gradient errs by is about the tolerance relative to itself."""
    inputs, weights = problems(gen), torch.rand(5, dtype=torch.float64, generator=gen)
    options = {"eps": eps, "tol": 1e-10}
    found, want = together(*inputs, **options), one_by_one(*inputs, **options)
    torch.testing.assert_close(found, want, rtol=1e-11, atol=1e-13)
    gradients = zip(*(torch.autograd.grad((weights * v).sum(), inputs) for v in (found, want)), strict=True)
    for ours, oracle in gradients:
        assert (ours - oracle).norm() <= 1e-7 * oracle.norm()


@pytest.mark.parametrize("eps", [None, 0.1])
def test_float32_within_the_default_tolerance(gen, eps):
    inputs = problems(gen, n=60, m=60, dtype=torch.float32)
    found = together(*inputs, eps=eps)
    assert found.dtype == torch.float32
    exact = [t.detach().double().requires_grad_() for t in inputs]
    want = one_by_one(*exact, eps=eps, tol=1e-9)
    torch.testing.assert_close(found.double(), want, rtol=1e-4, atol=0)
    for i in range(2):
        (ours,), (oracle,) = (
            torch.autograd.grad(v.sum(), t, retain_graph=True)
            for v, t in ((found, inputs[i]), (want, exact[i]))
        )
        assert (ours - oracle).flatten(1).norm(dim=1).div(oracle.flatten(1).norm(dim=1)).max() < 2e-3


@pytest.mark.parametrize("relative", [1e-4, 1e-2, 1.0, 1e4])
def test_over_decades_of_eps(gen, relative, dtype):
    x, y, _, _ = (t.detach() for t in problems(gen, n=20, m=20, dtype=dtype))
    eps = relative * 10
    found, want = (f(x, y, eps=eps, max_iterations=2000) for f in (together_plain, one_by_one_plain))
    assert found.isfinite().all()
    torch.testing.assert_close(found, want, rtol=1e-3, atol=1e-5 * float(want.abs().max()))


def together_plain(x, y, **options):
    return sinkhorn_divergence(x, y, **options)


def one_by_one_plain(x, y, **options):
    return torch.stack([sinkhorn_divergence(u, v, **options) for u, v in zip(x, y, strict=True)])


def test_a_problem_is_blind_to_its_neighbours(gen):
    """An easy problem beside one that takes a thousand iterations."""
    x, y, a, c = (t.detach() for t in problems(gen))
    x, y = x.clone(), y.clone()
    x[0] *= 1e-3
    whole = together(x, y, a, c, eps=0.05, tol=1e-8)
    alone = torch.cat([together(*(t[i : i + 1] for t in (x, y, a, c)), eps=0.05, tol=1e-8) for i in range(5)])
    torch.testing.assert_close(whole, alone, rtol=1e-9, atol=1e-13)


def test_identical_clouds_duplicates_one_point_and_far_apart(gen, dtype):
    x = torch.randn(12, 2, dtype=dtype, generator=gen)
    one = torch.ones_like(x)
    far = x + 1e6
    pairs = torch.stack([x, one, x]), torch.stack([x.flip(0), one, far])
    x_batch, y_batch = (t.clone().requires_grad_() for t in pairs)
    value = sinkhorn_divergence(x_batch, y_batch, eps=0.5)
    assert value[0].abs() < 1e-5
    assert value[1] == 0
    assert value[2].item() == pytest.approx(2e12, rel=1e-3)
    gradient = torch.autograd.grad(value.sum(), x_batch)[0]
    assert gradient.isfinite().all()
    assert gradient[0].abs().max() < 1e-3
    torch.testing.assert_close(gradient[2].sum(0), torch.full((2,), -2e6, dtype=dtype), rtol=1e-3, atol=0)


def test_memory_cuts_the_batch_and_large_problems_stand_alone(gen, monkeypatch):
    inputs = problems(gen)
    want = together(*inputs)
    calls = []
    divergences = module.divergences

    def counted(*args, **options):
        calls.append(len(args[0]))
        return divergences(*args, **options)

    monkeypatch.setattr(module, "divergences", counted)
    torch.testing.assert_close(together(*inputs, memory=2 * 4 * 8 * 40**2), want, rtol=1e-6, atol=0)
    assert calls == [2, 2, 1]
    monkeypatch.setattr(module, "SMALL", 100)
    torch.testing.assert_close(together(*inputs, tol=1e-9), want, rtol=1e-5, atol=0)
    assert len(calls) == 3


def test_zero_weights_stand_alone(gen):
    x, y, a, c = (t.detach() for t in problems(gen))
    a = a.clone()
    a[2, :5] = 0
    torch.testing.assert_close(together(x, y, a, c, tol=1e-8), one_by_one(x, y, a, c, tol=1e-8))


def test_giving_up_warns(gen):
    with pytest.warns(RuntimeWarning, match="stopped after"):
        together(*problems(gen), eps=0.01, max_iterations=2)


def test_a_second_derivative_is_refused_and_not_dropped(gen):
    x, y, a, c = problems(gen)
    (first,) = torch.autograd.grad(together(x, y, a, c).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="can be differentiated once"):
        first.square().sum().backward()
