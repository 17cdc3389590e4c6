"""The generator's moving average, θ̄ ← γ θ̄ + (1 − γ) θ after each step, as an object that can be pickled."""

from dataclasses import dataclass
from typing import Any

import torch
from torch.optim.swa_utils import get_ema_multi_avg_fn

__all__ = ["MovingAverage"]


@dataclass(frozen=True)
class MovingAverage:
    """What `torch.optim.swa_utils.AveragedModel` calls after each step.

    Attributes:
        decay: γ of a step.

    >>> average = [torch.zeros(1)]
    >>> MovingAverage(0.75)(average, [torch.ones(1)], 1)
    >>> average
    [tensor([0.2500])]
    """

    decay: float

    @torch.no_grad()
    def __call__(self, averaged: Any, current: Any, num_averaged: Any) -> None:
        """Move the average towards the current weights."""
        get_ema_multi_avg_fn(self.decay)(averaged, current, num_averaged)
