"""The optimal map between two Gaussians, from factors of their covariances, and what follows from it.

With Σ = RᵀR, T = SᵀS and RSᵀ = UΛVᵀ the map of N(μ, Σ) to N(ν, T) is x ↦ ν + A(x − μ), A = R⁺UVᵀS and its inverse
S⁺VUᵀR (Dowson & Landau 1982). The squared distance W₂² has the derivatives

    ∂/∂μ = 2(μ − ν),    ∂/∂Σ = I − A,

in the directions in which RSᵀ does not vanish; in the others A is 0, and I one subgradient of many. Of fitted Gaussians
μ = Σ_i a_i x_i and Σ = Σ_i a_i c_i c_iᵀ/q, c_i = x_i − μ and q = 1 − Σ_i a_i², these are slopes for points and weights,

    ∂/∂x_i = a_i (2(μ − ν) + (2/q)(I − A) c_i),
    ∂/∂a_i = 2(μ − ν)·x_i + c_iᵀ(I − A)c_i/q + (2a_i/q) Tr (I − A)Σ,

the latter up to a constant, to which weights that sum to one are blind.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.weights import apart

__all__ = ["Moments", "Transport", "slopes", "transport_between"]

CONDITION = 1e-8
"""Below this ratio of its diagonal entries a triangle is taken for singular."""

Moments = tuple[Tensor, Tensor]
"""A mean μ [d], and R [k, d] with the covariance RᵀR."""


@dataclass(frozen=True)
class Transport:
    """W₂² between two Gaussians, the gap μ − ν between their means, and the maps A both ways, c ↦ cA.

    >>> eye = torch.eye(1).double()
    >>> transport_between((eye[0], eye), (0 * eye[0], 3 * eye)).value  # 1² + (3 − 1)²
    tensor(5., dtype=torch.float64)
    """

    value: Float[Tensor, ""]
    gap: Float[Tensor, " d"]
    forth: Float[Tensor, "d d"]
    back: Float[Tensor, "d d"]


@torch.no_grad()
def transport_between(p: Moments, q: Moments) -> Transport:
    """Return the distance of two Gaussians and the maps between them."""
    (mean_p, r), (mean_q, s) = p, q
    u, values, vt = torch.linalg.svd(r @ s.T, full_matrices=False)
    gap = mean_p - mean_q
    # Equal Gaussians leave a rounding of either sign.
    value = (gap.square().sum() + r.square().sum() + s.square().sum() - 2 * values.sum()).clamp(min=0)
    u = u * (values > values.max() * torch.finfo(values.dtype).eps * max(len(r), len(s)))
    return Transport(value, gap, _solve(r, u) @ (vt @ s), _solve(s, vt.T) @ (u.T @ r))


@torch.no_grad()
def slopes(
    x: Float[Tensor, "n d"],
    weights: Float[Tensor, " n"],
    moments: Moments,
    gap: Float[Tensor, " d"],
    map: Float[Tensor, "d d"],
) -> tuple[Float[Tensor, "n d"], Float[Tensor, " n"]]:
    """Return ∂/∂x_i and ∂/∂a_i of W₂², from the weighted moments of x, its gap to the other mean and the map there.

    >>> x, a = torch.tensor([[0.0], [2.0]]).double(), torch.full((2,), 0.5).double()
    >>> one = torch.ones(1).double(), torch.full((1, 1), 2.0).double().sqrt()
    >>> slopes(x, a, one, torch.ones(1).double(), torch.eye(1).double())  # of equal covariances
    (tensor([[1.],
            [1.]], dtype=torch.float64), tensor([-2.,  2.], dtype=torch.float64))
    """
    (mean, root), share = moments, apart(weights)
    c = x - mean
    left = c - c @ map
    trace = (root * (root - root @ map)).sum()
    of_x = weights[:, None] * (2 * gap + 2 / share * left)
    return of_x, 2 * c @ gap + ((c * left).sum(1) + 2 * weights * trace) / share


def _solve(root: Float[Tensor, "k d"], of: Float[Tensor, "k l"]) -> Float[Tensor, "d l"]:
    """R⁺B: by the triangle where it can be inverted to eight digits, else by singular values."""
    diagonal = root.diagonal().abs()
    if root.shape[0] == root.shape[1] and bool(diagonal.min() > CONDITION * diagonal.max()) and _upper(root):
        return torch.linalg.solve_triangular(root, of, upper=True)
    return torch.linalg.pinv(root) @ of


def _upper(root: Tensor) -> bool:
    return bool((root.tril(-1) == 0).all())
