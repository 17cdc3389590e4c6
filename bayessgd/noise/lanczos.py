r"""The spectrum of a curvature by Lanczos: its extreme eigenvalues, and its density.

k steps from a unit vector q build an orthonormal basis Q in which A is tridiagonal, T = QᵀAQ. T's
eigenvalues ϑ_i (Ritz values) approach A's from the ends of the spectrum inwards; with T's eigenvectors s_i
and the last off-diagonal β_k, each Ritz value has an eigenvalue of A within |β_k s_{k,i}| of it (Parlett
1998, section 13.2), which is returned as its bound. Every new vector is orthogonalised twice against all
others, so that no eigenvalue appears a second time.

For a Gaussian start the weights s_{1,i}² make Σ_i s_{1,i}² f(ϑ_i) an unbiased estimate of Tr f(A)/p up to
the quadrature, exact for polynomials of degree 2k − 1 (Golub & Welsch 1969); its mean over starts is the
density of the spectrum (Lin, Saad & Yang 2016, section 3.2).
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from bayessgd.noise.curvature import Curvature
from metrics.inputs import check_count, check_positive, check_tensor, repeatable

__all__ = ["Spectrum", "lanczos"]


@dataclass(frozen=True)
class Spectrum:
    """Ritz values of one or more starts, with bounds and quadrature weights.

    Attributes:
        eigenvalues: Ritz values `[starts, k]`, each row descending.
        bounds: The distance from each to an eigenvalue of A, at most `[starts, k]`.
        weights: The share of the spectrum that each stands for `[starts, k]`; rows sum to one.

    >>> found = Spectrum(torch.tensor([[4.0, 1.0]]), torch.zeros(1, 2), torch.tensor([[0.25, 0.75]]))
    >>> found.top(1), found.trace
    (tensor([4.]), tensor(1.7500))
    """

    eigenvalues: Float[Tensor, "starts k"]
    bounds: Float[Tensor, "starts k"]
    weights: Float[Tensor, "starts k"]

    def top(self, count: int) -> Float[Tensor, " count"]:
        """Return the `count` largest Ritz values of the first start, descending.

        Raises:
            ValueError: If `count` is above the number of steps.
        """
        count = check_count(count, "count", below=self.eigenvalues.shape[1] + 1)
        return self.eigenvalues[0, :count]

    def density(self, at: Float[Tensor, " m"], *, width: float | int) -> Float[Tensor, " m"]:
        """Return the density of the spectrum at points `[m]`, smoothed by a Gaussian of deviation `width`.

        Integrates to one; the mean over starts.
        """
        points, sigma = check_tensor(at, "at", shape="[m]", ndim=1), check_positive(width, "width")
        z = (points[:, None, None] - self.eigenvalues) / sigma
        kernel = (-z.square() / 2).exp() / (sigma * math.sqrt(2 * math.pi))
        return (kernel * self.weights).sum(-1).mean(-1)

    @property
    def trace(self) -> Float[Tensor, ""]:
        """Tr A / p as the starts estimate it: the mean eigenvalue, unbiased."""
        return (self.weights * self.eigenvalues).sum(-1).mean()


def lanczos(
    curvature: Curvature, *, steps: int, num_starts: int = 1, generator: torch.Generator | None = None
) -> Spectrum:
    """Run Lanczos with full reorthogonalisation from random Gaussian starts.

    Args:
        curvature: A, such as `bayessgd.noise.hessian(...)`.
        steps: k, at most p; fewer come back where an invariant subspace is exhausted, filled up with weight
            zero.
        num_starts: The number of starts: 1 for extreme eigenvalues, about 10 for a density.
        generator: What draws the starts; `None` is seeded with 0.

    Raises:
        TypeError, ValueError: If an argument is not as above.

    >>> diagonal = torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64)
    >>> curvature = Curvature(product=lambda v: diagonal * v, size=3, like=diagonal)
    >>> lanczos(curvature, steps=3).top(2)
    tensor([5.0000, 2.0000], dtype=torch.float64)
    """
    if not isinstance(curvature, Curvature):
        raise TypeError(
            f"curvature must be a Curvature, got {type(curvature).__name__}; use noise.hessian(...)"
        )
    k = check_count(steps, "steps")
    if k > curvature.size:
        raise ValueError(f"steps must be at most the number of parameters, {curvature.size}, got {k}")
    device = curvature.like.device
    source = repeatable(generator, device)
    runs = [_run(curvature, k, source) for _ in range(check_count(num_starts, "num_starts"))]
    values, bounds, weights = (
        torch.stack(column).to(curvature.like.dtype) for column in zip(*runs, strict=True)
    )
    return Spectrum(eigenvalues=values, bounds=bounds, weights=weights)


def _run(curvature: Curvature, k: int, source: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    like = curvature.like
    q = torch.randn(curvature.size, dtype=torch.float64, device=like.device, generator=source)
    basis = (q / q.norm())[None]
    alpha, beta = [], []
    for step in range(k):
        w = curvature.product(basis[step].to(like.dtype)).double()
        alpha.append(w @ basis[step])
        for _ in range(2):
            w = w - basis.mT @ (basis @ w)
        beta.append(w.norm())
        # A residual of mere rounding: the subspace is invariant, and T has its eigenvalues exactly.
        scale = torch.stack(alpha).abs().max() + torch.stack(beta).max()
        if step == k - 1 or float(beta[-1]) <= 100 * torch.finfo(like.dtype).eps * float(scale):
            break
        basis = torch.cat([basis, (w / beta[-1])[None]])
    off = torch.stack(beta)
    T = torch.diag(torch.stack(alpha)) + torch.diag(off[:-1], 1) + torch.diag(off[:-1], -1)
    values, vectors = torch.linalg.eigh(T)
    found = (values.flip(0), (off[-1] * vectors[-1].abs()).flip(0), vectors[0].square().flip(0))
    missing = k - len(values)
    last, bound, none = values[:1].expand(missing), found[1][-1:].expand(missing), values.new_zeros(missing)
    return torch.cat([found[0], last]), torch.cat([found[1], bound]), torch.cat([found[2], none])
