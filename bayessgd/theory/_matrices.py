"""What enters the theory: curvatures, noise covariances and preconditioners, checked and made float64.

A curvature A must be symmetric and positive definite (otherwise there is no Gaussian posterior), a noise
covariance C symmetric and positive semi-definite, and a preconditioner H a positive number, a positive
vector (its diagonal) or a symmetric positive definite matrix. Symmetry and definiteness are asked for up to
the rounding of the input's own type.

An inverse by LU is symmetric only up to its condition number times that rounding; `check_definite` forgives so
much, as far as √eps. Definiteness is judged with the diagonal scaled to one, in which parameters of different
units are alike: a smallest eigenvalue below 4 d·eps is rounding, and nothing can be read off it.
"""

import math

import torch
from torch import Tensor

from metrics.inputs import check_number, check_positive, check_tensor

# Multiples of the type's unit round-off, times d, that a product such as G.T @ G / n may leave behind.
SLACK = 100
# Multiples of eps·d below which an eigenvalue is rounding; above, a preconditioner made of it is right to per cents.
FLOOR = 4
# The largest relative change that a result may suffer from its type, in any direction.
COARSEST = 0.02


def slack(x: Tensor) -> float:
    """Return the relative rounding error that is forgiven in a d×d matrix of this type."""
    return SLACK * torch.finfo(x.dtype).eps * x.shape[-1]


def check_symmetric(x: object, name: str, *, size: int | None = None, conditioned: bool = False) -> Tensor:
    """Return a symmetric matrix `[d, d]` in float64, exactly symmetric; gradients flow to the input.

    With `conditioned` the rounding that an inverse by LU leaves behind is forgiven too.
    """
    matrix = check_tensor(x, name, shape="[d, d]", ndim=2)
    d = len(matrix) if size is None else size
    if matrix.shape != (d, d):
        raise ValueError(f"{name} must have shape [{d}, {d}], got {list(matrix.shape)}; pass a square matrix")
    gap, wide = float((matrix - matrix.mT).detach().abs().max()), matrix.double()
    even = (wide + wide.mT) / 2
    forgiven = slack(matrix)
    if conditioned and gap > 0:
        size_of = torch.linalg.eigvalsh(even.detach()).abs()
        condition = float(size_of.max() / size_of.min())
        forgiven = max(forgiven, min(forgiven * condition, math.sqrt(torch.finfo(matrix.dtype).eps)))
    if gap > forgiven * float(matrix.detach().abs().max()):
        raise ValueError(
            f"{name} must be symmetric, got entries that differ from their mirror by up to {gap:.3g}; "
            f"pass ({name} + {name}.T) / 2 if that is rounding, and make an inverse by "
            "torch.cholesky_inverse(torch.linalg.cholesky(M)), which is symmetric"
        )
    return even


def check_definite(x: object, name: str, *, size: int | None = None) -> Tensor:
    """Return a symmetric positive definite matrix in float64."""
    matrix = check_symmetric(x, name, size=size, conditioned=True)
    assert isinstance(x, Tensor)
    least, floor = smallest_scaled(matrix), FLOOR * len(matrix) * torch.finfo(x.dtype).eps
    if least < -floor:
        smallest = float(torch.linalg.eigvalsh(matrix.detach())[0])
        raise ValueError(
            f"{name} must be positive definite, got a smallest eigenvalue of {smallest:.3g}; "
            f"add the prior's curvature or a small multiple of the identity"
        )
    if least <= floor:
        advice = "compute it in float64" if x.dtype == torch.float32 else "drop or merge collinear columns"
        raise ValueError(
            f"{name} must be positive definite beyond the rounding of {x.dtype}, got a smallest eigenvalue of "
            f"{least:.3g} with the diagonal scaled to one; {advice}, or add the prior's curvature"
        )
    return matrix


def smallest_scaled(matrix: Tensor) -> float:
    """Return the smallest eigenvalue of a float64 matrix whose diagonal is scaled to one."""
    diagonal = matrix.detach().diagonal()
    if not bool((diagonal > 0).all()):
        return -1.0
    scale = diagonal.rsqrt()
    return float(torch.linalg.eigvalsh(scale[:, None] * matrix.detach() * scale)[0])


