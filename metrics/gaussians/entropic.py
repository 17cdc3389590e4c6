"""Entropic optimal transport between Gaussians, in closed form.

For α = N(m₁, A) and β = N(m₂, B), cost ‖x − y‖² and penalty ε·KL(π ‖ α⊗β), the optimal plan is Gaussian too. In the
basis that diagonalises A^½ B A^½, with eigenvalues μ_k², it decouples into lines with a covariance κ_k between the two
sides, and

    OT_ε = ‖m₁ − m₂‖² + tr A + tr B − Σ_k [2κ_k + (ε/2) log(1 − κ_k²/μ_k²)],    κ_k = (√(ε² + 16 μ_k²) − ε)/4.

This is theorem 1 of Janati, Muzellec, Peyré & Cuturi 2020. Their penalty is 2σ²·KL(π ‖ α⊗β), so that σ² = ε/2 here,
and their cross-covariance ½(4 A^½ B A^½ + σ⁴ I)^½ − ½σ² I has the eigenvalues κ_k. Since 2κ² + εκ = 2μ²,

    κ = 4μ²/(R + ε),        1 − κ²/μ² = 2ε/(R + ε),        R = √(ε² + 16 μ²),

which holds for directions without width, μ = 0, too. As ε → 0, κ → μ and OT_ε → W₂²; as ε → ∞, κ → 0 and OT_ε → the
mean cost.
"""

from typing import SupportsFloat

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.gaussians.frechet import bures_wasserstein, check_gaussians
from metrics.inputs import check_positive
from metrics.precision import full_precision

__all__ = ["entropic_gaussian_cost", "entropic_gaussian_divergence"]


@full_precision
def entropic_gaussian_cost(
    mean_p: Float[Tensor, " d"],
    cov_p: Float[Tensor, "d d"],
    mean_q: Float[Tensor, " d"],
    cov_q: Float[Tensor, "d d"],
    *,
    eps: SupportsFloat,
) -> Float[Tensor, ""]:
    """Return OT_ε of N(mean_p, cov_p) and N(mean_q, cov_q), cost ‖x − y‖², penalty ε·KL(P ‖ p⊗q).

    Args:
        mean_p: [d].
        cov_p: [d, d], symmetric and positive semi-definite; it may be singular.
        mean_q: [d].
        cov_q: [d, d], as cov_p.
        eps: ε in units of the cost.

    Returns:
        A 0-dim tensor without a gradient; what `sinkhorn` returns for infinite samples. Between samples of n the
        mean of `sinkhorn` lies above it or below by O(1/n), with a constant that grows as ε falls (del Barrio et
        al. 2023).

    Raises:
        ValueError: Shapes that do not fit, a covariance that is none, ε ≤ 0.

    >>> zero, one, eye = torch.zeros(1), torch.ones(1), torch.eye(1)
    >>> entropic_gaussian_cost(zero, eye, one, eye, eps=1e-6)  # W₂² = 1
    tensor(1.0000)
    """
    eps = check_positive(eps, "eps")
    check_gaussians(mean_p, cov_p, mean_q, cov_q)
    with torch.no_grad():
        exact = bures_wasserstein(mean_p.double(), cov_p.double(), mean_q.double(), cov_q.double())
        return (exact + _blur(cov_p, cov_q, eps)).to(mean_p.dtype)


@full_precision
def entropic_gaussian_divergence(
    mean_p: Float[Tensor, " d"],
    cov_p: Float[Tensor, "d d"],
    mean_q: Float[Tensor, " d"],
    cov_q: Float[Tensor, "d d"],
    *,
    eps: SupportsFloat,
) -> Float[Tensor, ""]:
    """Return S_ε = OT_ε(p, q) − ½OT_ε(p, p) − ½OT_ε(q, q) of two Gaussians; else as `entropic_gaussian_cost`.

    It lies between ‖m₁ − m₂‖² (ε → ∞) and W₂² (ε → 0).

    >>> zero, one, eye = torch.zeros(1), torch.ones(1), torch.eye(1)
    >>> entropic_gaussian_divergence(zero, eye, one, eye, eps=3.0)  # equal but for the means: ‖m‖², whatever ε is
    tensor(1.)
    """
    eps = check_positive(eps, "eps")
    check_gaussians(mean_p, cov_p, mean_q, cov_q)
    with torch.no_grad():
        exact = bures_wasserstein(mean_p.double(), cov_p.double(), mean_q.double(), cov_q.double())
        own = (_blur(cov_p, cov_p, eps) + _blur(cov_q, cov_q, eps)) / 2
        return (exact + _blur(cov_p, cov_q, eps) - own).to(mean_p.dtype)


def _blur(cov_p: Tensor, cov_q: Tensor, eps: float) -> Tensor:
    """OT_ε − W₂² = Σ_k [2(μ_k − κ_k) − (ε/2) log(1 − κ_k²/μ_k²)], each term positive, in float64."""
    mu = torch.linalg.svdvals(_root(cov_p) @ _root(cov_q))
    r = torch.hypot(torch.full_like(mu, eps), 4 * mu)
    # 2(μ − κ) = 2μ(R + ε − 4μ)/(R + ε), and R − 4μ = ε²/(R + 4μ).
    width = 2 * mu * (eps + eps**2 / (r + 4 * mu)) / (r + eps)
    # 1 − κ²/μ² = ((R + ε)² − 16μ²)/(R + ε)² = 2ε/(R + ε), since R² = ε² + 16μ².
    return (width - eps / 2 * (2 * eps / (r + eps)).log()).sum()


def _root(cov: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(cov.double())
    return vectors * values.clamp(min=0).sqrt() @ vectors.T
