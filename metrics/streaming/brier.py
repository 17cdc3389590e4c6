"""Brier's score of predictions that come in pieces: a sum of scores and their number."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from metrics.inputs import check_probabilities
from metrics.predictions.brier import brier_score
from metrics.streaming.accumulator import Accumulator
from metrics.streaming.sums import Sums

__all__ = ["BrierScore"]


class BrierScore(Accumulator[Sums, Float[Tensor, ""]]):
    """`brier_score` in pieces: the mean of Σ_k (p_k − 1[y = k])², from 0 to 2, without bias.

    >>> score = BrierScore()
    >>> score.update(torch.tensor([[0.5, 0.5]]), torch.tensor([0]))
    >>> score.update(torch.tensor([[0.0, 1.0]]), torch.tensor([1]))
    >>> score.compute()
    tensor(0.2500)
    """

    def __init__(self) -> None:
        zero = torch.zeros((), dtype=torch.float64)
        super().__init__(Sums({"total": zero, "count": zero}))

    def update(self, probs: Float[Tensor, "n classes"], labels: Int64[Tensor, " n"]) -> None:
        """Take in a batch of predictions.

        Args:
            probs: Predicted probabilities, [n, classes].
            labels: The outcomes, from 0 to classes − 1, [n].

        Raises:
            TypeError, ValueError: Probabilities that do not sum to 1; labels that are not int64 or out of range.
        """
        p = check_probabilities(probs).detach()
        scores = brier_score(p.double(), labels, per_point=True)
        count = torch.tensor(len(scores), dtype=torch.float64, device=p.device)
        self._absorb(Sums({"total": scores.sum(), "count": count}), p.dtype, p.device)

    def _settings(self) -> dict[str, object]:
        return {}

    def _value(self, state: Sums) -> Float[Tensor, ""]:
        if not bool(state["count"] > 0):
            raise ValueError("compute needs at least 1 prediction, got 0; call update(probs, labels)")
        return self._as_fed(state["total"] / state["count"])
