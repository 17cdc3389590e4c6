"""Influence functions: derivatives for the weight of a point, closed forms, and the spread over fresh samples."""

import pytest
import torch

import metrics
from metrics.evaluation.influence import Influence, frechet_influence, sliced_influence
from metrics.transport import transport_cost
from metrics.transport.line import line_cost
from tests.targets import random_gaussian


def clouds(gen, n=30, m=40, d=3):
    x = 0.6 * torch.randn(n, d, dtype=torch.float64, generator=gen) + 0.4
    return x, torch.randn(m, d, dtype=torch.float64, generator=gen)


def weighted_frechet(x, y, a):
    """The Fréchet distance of x with weights a, from its textbook form; covariances with the factor n/(n − 1)."""
    n = len(x)
    mean = a @ x
    cov = (x - mean).T @ (a[:, None] * (x - mean)) * n / (n - 1)
    return metrics.bures_wasserstein(mean, cov, y.mean(0), y.T.cov())


def test_of_the_frechet_distance_is_its_derivative_for_the_weights(gen):
    """Moving weight h from all points to point i changes the distance by h·(f_i − mean f) + O(h²)."""
    x, y = clouds(gen)
    found, n, h = frechet_influence(x, y), len(x), 1e-5
    torch.testing.assert_close(found.value, metrics.frechet_distance(x, y))
    uniform = torch.full((n,), 1 / n, dtype=torch.float64)
    for i in (0, 7, 29):
        step = -uniform + torch.nn.functional.one_hot(torch.tensor(i), n)
        up, down = (weighted_frechet(x, y, uniform + s * h * step) for s in (1, -1))
        # Covariances that carry n/(n − 1) make the mean of f other than 0, which no variance sees.
        slope = (up - down) / (2 * h)
        torch.testing.assert_close(found.x[i] - found.x.mean(), slope, rtol=1e-6, atol=1e-8)


def test_of_the_frechet_distance_is_the_brenier_potential_of_gaussians(gen):
    """f(x) = ‖x‖² − 2φ(x): on large samples up to their moments' errors, √(d/n) = 2 %."""
    p, q = random_gaussian(2, gen), random_gaussian(2, gen)
    x, y = p.sample(4000, gen), q.sample(4000, gen)
    found = frechet_influence(x, y)
    got = found.x - found.x.mean()
    wanted = x.square().sum(1) - _twice_the_convex_potential(p, q, x)
    wanted = wanted - wanted.mean()
    assert (got - wanted).abs().mean() < 0.1 * wanted.abs().mean()


def _twice_the_convex_potential(p, q, x):
    """2φ with ∇φ = T(x) = ν + A(x − μ), A = Σ^{−½}(Σ^½ T Σ^½)^½ Σ^{−½} the map between the Gaussians."""
    values, vectors = torch.linalg.eigh(p.cov)
    root = (vectors * values.sqrt()) @ vectors.T
    inner = torch.linalg.eigh(root @ q.cov @ root)
    middle = (inner.eigenvectors * inner.eigenvalues.sqrt()) @ inner.eigenvectors.T
    a = torch.linalg.solve(root, torch.linalg.solve(root, middle, left=False))
    gap = x - p.mean
    return 2 * (x @ q.mean) + (gap @ a * gap).sum(1)


@pytest.mark.parametrize("m", [60, 45])
def test_of_the_sliced_distance_is_a_pair_of_dual_potentials_on_the_line(gen, m):
    """Up to the gaps between neighbouring points, O(1/n), where the map is a step and the slope is not one's own.

    Half of the points, for at the ends the potentials are hardly bound, and each release of POT takes others.
    """
    x, y = clouds(gen, n=60, m=m, d=1)
    line = sliced_influence(x, y, torch.ones(1, 1))
    cost = torch.cdist(x, y).square()
    a, b = (torch.full((k,), 1 / k, dtype=torch.float64, requires_grad=True) for k in (60, m))
    exact = transport_cost(cost, a, b)
    torch.testing.assert_close(line.value, exact.detach())
    for got, dual in zip((line.x, line.y), torch.autograd.grad(exact, (a, b)), strict=True):
        gap = (got - got.mean()) - (dual - dual.mean())
        assert gap.abs().median() < 0.035 * dual.std()


def test_the_sliced_distance_averages_the_lines(gen):
    x, y = clouds(gen)
    directions = torch.eye(3, dtype=torch.float64)
    found = sliced_influence(x, y, directions)
    lines = [sliced_influence(x @ e[:, None], y @ e[:, None], torch.ones(1, 1)) for e in directions]
    torch.testing.assert_close(found.value, line_cost(x.T, y.T, p=2).mean())
    torch.testing.assert_close(found.x, sum(line.x for line in lines) / 3)
    torch.testing.assert_close(found.y, sum(line.y for line in lines) / 3)


def test_the_root_has_the_error_of_the_delta_method():
    square = Influence(torch.tensor(9.0), torch.tensor([0.0, 6.0]), torch.tensor([1.0, 1.0]))
    torch.testing.assert_close(square.root().value, torch.tensor(3.0))
    torch.testing.assert_close(square.root().stderr, square.stderr / 6)
    flat = Influence(torch.tensor(0.0), torch.zeros(3), torch.zeros(3))
    assert flat.root().stderr == 0


@pytest.mark.parametrize(
    "measure",
    [
        lambda x, y: sliced_influence(x, y, torch.eye(2, dtype=x.dtype)).root(),
        frechet_influence,
    ],
    ids=["sliced", "frechet"],
)
def test_the_error_is_the_spread_over_fresh_samples(measure):
    """150 fresh pairs: the spread has a relative error of 6 %; a finite sample adds some percent to the error."""
    found = []
    for seed in range(150):
        gen = torch.Generator().manual_seed(seed)
        x, y = torch.randn(2, 200, 2, dtype=torch.float64, generator=gen).unbind()
        found.append(measure(0.6 * x + 0.7, y))
    values, errors = (torch.stack([getattr(f, k) for f in found]) for k in ("value", "stderr"))
    ratio = errors.square().mean().sqrt() / values.std()
    assert 1 - 4 * 0.06 < ratio < 1.1 + 4 * 0.06, ratio


def test_works_in_the_clouds_type_and_where_covariances_are_singular(gen, dtype):
    x, y = (c.to(dtype) for c in clouds(gen, n=5, m=6, d=9))
    x[:, 0] = y[:, 0] = 0
    for found in (frechet_influence(x, y), sliced_influence(x, y, torch.eye(9))):
        assert found.stderr.isfinite()
        assert found.stderr > 0
