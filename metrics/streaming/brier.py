"""Brier's score of predictions that come in pieces: a sum of scores and their number."""

from jaxtyping import Float, Int64
from torch import Tensor

from metrics.predictions.brier import brier_score
from metrics.probabilities import check_probabilities
from metrics.streaming.mean_score import MeanScore

__all__ = ["BrierScore"]


class BrierScore(MeanScore):
    """`brier_score` in pieces: the mean of Σ_k (p_k − 1[y = k])², from 0 to 2, without bias.

    >>> import torch
    >>> score = BrierScore()
    >>> score.update(torch.tensor([[0.5, 0.5]]), torch.tensor([0]))
    >>> score.update(torch.tensor([[0.0, 1.0]]), torch.tensor([1]))
    >>> score.compute()
    tensor(0.2500)
    """

    def update(self, probs: Float[Tensor, "n classes"], labels: Int64[Tensor, " n"]) -> None:
        """Take in a batch of predictions.

        Args:
            probs: Predicted probabilities, [n, classes].
            labels: The outcomes, from 0 to classes − 1, [n].

        Raises:
            TypeError, ValueError: Probabilities that do not sum to 1; labels that are not int64 or out of range.
        """
        p = check_probabilities(probs).detach()
        self._add(brier_score(p.double(), labels, per_point=True), p)
