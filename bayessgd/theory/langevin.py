r"""Langevin samplers with a constant step: what SGLD, SGHMC and SGFS really sample.

The library's step sizes are those of SGD on the mean loss. Preconditioned SGLD at temperature T is

    θ ← θ − H ĝ + ξ,    Cov(ξ) = 2 T H / N,                                                               (1)

with Welling & Teh's (2011) rate ε equal to 2H/N, since they write θ ← θ − (ε/2) N ĝ + √ε ξ. In continuous
time HAΣ + ΣAH = 2 T H/N + HCH/S (Mandt, Hoffman & Blei 2017, JMLR 18(134), section 5, where T = 1): the
gradient's own noise comes on top of the injected one, and the iterates are too hot. SGHMC (Chen, Fox &
Guestrin 2014, without an estimate of the gradient's noise) is, with torch's momentum m and friction
1 − m,

    v ← m v − H ĝ + ξ,   θ ← θ + v,    Cov(ξ) = 2 (1 − m) T H / N.                                        (2)

Stochastic gradient Fisher scoring (Ahn, Korattikara & Welling 2012) injects noise of a covariance of its own,

    θ ← θ − ε H ĝ + √ε H E ξ,   ξ ~ N(0, I),                                                              (3)

whose optimum is H* = (2/N) (ε C/S + E Eᵀ)⁻¹ (Mandt et al. 2017, section 5), on the diagonal 2/N / (ε C_kk/S
+ (EEᵀ)_kk).
"""

import torch
from jaxtyping import Float
from torch import Tensor

from bayessgd.theory._matrices import (
    check_momentum,
    check_preconditioner,
    check_problem,
    check_semidefinite,
    check_symmetric,
    narrow,
    smallest_scaled,
)
from bayessgd.theory._whitening import symmetric
from bayessgd.theory.stationary import settled
from metrics.inputs import check_count, check_positive

__all__ = ["sgfs_covariance", "sgfs_preconditioner", "sgld_covariance"]


def sgld_covariance(
    A: Float[Tensor, "d d"],
    C: Float[Tensor, "d d"],
    *,
    preconditioner: float | int | Tensor,
    num_data: float | int,
    batch_size: int,
    temperature: float | int = 1.0,
    momentum: float | int = 0.0,
    discrete: bool = True,
) -> Float[Tensor, "d d"]:
    """Σ of SGLD (1), or with momentum of SGHMC (2), at a constant step.

    Args:
        A: The Hessian of the mean negative log joint `[d, d]`, positive definite.
        C: The covariance of one datum's gradient `[d, d]`; zero for full-batch gradients (ULA).
        preconditioner: H: SGD's learning rate (Welling & Teh's ε is 2H/N), a vector `[d]` or a matrix `[d,
            d]`.
        num_data: N.
        batch_size: S, iid with replacement.
        temperature: T of the injected noise.
        momentum: torch's m in [0, 1); above zero the sampler is SGHMC with friction 1 − m.
        discrete: The exact recursion, or with `False` the continuous-time limit.

    Raises:
        ValueError: If the discrete iteration is unstable.
        TypeError, ValueError: If an argument is not as above.

    >>> one = torch.ones(1, 1)
    >>> sgld_covariance(one, one, preconditioner=0.1, num_data=100, batch_size=10)  # posterior: 0.01
    tensor([[0.0158]])
    >>> sgld_covariance(one, one, preconditioner=0.1, num_data=100, batch_size=10, discrete=False)
    tensor([[0.0150]])
    """
    curvature, noise = check_problem(A, C)
    H = check_preconditioner(preconditioner, curvature)
    n, m = check_positive(num_data, "num_data"), check_momentum(momentum)
    injected = 2 * (1 - m) * check_positive(temperature, "temperature") / n * H
    W = H @ noise @ H / check_count(batch_size, "batch_size") + injected
    return narrow(settled(curvature, H, W, m, discrete=discrete), A.dtype, "the covariance")


