"""A conjugate regression whose posterior is known, for every way of calibrating."""

from typing import ClassVar

import torch
from torch import nn

from bayessgd.likelihoods import Gaussian
from bayessgd.posteriors import LowRankGaussian
from bayessgd.priors import GaussianPrior

D = 4


class Regression:
    """A conjugate regression and its posterior N(mean, inv(N·A))."""

    laws: ClassVar = {"likelihood": Gaussian(0.7), "prior": GaussianPrior(3.0)}

    def __init__(self, n: int = 60) -> None:
        random = torch.Generator().manual_seed(0)
        self.x = torch.randn(n, D, generator=random, dtype=torch.float64) * torch.tensor([1.0, 2.0, 0.5, 1.0])
        self.y = self.x.sum(1, keepdim=True) + 0.7 * torch.randn(n, 1, generator=random, dtype=torch.float64)
        self.net = nn.Linear(D, 1, bias=False).double()
        self.A = (self.x.T @ self.x / 0.49 + 3 * torch.eye(D, dtype=torch.float64)) / n
        self.mean = torch.linalg.solve(self.A * n, self.x.T @ self.y / 0.49).T
        self.optimum = {"weight": self.mean}

    def gaussian(self, variance: torch.Tensor) -> LowRankGaussian:
        return LowRankGaussian(self.optimum, {"weight": variance[None]})

    def spanned(self, rows: torch.Tensor, variance: float = 1e-12) -> LowRankGaussian:
        """A Gaussian at the optimum whose deviations are the given rows [k, D]."""
        return LowRankGaussian(
            self.optimum,
            {"weight": torch.full((1, D), variance, dtype=torch.float64)},
            {"weight": rows[:, None].double()},
        )
