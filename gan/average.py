"""The generator's moving average, θ̄ ← θ̄ + (θ_t − θ̄) / m_t after step t, as an object that can be pickled.

An exponential average with the decay γ has the memory m_t = 1 / (1 − γ) and begins at θ_1, which keeps the weight
γ^{t−1}: with γ = .999 six tenths of the average after 500 steps are the weights of the first, and samples are noise.
Here m_t = min((t + η) / (1 + η), 1 / (1 − γ)) with η = 3. The first is polynomial-decay averaging (Shamir & Zhang
2013): θ_s counts as s^η, so that the earlier half of a training has the weight 2^{−1−η}, a sixteenth, however short the
training is. Other libraries begin in the same way, with min(γ, (1 + t) / (10 + t)) in the place of γ, in AllenNLP's
`ExponentialMovingAverage` for one.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch.optim.swa_utils import get_swa_multi_avg_fn

__all__ = ["MovingAverage"]

POWER = 3
"""η. Digits after 300 to 3500 steps are as good with 4, 9 and 19."""


@dataclass(frozen=True)
class MovingAverage:
    """What `torch.optim.swa_utils.AveragedModel` calls after each step.

    Attributes:
        decay: γ of a step.

    The second step counts 4/5, the hundredth 4/103; with γ = .99 all from the 397th on count 1/100:

    >>> average = [torch.zeros(1)]
    >>> MovingAverage(0.99)(average, [torch.ones(1)], torch.tensor(1))
    >>> average
    [tensor([0.8000])]
    """

    decay: float

    @torch.no_grad()
    def __call__(self, averaged: Any, current: Any, num_averaged: Any) -> None:
        """Move the average of `num_averaged` steps towards the current weights."""
        memory = ((num_averaged + 1 + POWER) / (1 + POWER)).clamp(max=1 / (1 - self.decay))
        get_swa_multi_avg_fn()(averaged, current, memory - 1)
