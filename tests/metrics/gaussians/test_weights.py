"""The Fréchet distance of weighted clouds."""

import numpy as np
import pytest
import torch

from metrics.gaussians import bures_wasserstein, frechet_distance


def clouds(gen, n=12, m=9, d=3):
    x, y = (torch.randn(k, d, dtype=torch.float64, generator=gen) for k in (n, m))
    return x, 0.7 * y + 0.5


def weights(gen, *sizes):
    return [0.1 + torch.rand(k, dtype=torch.float64, generator=gen) for k in sizes]


def moments(x, a):
    """By numpy, whose `aweights` have our denominator."""
    cov = np.cov(x.numpy().T, aweights=a.numpy())
    return torch.tensor(np.average(x.numpy(), axis=0, weights=a.numpy())), torch.tensor(cov)


@pytest.mark.parametrize("gradient", [False, True])
@pytest.mark.parametrize("both", [False, True])
def test_is_that_of_numpys_weighted_moments(gen, gradient, both):
    x, y = clouds(gen)
    a, b = weights(gen, 12, 9)
    want = bures_wasserstein(*moments(x, a), *moments(y, b if both else torch.ones(9).double()))
    got = frechet_distance(x.requires_grad_(gradient), y, weights_x=a, weights_y=b if both else None)
    assert got.requires_grad == gradient
    torch.testing.assert_close(got.detach(), want, rtol=1e-11, atol=0)


@pytest.mark.parametrize(("n", "d"), [(12, 3), (5, 8)])
def test_equal_weights_are_no_weights(gen, n, d):
    x, y = (c.requires_grad_() for c in clouds(gen, n, 20, d))
    a = torch.full((n,), 3.0, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(
            frechet_distance(x, y, weights_x=a), frechet_distance(x, y), rtol=1e-12, atol=0
        )
    found, want = frechet_distance(x, y, weights_x=a), frechet_distance(x, y)
    torch.testing.assert_close(found, want, rtol=1e-12, atol=0)
    slopes = (torch.autograd.grad(v, (x, y)) for v in (found, want))
    torch.testing.assert_close(*slopes, rtol=1e-9, atol=1e-11)


def test_whole_weights_are_repeated_points_but_for_the_denominator(gen):
    """Σ a c cᵀ/(1 − Σ a²) against Σ a c cᵀ·N/(N − 1): one factor between the covariances."""
    x, y = clouds(gen)
    times = torch.randint(1, 4, (12,), generator=gen)
    count, a = int(times.sum()), times.double() / times.sum()
    repeated = x.repeat_interleave(times, 0)
    factor = (1 - 1 / count) / (1 - a.square().sum())
    mean = repeated.mean(0)
    want = frechet_distance(mean + factor.sqrt() * (repeated - mean), y)
    torch.testing.assert_close(frechet_distance(x, y, weights_x=a), want, rtol=1e-12, atol=0)


def test_the_covariance_of_weights_that_do_not_know_the_points_is_unbiased(gen):
    """Its trace, over 4000 trials of N(0, I₂): the mean of means is 0, and W₂² to a point mass at 0 is ‖μ‖² + Tr Σ."""
    a = torch.tensor([4.0, 1.0, 1.0, 1.0, 0.5], dtype=torch.float64)
    zero = torch.zeros(2, 2, dtype=torch.float64)
    trials = torch.randn(4000, 5, 2, dtype=torch.float64, generator=gen)
    shares = (a / a.sum()).square().sum()
    found = torch.stack([frechet_distance(x, zero, weights_x=a) for x in trials])
    assert abs(found.mean() - 2 - 2 * shares) < 4 * found.std() / 4000**0.5


@pytest.mark.parametrize("d", [3, 15])
def test_a_point_without_weight_is_not_there(gen, d):
    x, y = clouds(gen, d=d)
    (a,) = weights(gen, 12)
    a[3:5] = 0
    far = x.clone()
    far[3:5] = 1e9
    want = frechet_distance(x[a > 0], y, weights_x=a[a > 0])
    torch.testing.assert_close(frechet_distance(far, y, weights_x=a), want, rtol=1e-12, atol=0)


def test_gradients_flow_to_points_and_weights_where_some_are_zero_too(gen):
    x, y = (c.requires_grad_() for c in clouds(gen, 7, 6, 2))
    a, b = (w.requires_grad_() for w in weights(gen, 7, 6))

    def distance(x, y, a, b):
        return frechet_distance(x, y, weights_x=a, weights_y=b)

    assert torch.autograd.gradcheck(distance, (x, y, a, b))
    edge = a.detach().clone()
    edge[1] = 0
    leaf, step = edge.clone().requires_grad_(), torch.zeros(7, dtype=torch.float64)
    step[1] = 1e-6
    slope = torch.autograd.grad(distance(x, y, leaf, b), leaf)[0][1]
    quotient = (distance(x, y, edge + step, b) - distance(x, y, edge, b)) / 1e-6
    torch.testing.assert_close(slope, quotient, rtol=1e-4, atol=1e-6)


def test_gradients_of_singular_covariances(gen):
    """More columns than points: weights that are positive move within the span."""
    x, y = (c.requires_grad_() for c in clouds(gen, 4, 9, 6))
    (a,) = (w.requires_grad_() for w in weights(gen, 4))
    assert torch.autograd.gradcheck(lambda a: frechet_distance(x, y, weights_x=a), (a,))
    zero = a.detach().clone()
    zero[0] = 0
    frechet_distance(x, y, weights_x=zero).backward()
    with pytest.raises(ValueError, match="weights_x must be positive for their gradient"):
        frechet_distance(x, y, weights_x=zero.requires_grad_())


def test_float32_keeps_the_accuracy_of_its_inputs(gen):
    x, y = (c.float() for c in clouds(gen, 60, 40))
    a, b = (w.float() for w in weights(gen, 60, 40))
    got = frechet_distance(x, y, weights_x=a, weights_y=b)
    want = frechet_distance(x.double(), y.double(), weights_x=a.double(), weights_y=b.double())
    assert got.dtype == torch.float32
    assert got.item() == pytest.approx(want.item(), rel=1e-6)


ONES = torch.ones(3, 2)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"weights_x": torch.ones(2)}, ValueError, "weights_x must have one entry per sample"),
        ({"weights_y": -torch.ones(3)}, ValueError, "weights_y must not be negative"),
        ({"weights_x": torch.tensor([0.0, 1.0, 0.0])}, ValueError, "weight on at least 2 points, got 1"),
        ({"weights_x": torch.ones(3).double()}, TypeError, "weights_x must be torch.float32"),
        ({"weights_x": [1.0, 1.0, 1.0]}, TypeError, "weights_x must be a torch.Tensor"),
    ],
)
def test_refusals(options, error, match):
    with pytest.raises(error, match=match):
        frechet_distance(ONES, ONES, **options)
