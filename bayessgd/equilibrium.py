r"""Is a chain of SGHMC where it should be? Two temperatures that cost nothing to measure.

For the target p ∝ e^{−N·L(θ)/T} over D weights, and v the step θ makes at a time,

    virial    N·E[(θ − c)ᵀ∇L] / (D·T) = 1
    kinetic   N·(1 + m)·E‖v‖² / (2·lr·T·D) = 1.

The first is ∫∇·((θ − c)·p) dθ = 0 written out, whatever p and the fixed point c are: it asks whether θ has come to
where the force of the data and the prior balances its own spread. c is where the chain started: as true as the origin,
which is the usual choice, and far less noisy where weights are many of their standard deviations away from 0. The
second is the stationary variance of v ← m·v + √(2(1 − m)·lr·T/N)·ξ, which the noise of batches raises; where lr changes
it is the mean of ‖v‖² over the mean of lr.

Both are means over steps, chains and weights; their errors are those of the means of blocks between two snapshots,
correlations included (`metrics.chains.monte_carlo_error`).

Reference: Wenzel et al. 2020, "How good is the Bayes posterior in deep neural networks really?", appendix I.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bayessgd.params import flat_rows
from metrics.chains import monte_carlo_error
from metrics.estimate import with_error

__all__ = ["Equilibrium", "Thermometer"]

VIRIAL = (0.8, 1.2)
"""Where a chain at equilibrium has its virial; LeNet-5 and the small networks of the benchmark have .9 to 1.1."""

KINETIC = 1.25
"""The kinetic temperature above which the batches heat the chain."""


@dataclass(frozen=True)
class Equilibrium:
    """Both temperatures: each a dict of `value`, `stderr` (None from fewer than 4 snapshots a chain) and `layers`.

    >>> good = {"value": 1.02, "stderr": 0.01, "layers": {}}
    >>> Equilibrium(good, good).verdict(None) is None
    True
    """

    virial: dict[str, Any]
    kinetic: dict[str, Any]

    def verdict(self, memory: float | None) -> str | None:
        """Return what is wrong and what to do, or None. A virial is outside its range by more than two standard errors.

        Args:
            memory: In how many passes a weight forgets its start, where the prior tells.
        """
        said = []
        value, doubt = self.virial["value"], 2 * (self.virial["stderr"] or 0.0)
        hot = not self.kinetic["value"] <= KINETIC  # which raises the virial too: its remedy comes first
        if value < VIRIAL[0] - doubt or (value > VIRIAL[1] + doubt and not hot):
            longer = f", here {memory:.3g} passes for a weight to forget its start" if memory else ""
            said.append(
                f"the virial is {_told(self.virial)} and should be in {VIRIAL[0]} to {VIRIAL[1]}; run longer "
                f"((1 − m)·S/(lr·τ){longer}), or start from a network trained with the same prior"
            )
        if hot:
            said.append(
                f"the kinetic temperature is {_told(self.kinetic)} and should be below {KINETIC}: the batches heat "
                "the chain; halve lr or enlarge the batch"
            )
        return "; ".join(said) or None


class Thermometer:
    """Running sums of (θ − c)·∇L and ‖v‖² by layer and chain, closed into one mean per block of steps.

    Args:
        starts: c by layer, stacked [chains, ...].
        sizes: How many weights of a chain move, by layer; `None` is all of them.
    """

    def __init__(self, starts: Mapping[str, Tensor], sizes: Sequence[int] | None = None) -> None:
        self._names, self._starts = list(starts), list(starts.values())
        self._sizes = list(sizes or [c[0].numel() for c in self._starts])
        self._sums: list[Tensor | None] = [None, None]
        self._steps, self._rates = 0, 0.0
        self._lrs: list[float] = []
        self._blocks: list[list[Tensor]] = [[], []]

    @torch.no_grad()
    def before(self, parameters: Sequence[Tensor]) -> None:
        """Take in (θ − c)·∇L of stacked parameters [chains, ...], before a step moves them."""
        pairs = zip(parameters, self._starts, strict=True)
        self._add(
            0, [torch.zeros_like(_dot(c, c)) if p.grad is None else _dot(p - c, p.grad) for p, c in pairs]
        )

    @torch.no_grad()
    def after(self, velocities: Sequence[Tensor], lr: float) -> None:
        """Take in ‖v‖² of the step that was made."""
        self._add(1, [_dot(v, v) for v in velocities])
        self._steps += 1
        self._rates += lr

    def close(self) -> None:
        """End a block."""
        for blocks, total in zip(self._blocks, self._sums, strict=True):
            if total is not None:
                blocks.append(total / self._steps)
        self._lrs.append(self._rates / self._steps)
        self._sums = [None for _ in self._sums]
        self._steps, self._rates = 0, 0.0

    def read(self, *, num_data: int, momentum: float, temperature: float) -> Equilibrium:
        """Return the temperatures of what was closed."""
        lr = sum(self._lrs) / len(self._lrs)
        units = (num_data / temperature, num_data * (1 + momentum) / (2 * temperature * lr))
        found = []
        for unit, blocks in zip(units, self._blocks, strict=True):
            series = unit * torch.stack(blocks, -1)  # [layers, chains, blocks]
            layers = {
                name: _estimate(series[i] / max(size, 1))  # a layer of one row may be held whole
                for i, (name, size) in enumerate(zip(self._names, self._sizes, strict=True))
            }
            found.append({**_estimate(series.sum(0) / sum(self._sizes)), "layers": layers})
        return Equilibrium(*found)

    def _add(self, which: int, values: list[Tensor]) -> None:
        new, old = torch.stack(values), self._sums[which]
        self._sums[which] = new if old is None else old + new


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return flat_rows(a * b).sum(1, dtype=torch.float64)


def _estimate(series: Tensor) -> dict[str, float | None]:
    """Return the mean of [chains, blocks] and its error; JSON holds no NaN."""
    stderr = float(monte_carlo_error(series)) if series.shape[1] >= 4 else math.nan
    return {"value": float(series.mean()), "stderr": stderr if math.isfinite(stderr) else None}


def _told(found: dict[str, Any]) -> str:
    stderr = found["stderr"]
    return f"{found['value']:.3g}" if stderr is None else with_error(found["value"], stderr)
