"""What every contender of the league is given, and how chains of them walk: numpy and torch alone are needed.

A problem is a generalised linear model of N data, θ ∈ R^D, linear, y ~ N(xθ, σ²), or logistic; prior N(0, 1/τ).
B chains are one tensor [B, D]: with data of their own each (simulation-based calibration) or all with the same. All
start at their posterior's mode, see batches of S data drawn with replacement, and wait so long between draws that the
slowest direction forgets: lengths are told in its relaxation times, 1/(lr·λmin(A)) steps of SGD.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

__all__ = ["Problem", "Result", "kept_file", "problem_file", "relaxation", "walk"]

Step = Callable[[Tensor, Tensor], object]
"""Moves all chains, given x [B, S, D] and y [B, S]."""
MOST_STEPS = 20_000
"""Of a chain; those that would need more for their draws have them closer together."""


@dataclass(frozen=True)
class Problem:
    """Data x [B or 1, N, D] and y [B or 1, N], the laws, and the rhythm.

    Attributes:
        logistic: Or linear.
        sigma: Of the linear model's noise.
        precision: Of the prior, τ.
        mode: The posterior's, [B, D].
        lr: Of Langevin dynamics, on the scale of the mean loss, where batches widen the variance by 5 %.
        slow: 1/λmin(A).
        batch, small: S of samplers that inject noise, and of those that count on the batch's.
        draws: Kept of each chain.
        apart, burn: Between draws, and before the first, in relaxation times.
    """

    x: Tensor
    y: Tensor
    logistic: bool
    sigma: float
    precision: float
    mode: Tensor
    lr: float
    slow: float
    batch: int
    small: int
    draws: int
    apart: float
    burn: float

    @classmethod
    def load(cls, path: Path) -> "Problem":
        """Read what `save` wrote."""
        with np.load(path) as held:
            parts = {key: held[key] for key in held.files}
        return cls(**{key: torch.as_tensor(t) if t.ndim else t.item() for key, t in parts.items()})  # pyright: ignore[reportArgumentType]

    def save(self, path: Path) -> None:
        """Write an npz."""
        np.savez(path, allow_pickle=False, **{key: np.asarray(value) for key, value in vars(self).items()})

    @property
    def num_data(self) -> int:
        """N."""
        return self.x.shape[1]

    @property
    def chains(self) -> int:
        """B."""
        return len(self.mode)

    def start(self) -> Tensor:
        """The mode, as a leaf that takes gradients."""
        return self.mode.clone().requires_grad_()

    def picker(self, random: torch.Generator, size: int) -> Callable[[], tuple[Tensor, Tensor]]:
        """Return what draws a batch [B, S, D] with replacement for every chain."""
        x, y, n = self.x.flatten(0, 1), self.y.flatten(), self.num_data
        own = torch.arange(len(self.x))[:, None] * n

        def pick() -> tuple[Tensor, Tensor]:
            rows = (own + torch.randint(n, (self.chains, size), generator=random)).flatten()
            shape = (self.chains, size)
            return x.index_select(0, rows).unflatten(0, shape), y.index_select(0, rows).view(shape)

        return pick

    def nll(self, theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """Return the mean −log p(y | x, θ) of each chain [B], but for constants."""
        output = torch.einsum("bsd,bd->bs", x, theta)
        if self.logistic:
            return (torch.nn.functional.softplus(output) - y * output).mean(-1)
        return 0.5 * ((y - output) / self.sigma).square().mean(-1)

    def joint(self, theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """Return the mean negative log joint of each chain [B]: the prior's share is 1/N of it."""
        return self.nll(theta, x, y) + 0.5 * self.precision / self.num_data * theta.square().sum(-1)

    def gradient(self, theta: Tensor, x: Tensor, y: Tensor, *, prior: bool = True) -> Tensor:
        """Return the gradient of `joint`, or without the prior of `nll`, of each chain [B, D]: what backward would."""
        output = torch.einsum("bsd,bd->bs", x, theta)
        residual = output.sigmoid() - y if self.logistic else (output - y) / self.sigma**2
        found = torch.einsum("bsd,bs->bd", x, residual / x.shape[1])
        return found + self.precision / self.num_data * theta if prior else found


@dataclass(frozen=True)
class Result:
    """Draws [B, L, D] and what a chain cost: gradients of single data over N."""

    draws: Tensor
    passes: float
    apart: float | None = None
    """Relaxation times between draws, where they were cut."""


def problem_file(work: Path, case: str) -> Path:
    """Where a case's problem is, for all contenders."""
    return work / f"problem-{case}.npz"


def kept_file(work: Path, name: str, case: str) -> Path:
    """Where a contender's draws of a case are."""
    return work / f"{name}-{case}.npz"


def relaxation(problem: Problem, lr: float, friction: float = 1.0) -> float:
    """Return the steps in which the slowest direction forgets: overdamped, or the velocity itself."""
    return max(problem.slow * friction / lr, 2 / friction)


def walk(
    problem: Problem, theta: Tensor, step: Step, *, steps: float, seed: int, batch: int | None = None
) -> Result:
    """Burn in, then keep a draw every `apart` relaxation times of `steps` each."""
    size = batch or problem.batch
    pick = problem.picker(torch.Generator().manual_seed(seed), size)
    whole = (problem.burn + problem.draws * problem.apart) * steps
    cut = min(1.0, MOST_STEPS / whole)
    thin, burn = (math.ceil(cut * times * steps) for times in (problem.apart, problem.burn))
    kept = []
    for n in range(burn + problem.draws * thin):
        step(*pick())
        if n >= burn and (n - burn + 1) % thin == 0:
            kept.append(theta.detach().clone())
    passes = (burn + problem.draws * thin) * size / problem.num_data
    return Result(torch.stack(kept, 1), passes, cut * problem.apart if cut < 1 else None)
