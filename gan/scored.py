"""A critic that keeps the scores of the samples it was just shown, for the penalties on those same samples.

The loss needs v(x), R1 the gradient ∇v(x): both come from one pass. Without this a step would run the critic twice on
each batch, which is a third of what a critic's step costs.
"""

from collections.abc import Callable

from torch import Tensor

__all__ = ["Scored"]


class Scored:
    """A critic in one step: its scores are kept by the batch that they belong to.

    Args:
        critic: From samples `[n, ...]` to scores `[n, 1]` or embeddings.

    >>> import torch
    >>> scored = Scored(lambda x: x.square().sum(1, keepdim=True))
    >>> batch = torch.tensor([[1.0, 2.0]])
    >>> _ = scored.score(batch)
    >>> leaf, scores = scored.kept(batch)
    >>> torch.autograd.grad(scores.sum(), leaf)[0]
    tensor([[2., 4.]])
    """

    def __init__(self, critic: Callable[[Tensor], Tensor]) -> None:
        self.critic = critic
        self._kept: list[tuple[Tensor, Tensor, Tensor]] = []

    def __call__(self, x: Tensor) -> Tensor:
        """Return the scores; nothing is kept."""
        return self.critic(x)

    def score(self, x: Tensor) -> Tensor:
        """Return the scores, differentiable in the samples too, and keep them."""
        leaf = x.detach().requires_grad_()
        scores = self.critic(leaf)
        self._kept.append((x, leaf, scores))
        return scores

    def kept(self, x: Tensor) -> tuple[Tensor, Tensor] | None:
        """The samples as a leaf and their scores, where this very tensor was scored; None where it was not."""
        return next(((leaf, scores) for seen, leaf, scores in self._kept if seen is x), None)
