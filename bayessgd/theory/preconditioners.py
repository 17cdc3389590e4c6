r"""The learning rate and the preconditioner that bring constant SGD closest to the posterior.

Continuous time (Mandt, Hoffman & Blei 2017, JMLR 18(134), section 4), where N, S and D are the numbers of
data, of data per batch and of parameters, C is the covariance of one datum's gradient and m is torch's
momentum:

    learning rate   ε* = 2 (1 − m) (S/N) D / Tr C
    full            H* = 2 (1 − m) (S/N) C⁻¹                 the posterior exactly, as S/N → 0
    diagonal        H*_kk = 2 (1 − m) (S/N) / C_kk

Discrete time, with the Hessian A. In coordinates that turn A into the identity, Σ = (N A)⁻¹ in equation (4)
of `bayessgd.theory.stationary` is solved mode by mode, which gives the exact preconditioner

    H* = 2 (1 − m) [ (1 − m)/(1 + m) A + (N/S) C ]⁻¹,      for m = 0:  H* = 2 (A + (N/S) C)⁻¹.            (1)

Its divergence is zero at any batch size, and it is stable, since HA's eigenvalues stay below 2(1 + m), wherever C
reaches every direction. In one without noise they are 2(1 + m), the edge of stability: SGD has nothing to sample it
with, and a shorter step, s·H* with s < 1, needs the noise of `bayessgd.theory.corrected` there.

The diagonal of this table is not the closest diagonal: it takes log|Σ| for log|H| + const, which
holds when the matrices commute only. With A, the learning rate and the diagonal are found by minimising the
discrete-time divergence itself, through the Lyapunov equation (`bayessgd.theory.search`). These two have no
gradient with respect to A and C; by the envelope theorem the divergence at the optimum has the right one all
the same.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from bayessgd.theory._matrices import (
    check_momentum,
    check_problem,
    check_semidefinite,
    narrow,
    smallest_scaled,
)
from bayessgd.theory._whitening import symmetric
from bayessgd.theory.search import best_diagonal, best_rate
from metrics.inputs import check_count, check_positive, check_tensor

__all__ = ["optimal_learning_rate", "optimal_preconditioner"]


def optimal_learning_rate(
    C: Float[Tensor, "d d"] | Float[Tensor, " d"],
    *,
    num_data: float | int,
    batch_size: int,
    momentum: float | int = 0.0,
    A: Float[Tensor, "d d"] | None = None,
) -> Float[Tensor, ""]:
    """ε* = 2 (1 − m)(S/N) D / Tr C, the constant rate closest to the posterior (Mandt et al. 2017).

    Args:
        C: The covariance of one datum's gradient `[d, d]`, or its diagonal `[d]`.
        num_data: N; N / T for a posterior at temperature T.
        batch_size: S.
        momentum: torch's m in [0, 1), one minus Mandt's μ.
        A: The Hessian `[d, d]`. With it, the rate that minimises the divergence of the exact recursion,
            which is stable by construction; a number without a gradient. Without it, the continuous-time
            optimum, which may be unstable where S/N is large.

    Returns:
        A 0-dim tensor; pass `float(...)` of it to an optimizer.

    Raises:
        TypeError, ValueError: If an argument is not as above, or C is zero.

    >>> C = torch.diag(torch.tensor([1.0, 3.0]))
    >>> optimal_learning_rate(C, num_data=1000, batch_size=50)
    tensor(0.0500)
    >>> optimal_learning_rate(C, num_data=1000, batch_size=50, momentum=0.9)
    tensor(0.0050)
    >>> optimal_learning_rate(C, num_data=1000, batch_size=50, A=C)
    tensor(0.0465)
    """
    n, s = check_positive(num_data, "num_data"), check_count(batch_size, "batch_size")
    m = check_momentum(momentum)
    if A is not None:
        if isinstance(C, Tensor) and C.ndim == 1:
            raise ValueError("C must have shape [d, d] where A is given, got a vector; pass the whole matrix")
        curvature, noise = check_problem(A, C)
        rate = best_rate(curvature.detach(), noise.detach(), num_data=n, batch_size=s, momentum=m)
        return torch.tensor(rate, dtype=C.dtype, device=C.device)
    diagonal = _diagonal(C)
    trace = diagonal.sum()
    if not float(trace.detach()) > 0:
        raise ValueError(
            f"C must have a positive trace, got {float(trace.detach()):.3g}; without noise no rate is best"
        )
    return (2 * (1 - m) * s / n * len(diagonal) / trace).to(C.dtype)


def optimal_preconditioner(
    C: Float[Tensor, "d d"] | Float[Tensor, " d"],
    *,
    num_data: float | int,
    batch_size: int,
    A: Float[Tensor, "d d"] | None = None,
    kind: str = "full",
    momentum: float | int = 0.0,
) -> Float[Tensor, "d d"] | Float[Tensor, " d"]:
    """H*, the constant preconditioner closest to the posterior: the module's table, or with `A` equation (1).

    The full one with `A` has no bias on a quadratic, at any batch size, if C is invertible; in a direction without
    noise it is at the edge of stability, to be shortened and given noise (`injected_noise`). The diagonal one with
    `A` is the minimiser of the divergence in discrete time, never worse than the best learning rate, where it starts.

    Args:
        C: The covariance of one datum's gradient `[d, d]`; for a diagonal without `A` its diagonal `[d]` is
            enough.
        num_data: N; N / T for a posterior at temperature T.
        batch_size: S.
        A: The Hessian `[d, d]`, for the exact discrete-time optimum; `None` for the continuous-time one.
        kind: "full" or "diagonal".
        momentum: torch's m in [0, 1).

    Returns:
        `[d, d]` for a full preconditioner, `[d]` for a diagonal one.

    Raises:
        TypeError, ValueError: If an argument is not as above, or C is singular, except for the full one with `A`.

    >>> C, A = torch.diag(torch.tensor([1.0, 3.0])), torch.eye(2)
    >>> optimal_preconditioner(C, num_data=1000, batch_size=50).diagonal()
    tensor([0.1000, 0.0333])
    >>> optimal_preconditioner(C, num_data=1000, batch_size=50, A=A).diagonal()  # 2 / (1 + 20 C)
    tensor([0.0952, 0.0328])
    >>> optimal_preconditioner(C, num_data=1000, batch_size=50, A=A, kind="diagonal")
    tensor([0.0952, 0.0328])
    """
    if kind not in ("full", "diagonal"):
        raise ValueError(f'kind must be "full" or "diagonal", got {kind!r}')
    n, s = check_positive(num_data, "num_data"), check_count(batch_size, "batch_size")
    m = check_momentum(momentum)
    if A is not None:
        curvature, noise = check_problem(A, C)
        if kind == "diagonal":
            found = best_diagonal(curvature.detach(), noise.detach(), num_data=n, batch_size=s, momentum=m)
            return found.to(C.dtype)
        inverse = (1 - m) / (1 + m) * curvature + n / s * noise
        return narrow(2 * (1 - m) * _inverse(inverse), C.dtype, "the preconditioner")
    if kind == "diagonal":
        diagonal = _diagonal(C)
        least = float(diagonal.detach().min())
        if not least > 0:
            raise ValueError(
                f"C must have a positive diagonal, got {least:.3g}; inject noise where it has none (injected_noise), "
                "or drop those parameters"
            )
        return (2 * (1 - m) * s / n / diagonal).to(C.dtype)
    noise = check_semidefinite(C, "C")
    if smallest_scaled(noise) <= len(C) * torch.finfo(C.dtype).eps:
        eigenvalues = torch.linalg.eigvalsh(noise.detach())
        raise ValueError(
            f"C must be invertible, got eigenvalues from {float(eigenvalues[0]):.3g} to "
            f"{float(eigenvalues[-1]):.3g}; inject noise where it has none (injected_noise), or drop those directions"
        )
    return narrow(2 * (1 - m) * s / n * _inverse(noise), C.dtype, "the preconditioner")


def _diagonal(C: Tensor) -> Tensor:
    if not isinstance(C, Tensor) or C.ndim != 1:
        return check_semidefinite(C, "C").diagonal()
    diagonal = check_tensor(C, "C", shape="[d, d] or [d]", ndim=1).double()
    if bool((diagonal.detach() < 0).any()):
        raise ValueError(f"C must have no negative variance, got {float(diagonal.detach().min()):.3g}")
    return diagonal


def _inverse(matrix: Tensor) -> Tensor:
    return symmetric(torch.cholesky_inverse(torch.linalg.cholesky(matrix)))
