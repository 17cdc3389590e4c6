import math

import numpy as np
import ot
import pytest
import torch

from metrics.transport import sliced, sliced_wasserstein, wasserstein
from metrics.transport.sliced import _directions


def clouds(gen, n=12, m=9, d=3, dtype=torch.float64):
    x = torch.randn(n, d, dtype=torch.float64, generator=gen)
    return x.to(dtype), (0.5 + 2 * torch.randn(m, d, dtype=torch.float64, generator=gen)).to(dtype)


@pytest.mark.parametrize("p", [1, 2, 3])
@pytest.mark.parametrize(("n", "m"), [(12, 9), (9, 9), (1, 7)])
def test_equals_pot_along_the_same_directions(gen, n, m, p):
    x, y = clouds(gen, n, m)
    projections = _directions(50, 3, None).T.numpy()
    want = ot.sliced_wasserstein_distance(x.numpy(), y.numpy(), projections=projections, p=p)
    assert sliced_wasserstein(x, y, p=p, num_projections=50).item() == pytest.approx(float(want), rel=1e-12)


@pytest.mark.parametrize("p", [1, 2, 3])
def test_equals_the_exact_distance_along_each_direction(gen, p):
    x, y = clouds(gen)
    powers = [wasserstein(x @ t[:, None], y @ t[:, None], p=p) ** p for t in _directions(20, 3, None)]
    want = torch.stack(powers).mean() ** (1 / p)
    torch.testing.assert_close(sliced_wasserstein(x, y, p=p, num_projections=20), want, rtol=1e-13, atol=0)


@pytest.mark.parametrize("p", [1, 1.5, 2])
def test_on_the_line_it_is_the_exact_distance(gen, p):
    x, y = clouds(gen, d=1)
    torch.testing.assert_close(sliced_wasserstein(x, y, p=p, num_projections=3), wasserstein(x, y, p=p))


@pytest.mark.parametrize("d", [2, 10])
def test_a_shift_in_closed_form(gen, d):
    """Between N(0, I) and N(m, I), or a cloud and its shift by m, W_2² along θ is (θ·m)² and its mean ‖m‖²/d.

    E(θ·u)⁴ = 3/(d(d + 2)) for unit u, which gives the Monte-Carlo error; 4 standard errors.
    """
    x, _ = clouds(gen, d=d)
    m = torch.randn(d, dtype=torch.float64, generator=gen)
    count = 4000
    got = sliced_wasserstein(x, x + m, num_projections=count).item() ** 2
    spread = math.sqrt(3 / (d * (d + 2)) - 1 / d**2) / math.sqrt(count)
    assert got / m.square().sum().item() == pytest.approx(1 / d, abs=4 * spread)


def test_directions_are_uniform_on_the_sphere():
    """E θ = 0 and E θθᵀ = I/d, each entry within 4.5 standard errors; unit length exactly."""
    d, count = 3, 20_000
    theta = _directions(count, d, None)
    torch.testing.assert_close(theta.norm(dim=1), torch.ones(count, dtype=torch.float64))
    assert theta.mean(0).abs().max() < 4.5 / math.sqrt(d * count)
    second = theta.T @ theta / count - torch.eye(d) / d
    assert second.abs().max() < 4.5 * math.sqrt((3 / (d * (d + 2)) - 1 / d**2) / count)


def test_seed_decides(gen):
    x, y = clouds(gen)

    def seeded(seed):
        return sliced_wasserstein(x, y, num_projections=8, generator=torch.Generator().manual_seed(seed))

    default = sliced_wasserstein(x, y, num_projections=8)
    assert torch.equal(default, sliced_wasserstein(x, y, num_projections=8))
    assert torch.equal(default, seeded(0))
    assert not torch.equal(default, seeded(1))
    before = torch.random.get_rng_state()
    sliced_wasserstein(x, y)
    assert torch.equal(before, torch.random.get_rng_state())


