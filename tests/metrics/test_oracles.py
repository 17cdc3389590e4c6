"""Every measure that has a closed form for Gaussians, within 1 % of it on clouds of a few thousand points, d ≤ 4.

The clouds are scrambled Sobol points through the normal quantiles: they fill the law so evenly that the Monte-Carlo
error, some percent at these sizes, is gone, and 1 % holds for the measure itself and not by luck. Where distances
between neighbours count, points must be independent, and the tolerance says the error. A factor of two, a root or a
sign is far from 1 %.
"""

import math

import pytest
import torch
from scipy import special
from scipy.stats import norm, qmc

import metrics as m
from metrics.kernels.kernel import Gaussian
from tests.metrics.transport.oracles import entropic_gaussians
from tests.targets import Gaussian as Normal
from tests.targets import random_gaussian

DIMENSIONS = pytest.mark.parametrize("d", [1, 2, 3, 4])
S, T, SHIFT = 1.0, 0.6, 0.8
"""N(0, S²I) against N(SHIFT·1, T²I), for closed forms of isotropic Gaussians."""


def even(n: int, d: int, seed: int) -> torch.Tensor:
    """Points of N(0, I), evenly spread; n a power of two."""
    uniform = qmc.Sobol(d, seed=seed).random(n)
    return torch.as_tensor(norm.ppf(uniform))


def isotropic(n: int, d: int) -> tuple[torch.Tensor, torch.Tensor]:
    return S * even(n, d, 0), T * even(n, d, 1) + SHIFT


@DIMENSIONS
def test_frechet(gen, d):
    p, q = random_gaussian(d, gen), random_gaussian(d, gen)
    x, y = (
        law.mean + even(2**13, d, seed) @ torch.linalg.cholesky(law.cov).T for seed, law in enumerate((p, q))
    )
    assert m.frechet_distance(x, y).item() == pytest.approx(p.w2_squared(q), rel=0.01)


def test_wasserstein_on_the_line():
    x, y = isotropic(2**13, 1)
    assert m.wasserstein(x, y).item() == pytest.approx(math.hypot(SHIFT, S - T), rel=0.01)


@DIMENSIONS
def test_sliced_wasserstein(d):
    """Along each θ it is W_2 on the line, squared (θ·Δ)² + (S − T)², and E(θ·Δ)² = ‖Δ‖²/d = SHIFT²."""
    x, y = isotropic(2**10, d)
    # 4096 directions: the spread of (θ·Δ)² leaves 0.6 % of the distance at d = 4, one standard error.
    got = m.sliced_wasserstein(x, y, num_projections=4096).item()
    assert got == pytest.approx(math.hypot(SHIFT, S - T), rel=0.01)


@DIMENSIONS
def test_energy_distance(d):
    """E‖N(δ, v²I)‖ = v√2 Γ((d+1)/2)/Γ(d/2) · ₁F₁(−½; d/2; −‖δ‖²/2v²), the mean of a noncentral χ."""

    def mean_length(variance, gap2):
        factor = math.sqrt(2 * variance) * special.gamma((d + 1) / 2) / special.gamma(d / 2)
        return factor * special.hyp1f1(-0.5, d / 2, -gap2 / (2 * variance))

    x, y = isotropic(2**12, d)
    want = 2 * mean_length(S**2 + T**2, d * SHIFT**2) - mean_length(2 * S**2, 0) - mean_length(2 * T**2, 0)
    assert m.energy_distance(x, y, squared=True).item() == pytest.approx(want, rel=0.01)


@DIMENSIONS
def test_mmd2(d):
    """E k(X, Y) = (b²/(b² + v²))^{d/2} exp(−‖δ‖²/2(b² + v²)) with v² the sum of the variances."""
    b = 1.2

    def embedding(variance, gap2):
        total = b**2 + variance
        return (b**2 / total) ** (d / 2) * math.exp(-gap2 / (2 * total))

    x, y = isotropic(2**11, d)
    want = embedding(2 * S**2, 0) + embedding(2 * T**2, 0) - 2 * embedding(S**2 + T**2, d * SHIFT**2)
    assert m.mmd2(x, y, kernel=Gaussian(b)).item() == pytest.approx(want, rel=0.01)


@pytest.mark.parametrize("d", [1, 2])
def test_sinkhorn_divergence(d):
    """The squared cost of independent coordinates adds up, and so does the penalty."""
    eps = 1.0
    x, y = isotropic(2**10, d)
    self_terms = entropic_gaussians(0, S, S, eps) + entropic_gaussians(0, T, T, eps)
    want = d * (entropic_gaussians(SHIFT, S, T, eps) - self_terms / 2)
    assert m.sinkhorn_divergence(x, y, eps=eps).item() == pytest.approx(want, rel=0.01)


@pytest.mark.parametrize("d", [1, 3])
def test_knn_kl(gen, d):
    n, std, replicates = 5_000, 0.3, 2
    law = Normal(torch.zeros(d).double(), torch.eye(d).double())
    want = Normal(law.mean, std**2 * law.cov).kl(law)
    got = torch.stack(
        [m.knn_kl(std * law.sample(n, gen), law.sample(n, gen), k=1) for _ in range(replicates)]
    )
    # One run of 10 000 scatters by 2 to 3 %, of 5000 by 4 %: many points of the narrow law share one neighbour in
    # the wide one.
    stderr = 0.042 * want / replicates**0.5
    assert got.std() < 3 * 0.042 * want
    assert got.mean().item() == pytest.approx(want, abs=0.01 * want + 3 * stderr)


def test_expected_coverage_of_500_points(gen):
    """1 − ∏_{j≤3} (500 − j)/(1000 − j) = 0.87575, and 1 for density, in 64 dimensions as in any."""
    want = 1 - math.prod((500 - j) / (1000 - j) for j in (1, 2, 3))
    assert want == pytest.approx(0.87575, abs=5e-6)
    found = []
    for _ in range(20):
        real, fake = torch.randn(2, 500, 64, generator=gen)
        scores = m.precision_recall_density_coverage(real=real, fake=fake, k=3)
        found.append(torch.stack([scores.coverage, scores.density]))
    table = torch.stack(found)
    stderr = table.std(0) / len(found) ** 0.5
    assert ((table.mean(0) - torch.tensor([want, 1.0])).abs() < 4 * stderr).all()
    assert stderr[0] < 0.01


def test_pots_documented_divergence_where_it_has_converged():
    """Of arange(2) and arange(4) at ε = 0.1: POT prints 1.499887176 after too few iterations, and 1.4999659 after 10⁵.

    POT's value is the sharp ⟨P, C⟩ of the three plans, which our potentials give, and not the dual value.
    """
    x, y = torch.arange(2.0).double()[:, None], torch.arange(4.0).double()[:, None]

    def sharp(a, b):
        result = m.sinkhorn(a, b, eps=0.1, tol=1e-12)
        cost, (f, g) = (a - b.T) ** 2, result.potentials
        plan = ((f[:, None] + g - cost) / 0.1).exp() / cost.numel()
        return float((plan * cost).sum())

    assert sharp(x, y) - sharp(x, x) / 2 - sharp(y, y) / 2 == pytest.approx(1.4999659, abs=1e-7)
