"""The mean of a score over outcomes that come in pieces: a sum of scores and their number."""

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.streaming.accumulator import Accumulator
from metrics.streaming.sums import Sums

__all__ = ["MeanScore"]


class MeanScore(Accumulator[Sums, Float[Tensor, ""]]):
    """The mean of any score that has one value per outcome; an `update` computes the scores and adds them.

    Without bias, as every mean over points.
    """

    def __init__(self) -> None:
        zero = torch.zeros((), dtype=torch.float64)
        super().__init__(Sums({"total": zero, "count": zero}))

    def _add(self, scores: Tensor, like: Tensor) -> None:
        """Take in the float64 scores of a batch whose type and device are those of `like`."""
        count = torch.tensor(scores.numel(), dtype=torch.float64, device=like.device)
        self._absorb(Sums({"total": scores.detach().sum(), "count": count}), like.dtype, like.device)

    def _settings(self) -> dict[str, object]:
        return {}

    def _value(self, state: Sums) -> Float[Tensor, ""]:
        if not bool(state["count"] > 0):
            raise ValueError("compute needs at least 1 outcome, got 0; call update first")
        return self._as_fed(state["total"] / state["count"])
