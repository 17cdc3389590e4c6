"""Potentials of transport as influence functions: those of a half at points that it does not hold, and their error."""

import pytest
import torch

import metrics
from metrics.distances import product_distances
from metrics.evaluation.influence import Influence
from metrics.evaluation.jackknife import halves
from metrics.evaluation.potentials import sinkhorn_influence, transport_influence


def clouds(n, m, d, seed=0, *, shift=0.0):
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=random, dtype=torch.float64) + shift
    return x, torch.randn(m, d, generator=random, dtype=torch.float64)


@pytest.mark.parametrize("name", ["transport", "sinkhorn"])
def test_a_halfs_potential_is_the_derivative_for_the_weight_of_a_point_that_it_does_not_hold(name):
    """Moving a little weight from a half to such a point changes the half's cost by that much of its potential; the
    difference of two points is free of the constant. On a line a point has others near it, so that a little weight of
    its own is little beside theirs; potentials are solved to the default tolerance."""
    x, y = clouds(24, 27, 1, shift=0.5)
    in_x, in_y = halves(24, 27, splits=1)
    first = [int(i) for i in (~in_x[0]).nonzero()[:2, 0]]
    h = 1e-6

    def cost(i):
        a = in_x[0].double() / in_x[0].sum()
        b = in_y[0].double() / in_y[0].sum()
        a = (1 - h) * a + h * torch.nn.functional.one_hot(torch.tensor(i), 24)
        if name == "transport":
            return float(metrics.wasserstein(x, y, weights_x=a, weights_y=b).square())
        eps = 0.05 * float(product_distances(x[in_x[0]], y[in_y[0]]).square().mean())
        return float(metrics.sinkhorn_divergence(x, y, weights_x=a, weights_y=b, eps=eps, tol=1e-12))

    found = transport_influence(product_distances(x, y)) if name == "transport" else sinkhorn_influence(x, y)
    apart = found.apart[0]
    scale = 12 / 11  # what centring twelve numbers takes
    told = float(apart[first[0]] - apart[first[1]]) / scale
    assert told == pytest.approx((cost(first[0]) - cost(first[1])) / h, rel=1e-2)


def test_covariances_take_the_place_of_variances():
    """By hand: of f = (−1, 1, 0) and f° = (−3, 3, 0) the covariance is 3, of g and g° 0."""
    f, other = torch.tensor([-1.0, 1.0, 0.0]), torch.tensor([-3.0, 3.0, 0.0]) + 7
    found = Influence(torch.tensor(4.0), f, torch.zeros(2), apart=(other, torch.zeros(2)))
    assert float(found.stderr) == pytest.approx(1.0)
    # √4 has the slope ¼, which both potentials get.
    assert float(found.root().stderr) == pytest.approx(0.25)
    # Never below .6 of the variance of first order: .6·1/3.
    negative = Influence(torch.tensor(4.0), f, torch.zeros(2), apart=(-other, torch.zeros(2)))
    assert float(negative.stderr) == pytest.approx(0.2**0.5)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", ["transport", "sinkhorn"])
def test_where_clouds_are_of_one_distribution_the_error_is_told_well_enough(name):
    """80 pairs give the spread of the values to 8 %. Var f alone tells 1.4 of it, the covariance alone .6 of that of
    S_ε. What pairs of points do is counted twice, so that up to √2 is told."""
    values, told, whole = [], [], []
    for seed in range(80):
        x, y = clouds(60, 60, 8, seed)
        found = (
            transport_influence(product_distances(x, y)) if name == "transport" else sinkhorn_influence(x, y)
        )
        values.append(found.value)
        told.append(found.stderr.square())
        whole.append((found.x.var() + found.y.var()) / 60)
    spread, error, plain = torch.stack(values).std(), *(torch.stack(v).mean().sqrt() for v in (told, whole))
    assert 0.8 < float(error / spread) < 1.4, error / spread
    assert float(error / plain) < (0.95 if name == "transport" else 0.8)


@pytest.mark.parametrize("name", ["transport", "sinkhorn"])
def test_points_in_order_have_the_error_of_the_same_points_shuffled(name):
    """Halves are drawn: the first and the last of sorted points would be two other distributions."""
    x, y = clouds(120, 120, 2, shift=0.5)

    def error(x, y):
        found = (
            transport_influence(product_distances(x, y)) if name == "transport" else sinkhorn_influence(x, y)
        )
        return float(found.stderr)

    assert error(x[x[:, 0].argsort()], y[y[:, 0].argsort()]) == pytest.approx(error(x, y), rel=0.15)


def test_of_too_few_points_no_half_is_taken():
    x, y = clouds(3, 40, 2)
    assert transport_influence(product_distances(x, y)).apart is None
    assert sinkhorn_influence(x, y).apart is None


def test_errors_grow_with_the_clouds_to_the_end_of_float64():
    x, y = clouds(40, 40, 2, shift=1.0)
    one, large = (sinkhorn_influence(scale * x, scale * y) for scale in (1.0, 1e120))
    assert float(large.stderr) == pytest.approx(1e240 * float(one.stderr), rel=1e-3)
    assert float(large.root_variance) == pytest.approx(1e240 * float(one.root_variance), rel=1e-3)