def sgfs_preconditioner(
    C: Float[Tensor, "d d"],
    E: Float[Tensor, "d d"],
    *,
    learning_rate: float | int,
    num_data: float | int,
    batch_size: int,
    kind: str = "full",
) -> Float[Tensor, "d d"] | Float[Tensor, " d"]:
    """H* = (2/N)(ε C/S + E Eᵀ)⁻¹, the optimum of (3) (Mandt et al. 2017, section 5).

    Args:
        C: The covariance of one datum's gradient `[d, d]`.
        E: The factor of the injected noise `[d, d]`.
        learning_rate: ε.
        num_data: N.
        batch_size: S.
        kind: "full" or "diagonal".

    Returns:
        `[d, d]` for a full preconditioner, `[d]` for a diagonal one.

    Raises:
        TypeError, ValueError: If an argument is not as above, or εC/S + EEᵀ is singular.

    >>> eye = torch.eye(2)
    >>> sgfs_preconditioner(eye, eye, learning_rate=10.0, num_data=100, batch_size=10, kind="diagonal")
    tensor([0.0100, 0.0100])
    """
    if kind not in ("full", "diagonal"):
        raise ValueError(f'kind must be "full" or "diagonal", got {kind!r}')
    noise = check_semidefinite(C, "C")
    factor = _factor(E, noise)
    n, s = check_positive(num_data, "num_data"), check_count(batch_size, "batch_size")
    total = check_positive(learning_rate, "learning_rate") / s * noise + factor @ factor.mT
    least = smallest_scaled(total)
    if least <= len(total) * torch.finfo(total.dtype).eps:
        raise ValueError(
            f"E must make εC/S + EEᵀ invertible, got a smallest eigenvalue of {least:.3g} with the diagonal scaled to "
            "one; inject noise in every direction that C leaves out"
        )
    if kind == "diagonal":
        return (2 / n / total.diagonal()).to(C.dtype)
    inverse = symmetric(torch.cholesky_inverse(torch.linalg.cholesky(total)))
    return narrow(2 / n * inverse, C.dtype, "the preconditioner")


def sgfs_covariance(
    A: Float[Tensor, "d d"],
    C: Float[Tensor, "d d"],
    E: Float[Tensor, "d d"],
    *,
    preconditioner: float | int | Tensor,
    learning_rate: float | int,
    batch_size: int,
    discrete: bool = True,
) -> Float[Tensor, "d d"]:
    """Σ of stochastic gradient Fisher scoring (3) at a constant step.

    Args:
        A: The Hessian of the mean negative log joint `[d, d]`, positive definite.
        C: The covariance of one datum's gradient `[d, d]`.
        E: The factor of the injected noise `[d, d]`.
        preconditioner: H: a number, a vector `[d]` or a matrix `[d, d]`.
        learning_rate: ε.
        batch_size: S, iid with replacement.
        discrete: The exact recursion, or with `False` the continuous-time limit.

    Raises:
        ValueError: If the discrete iteration is unstable.
        TypeError, ValueError: If an argument is not as above.

    >>> eye = torch.eye(1)
    >>> H = sgfs_preconditioner(eye, eye, learning_rate=10.0, num_data=100, batch_size=10)
    >>> sgfs_covariance(eye, eye, eye, preconditioner=H, learning_rate=10.0, batch_size=10, discrete=False)
    tensor([[0.0100]])
    """
    curvature, noise = check_problem(A, C)
    H = check_preconditioner(preconditioner, curvature)
    factor = _factor(E, curvature)
    rate = check_positive(learning_rate, "learning_rate")
    total = rate * noise / check_count(batch_size, "batch_size") + factor @ factor.mT
    W = rate * H @ total @ H
    return narrow(settled(curvature, rate * H, W, 0.0, discrete=discrete), A.dtype, "the covariance")


def _factor(E: Tensor, like: Tensor) -> Tensor:
    """Return E in float64; it needs no symmetry, so that only its shape and its product are checked."""
    if isinstance(E, Tensor) and E.shape != like.shape:
        raise ValueError(f"E must have shape {list(like.shape)}, got {list(E.shape)}")
    check_symmetric(E @ E.mT if isinstance(E, Tensor) else E, "E")
    return E.double()
