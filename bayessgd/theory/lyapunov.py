r"""Lyapunov equations: the covariance at which what a linear map forgets balances what the noise adds.

The discrete equation of x ← F x + w, Cov(w) = W, is

    Σ = F Σ Fᵀ + W,        Σ = Σ_{k≥0} Fᵏ W (Fᵏ)ᵀ   when the spectral radius of F is below one.

The sum is taken by doubling (Smith 1968, SIAM J. Appl. Math. 16): with P = F and X = W, repeat X ← X
+ P X Pᵀ, P ← P². After j rounds X holds 2ʲ terms, so that a radius of 1 − 10⁻⁹ needs about 35 rounds. Every
term is positive semi-definite, which leaves nothing to cancel.

The continuous equation of dx = −M x dt + dw,

    M Σ + Σ Mᵀ = W,        all eigenvalues of M with a positive real part,

becomes a discrete one by the Cayley transform with any shift p > 0 (ibid.):
F = (p + M)⁻¹(p − M), and 2p (p + M)⁻¹ W (p + M)⁻ᵀ in place of W.

Both are differentiable to any order: if Y solves the adjoint equation Y = Fᵀ Y F + ∂ℓ/∂Σ, then ∂ℓ/∂W = Y and
∂ℓ/∂F = (Y + Yᵀ) F Σ for a symmetric Σ. No eigenvectors are involved, so equal eigenvalues do no harm.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.inputs import check_tensor

__all__ = ["continuous_lyapunov", "discrete_lyapunov", "solved_discrete"]

# 2⁶⁰ terms: a radius that needs more cannot be told from one in float64.
ROUNDS = 60


def _doubling(F: Tensor, W: Tensor) -> Tensor:
    X, P = W, F
    for _ in range(ROUNDS):
        X = X + P @ X @ P.mT
        P = P @ P
        # What is left out is P X Pᵀ + …, below the unit round-off of X once ‖P‖² is.
        if float(P.square().sum()) < 1e-17:
            return X
    raise ValueError("F must have a spectral radius below 1, and its powers do not vanish; shrink F")


class _Discrete(torch.autograd.Function):
    """The solution, with the adjoint equation as its derivative."""

    @staticmethod
    def forward(ctx, F: Tensor, W: Tensor) -> Tensor:
        X = _doubling(F, W)
        ctx.save_for_backward(F, X)
        return X

    @staticmethod
    def backward(ctx, *grad_outputs: Tensor) -> tuple[Tensor, Tensor]:
        F, X = ctx.saved_tensors
        Y = _Discrete.apply(F.mT, grad_outputs[0])
        assert isinstance(Y, Tensor)
        grad_F = Y @ F @ X.mT + Y.mT @ F @ X
        while grad_F.ndim > F.ndim:
            grad_F = grad_F.sum(0)
        return grad_F, Y


def discrete_lyapunov(F: Float[Tensor, "d d"], W: Float[Tensor, "*batch d d"]) -> Float[Tensor, "*batch d d"]:
    """Solve Σ = F Σ Fᵀ + W for one map and any number of right-hand sides.

    Args:
        F: The map `[d, d]`, of spectral radius below one.
        W: The noise `[..., d, d]`, of the same type.

    Raises:
        ValueError: If the powers of `F` do not vanish.

    >>> discrete_lyapunov(torch.tensor([[0.5]]), torch.tensor([[3.0]]))
    tensor([[4.]])
    """
    _check_alike(F, "F", W)
    return solved_discrete(F.double(), W.double()).to(W.dtype)


def solved_discrete(F: Tensor, W: Tensor) -> Tensor:
    """The same of matrices that are known to be right."""
    solution = _Discrete.apply(F, W)
    assert isinstance(solution, Tensor)
    return solution


def _check_alike(map: object, name: str, W: object) -> None:
    """Refuse what is no square matrix, and a noise of another size or type."""
    matrix = check_tensor(map, name, shape="[d, d]", ndim=2)
    noise = check_tensor(
        W, "W", shape="[..., d, d]", ndim=W.ndim if isinstance(W, Tensor) and W.ndim > 2 else 2
    )
    if matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"{name} must have shape [d, d], got {list(matrix.shape)}; pass a square matrix")
    if noise.shape[-2:] != matrix.shape:
        raise ValueError(
            f"W must have shape [..., {len(matrix)}, {len(matrix)}] as {name} has, got {list(noise.shape)}; "
            "pass the noise of the same variables"
        )
    if (matrix.dtype, matrix.device) != (noise.dtype, noise.device):
        raise TypeError(
            f"{name} and W must share one type and device, got {matrix.dtype} on {matrix.device} and {noise.dtype} "
            f"on {noise.device}; convert with .to()"
        )


def continuous_lyapunov(M: Float[Tensor, "d d"], W: Float[Tensor, "d d"]) -> Float[Tensor, "d d"]:
    """Solve M Σ + Σ Mᵀ = W.

    Args:
        M: The drift `[d, d]`; its eigenvalues have positive real parts.
        W: The noise `[d, d]`, of the same type.

    Raises:
        ValueError: If an eigenvalue of `M` has a real part of zero or below.

    >>> continuous_lyapunov(torch.tensor([[0.5]]), torch.tensor([[3.0]]))
    tensor([[3.]])
    """
    _check_alike(M, "M", W)
    if W.ndim != 2:
        raise ValueError(f"W must have shape [d, d], got {list(W.shape)}; solve for one noise at a time")
    kind, M, W = W.dtype, M.double(), W.double()
    eigenvalues = torch.linalg.eigvals(M.detach())
    if not float(eigenvalues.real.min()) > 0:
        least = float(eigenvalues.real.min())
        raise ValueError(f"M must have eigenvalues with positive real parts, got one of {least:.3g}")
    size = eigenvalues.abs()
    # The shift that contracts fastest when the eigenvalues are real; any other gives the same solution.
    p = (size.min() * size.max()).sqrt()
    eye = torch.eye(len(M), dtype=M.dtype, device=M.device)
    left = torch.linalg.solve(p * eye + M, torch.cat([p * eye - M, eye], 1))
    F, resolvent = left.split(len(M), 1)
    return solved_discrete(F, 2 * p * resolvent @ W @ resolvent.mT).to(kind)
