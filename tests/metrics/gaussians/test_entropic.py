import math

import pytest
import torch

from metrics.gaussians import entropic_gaussian_cost, entropic_gaussian_divergence
from metrics.transport import sinkhorn, sinkhorn_divergence
from tests.metrics.transport.oracles import entropic_gaussians, gaussian_on_a_grid
from tests.targets import random_gaussian


def four(p, q):
    return p.mean, p.cov, q.mean, q.cov


def line(gap, std_x, std_y):
    return tuple(torch.tensor(v, dtype=torch.float64) for v in ([0.0], [[std_x**2]], [gap], [[std_y**2]]))


@pytest.mark.parametrize("eps", [0.1, 1.0, 10.0])
def test_on_the_line_it_is_sinkhorn_on_a_grid(eps):
    """The trapezoidal rule of smooth functions is exact beyond 1e-10 here."""
    (x, a), (y, b) = gaussian_on_a_grid(0.0, 1.0), gaussian_on_a_grid(1.5, 0.6)
    got = entropic_gaussian_cost(*line(1.5, 1.0, 0.6), eps=eps).item()
    assert got == pytest.approx(sinkhorn(x, y, eps=eps, weights_x=a, weights_y=b).value.item(), rel=1e-9)
    assert got == pytest.approx(entropic_gaussians(1.5, 1.0, 0.6, eps), rel=1e-13)
    got = entropic_gaussian_divergence(*line(1.5, 1.0, 0.6), eps=eps).item()
    want = sinkhorn_divergence(x, y, eps=eps, weights_x=a, weights_y=b, tol=1e-6).item()
    assert got == pytest.approx(want, rel=1e-8)


@pytest.mark.parametrize("eps", [0.1, 3.0])
def test_equals_theorem_1_as_it_is_printed(gen, eps):
    """Janati et al. 2020: D = (4 A^½BA^½ + σ⁴I)^½ with σ² = ε/2, and

    OT = ‖a − b‖² + tr A + tr B − tr D + dσ²(1 − log 2σ²) + σ² log det(D + σ²I).
    """
    p, q = random_gaussian(3, gen), random_gaussian(3, gen)

    def root(m):
        values, vectors = torch.linalg.eigh(m)
        return vectors * values.sqrt() @ vectors.T

    s2, eye = eps / 2, torch.eye(3, dtype=torch.float64)
    d = root(4 * root(p.cov) @ q.cov @ root(p.cov) + s2**2 * eye)
    want = (p.mean - q.mean).square().sum() + p.cov.trace() + q.cov.trace() - d.trace()
    want = want + 3 * s2 * (1 - math.log(2 * s2)) + s2 * torch.logdet(d + s2 * eye)
    torch.testing.assert_close(entropic_gaussian_cost(*four(p, q), eps=eps), want, rtol=1e-12, atol=0)


def test_limits(gen):
    p, q = random_gaussian(3, gen), random_gaussian(3, gen)
    gap = (p.mean - q.mean).square().sum().item()
    mean_cost = gap + (p.cov.trace() + q.cov.trace()).item()
    assert entropic_gaussian_cost(*four(p, q), eps=1e-9).item() == pytest.approx(p.w2_squared(q), rel=1e-6)
    assert entropic_gaussian_cost(*four(p, q), eps=1e9).item() == pytest.approx(mean_cost, rel=1e-6)
    assert entropic_gaussian_divergence(*four(p, q), eps=1e-9).item() == pytest.approx(
        p.w2_squared(q), rel=1e-6
    )
    assert entropic_gaussian_divergence(*four(p, q), eps=1e9).item() == pytest.approx(gap, rel=1e-6)


def test_directions_without_width_add_nothing(gen, dtype):
    p, q = random_gaussian(2, gen), random_gaussian(2, gen)
    wide = []
    for side in (p, q):
        cov = torch.zeros(3, 3, dtype=dtype)
        cov[:2, :2] = side.cov
        wide += [torch.cat([side.mean, torch.zeros(1)]).to(dtype), cov]
    got = entropic_gaussian_cost(*wide, eps=0.7)
    assert got.dtype == dtype
    assert got.item() == pytest.approx(
        entropic_gaussian_cost(*four(p, q), eps=0.7).item(), rel=8 * torch.finfo(dtype).eps
    )


@pytest.mark.slow
def test_ten_thousand_samples_agree(gen):
    """Within 4 standard errors: of OT_ε to first order √(Var f/n + Var g/m), the variances of the potentials."""
    p, q = random_gaussian(2, gen), random_gaussian(2, gen)
    n = 10_000
    x, y = p.sample(n, gen).float(), q.sample(n, gen).float()
    eps = 0.5 * torch.cdist(x[:500], y[:500]).square().mean().item()
    a, b = (torch.full((n,), 1 / n, requires_grad=True) for _ in range(2))
    value = sinkhorn_divergence(x, y, eps=eps, weights_x=a, weights_y=b)
    f, g = torch.autograd.grad(value, (a, b))
    error = math.sqrt((f.var() + g.var()).item() / n)
    want = entropic_gaussian_divergence(*four(p, q), eps=eps).item()
    assert 0 < error < 0.1 * want
    assert value.item() == pytest.approx(want, abs=4 * error)


@pytest.mark.parametrize("eps", [0.0, -1.0, math.nan])
def test_refuses_an_eps_that_is_none(eps):
    for function in (entropic_gaussian_cost, entropic_gaussian_divergence):
        with pytest.raises(ValueError, match="eps must be finite and above 0"):
            function(*line(0.0, 1.0, 1.0), eps=eps)


def test_refuses_a_covariance_that_is_none():
    with pytest.raises(ValueError, match="cov_p"):
        entropic_gaussian_cost(
            torch.zeros(2), torch.tensor([[1.0, 2.0], [2.0, 1.0]]), torch.zeros(2), torch.eye(2), eps=1.0
        )
