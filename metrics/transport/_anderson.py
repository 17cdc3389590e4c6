"""Anderson acceleration of a fixed-point iteration z ← z + r(z) (Anderson 1965; Walker & Ni 2011, eq. 2.1).

Of the last q pairs (z_k, r_k), take the affine combination with the smallest residual and step from it:

    α = argmin ‖Σ_k α_k r_k‖²  over  Σ_k α_k = 1,        z ← Σ_k α_k (z_k + r_k).

On a linear map this is GMRES: as fast as conjugate gradients, without a rate to estimate. Near its fixed
point Sinkhorn's map is linear with eigenvalues in [0, 1) (Knight 2008, theorem 4.4), which is the good case.

The bad one is far from it: between clusters whose coupling is exponentially small the potentials drift at a constant
speed, thousands of times the same r. Residuals that are all the same say nothing about where to mix; there strides
double instead, z ← z + 2^k r. Whoever steps sees whether that went well, and lets the memory forget if not.
"""

import torch
from torch import Tensor

__all__ = ["BLIND", "RIDGE", "Anderson"]

RIDGE = 1e-9
"""On the unit diagonal of the residuals' Gram matrix, for nearly parallel ones."""

BLIND = 10 * RIDGE
"""‖r − r′‖² over ‖r‖² below which the ridge hides how two residuals differ."""


class Anderson:
    """The memory of an accelerated iteration on vectors of one size, in float64."""

    def __init__(self, size: int, device: torch.device, *, memory: int = 10) -> None:
        self.memory = memory
        self.seen, self.stride = 0, 1
        self.residuals = torch.empty(memory, size, dtype=torch.float64, device=device)
        self.targets = torch.empty_like(self.residuals)

    def forget(self) -> None:
        """Empty the memory, so that the next step is a plain one."""
        self.seen, self.stride = 0, 1

    def step(self, z: Tensor, residual: Tensor) -> Tensor:
        """Return the next z after the pair (z, r(z))."""
        slot, self.seen = self.seen % self.memory, self.seen + 1
        q = min(self.seen, self.memory)
        target = torch.add(z, residual, out=self.targets[slot])
        self.residuals[slot].copy_(residual)
        if q == 1:
            return target.clone()
        residuals = self.residuals[:q]
        gram = torch.mm(residuals, residuals.T)
        if self._drifts(gram.tolist(), slot):
            self.stride *= 2
            self.seen = 1
            self.residuals[0].copy_(residual)
            self.targets[0].copy_(target)
            return torch.add(z, residual, alpha=self.stride)
        self.stride = 1
        # Residuals differ by orders of magnitude.
        scale = gram.diagonal().rsqrt()
        gram.mul_(scale).mul_(scale[:, None]).diagonal().add_(RIDGE)
        alpha = torch.linalg.solve_ex(gram, scale)[0].mul_(scale)
        return torch.mv(self.targets[:q].T, alpha.div_(alpha.sum()))

    def _drifts(self, gram: list[list[float]], new: int) -> bool:
        """Whether the last two residuals are the same as far as mixing can see."""
        last = (new - 1) % self.memory
        return gram[new][new] + gram[last][last] - 2 * gram[new][last] <= BLIND * gram[new][new]
