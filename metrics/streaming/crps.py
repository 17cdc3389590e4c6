"""The CRPS of predictions that come in pieces: a sum of scores and their number.

The pieces are batches of *outcomes*, each with all samples of its prediction.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.predictions._scores import check_ensemble
from metrics.predictions.crps import crps_ensemble
from metrics.streaming.accumulator import Accumulator
from metrics.streaming.sums import Sums

__all__ = ["CRPS"]


class CRPS(Accumulator[Sums, Float[Tensor, ""]]):
    """`crps_ensemble` in pieces: the mean of E|X − y| − ½ E|X − X'| over the outcomes, in the units of y.

    >>> score = CRPS()
    >>> score.update(torch.tensor([[0.0], [1.0]]), torch.tensor([0.5]))
    >>> score.update(torch.tensor([[0.0], [1.0]]), torch.tensor([1.0]))
    >>> score.compute()
    tensor(0.2500)
    """

    def __init__(self, *, fair: bool = False) -> None:
        """Make it for the score of the samples as they are, or with `fair` of the distribution behind them."""
        zero = torch.zeros((), dtype=torch.float64)
        super().__init__(Sums({"total": zero, "count": zero}))
        self._fair = bool(fair)

    def update(self, samples: Float[Tensor, "samples n ..."], y: Float[Tensor, "n ..."]) -> None:
        """Take in a batch of predictions and their outcomes.

        Args:
            samples: Samples of every prediction, [samples, n, ...].
            y: The outcomes, [n, ...].

        Raises:
            TypeError, ValueError: Shapes, types or devices that do not match; a fair score of one sample.
        """
        x, outcome = (part.detach() for part in check_ensemble(samples, y))
        scores = crps_ensemble(x.double(), outcome.double(), fair=self._fair, per_point=True)
        count = torch.tensor(scores.numel(), dtype=torch.float64, device=x.device)
        self._absorb(Sums({"total": scores.sum(), "count": count}), x.dtype, x.device)

    def _settings(self) -> dict[str, object]:
        return {"fair": self._fair}

    def _value(self, state: Sums) -> Float[Tensor, ""]:
        if not bool(state["count"] > 0):
            raise ValueError("compute needs at least 1 outcome, got 0; call update(samples, y)")
        return self._as_fed(state["total"] / state["count"])
