"""Exponents of any size, lengths of any size: against every permutation, in the log domain."""

import itertools
import math

import pytest
import torch

from metrics.transport import sinkhorn, sinkhorn_divergence, sliced_wasserstein, wasserstein
from metrics.transport.line import largest_gap

EXPONENTS = [1, 2, 4, 4.5, 8, 30, 100, 500]
SCALES = [1e-150, 1e-3, 1.0, 1e3, 1e150]


def by_permutations(x, y, p):
    """min over permutations of (mean d^p)^{1/p}, by logarithms."""
    logs = torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist").log()
    n = len(x)
    best = min(
        float(torch.logsumexp(p * logs[range(n), order], 0)) for order in itertools.permutations(range(n))
    )
    return math.exp((best - math.log(n)) / p)


def clouds(scale, d, seed=0, n=5):
    draw = torch.Generator().manual_seed(seed)
    return tuple(scale * torch.randn(n, d, generator=draw, dtype=torch.float64) for _ in range(2))


@pytest.mark.parametrize("p", EXPONENTS)
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("d", [1, 2])
def test_exact_distances_are_those_of_the_best_permutation(p, scale, d):
    for seed in range(5):
        x, y = clouds(1.0, d, seed)
        expected = by_permutations(x, y, p)
        assert float(wasserstein(scale * x, scale * y, p=p)) == pytest.approx(scale * expected, rel=1e-10)


@pytest.mark.parametrize("p", [8, 100, 500])
def test_between_sizes_that_differ_and_with_weights(p):
    """Points repeated m and n times are a cloud of one size; weights of whole numbers are repetitions."""
    x, y = clouds(1.0, 2, n=6)
    y = y[:4]
    even = wasserstein(x.repeat(2, 1), y.repeat(3, 1), p=p)
    assert torch.isclose(wasserstein(x, y, p=p), even, rtol=1e-10)
    weights = torch.tensor([2.0, 1.0, 0.0, 1.0], dtype=torch.float64)
    assert torch.isclose(
        wasserstein(x[:4], y, p=p, weights_y=weights), wasserstein(x[:4], y[[0, 0, 1, 3]], p=p), rtol=1e-10
    )


@pytest.mark.parametrize("p", [5, 8, 30, 500])
def test_heavy_tails_by_the_simplex(p):
    """Weights ask for the simplex, whose tolerance is absolute; every permutation of the repeated points is tried."""
    draw = torch.Generator().manual_seed(11)
    counts_x, counts_y = [3, 1, 1, 1], [2, 2, 1, 1]
    for _ in range(15):
        x, y = (torch.randn(4, 2, generator=draw, dtype=torch.float64) ** 5 for _ in range(2))
        whole = [z.repeat_interleave(torch.tensor(n), 0) for z, n in ((x, counts_x), (y, counts_y))]
        found = wasserstein(
            x, y, p=p, weights_x=torch.tensor(counts_x).double(), weights_y=torch.tensor(counts_y).double()
        )
        assert float(found) == pytest.approx(by_permutations(*whole, p), rel=1e-9)


@pytest.mark.parametrize("p", [8, 100])
@pytest.mark.parametrize("d", [1, 2])
def test_gradients_are_differences(p, d):
    x, y = clouds(1.0, d, seed=3)
    v = torch.randn(x.shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    for measure in (wasserstein, sliced_wasserstein):
        leaf = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(measure(leaf, y, p=p), leaf)
        h = 1e-7
        slope = (measure(x + h * v, y, p=p) - measure(x - h * v, y, p=p)) / (2 * h)
        assert float((gradient * v).sum()) == pytest.approx(float(slope), rel=1e-5)


@pytest.mark.parametrize("p", EXPONENTS)
@pytest.mark.parametrize("scale", SCALES)
def test_sliced_distances_scale_with_the_clouds_and_grow_with_the_exponent(p, scale):
    x, y = clouds(1.0, 3, n=20)
    plain = float(sliced_wasserstein(x, y, p=p))
    assert float(sliced_wasserstein(scale * x, scale * y, p=p)) == pytest.approx(scale * plain, rel=1e-10)
    assert plain >= float(sliced_wasserstein(x, y, p=max(1, p / 2)))


def test_clouds_that_coincide_are_at_zero():
    x, _ = clouds(1.0, 2)
    for p in (2, 500):
        leaf = x.clone().requires_grad_()
        value = wasserstein(leaf, x.flip(0), p=p)
        value.backward()
        assert float(value.detach()) == 0
        assert float(leaf.grad.abs().max()) == 0


@pytest.mark.parametrize("solve", [sinkhorn, sinkhorn_divergence])
def test_vanishing_powers_are_refused_and_scaling_up_is_the_way_out(solve):
    x, y = clouds(1e-3, 2)
    with pytest.raises(ValueError, match=r"below 1e-280 at p = 200 .* scale the clouds up"):
        solve(x, y, p=200)
    found = solve(1e3 * x, 1e3 * y, p=20)
    assert torch.as_tensor(getattr(found, "value", found)).isfinite()


def test_the_farthest_that_a_weighted_plan_moves_anything():
    """Half at 0 stays; of the half at 1 all but .1 goes back to 0, and that goes on to 3; 9 has no weight."""
    x, y = torch.tensor([[0.0, 1.0, 9.0]]).double(), torch.tensor([[0.0, 3.0]]).double()
    a, b = torch.tensor([[0.5, 0.5, 0.0]]).double(), torch.tensor([[0.9, 0.1]]).double()
    assert largest_gap(x, y, a=a, b=b) == 2.0
