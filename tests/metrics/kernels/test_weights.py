"""MMD² and energy distance of weighted clouds."""

import itertools

import pytest
import torch
from scipy import stats

from metrics.kernels import Gaussian, NegativeDistance, Polynomial, energy_distance, mmd2, tiles

KERNELS = [None, Gaussian(0.8), NegativeDistance(), Polynomial()]


def clouds(gen, n=9, m=6, d=2):
    x, y = (torch.randn(k, d, dtype=torch.float64, generator=gen) for k in (n, m))
    return x, 0.7 * y + 0.5


def weights(gen, *sizes):
    return [0.1 + torch.rand(k, dtype=torch.float64, generator=gen) for k in sizes]


def v_statistic(x, y, **options):
    return mmd2(x, y, kernel=Gaussian(0.8), unbiased=False, **options)


def energy(x, y, **options):
    return energy_distance(x, y, squared=True, **options)


@pytest.mark.parametrize("kernel", KERNELS[1:], ids=str)
@pytest.mark.parametrize("unbiased", [True, False])
@pytest.mark.parametrize("both", [True, False])
def test_equals_the_weighted_sums_written_out(gen, kernel, unbiased, both, monkeypatch):
    monkeypatch.setattr(tiles, "TILE", 4)
    x, y = clouds(gen)
    a, b = weights(gen, 9, 6)
    u, v = a / a.sum(), b / b.sum() if both else torch.full((6,), 1 / 6, dtype=torch.float64)

    def within(z, w):
        pairs = [(i, j) for i, j in itertools.product(range(len(z)), repeat=2) if i != j or not unbiased]
        total = sum(w[i] * w[j] * kernel(z[i : i + 1], z[j : j + 1]).item() for i, j in pairs)
        return total / sum(w[i] * w[j] for i, j in pairs)

    between = sum(u[i] * v[j] * kernel(x[i : i + 1], y[j : j + 1]).item() for i in range(9) for j in range(6))
    want = within(x, u) + within(y, v) - 2 * between
    got = mmd2(x, y, kernel=kernel, unbiased=unbiased, weights_x=a, weights_y=b if both else None)
    torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
@pytest.mark.parametrize("unbiased", [True, False])
def test_equal_weights_are_no_weights(gen, kernel, unbiased):
    x, y = clouds(gen)
    got = mmd2(x, y, kernel=kernel, unbiased=unbiased, weights_x=torch.full((9,), 3.0).double())
    torch.testing.assert_close(got, mmd2(x, y, kernel=kernel, unbiased=unbiased), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("distance", [v_statistic, energy], ids=["mmd2", "energy"])
@pytest.mark.parametrize("d", [1, 3])
def test_whole_weights_are_repeated_points(gen, distance, d):
    x, y = clouds(gen, d=d)
    c, e = torch.randint(0, 4, (9,), generator=gen), torch.randint(1, 3, (6,), generator=gen)
    got = distance(x, y, weights_x=c.double(), weights_y=e.double())
    want = distance(x.repeat_interleave(c, 0), y.repeat_interleave(e, 0))
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-14)


def test_the_u_statistic_of_weights_that_do_not_know_the_points_is_unbiased(gen):
    """At P = Q its mean is 0, over 4000 trials; that of the V-statistic is about a tenth above.

    k(x, x) would be counted in by 1/Σ a² points of 5: a miss of it is 20 standard errors."""
    a = torch.tensor([4.0, 1.0, 1.0, 1.0, 0.5]).double()
    x = torch.randn(4000, 5, 2, dtype=torch.float64, generator=gen)
    y = torch.randn(4000, 8, 2, dtype=torch.float64, generator=gen)
    each = a.expand(4000, -1)
    values = mmd2(x, y, kernel=Gaussian(1.0), weights_x=each)
    assert abs(values.mean()) < 4 * values.std() / 4000**0.5
    assert mmd2(x, y, kernel=Gaussian(1.0), weights_x=each, unbiased=False).mean() > 0.1


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
@pytest.mark.parametrize("unbiased", [True, False])
@pytest.mark.parametrize("far", [1.0, 1e200])
def test_a_point_without_weight_is_not_there(gen, kernel, unbiased, far):
    x, y = clouds(gen)
    a, b = weights(gen, 9, 6)
    more, none = torch.cat([x[:4], far * torch.ones(2, 2).double(), x[4:]]), torch.zeros(2).double()
    more_weights = torch.cat([a[:4], none, a[4:]])
    options = {"kernel": kernel, "unbiased": unbiased, "weights_y": b}
    got, want = (mmd2(*side, y, **options, weights_x=w) for side, w in (((more,), more_weights), ((x,), a)))
    torch.testing.assert_close(got, want, rtol=1e-12, atol=0)
    got, want = (energy_distance(z, y, weights_x=w) for z, w in ((more, more_weights), (x, a)))
    torch.testing.assert_close(got, want, rtol=1e-12, atol=0)


