"""Batches of problems: one problem at a time is the oracle."""

import pytest
import torch

from metrics import batches
from metrics.kernels import Gaussian, NegativeDistance, Polynomial, energy_distance, mmd2
from metrics.transport import sliced_wasserstein, wasserstein

DISTANCES = {
    "mmd2": mmd2,
    "mmd2, one kernel": lambda x, y, **w: mmd2(x, y, kernel=Gaussian((0.5, 2.0)), **w),
    "mmd2, V": lambda x, y, **w: mmd2(x, y, kernel=NegativeDistance(), unbiased=False, **w),
    "mmd2, polynomial": lambda x, y, **w: mmd2(x, y, kernel=Polynomial(), **w),
    "energy": energy_distance,
    "energy, squared": lambda x, y, **w: energy_distance(x, y, squared=True, **w),
    "sliced": lambda x, y, **w: sliced_wasserstein(x, y, num_projections=20, **w),
    "sliced, p = 1": lambda x, y, **w: sliced_wasserstein(x, y, p=1, num_projections=20, **w),
    "sliced, steep": lambda x, y, **w: sliced_wasserstein(x, y, p=100, num_projections=5, **w),
    "exact": wasserstein,
    "exact, p = 1": lambda x, y, **w: wasserstein(x, y, p=1, **w),
    "exact, steep": lambda x, y, **w: wasserstein(x, y, p=30, **w),
}


def problems(gen, b=4, n=7, m=5, d=3, dtype=torch.float64):
    """Clouds of different sizes and distances, with weights."""
    spread = torch.linspace(0.3, 3, b, dtype=dtype)[:, None, None]
    x = spread * torch.randn(b, n, d, dtype=dtype, generator=gen)
    y = torch.randn(b, m, d, dtype=dtype, generator=gen) + 2 * spread
    a, c = (0.1 + torch.rand(b, k, dtype=dtype, generator=gen) for k in (n, m))
    return x, y, a, c


def one_by_one(distance, x, y, a=None, c=None):
    b = len(x)
    sides = ([None] * b if w is None else w for w in (a, c))
    each = zip(x, y, *sides, strict=True)
    return torch.stack([distance(u, v, weights_x=w, weights_y=z) for u, v, w, z in each])


