"""Anderson acceleration of fixed-point iterations z ← z + r(z) (Anderson 1965; Walker & Ni 2011, eq. 2.1).

Of the last q pairs (z_k, r_k), take the affine combination with the smallest residual and step from it:

    α = argmin ‖Σ_k α_k r_k‖²  over  Σ_k α_k = 1,        z ← Σ_k α_k (z_k + r_k).

On a linear map this is GMRES: as fast as conjugate gradients, without a rate to estimate. Near its fixed
point Sinkhorn's map is linear with eigenvalues in [0, 1) (Knight 2008, theorem 4.4), which is the good case.

The bad one is far from it: between clusters whose coupling is exponentially small the potentials drift at a constant
speed, thousands of times the same r. Residuals that are all the same say nothing about where to mix; there strides
double instead, z ← z + 2^k r. Whoever steps sees whether that went well (`improves`), and lets it forget if not.

Several iterations share the operations on long vectors, each with its own coefficients. Those come from q×q systems,
which numpy and LAPACK solve in a fifth of the time that torch takes.
"""

from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["Anderson", "expected_gain", "improves"]

RIDGE = 1e-9
"""On the unit diagonal of the residuals' Gram matrix, for nearly parallel ones."""

BLIND = 10 * RIDGE
"""‖r − r′‖² over ‖r‖² below which the ridge hides how two residuals differ."""


class Anderson:
    """The memory of accelerated iterations on vectors [b, m], in float64.

    Attributes:
        stride: How many plain steps the last one stood for, of each iteration; 1 where it was mixed.
    """

    def __init__(self, count: int, size: int, device: torch.device, *, memory: int = 10) -> None:
        self.memory, self.seen = memory, 0
        self.residuals = torch.empty(count, memory, size, dtype=torch.float64, device=device)
        self.targets = torch.empty_like(self.residuals)
        self.valid = np.zeros((count, memory), dtype=bool)
        self.stride = np.ones(count)
        self._places = np.arange(memory)
        self._gram = np.zeros((count, memory, memory))
        # For one short iteration on a CPU the calls take longer than what they do, and numpy's are shorter.
        alone = count == 1 and device.type == "cpu"
        self._views = (self.residuals[0].numpy(), self.targets[0].numpy()) if alone else None

    def forget(self, which: "np.ndarray | None" = None) -> None:
        """Empty the memory, of all or of some, so that the next step is a plain one."""
        which = np.ones(len(self.valid), dtype=bool) if which is None else which
        self.valid[which], self.stride[which] = False, 1.0
        if not self.valid.any():
            self.seen = 0

    def step(self, z: Float[Tensor, "b m"], residual: Float[Tensor, "b m"]) -> Float[Tensor, "b m"]:
        """Return the next z after the pairs (z, r(z))."""
        slot, self.seen = self.seen % self.memory, self.seen + 1
        self.residuals[:, slot].copy_(residual)
        target = torch.add(z, residual, out=self.targets[:, slot])
        self.valid[:, slot] = True
        q = min(self.seen, self.memory)
        self._gram[:, slot, :q] = self._gram[:, :q, slot] = self._products(q, slot)
        if q == 1:
            return target.clone()
        gram = self._gram[:, :q, :q]
        drifts = self._drifts(gram, slot)
        mixed = self._mixed(self._coefficients(gram, slot))
        if not drifts.any():
            self.stride[:] = 1.0
            return mixed
        self.stride = np.where(drifts, 2 * self.stride, 1.0)
        self.valid[drifts] = False
        self.valid[drifts, slot] = True
        stride, far = (torch.from_numpy(v[:, None]).to(z.device) for v in (self.stride, drifts))
        return torch.where(far, z + stride * residual, mixed)

    def _products(self, q: int, slot: int) -> np.ndarray:
        """Products of the newest residual with the others, [b, q]."""
        if self._views:
            return self._views[0][:q] @ self._views[0][slot]
        return torch.bmm(self.residuals[:, :q], self.residuals[:, slot, :, None]).squeeze(2).cpu().numpy()

    def _mixed(self, alpha: np.ndarray) -> Tensor:
        """Combinations of the targets, [b, m]."""
        q = alpha.shape[1]
        if self._views:
            return torch.from_numpy(alpha @ self._views[1][:q])
        weights = torch.from_numpy(alpha[:, None]).to(self.targets.device)
        return torch.bmm(weights, self.targets[:, :q]).squeeze(1)

    def _drifts(self, gram: np.ndarray, new: int) -> np.ndarray:
        """Whether the last two residuals are the same as far as mixing can see."""
        last = (new - 1) % self.memory
        if last >= gram.shape[1]:
            return np.zeros(len(gram), dtype=bool)
        size = gram[:, new, new]
        apart = size + gram[:, last, last] - 2 * gram[:, new, last]
        return (apart <= BLIND * size) & self.valid[:, last]

    def _coefficients(self, gram: np.ndarray, slot: int) -> np.ndarray:
        """The affine combinations; a plain step where they are no numbers, as where residuals vanish."""
        q = gram.shape[1]
        at, valid = self._places[:q], self.valid[:, :q]
        if len(gram) == 1 and gram[0, slot, slot] > 0 and valid.all():
            return _affine(gram[0])[None]
        # Residuals differ by orders of magnitude.
        scale = valid / np.sqrt(np.maximum(gram[:, at, at], 1e-300))
        system = gram * scale[:, :, None] * scale[:, None]
        system[:, at, at] = 1 + RIDGE
        alpha = np.linalg.solve(system, scale[:, :, None])[:, :, 0] * scale
        total = alpha.sum(1, keepdims=True)
        sound = np.isfinite(total) & (total != 0)
        plain = np.zeros_like(alpha)
        plain[:, slot] = 1.0
        return np.where(sound, alpha / np.where(sound, total, 1.0), plain)


def _affine(gram: np.ndarray) -> np.ndarray:
    """The coefficients of one iteration: the same, without the overhead of many."""
    from scipy.linalg.lapack import dposv  # pyright: ignore[reportAttributeAccessIssue]

    scale = gram.diagonal() ** -0.5
    system = gram * scale * scale[:, None]
    system.flat[:: len(gram) + 1] = 1 + RIDGE
    alpha = dposv(system, scale)[1] * scale
    return alpha / alpha.sum()


N = TypeVar("N", float, Tensor)


def improves(now: Any, last: Any, *, gain: Any, rounding: float) -> Any:
    """Whether a mixed step is to be kept: the error has halved, or the dual value risen by `gain`.

    Or it has, as far as rounding shows, not fallen, while the error has not doubled. Other mixed steps are taken back:
    a plain one raises the dual value. `now` and `last` have an `error`, in L1, and a `dual` value: numbers, or a
    number for each of several iterations.
    """
    halved = now.error <= last.error / 2
    if halved is True:
        return True  # a single iteration then has no need of dual values
    slack, rise = rounding * (1 + abs(now.dual)), now.dual - last.dual
    level = (gain <= slack) & (rise > -slack) & (now.error <= 2 * last.error)
    return halved | ((rise > slack) & (rise > gain)) | level


def expected_gain(stride: N, slope: N) -> N:
    """What a stride has to raise the dual value by: half of what it would at a constant slope (Armijo 1966)."""
    return stride * slope / 2 * (stride > 1)
