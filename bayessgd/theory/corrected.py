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
stable.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from bayessgd.theory._matrices import check_momentum, check_preconditioner, check_problem
from metrics.inputs import check_count, check_positive

__all__ = ["injected_noise"]

# The exact preconditioner lies on the boundary of (2), so that its rounding must not make it infeasible.
ROUNDING = 1e-10


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
        Q `[d, d]`, positive semi-definite up to the rounding of 2H/N.

    Raises:
        ValueError: If no covariance does it (2), with the size of the violation and the largest feasible
            step.
        TypeError, ValueError: If an argument is not as above.

    >>> one = torch.ones(1, 1)
    >>> injected_noise(one, one, preconditioner=0.1, num_data=90, batch_size=10)  # (0.2 − 0.01)/90 − 0.01/10
    tensor([[0.0011]])
    >>> injected_noise(one, one, preconditioner=0.3, num_data=90, batch_size=10)
    Traceback (most recent call last):
    ValueError: preconditioner must satisfy ...; scale it by 0.6667 or less
    """
    curvature, noise = check_problem(A, C)
    H = check_preconditioner(preconditioner, curvature)
    n, s = check_positive(num_data, "num_data"), check_count(batch_size, "batch_size")
    m = check_momentum(momentum)
    Q = (1 - m) / n * (2 * H - H @ curvature @ H / (1 + m)) - H @ noise @ H / s
    root = torch.linalg.cholesky(H.detach())
    G = (curvature / (1 + m) + n / s * noise / (1 - m)).detach()
    largest = float(torch.linalg.eigvalsh(root.mT @ G @ root)[-1])
    # An H that came in float32 is on the boundary only up to that type's rounding.
    given = preconditioner.dtype if isinstance(preconditioner, Tensor) else torch.float64
    forgiven = max(ROUNDING, 100 * len(G) * torch.finfo(given).eps)
    if largest > 2 * (1 + forgiven):
        least = float(torch.linalg.eigvalsh(Q.detach())[0])
        raise ValueError(
            "preconditioner must satisfy 1/H ⪰ (A/(1+m) + (N/S) C/(1−m))/2, got noise with a smallest "
            f"eigenvalue of {least:.3g}; scale it by {2 / largest:.4g} or less"
        )
    return ((Q + Q.mT) / 2).to(A.dtype)
