"""Least squares (Mao et al. 2017) with the 0–1 coding, a = 0 and b = c = 1 in that paper's letters.

Sigmoid cross-entropy is flat on samples far on the right side of the boundary; a square pulls them to it.
With these codes the loss has no f-divergence behind it; a = −1, b = 1, c = 0 would minimise Pearson's
χ²(p+q‖2q).
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from gan.losses._scores import check_scores

__all__ = ["LeastSquares"]


@dataclass(frozen=True)
class LeastSquares:
    """The critic minimises ½E(r−1)² + ½E s², the generator ½E(s−1)².

    >>> import torch
    >>> LeastSquares().critic_loss(torch.tensor([[3.0]]), torch.tensor([[2.0]]))
    tensor(4.)
    """

    def critic_loss(self, real: Float[Tensor, "n 1"], fake: Float[Tensor, "m 1"]) -> Float[Tensor, ""]:
        """Return ½E(r−1)² + ½E s²."""
        r, s = check_scores(real, fake)
        return (r - 1).square().mean() / 2 + s.square().mean() / 2

    def generator_loss(self, real: Float[Tensor, "n 1"], fake: Float[Tensor, "m 1"]) -> Float[Tensor, ""]:
        """Return ½E(s−1)²."""
        _, s = check_scores(real, fake)
        return (s - 1).square().mean() / 2