def narrow(matrix: Tensor, dtype: torch.dtype, name: str, *, metric: Tensor | None = None) -> Tensor:
    """Return a float64 matrix in the caller's type, unless that type cannot hold it.

    The rounding is measured by the root R of `metric` (the matrix itself if `None`), as the norm of R⁻¹ΔR⁻ᵀ: what it
    changes relative to each direction's own size. An ill-conditioned matrix in float32 loses its smallest directions.
    """
    found = matrix.to(dtype)
    if not bool(found.detach().isfinite().all()):
        largest = float(matrix.detach().abs().max())
        raise ValueError(
            f"{name} must be representable in {dtype}, got entries up to {largest:.2g}; choose other units of the "
            "parameters, or pass float64 tensors"
        )
    if dtype == torch.float64:
        return found
    root, failed = torch.linalg.cholesky_ex((matrix if metric is None else metric).detach())
    if int(failed):  # singular: there is no size to compare with
        return found
    change = (found.double() - matrix).detach()
    half = torch.linalg.solve_triangular(root, change, upper=False)
    error = float(torch.linalg.matrix_norm(torch.linalg.solve_triangular(root, half.mT, upper=False), 2))
    if not error < COARSEST:
        raise ValueError(
            f"{name} must be representable in {dtype}, got rounding that changes some direction by {error:.2g} of its "
            "own size; the problem is too ill-conditioned for that type, so pass float64 tensors"
        )
    return found


def check_semidefinite(x: object, name: str, *, size: int | None = None, scale: float = 0.0) -> Tensor:
    """Return a symmetric positive semi-definite matrix in float64.

    Args:
        x: What the user passed.
        name: The argument's name.
        size: The number of rows that it must have.
        scale: A size of matrix whose rounding is forgiven too, for differences that come out near zero.
    """
    matrix = check_symmetric(x, name, size=size)
    assert isinstance(x, Tensor)
    eigenvalues = torch.linalg.eigvalsh(matrix.detach())
    if float(eigenvalues[0]) < -slack(x) * max(float(eigenvalues[-1]), scale):
        raise ValueError(
            f"{name} must be positive semi-definite, got a smallest eigenvalue of "
            f"{float(eigenvalues[0]):.3g}; a covariance has none below 0"
        )
    return matrix


def check_like(x: Tensor, name: str, reference: object, reference_name: str) -> None:
    """Refuse two tensors of different types or devices."""
    if not isinstance(reference, Tensor):
        return
    if x.dtype != reference.dtype:
        raise TypeError(
            f"{name} and {reference_name} must have the same dtype, got {x.dtype} and {reference.dtype}; "
            f"convert one with .to({reference_name}.dtype)"
        )
    if x.device != reference.device:
        raise ValueError(
            f"{name} and {reference_name} must be on the same device, got {x.device} and {reference.device}; "
            f"move one with .to({reference_name}.device)"
        )


def check_problem(A: object, C: object) -> tuple[Tensor, Tensor]:
    """Return the curvature and the gradient covariance of one problem, in float64."""
    curvature = check_definite(A, "A")
    noise = check_semidefinite(C, "C", size=len(curvature))
    assert isinstance(A, Tensor)
    assert isinstance(C, Tensor)
    check_like(C, "C", A, "A")
    return curvature, noise


def check_preconditioner(H: object, like: Tensor) -> Tensor:
    """Return the preconditioner as a matrix `[d, d]` in float64; `like` is a matrix of the problem."""
    d = len(like)
    if not isinstance(H, Tensor):
        rate = check_positive(H, "preconditioner")
        return rate * torch.eye(d, dtype=torch.float64, device=like.device)
    if H.device != like.device:
        raise ValueError(
            f"preconditioner must be on the problem's device, {like.device}, got {H.device}; move it there"
        )
    if H.ndim == 2:
        return check_definite(H, "preconditioner", size=d)
    rule = f"[], [{d}] or [{d}, {d}]"
    diagonal = check_tensor(H, "preconditioner", shape=rule, ndim=min(H.ndim, 1)).double()
    if diagonal.ndim == 1 and len(diagonal) != d:
        raise ValueError(f"preconditioner must have shape {rule}, got {list(diagonal.shape)}")
    if not bool((diagonal.detach() > 0).all()):
        raise ValueError(
            f"preconditioner must be above 0, got a minimum of {float(diagonal.detach().min()):.3g}"
        )
    return torch.diag(diagonal.expand(d))


def check_momentum(momentum: object) -> float:
    """Return torch's momentum, a number in [0, 1)."""
    m = check_number(momentum, "momentum")
    if not 0 <= m < 1:
        raise ValueError(
            f"momentum must be at least 0 and below 1, got {m}; it is torch's, one minus the friction"
        )
    return m


def rounded_down(bound: float) -> str:
    """Return four digits of an upper bound that keep it, for messages: half of all bounds would be rounded up.

    >>> rounded_down(2 / 3), rounded_down(0.5)
    ('0.6666', '0.5')
    """
    text = f"{bound:.4g}"
    if float(text) <= bound * (1 + 1e-11):  # a bound that is a round number up to its own rounding
        return text
    return f"{float(text) - 10.0 ** (math.floor(math.log10(bound)) - 3):.4g}"
