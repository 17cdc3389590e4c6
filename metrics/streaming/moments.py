"""Mean and scatter of a cloud in pieces, by Chan's formula.

Two pieces of n_a and n_b points with means μ_a, μ_b and scatter matrices S = Σ (x − μ)(x − μ)ᵀ have together, with
δ = μ_b − μ_a and n = n_a + n_b (Chan, Golub & LeVeque 1983, "Algorithms for computing the sample variance"; Pébay 2008
for the covariance),

    μ = μ_a + δ n_b/n,        S = S_a + S_b + δδᵀ n_a n_b/n.

Nothing is subtracted that is large, unlike in Σxxᵀ − nμμᵀ, which at mean 1e6 loses twelve of float64's sixteen digits.

S is held by a factor F [r, d] with FᵀF = S, for which the formula reads: F is F_a over F_b over the row
√(n_a n_b/n) δᵀ. Once it is taller than 2d it is replaced by the R of its QR decomposition, which has d rows and the
same FᵀF. A factor is what the Fréchet distance needs, and it keeps the digits that S has lost: S knows a direction of
standard deviation σ only down to 1e-8 of the largest one, F down to 1e-16. Memory is 2d², time O(nd²).
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from metrics.inputs import check_tensor

__all__ = ["Moments"]


class Moments:
    """Count, mean and a factor of the scatter matrix, in float64.

    >>> moments = Moments()
    >>> for batch in torch.tensor([[0.0], [2.0], [4.0]]).split(1):
    ...     moments.add(batch)
    >>> moments.count, moments.mean, (moments.factor.T @ moments.factor).round(decimals=9)
    (3, tensor([2.], dtype=torch.float64), tensor([[8.]], dtype=torch.float64))
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean = torch.zeros(0, dtype=torch.float64)
        self.factor = torch.zeros(0, 0, dtype=torch.float64)

    @property
    def columns(self) -> int | None:
        """Return d, or None before the first point."""
        return len(self.mean) if self.count else None

    def add(self, batch: Tensor) -> None:
        """Take in a batch [n, d]."""
        x = batch.double()
        mean = x.mean(0)
        self._merge(len(x), mean, x - mean)

    def absorb(self, other: "Moments") -> None:
        """Take in the points of another state."""
        if other.count:
            self._merge(other.count, other.mean, other.factor)

    def tensors(self) -> dict[str, Tensor]:
        """Return count, mean and factor."""
        return {"count": torch.tensor(self.count), "mean": self.mean, "factor": self.factor}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Become the state that had these tensors."""
        count = int(tensors["count"])
        if not count:
            self.__init__()
            return
        mean = check_tensor(tensors["mean"], "mean", shape="[d]", ndim=1)
        factor = check_tensor(tensors["factor"], "factor", shape="[r, d]", ndim=2)
        if factor.shape[1] != len(mean):
            raise ValueError(f"factor must have the {len(mean)} columns of the mean, got {factor.shape[1]}")
        self.count, self.mean, self.factor = count, mean.double(), factor.double()

    def _merge(self, count: int, mean: Tensor, factor: Tensor) -> None:
        if not self.count:
            self.count, self.mean, self.factor = count, mean, _short(factor)
            return
        total = self.count + count
        gap = mean - self.mean
        row = gap * (self.count * count / total) ** 0.5
        self.factor = _short(torch.cat([self.factor, factor, row[None]]))
        self.mean = self.mean + gap * (count / total)
        self.count = total


def _short(factor: Tensor) -> Tensor:
    """The factor itself, or the R of its QR decomposition where it is tall."""
    return torch.linalg.qr(factor, mode="r").R if len(factor) > 2 * factor.shape[1] else factor
