r"""The corrected sampler: for any preconditioner, the noise that makes the iterates sample the posterior.

In the coordinates that turn A into the identity, Σ = (N A)⁻¹ solves equation (3) of
`bayessgd.theory.stationary` if

    (H C H) / S + Q = (1 − m) ( 2H − H A H / (1 + m) ) / N,

so that a sampler with a symmetric positive definite H, momentum m and batches of S data has to add to its
velocity

    Q = (1 − m) ( 2H − HAH / (1 + m) ) / N − HCH / S;      for m = 0:  Q = (2H − HAH) / N − HCH / S.      (1)

Plain SGD with the exact preconditioner is the boundary Q = 0. SGLD keeps the first term, 2H/N, and neglects
both the discretisation (HAH/N) and the noise of the gradient (HCH/S); SGHMC likewise with 2(1 − m)H/N. Q is
a covariance if and only if

    H⁻¹ ⪰ ½ G,      G = A / (1 + m) + (N/S) C / (1 − m).                                                  (2)

On a quadratic with a constant C there is no bias at any step size that is feasible, and what is feasible is
stable. With the whitening of G, H' = RᵀHR, equation (1) is Q' = (1 − m)(2H' − H'²)/N and (2) says that the
eigenvalues of H' are at most 2: in these coordinates Q is computed, and rounding below zero taken off it, so
that Q is a covariance at any condition number.

Where C or A depend on θ, the right ones are their means over the posterior p. If θ ~ p, then E[∇L (θ − θ̄)ᵀ] =
I/N and E[∇L ∇Lᵀ] = E[∇²L]/N (integrate by parts), so that one step of (1) leaves the second moments of p as they
are, exactly and for any p, with A = E_p[∇²L] and C = E_p[C(θ)]. At the mode C is that of the residuals which the fit
made smallest; `LinearRegression.mean_noise` and `LearnedScaleRegression` have the means.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from bayessgd.theory._matrices import (
    check_momentum,
    check_preconditioner,
    check_problem,
    narrow,
    rounded_down,
)
from bayessgd.theory._whitening import Whitening, symmetric
from metrics.inputs import check_count, check_positive

__all__ = ["injected_noise"]

# The exact preconditioner lies on the boundary of (2), so that its rounding must not make it infeasible. More than a
# per cent of an infeasible step is no rounding, whatever the condition number.
ROUNDING, MOST_ROUNDING = 1e-10, 0.01


def injected_noise(
    A: Float[Tensor, "d d"],
    C: Float[Tensor, "d d"],
    *,
    preconditioner: float | int | Tensor,
    num_data: float | int,
    batch_size: int,
    momentum: float | int = 0.0,
) -> Float[Tensor, "d d"]:
    """Q = (2H − HAH)/N − HCH/S, the noise with which preconditioned SGD samples the posterior: equation (1).

    Args:
        A: The Hessian of the mean negative log joint `[d, d]`, positive definite.
        C: The covariance of one datum's gradient `[d, d]`, positive semi-definite.
        preconditioner: H: a learning rate, a vector `[d]`, or a symmetric positive definite `[d, d]`.
        num_data: N; N / T for a posterior at temperature T.
        batch_size: S, iid with replacement.
        momentum: torch's m in [0, 1); the noise then enters the velocity.

    Returns:
        Q `[d, d]`, positive semi-definite; on the boundary zero up to the rounding of 2H/N.

    Raises:
        ValueError: If no covariance does it (2), with the size of the violation and the largest feasible
            step; if Q in the type of `A` would lose its smallest directions to rounding.
        TypeError, ValueError: If an argument is not as above.

    >>> one = torch.ones(1, 1)
    >>> injected_noise(one, one, preconditioner=0.1, num_data=90, batch_size=10)  # (0.2 − 0.01)/90 − 0.01/10
    tensor([[0.0011]])
    >>> injected_noise(one, one, preconditioner=0.3, num_data=90, batch_size=10)
    Traceback (most recent call last):
    ValueError: preconditioner must satisfy ...; scale it by 0.6666 or less
    """
    curvature, noise = check_problem(A, C)
    H = check_preconditioner(preconditioner, curvature)
    n, s = check_positive(num_data, "num_data"), check_count(batch_size, "batch_size")
    m = check_momentum(momentum)
    white = Whitening(curvature / (1 + m) + n / s * noise / (1 - m))
    step = white.spread(H)
    modes, vectors = torch.linalg.eigh(step.detach())
    if float(modes[-1]) > 2 * (1 + _forgiven(white.A.detach(), H.detach(), preconditioner)):
        least = float(torch.linalg.eigvalsh(white.back(2 * step - step @ step).detach())[0] * (1 - m) / n)
        raise ValueError(
            "preconditioner must satisfy 1/H ⪰ (A/(1+m) + (N/S) C/(1−m))/2, got noise with a smallest "
            f"eigenvalue of {least:.3g}; scale it by {rounded_down(2 / float(modes[-1]))} or less"
        )
    # What rounding left below zero is a constant, so that the derivatives are those of (1).
    below = symmetric(vectors * (modes * (modes - 2)).clamp(min=0) @ vectors.mT)
    Q = (1 - m) / n * white.back(2 * step - step @ step + below)
    return narrow(Q, A.dtype, "the injected noise", metric=2 * (1 - m) / n * H)


def _forgiven(G: Tensor, H: Tensor, given: object) -> float:
    """Return by how much, relatively, rounding may push the largest eigenvalue of HG over 2.

    That of H is relative to its largest entry in the units in which G has a unit diagonal. An H that came in float32 is
    on the boundary only up to that type's rounding.
    """
    unit = G.diagonal().sqrt()
    condition = float(torch.linalg.matrix_norm(unit[:, None] * H * unit, 2) / 2)
    eps = torch.finfo(given.dtype if isinstance(given, Tensor) else torch.float64).eps
    return min(max(ROUNDING, 100 * len(G) * eps * max(1.0, condition)), MOST_ROUNDING)
