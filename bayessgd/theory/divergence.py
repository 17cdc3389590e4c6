r"""How far a Gaussian is from the posterior, and the one factor that brings it closest.

L is the mean negative log joint per datum and A its Hessian at the optimum θ*, so that the posterior of N
data is about N(θ*, (N A)⁻¹). For q = N(θ* + δ, Σ) (Mandt, Hoffman & Blei 2017, JMLR 18(134), section 4, with
an offset),

    KL(q ‖ posterior) = ½ [ N Tr(A Σ) + N δᵀ A δ − log|N A| − log|Σ| − D ]   in nats.

Among all multiples s Σ of one covariance the best one is where the derivative by s, ½ [N Tr(A Σ) − D/s], vanishes,

    s* = D / (N Tr(A Σ)),

one over the effective temperature of a trajectory: iterates with N Tr(A Σ) = T D are as hot as the posterior at
temperature T.

For a tempered posterior ∝ exp(−N L / T) pass N / T as `num_data`.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from bayessgd.theory._matrices import (
    FLOOR,
    check_definite,
    check_like,
    check_semidefinite,
    smallest_scaled,
)
from metrics.inputs import check_positive, check_tensor

__all__ = ["kl_to_posterior", "optimal_scale"]


def gaussian_kl(cov: Tensor, A: Tensor, num_data: float | int) -> Tensor:
    """Return the divergence for float64 matrices that are known to be good; infinite for a singular one."""
    root = torch.linalg.cholesky(A)
    white = num_data * root.mT @ cov @ root
    factor, failed = torch.linalg.cholesky_ex(white)
    logdet = 2 * factor.diagonal().log().sum()
    value = (white.trace() - len(A) - logdet) / 2
    return torch.where(failed > 0, torch.inf, value)


def kl_to_posterior(
    cov: Float[Tensor, "d d"],
    A: Float[Tensor, "d d"],
    *,
    num_data: float | int,
    offset: Float[Tensor, " d"] | None = None,
) -> Float[Tensor, ""]:
    """KL(N(θ* + δ, Σ) ‖ N(θ*, (N A)⁻¹)) in nats, in closed form (Mandt et al. 2017, section 4.1).

    Differentiable to any order in `cov`, `A` and `offset`. A singular `cov` is infinitely far away.

    Args:
        cov: Σ, the covariance of the iterates `[d, d]`, positive semi-definite.
        A: The Hessian of the mean negative log joint `[d, d]`, positive definite.
        num_data: N, the number of data; N / T for a posterior at temperature T.
        offset: δ, the mean of the iterates minus the optimum `[d]`; zero if `None`.

    Raises:
        TypeError, ValueError: If a matrix or a number is not as above, or a float32 `cov` is so nearly singular that
            its rounding makes the divergence.

    >>> kl_to_posterior(torch.tensor([[0.02]]), torch.tensor([[1.0]]), num_data=100)  # (2 − 1 − log 2) / 2
    tensor(0.1534)
    """
    curvature = check_definite(A, "A")
    sigma = check_semidefinite(cov, "cov", size=len(curvature))
    check_like(cov, "cov", A, "A")
    n = check_positive(num_data, "num_data")
    least = smallest_scaled(sigma)
    if least <= len(sigma) * torch.finfo(torch.float64).eps:
        return torch.full((), torch.inf, dtype=cov.dtype, device=cov.device)
    if cov.dtype == torch.float32 and least <= FLOOR * len(sigma) * torch.finfo(torch.float32).eps:
        raise ValueError(
            "cov must be singular or definite beyond the rounding of float32, got a smallest eigenvalue of "
            f"{least:.3g} with the diagonal scaled to one; compute it in float64"
        )
    value = gaussian_kl(sigma, curvature, n)
    if offset is not None:
        delta = check_tensor(offset, "offset", shape="[d]", ndim=1).double()
        if len(delta) != len(sigma):
            raise ValueError(f"offset must have {len(sigma)} entries, as cov has rows, got {len(delta)}")
        value = value + n / 2 * delta @ curvature @ delta
    return value.to(cov.dtype)


def optimal_scale(
    cov: Float[Tensor, "d d"], A: Float[Tensor, "d d"], *, num_data: float | int
) -> Float[Tensor, ""]:
    """s* = D / (N Tr(A Σ)): the factor of a covariance that brings N(θ*, s Σ) closest to the posterior.

    It multiplies the *covariance*; standard deviations are multiplied by its root. Its inverse is the
    effective temperature of iterates with that covariance. N Tr(A Σ) / 2 is the mean excess of N·L over its
    minimum, so that forward passes alone estimate it.

    Args:
        cov: Σ `[d, d]`, positive semi-definite and not zero.
        A: The Hessian of the mean negative log joint `[d, d]`, positive definite.
        num_data: N, the number of data.

    Raises:
        TypeError, ValueError: If a matrix or a number is not as above.

    >>> optimal_scale(torch.tensor([[0.02]]), torch.tensor([[1.0]]), num_data=100)
    tensor(0.5000)
    """
    curvature = check_definite(A, "A")
    sigma = check_semidefinite(cov, "cov", size=len(curvature))
    check_like(cov, "cov", A, "A")
    energy = check_positive(num_data, "num_data") * (curvature * sigma).sum()
    if not float(energy.detach()) > 0:
        raise ValueError(
            f"cov must have a positive trace against A, got {float(energy.detach()):.3g}; it is zero"
        )
    return (len(sigma) / energy).to(cov.dtype)
