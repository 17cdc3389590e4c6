"""The two shapes that a loss can have.

A *score loss* sees what a critic v says of the two clouds: the scores v(x) of real samples and v(G(z)) of
generated ones. It has one objective for each player, and both are minimised.

A *sample loss* sees the two clouds themselves and is one divergence between them, which the generator
minimises. With `learned_cost` the clouds are embeddings φ(x), φ(G(z)) by a learned network φ, which
*maximises* the same number.

A *run loss* is a sample loss that learns something of the data during a run, such as potentials: each run begins with
a fresh one, which goes into the checkpoint.
"""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["InRun", "RunLoss", "SampleLoss", "ScoreLoss"]


@runtime_checkable
class ScoreLoss(Protocol):
    """A pair of objectives on critic scores `[n, 1]`, both to be minimised."""

    def critic_loss(self, real: Float[Tensor, "n 1"], fake: Float[Tensor, "m 1"]) -> Float[Tensor, ""]:
        """What the critic minimises."""
        ...

    def generator_loss(self, real: Float[Tensor, "n 1"], fake: Float[Tensor, "m 1"]) -> Float[Tensor, ""]:
        """What the generator minimises; `real` matters to some losses alone."""
        ...


@runtime_checkable
class SampleLoss(Protocol):
    """A divergence between two clouds `[n, d]`, minimised by the generator."""

    @property
    def learned_cost(self) -> bool:
        """Whether the clouds are embeddings of a network that maximises the divergence."""
        ...

    def __call__(
        self,
        real: Float[Tensor, "n d"],
        fake: Float[Tensor, "m d"],
        *,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, ""]:
        """Return the divergence; `generator` matters to losses that draw, such as the sliced one."""
        ...


class InRun(nn.Module):
    """The sample loss of one run; its buffers are its state.

    Attributes:
        progress: The fraction of the run that is done, which the run sets.
    """

    progress: float = 0.0
    learned_cost = False


@runtime_checkable
class RunLoss(Protocol):
    """A sample loss with a state of its own in each run.

    Attributes:
        most: The most data points that it begins with.
    """

    most: int

    def begin(self, points: Float[Tensor, "n d"]) -> InRun:
        """Return the sample loss of one run on these data."""
        ...
