"""The CRPS of predictions that come in pieces: a sum of scores and their number.

The pieces are batches of *outcomes*, each with all samples of its prediction.
"""

from jaxtyping import Float
from torch import Tensor

from metrics.predictions._scores import check_ensemble
from metrics.predictions.crps import crps_ensemble
from metrics.streaming.mean_score import MeanScore

__all__ = ["CRPS"]


class CRPS(MeanScore):
    """`crps_ensemble` in pieces: the mean of E|X − y| − ½ E|X − X'| over the outcomes, in the units of y.

    >>> import torch
    >>> score = CRPS()
    >>> score.update(torch.tensor([[0.0], [1.0]]), torch.tensor([0.5]))
    >>> score.update(torch.tensor([[0.0], [1.0]]), torch.tensor([1.0]))
    >>> score.compute()
    tensor(0.2500)
    """

    def __init__(self, *, fair: bool = False) -> None:
        """Make it for the score of the samples as they are, or with `fair` of the distribution behind them."""
        super().__init__()
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
        self._add(crps_ensemble(x.double(), outcome.double(), fair=self._fair, per_point=True), x)

    def _settings(self) -> dict[str, object]:
        return {"fair": self._fair}
