"""Coordinates in which the curvature is the identity, so that no condition number of A is left to lose digits to.

With A = R Rᵀ (Cholesky) and φ = Rᵀθ a gradient becomes R⁻¹g, hence

    A → I,    C → R⁻¹ C R⁻ᵀ,    H → Rᵀ H R,    Q and Σ → Rᵀ Q R,

and HA is similar to the symmetric matrix RᵀHR. Cholesky's error does not depend on the scales of the parameters (van
der Sluis 1969), so that features in different units cost nothing.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

__all__ = ["Whitening", "symmetric"]


def symmetric(matrix: Tensor) -> Tensor:
    """Return the symmetric part; products leave the other at the size of rounding."""
    return (matrix + matrix.mT) / 2


@dataclass(frozen=True)
class Whitening:
    """The change of coordinates that a float64 curvature defines; all methods take and return float64."""

    A: Tensor

    @cached_property
    def root(self) -> Tensor:
        """R."""
        return torch.linalg.cholesky(self.A)

    @property
    def eye(self) -> Tensor:
        """What A becomes."""
        return torch.eye(len(self.A), dtype=self.A.dtype, device=self.A.device)

    def noise(self, C: Tensor) -> Tensor:
        """R⁻¹ C R⁻ᵀ of a covariance of gradients, or of a curvature."""
        half = torch.linalg.solve_triangular(self.root, C, upper=False)
        return symmetric(torch.linalg.solve_triangular(self.root, half.mT, upper=False))

    def spread(self, cov: Tensor) -> Tensor:
        """Rᵀ Σ R of a covariance of parameters, or of a preconditioner."""
        return symmetric(self.root.mT @ cov @ self.root)

    def back(self, cov: Tensor) -> Tensor:
        """R⁻ᵀ Σ R⁻¹ `[..., d, d]`: undo `spread`."""
        upper = self.root.mT
        half = torch.linalg.solve_triangular(upper, cov, upper=True)
        return symmetric(torch.linalg.solve_triangular(upper, half.mT, upper=True))
