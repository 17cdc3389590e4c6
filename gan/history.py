"""Training curves: one entry per generator step."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["History"]


@dataclass
class History:
    """The losses of both players without penalties, and the penalties; NaN where the critic did not move.

    >>> history = History()
    >>> history.extend(torch.tensor([[1.0, 2.0, 0.5]]))
    >>> history.generator_loss, len(history)
    ([2.0], 1)
    """

    critic_loss: list[float] = field(default_factory=list)
    generator_loss: list[float] = field(default_factory=list)
    penalty: list[float] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.generator_loss)

    def extend(self, rows: Float[Tensor, "steps 3"]) -> None:
        """Append rows of (critic loss, generator loss, penalty)."""
        columns = (self.critic_loss, self.generator_loss, self.penalty)
        for column, values in zip(columns, rows.T.tolist(), strict=True):
            column.extend(values)

    def rows(self) -> Float[Tensor, "steps 3"]:
        """All of it as one float64 tensor."""
        columns = (self.critic_loss, self.generator_loss, self.penalty)
        return torch.tensor(columns, dtype=torch.float64).T
