"""What a trainer asks of a penalty."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["Critic", "Penalty"]

Critic = Callable[[Tensor], Tensor]
"""From samples `[n, ...]` to scores `[n, 1]`."""


class Penalty:
    """What a trainer asks of a penalty; each of the three does nothing unless a penalty says otherwise.

    Attributes:
        per_sample: Whether it takes gradients of one score by one sample, which batch normalisation would spoil.
    """

    per_sample = False

    def prepare(self, critic: nn.Module) -> None:
        """Change the critic once, before its optimizer is made."""

    def __call__(
        self,
        critic: Critic,
        real: Float[Tensor, "n ..."],
        fake: Float[Tensor, "m ..."],
        *,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, ""]:
        """Return what is added to the critic's loss, 0-dim, differentiable in the critic's parameters.

        Args:
            critic: The critic, from samples `[n, ...]` to scores `[n, 1]`.
            real: Real samples.
            fake: Generated samples; no gradient flows back into them.
            generator: The source of the random numbers, on the samples' device or on the CPU; torch's own if
                None.
        """
        return real.new_zeros(())

    def project(self, critic: nn.Module) -> None:
        """Put the critic back into its constraint, after each of its steps."""
