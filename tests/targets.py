"""Truth generators: targets whose every quantity of interest is known in closed form."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Gaussian:
    """N(mean, cov), with exact divergences to another one in float64."""

    mean: Tensor
    cov: Tensor

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        z = torch.randn(n, len(self.mean), dtype=self.mean.dtype, generator=generator)
        return self.mean + z @ torch.linalg.cholesky(self.cov).T

    def kl(self, other: "Gaussian") -> float:
        diff = other.mean - self.mean
        solve = torch.linalg.solve(other.cov, torch.cat([self.cov, diff[:, None]], 1))
        trace = solve[:, :-1].trace() + diff @ solve[:, -1]
        logdet = torch.logdet(other.cov) - torch.logdet(self.cov)
        return float(0.5 * (trace - len(diff) + logdet))

    def w2_squared(self, other: "Gaussian") -> float:
        """Bures–Wasserstein through the eigenvalues of Σ₁Σ₂: the nuclear norm of the root product."""
        eig = torch.linalg.eigvals(self.cov @ other.cov).real.clamp(min=0)
        cross = eig.sqrt().sum()
        gap = (self.mean - other.mean).square().sum()
        return float(gap + self.cov.trace() + other.cov.trace() - 2 * cross)


def random_gaussian(d: int, generator: torch.Generator, dtype: torch.dtype = torch.float64) -> Gaussian:
    """A Gaussian with a random mean and a well-conditioned random covariance that is not diagonal."""
    root = torch.randn(d, d, dtype=dtype, generator=generator) / d**0.5
    mean = torch.randn(d, dtype=dtype, generator=generator)
    return Gaussian(mean, root @ root.T + 0.3 * torch.eye(d, dtype=dtype))
