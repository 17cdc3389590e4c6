"""A parameter group as one flat vector, `[P]` or, for stacked chains, `[chains, P]`."""

from collections.abc import Sequence

import torch
from torch import Tensor

from metrics.inputs import check_number

__all__ = [
    "apply",
    "check_complete",
    "check_narrow",
    "covariance_factor",
    "flat_size",
    "flatten",
    "operator",
    "unflatten",
]

# The largest relative change of a step, in any direction, that the parameters' type may cause.
COARSEST = 0.02


def flatten(tensors: Sequence[Tensor], *, stacked: bool) -> Tensor:
    """Concatenate the tensors in their order; the leading chain dimension stays when `stacked`."""
    if stacked:
        return torch.cat([t.reshape(len(t), -1) for t in tensors], 1)
    return torch.cat([t.reshape(-1) for t in tensors])


def unflatten(flat: Tensor, like: Sequence[Tensor], *, stacked: bool) -> list[Tensor]:
    """Undo `flatten`."""
    sizes = [p.numel() // len(p) if stacked else p.numel() for p in like]
    return [part.reshape(p.shape) for part, p in zip(flat.split(sizes, -1), like, strict=True)]


def flat_size(params: Sequence[Tensor], *, stacked: bool) -> int:
    """Return P, the number of parameters of one chain."""
    if stacked and (any(p.ndim == 0 for p in params) or len({len(p) for p in params}) != 1):
        shapes = [list(p.shape) for p in params]
        raise ValueError(
            f"params must share the leading dimension [chains, ...] when stacked, got shapes {shapes}"
        )
    return sum(p.numel() // len(p) if stacked else p.numel() for p in params)


def check_complete(group_params: Sequence[Tensor], with_grad: Sequence[Tensor]) -> None:
    """Refuse a step in which only some parameters of a group have gradients."""
    if len(group_params) != len(with_grad):
        missing = len(group_params) - len(with_grad)
        raise ValueError(
            f"params of one group must all have gradients, got {missing} without; the preconditioner couples "
            "them, so put unused parameters into a group of their own or leave them out"
        )


def operator(value: object, name: str, size: int, like: Tensor, *, chains: int | None = None) -> Tensor:
    """Return a number, a diagonal `[P]` or a matrix `[P, P]` as a tensor of `like`'s type and device.

    With `chains`, also a matrix for each, `[chains, P, P]`.
    """
    if not isinstance(value, Tensor):
        try:
            value = check_number(value, name)
        except TypeError as error:
            raise TypeError(
                f"{name} must be a number or a torch.Tensor, got {type(value).__name__}"
            ) from error
    elif value.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"{name} must be float32 or float64, got {value.dtype}; convert with {name}.float()")
    matrix = torch.as_tensor(value, dtype=like.dtype, device=like.device)
    own = () if chains is None else ((chains, size, size),)
    if tuple(matrix.shape) not in ((), (size,), (size, size), *own):
        raise ValueError(
            f"{name} must be a number, [{size}] or [{size}, {size}] for this group's {size} parameters, got "
            f"shape {list(matrix.shape)}; give each parameter group its own"
        )
    if not bool(matrix.isfinite().all()):
        raise ValueError(f"{name} must be finite, got NaN or infinite entries")
    return matrix


def check_narrow(given: object, matrix: Tensor, name: str) -> None:
    """Refuse a symmetric positive definite matrix of float64 that the parameters' float32 cannot hold.

    An ill-conditioned preconditioner has tiny steps in the stiff directions, below float32's rounding of the long ones:
    what is left of them can be too long for the curvature there, or uphill.
    """
    if not isinstance(given, Tensor) or given.dtype == matrix.dtype or given.ndim < 2:
        return
    wide = given.double().to(matrix.device)
    root, failed = torch.linalg.cholesky_ex(wide)
    if bool(failed.any()):
        return
    half = torch.linalg.solve_triangular(root, matrix.double() - wide, upper=False)
    error = float(
        torch.linalg.matrix_norm(torch.linalg.solve_triangular(root, half.mT, upper=False), 2).max()
    )
    if error > COARSEST:
        raise ValueError(
            f"{name} must be representable in the parameters' {matrix.dtype}, got rounding that changes some direction "
            f"by {error:.2g} of its own step; use float64 parameters (model.double()) or rescale the features"
        )


def apply(matrix: Tensor, vectors: Tensor) -> Tensor:
    """Multiply every vector `[..., P]` by a number, a diagonal or a matrix, or by a matrix of its own."""
    if matrix.ndim == 3:
        return (matrix @ vectors[..., None])[..., 0]
    return vectors @ matrix.T if matrix.ndim == 2 else matrix * vectors


def covariance_factor(covariance: Tensor, name: str, *, tolerance: float, remedy: str) -> Tensor:
    """Return R with R Rᵀ the covariance: its root, elementwise or through the eigenvectors in float64.

    The eigenvectors and not Cholesky, because a covariance on the boundary of what is possible is singular.
    Eigenvalues between −tolerance and 0 are rounding and become 0; below, `ValueError`.
    """
    if covariance.ndim > 1 and not torch.allclose(covariance, covariance.mT, rtol=1e-4, atol=tolerance):
        raise ValueError(f"{name} must be symmetric; a covariance is, so check for a transpose")
    values, vectors = (
        (covariance.double(), None) if covariance.ndim < 2 else torch.linalg.eigh(covariance.double())
    )
    if float(values.min()) < -tolerance:
        raise ValueError(
            f"{name} must be positive semi-definite, got the eigenvalue {float(values.min()):.3g}; {remedy}"
        )
    root = values.clamp(min=0).sqrt()
    return (root if vectors is None else vectors * root[..., None, :]).to(covariance.dtype)