def test_blocks_of_directions_make_the_whole(gen, monkeypatch):
    x, y = (c.requires_grad_() for c in clouds(gen))
    whole = sliced_wasserstein(x, y, num_projections=50)
    gradient = torch.autograd.grad(whole, (x, y))
    monkeypatch.setattr(sliced, "BLOCK", 7 * (12 + 9))
    pieces = sliced_wasserstein(x, y, num_projections=50)
    torch.testing.assert_close(pieces, whole, rtol=1e-14, atol=0)
    torch.testing.assert_close(torch.autograd.grad(pieces, (x, y)), gradient, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("p", [1, 2, 3])
@pytest.mark.parametrize("m", [6, 4])
def test_gradients(gen, p, m):
    x, y = (c.requires_grad_() for c in clouds(gen, 6, m))
    assert torch.autograd.gradcheck(lambda x, y: sliced_wasserstein(x, y, p=p, num_projections=5), (x, y))


@pytest.mark.parametrize("p", [1, 2])
def test_gradient_is_zero_and_not_nan_at_zero(gen, dtype, p):
    x = clouds(gen, dtype=dtype)[0].repeat(2, 1).requires_grad_()
    value = sliced_wasserstein(x, x.detach().clone(), p=p)
    value.backward()
    assert value.item() == 0
    assert torch.equal(x.grad, torch.zeros_like(x))


def test_symmetry_permutation_and_scale(gen):
    x, y = clouds(gen)
    value = sliced_wasserstein(x, y)
    torch.testing.assert_close(sliced_wasserstein(y, x), value, rtol=1e-13, atol=0)
    torch.testing.assert_close(sliced_wasserstein(x.flip(0), y), value, rtol=1e-13, atol=0)
    torch.testing.assert_close(sliced_wasserstein(3 * x, 3 * y), 3 * value, rtol=1e-13, atol=0)


@pytest.mark.parametrize("p", [1, 2, 3])
def test_weights_equal_pot_along_the_same_directions(gen, p):
    x, y = clouds(gen)
    a, b = (torch.rand(n, dtype=torch.float64, generator=gen) for n in (12, 9))
    options = {"projections": _directions(50, 3, None).T.numpy(), "p": p}
    want = ot.sliced_wasserstein_distance(
        x.numpy(), y.numpy(), (a / a.sum()).numpy(), (b / b.sum()).numpy(), **options
    )
    got = sliced_wasserstein(x, y, p=p, num_projections=50, weights_x=a, weights_y=b)
    assert got.item() == pytest.approx(float(want), rel=1e-12)


def test_whole_weights_are_repeated_points(gen):
    x, y = clouds(gen)
    times = torch.randint(0, 4, (12,), generator=gen)
    got = sliced_wasserstein(x, y, weights_x=times.double())
    want = sliced_wasserstein(x.repeat_interleave(times, 0), y)
    torch.testing.assert_close(got, want, rtol=1e-13, atol=0)


def test_weights_that_are_equal_are_no_weights(gen):
    x, y = clouds(gen)
    got = sliced_wasserstein(x, y, weights_x=torch.full((12,), 3.0, dtype=torch.float64))
    torch.testing.assert_close(got, sliced_wasserstein(x, y), rtol=1e-13, atol=0)


def test_gradients_with_weights(gen, monkeypatch):
    x, y = (c.requires_grad_() for c in clouds(gen, 6, 4))
    a, b = (torch.rand(n, dtype=torch.float64, generator=gen).requires_grad_() for n in (6, 4))

    def distance(x, y, a, b):
        return sliced_wasserstein(x, y, num_projections=5, weights_x=a, weights_y=b)

    assert torch.autograd.gradcheck(distance, (x, y, a, b))
    whole = torch.autograd.grad(distance(x, y, a, b), (x, y, a, b))
    monkeypatch.setattr(sliced, "BLOCK", 2 * (6 + 4))
    torch.testing.assert_close(torch.autograd.grad(distance(x, y, a, b), (x, y, a, b)), whole)


def test_repeating_every_point_changes_nothing(gen):
    x, y = clouds(gen)
    value = sliced_wasserstein(x, y)
    torch.testing.assert_close(sliced_wasserstein(x.repeat(3, 1), y.repeat(2, 1)), value, rtol=1e-13, atol=0)


@pytest.mark.parametrize("apart", [0.0, 1e6])
def test_float32_is_as_good_as_its_input(gen, apart):
    x, y = clouds(gen, dtype=torch.float32)
    y += apart
    got, want = sliced_wasserstein(x, y), sliced_wasserstein(x.double(), y.double())
    assert got.dtype == torch.float32
    assert got.item() == pytest.approx(want.item(), rel=torch.finfo(torch.float32).eps)


ONES = torch.ones(3, 2)


@pytest.mark.parametrize(
    ("args", "options", "error", "match"),
    [
        ((torch.ones(3), ONES), {}, ValueError, "x must have shape"),
        ((ONES, torch.ones(3, 4)), {}, ValueError, "same number of columns"),
        ((torch.ones(0, 2), ONES), {}, ValueError, "x must not be empty"),
        ((ONES, ONES * torch.inf), {}, ValueError, "y must be finite"),
        ((ONES, ONES.double()), {}, TypeError, "same dtype"),
        ((np.ones((3, 2)), ONES), {}, TypeError, "x must be a torch.Tensor"),
        ((ONES, ONES), {"p": 0.5}, ValueError, "p must be finite and at least 1"),
        ((ONES, ONES), {"p": "2"}, TypeError, "p must be a number"),
        ((ONES, ONES), {"num_projections": 0}, ValueError, "num_projections must be at least 1"),
        ((ONES, ONES), {"num_projections": 2.0}, TypeError, "num_projections must be an int"),
        ((ONES, ONES), {"generator": 0}, TypeError, "generator must be a torch.Generator"),
        ((ONES, ONES), {"weights_x": torch.ones(2)}, ValueError, "weights_x must have one entry per sample"),
        ((ONES, ONES), {"weights_y": -ONES[:, 0]}, ValueError, "weights_y must not be negative"),
    ],
)
def test_refusals(args, options, error, match):
    with pytest.raises(error, match=match):
        sliced_wasserstein(*args, **options)
