"""How the two players learn: the optimizer, its schedule and the rhythm of the game.

Adam with β₁ = 0, since momentum makes the game cycle (Mescheder, Geiger & Nowozin 2018 use the same), and a
cosine from the first to the last learning rate. The penalties may decay geometrically over the run, as in
R3GAN (Huang et al. 2024).
"""

import math
from dataclasses import asdict, dataclass

import torch
from torch import nn

from metrics.inputs import check_count, check_positive

__all__ = ["TrainingSettings"]


@dataclass(frozen=True)
class TrainingSettings:
    """How the two players learn; part of a checkpoint's identity.

    Attributes:
        batch_size: Samples in a batch; `GAN.fit` sets it.
        learning_rate: Adam's rate at the first step.
        final_learning_rate: The rate at the last step, reached by a cosine.
        betas: Adam's (β₁, β₂).
        critic_steps: Critic updates before a generator update.
        critic_every: The critic is updated only before every this many generator updates.
        penalty_decay: The factor that the penalties' weight has fallen to at the last step, geometrically.
    """

    batch_size: int = 128
    learning_rate: float = 1e-3
    final_learning_rate: float = 2e-4
    betas: tuple[float, float] = (0.0, 0.99)
    critic_steps: int = 1
    critic_every: int = 1
    penalty_decay: float = 1.0

    def __post_init__(self) -> None:
        for name in ("batch_size", "critic_steps", "critic_every"):
            object.__setattr__(self, name, check_count(getattr(self, name), name))
        for name in ("learning_rate", "final_learning_rate", "penalty_decay"):
            object.__setattr__(self, name, check_positive(getattr(self, name), name))

    def rate(self, progress: float) -> float:
        """The learning rate at a fraction of the run.

        >>> [round(TrainingSettings().rate(t), 6) for t in (0.0, 0.5, 1.0)]
        [0.001, 0.0006, 0.0002]
        """
        span = self.learning_rate - self.final_learning_rate
        return self.final_learning_rate + span * (1 + math.cos(math.pi * progress)) / 2

    def optimizer(self, network: nn.Module) -> torch.optim.Adam:
        """A fresh Adam for one player."""
        return torch.optim.Adam(network.parameters(), lr=self.learning_rate, betas=self.betas)

    def identity(self) -> dict[str, object]:
        """The settings as JSON."""
        told: dict[str, object] = asdict(self)
        return told | {"betas": list(self.betas)}
