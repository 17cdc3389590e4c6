"""Balanced halves of the test points: errors of numbers that are not smooth.

The points fall at random into G groups, a power of two, and every row but the first of the G × G Hadamard matrix H
names a half A of the groups. With R = G − 1 such halves,

    se² = (1/4R) Σ_r (θ_A(r) − θ_Aᶜ(r))²

is the delete-half jackknife of `metrics.evaluation.jackknife` over halves whose signs are orthogonal (McCarthy
1969, "Pseudo-replication: half samples"): of a mean it equals the variance between the groups' means over G
exactly, with G − 1 degrees of freedom, where random halves would add noise of their own. Of a calibration error it
is right both where every bin's gap is clear and where all of them are noise; the influence function, which takes
the signs of the gaps as given, is too large there by a factor of 1.7. Nothing but sums over groups is computed from
points.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Halves", "halves"]

GROUPS = 128


@dataclass(frozen=True)
class Halves:
    """Groups of the points and the halves of them.

    Attributes:
        group: The group of every point, [n].
        signs: Of the groups in each half: 1 in A and −1 in its complement, [R, G].
    """

    group: Tensor
    signs: Tensor

    @property
    def groups(self) -> int:
        """G."""
        return self.signs.shape[1]

    @property
    def dof(self) -> float:
        """Degrees of freedom of the error."""
        return float(len(self.signs))

    def sums(self, values: Tensor, slot: Tensor, slots: int) -> Tensor:
        """Return the sums of values [n, ...] with slots 0 … slots − 1 [n, ...] over each group, [G, slots]."""
        group = self.group.reshape(-1, *[1] * (slot.ndim - 1))
        index = (group * slots + slot).flatten()
        flat = torch.zeros(self.groups * slots, dtype=torch.float64, device=values.device)
        return flat.index_add_(0, index, values.expand(slot.shape).flatten()).reshape(self.groups, slots)

    def terms(self, statistic: Callable[[Tensor], Tensor], sums: Tensor) -> Tensor:
        """Return (θ_A − θ_Aᶜ)/(2√R) for every half, [R], of a statistic from [rows, slots] to [rows]."""
        inside = (self.signs + 1) / 2
        one, other = (statistic(half @ sums) for half in (inside, 1 - inside))
        return (one - other) / (2 * math.sqrt(len(self.signs)))

    def deviations(self, sums: Tensor) -> Tensor:
        """Return (x_A − x_Aᶜ)/(2√R) of sums [G, ...] themselves, [R, ...]; Σ_r d_r d_rᵀ is their covariance."""
        # x_A is the sum over A of points that weigh twice as much.
        total = self.signs @ sums.flatten(1)
        return (total / math.sqrt(len(self.signs))).reshape(-1, *sums.shape[1:])


def halves(n: int, device: torch.device | str = "cpu") -> Halves:
    """Return balanced halves of n ≥ 2 points in random groups, the same ones at every call.

    >>> found = halves(1000)
    >>> found.signs.shape, found.group.bincount().min().item()
    (torch.Size([127, 128]), 7)
    """
    from scipy.linalg import hadamard

    groups = min(GROUPS, 2 ** (n.bit_length() - 1))
    group = torch.randperm(n, generator=torch.Generator().manual_seed(0)) % groups
    signs = torch.from_numpy(hadamard(groups)[1:]).double()
    return Halves(group.to(device), signs.to(device))
