"""The calibration error of predictions that come in pieces.

Per bin of equal width: how many predictions, the sum of their confidences, and how many were right. The three add up
over batches, and Σ_b (n_b/n) |c̄_b − h̄_b| and its kin follow from them (see `metrics.predictions.calibration`). Bins
of equal mass have edges that only the whole data knows, and are not offered.
"""

from typing import SupportsIndex

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from metrics.inputs import check_count
from metrics.predictions.binning import bin_forecasts
from metrics.predictions.calibration import Norm, check_norm, norm_over_bins, top_label
from metrics.probabilities import check_labels, check_probabilities
from metrics.streaming.accumulator import Accumulator
from metrics.streaming.sums import Sums

__all__ = ["CalibrationError"]


class CalibrationError(Accumulator[Sums, Float[Tensor, ""]]):
    """`calibration_error` in pieces, from 0 to 1: top-label, bins of equal width, biased upwards as it is.

    >>> error = CalibrationError(bins=1)
    >>> error.update(torch.tensor([[0.9, 0.1]]), torch.tensor([0]))
    >>> error.update(torch.tensor([[0.2, 0.8]]), torch.tensor([0]))
    >>> error.compute()
    tensor(0.3500)
    """

    def __init__(self, *, bins: SupportsIndex = 15, norm: Norm = "l1") -> None:
        """Make it for a number of bins and a norm, "l1", "l2" or "max".

        Raises:
            TypeError, ValueError: Fewer than one bin; an unknown norm.
        """
        self._bins = check_count(bins, "bins")
        self._norm: Norm = check_norm(norm)
        zeros = torch.zeros(self._bins, dtype=torch.float64)
        super().__init__(Sums({"count": zeros, "confidence": zeros, "right": zeros}))

    def update(self, probs: Float[Tensor, "n classes"], labels: Int64[Tensor, " n"]) -> None:
        """Take in a batch of predictions.

        Args:
            probs: Predicted probabilities, [n, classes].
            labels: The outcomes, from 0 to classes − 1, [n].

        Raises:
            TypeError, ValueError: Probabilities that do not sum to 1; labels that are not int64 or out of range.
        """
        p = check_probabilities(probs).detach()
        confidence, right = top_label(p, check_labels(labels, p))
        table = bin_forecasts(confidence, right, bins=self._bins, adaptive=False)
        count, mean, share = (column[:, 0] for column in (table.count, table.forecast, table.frequency))
        self._absorb(
            Sums({"count": count, "confidence": count * mean, "right": (count * share).round()}),
            p.dtype,
            p.device,
        )

    def _settings(self) -> dict[str, object]:
        return {"bins": self._bins, "norm": self._norm}

    def _value(self, state: Sums) -> Float[Tensor, ""]:
        if not bool(state["count"].any()):
            raise ValueError("compute needs at least 1 prediction, got 0; call update(probs, labels)")
        gap = (state["confidence"] - state["right"]) / state["count"].clamp(min=1)
        return self._as_fed(norm_over_bins(gap, state["count"], self._norm))