@pytest.mark.parametrize("d", [1, 2])
def test_gradients_flow_to_the_weights_where_some_are_zero_too(gen, d):
    x, y = (c.requires_grad_() for c in clouds(gen, 5, 4, d))
    a, b = (w.requires_grad_() for w in weights(gen, 5, 4))
    functions = [
        lambda x, y, a, b: mmd2(x, y, kernel=Gaussian(0.8), weights_x=a, weights_y=b),
        lambda x, y, a, b: mmd2(x, y, kernel=Gaussian(0.8), unbiased=False, weights_x=a, weights_y=b),
        lambda x, y, a, b: energy_distance(x, y, weights_x=a, weights_y=b),
    ]
    for f in functions:
        assert torch.autograd.gradcheck(f, (x, y, a, b))
        # At a weight of zero: the slope to the side where it grows.
        edge = a.detach().clone()
        edge[1] = 0
        leaf, step = edge.clone().requires_grad_(), torch.zeros(5).double()
        step[1] = 1e-6
        slope = torch.autograd.grad(f(x, y, leaf, b), leaf)[0][1]
        quotient = (f(x, y, edge + step, b) - f(x, y, edge, b)) / 1e-6
        torch.testing.assert_close(slope, quotient, rtol=1e-4, atol=1e-6)


def test_a_default_kernel_is_the_one_of_the_points_with_weight(gen):
    x, y = clouds(gen)
    a = torch.tensor([0.0, 0, 0, 1, 2, 3, 1, 1, 1], dtype=torch.float64, requires_grad=True)
    kept = mmd2(x[3:], y, weights_x=a.detach()[3:])
    torch.testing.assert_close(mmd2(x, y, weights_x=a), kept, rtol=1e-12, atol=0)


def test_equals_scipy_on_the_line(gen):
    x, y = clouds(gen, 30, 17, 1)
    x, y = x.round(decimals=1), y.round(decimals=1)  # with ties
    a, b = weights(gen, 30, 17)
    want = stats.energy_distance(x[:, 0].numpy(), y[:, 0].numpy(), a.numpy(), b.numpy())
    assert energy_distance(x, y, weights_x=a, weights_y=b).item() == pytest.approx(want, rel=1e-12)
    plain = stats.energy_distance(x[:, 0].numpy(), y[:, 0].numpy(), None, b.numpy())
    assert energy_distance(x, y, weights_y=b).item() == pytest.approx(plain, rel=1e-12)


def test_nearly_all_weight_on_one_point_keeps_the_other_pairs(gen):
    """The pairs of two points then have 1e-14 of all weight, and those with the first nearly all of that."""
    x, y = clouds(gen)
    a, k = torch.tensor([1.0, *[1e-15] * 8], dtype=torch.float64), Gaussian(0.8)
    within_y = (k(y, y).sum() - 6) / 30
    want = k(x[:1], x[1:]).mean() + within_y - 2 * k(x[:1], y).mean()
    torch.testing.assert_close(mmd2(x, y, kernel=k, weights_x=a), want, rtol=1e-9, atol=0)


def test_float32_keeps_the_accuracy_of_its_inputs(gen):
    x, y = (c.float() for c in clouds(gen, 60, 40))
    a, b = (w.float() for w in weights(gen, 60, 40))
    wide = [t.double() for t in (x, y, a, b)]
    for f in (mmd2, energy_distance):
        got = f(x, y, weights_x=a, weights_y=b)
        want = f(*wide[:2], weights_x=wide[2], weights_y=wide[3])
        assert got.dtype == torch.float32
        assert got.item() == pytest.approx(want.item(), rel=1e-5)


ONES = torch.ones(3, 2)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"weights_x": torch.ones(2)}, ValueError, "weights_x must have one entry per sample"),
        ({"weights_y": -torch.ones(3)}, ValueError, "weights_y must not be negative"),
        ({"weights_x": torch.zeros(3)}, ValueError, "weights_x must have a positive sum"),
        ({"weights_x": torch.full((3,), 3e38)}, ValueError, "weights_x must have a sum that"),
        ({"weights_x": torch.ones(3).double()}, TypeError, "weights_x must be torch.float32"),
    ],
)
@pytest.mark.parametrize("distance", [mmd2, energy_distance])
def test_refusals(distance, options, error, match):
    with pytest.raises(error, match=match):
        distance(ONES, ONES, **options)


def test_refusal_of_weight_on_one_point():
    with pytest.raises(ValueError, match="weights_x must leave weight on at least 2 points, got 1"):
        mmd2(ONES, ONES, weights_x=torch.tensor([0.0, 1.0, 0.0]))