@pytest.mark.parametrize("name", DISTANCES)
@pytest.mark.parametrize("weighted", [(False, False), (True, True), (False, True)])
@pytest.mark.parametrize("d", [3, 1])
def test_values_and_gradients_are_those_of_one_problem_at_a_time(gen, name, weighted, d):
    distance, inputs = DISTANCES[name], [t.requires_grad_() for t in problems(gen, d=d)]
    x, y, a, c = inputs
    a, c = (w if on else None for w, on in zip((a, c), weighted, strict=True))
    found, want = distance(x, y, weights_x=a, weights_y=c), one_by_one(distance, x, y, a, c)
    assert found.shape == (4,)
    torch.testing.assert_close(found, want, rtol=1e-11, atol=1e-13)
    up = torch.rand(4, dtype=torch.float64, generator=gen)
    live = [t for t in (x, y, a, c) if t is not None]
    gradients = zip(*(torch.autograd.grad((up * v).sum(), live) for v in (found, want)), strict=True)
    for ours, oracle in gradients:
        torch.testing.assert_close(ours, oracle, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("name", DISTANCES)
def test_one_cloud_beside_a_batch_is_every_problems(gen, name):
    distance = DISTANCES[name]
    x, y, a, c = problems(gen)
    one = y[0]
    want = one_by_one(distance, x, one.expand(4, -1, -1))
    torch.testing.assert_close(distance(x, one), want, rtol=1e-11, atol=1e-13)
    mirrored = distance(one, x, weights_x=c[0], weights_y=a)
    want = one_by_one(distance, one.expand(4, -1, -1), x, c[0].expand(4, -1), a)
    torch.testing.assert_close(mirrored, want, rtol=1e-11, atol=1e-13)
    # Other weights of the same points in each problem.
    want = one_by_one(distance, x, one.expand(4, -1, -1), None, c)
    torch.testing.assert_close(distance(x, one, weights_y=c), want, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("name", DISTANCES)
def test_parts_large_problems_and_points_without_weight_change_nothing(gen, name, monkeypatch):
    distance = DISTANCES[name]
    x, y, a, c = problems(gen)
    whole = distance(x, y, weights_x=a, weights_y=c)
    monkeypatch.setattr(batches, "TOGETHER", 100)
    torch.testing.assert_close(distance(x, y, weights_x=a, weights_y=c), whole, rtol=1e-12, atol=1e-14)
    monkeypatch.setattr(batches, "SMALL", 4)
    torch.testing.assert_close(distance(x, y, weights_x=a, weights_y=c), whole, rtol=1e-11, atol=1e-13)
    monkeypatch.undo()
    a[2, :3] = 0
    want = one_by_one(distance, x, y, a, c)
    torch.testing.assert_close(distance(x, y, weights_x=a, weights_y=c), want, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("name", DISTANCES)
def test_a_problem_is_blind_to_its_neighbours(gen, name):
    """Beside one whose lengths are 1e-100 of its own, and beside one at zero."""
    distance = DISTANCES[name]
    x, y, _, _ = problems(gen, n=5)
    x, y = x.clone(), y.clone()
    x[0], y[0], y[1] = 1e-100 * x[0], 1e-100 * y[0], x[1]
    torch.testing.assert_close(distance(x, y)[2:], distance(x[2:], y[2:]), rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", DISTANCES)
def test_float32_and_inputs_unchanged(gen, name):
    distance = DISTANCES[name]
    inputs = problems(gen, dtype=torch.float32)
    before = [t.clone() for t in inputs]
    x, y, a, c = inputs
    found = distance(x, y, weights_x=a, weights_y=c)
    assert found.dtype == torch.float32
    wide = distance(x.double(), y.double(), weights_x=a.double(), weights_y=c.double())
    # Weights are normalised in the type that they came in.
    torch.testing.assert_close(found.double(), wide, rtol=1e-5, atol=1e-6)
    assert all(torch.equal(t, was) for t, was in zip(inputs, before, strict=True))


def test_directions_are_drawn_once_for_all(gen):
    x, y, _, _ = problems(gen)
    found = sliced_wasserstein(x, y, generator=torch.Generator().manual_seed(3))
    each = [
        sliced_wasserstein(u, v, generator=torch.Generator().manual_seed(3))
        for u, v in zip(x, y, strict=True)
    ]
    torch.testing.assert_close(found, torch.stack(each), rtol=1e-12, atol=0)


T = torch.ones


@pytest.mark.parametrize("name", ["mmd2", "energy", "sliced", "exact"])
@pytest.mark.parametrize(
    ("x", "y", "options", "match"),
    [
        (T(2, 3, 1), T(3, 3, 1), {}, "batches of as many problems"),
        (T(2, 3, 1), T(1, 3, 1), {}, "repeat one with .expand, or pass one cloud"),
        (T(2, 3, 1), T(2, 3, 2), {}, "batches of as many problems"),
        (T(2, 3, 1), T(3, 2), {}, "batches of as many problems"),
        (T(1, 2, 3, 1), T(2, 3, 1), {}, "x must have shape"),
        (T(2, 3, 1), T(2), {}, "y must have shape"),
        (T(2, 0, 1), T(2, 3, 1), {}, "x must not be empty"),
        (T(2, 3, 1), T(2, 3, 1) / 0, {}, "y must be finite"),
        (T(2, 3, 1), T(2, 3, 1), {"weights_x": T(3)}, "weights_x must have shape"),
        (T(2, 3, 1), T(3, 1), {"weights_y": T(3, 3)}, "weights_y must have one entry per point"),
        (T(2, 3, 1), T(2, 3, 1), {"weights_x": T(1, 3)}, "repeat one row with .expand"),
        (T(2, 3, 1), T(2, 3, 1), {"weights_x": -T(2, 3)}, "weights_x must not be negative"),
        (T(2, 3, 1), T(2, 3, 1).double(), {}, "same dtype"),
        (T(3, 1), T(3, 1), {"weights_x": T(2, 3)}, "weights_x must have shape"),
    ],
)
def test_refusals(name, x, y, options, match):
    with pytest.raises((ValueError, TypeError), match=match):
        DISTANCES[name](x, y, **options)


def test_refusal_of_too_few_samples():
    with pytest.raises(ValueError, match="x must hold at least 2 samples in every problem, got 1"):
        mmd2(T(2, 1, 1), T(2, 3, 1))
