"""Isotonic calibration: for each class any monotone map of its probability, by scikit-learn.

Each class's probability is regressed on 1[y = k] by a non-decreasing step function, pooled adjacent violators, and
the K results are normalised to sum to 1 (Zadrozny & Elkan 2002, one against the rest). Values are kept within 1/(n
+ 2) of 0 and 1, the rule of succession: steps at exactly 0 would make log scores infinite. It has as many degrees
of freedom as steps and wants a thousand validation points or more.
"""

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from metrics.precision import full_precision
from metrics.predictions.recalibration._mean import fitted, mean_prediction, of_classes, shaped, with_labels

if TYPE_CHECKING:
    from sklearn.isotonic import IsotonicRegression

__all__ = ["IsotonicCalibration"]


class IsotonicCalibration:
    """A monotone map for each class's probability, normalised over the classes.

    Attributes:
        maps: scikit-learn's regressions, one per class; None before `fit`.

    >>> p = torch.tensor([[0.9, 0.1]]).expand(98, 2)
    >>> labels = (torch.arange(98) < 49).long()
    >>> IsotonicCalibration().fit(p, labels)(p[:1])
    tensor([[0.5000, 0.5000]])
    """

    def __init__(self) -> None:
        self.maps: list[IsotonicRegression] | None = None

    @full_precision
    def fit(
        self,
        probs: Float[Tensor, "n classes"] | Float[Tensor, "samples n classes"],
        labels: Int64[Tensor, " n"],
    ) -> "IsotonicCalibration":
        """Fit the maps on validation data; return this object.

        Args:
            probs: Predicted probabilities, [n, classes] or of posterior samples [samples, n, classes].
            labels: The outcomes, from 0 to classes − 1, [n].

        Raises:
            TypeError, ValueError: Probabilities that do not sum to 1; labels out of range.
        """
        from sklearn.isotonic import IsotonicRegression

        p, y = (part.cpu().numpy() for part in with_labels(probs, labels))
        least = 1 / (len(y) + 2)
        self.maps = [
            IsotonicRegression(y_min=least, y_max=1 - least, out_of_bounds="clip").fit(p[:, k], y == k)
            for k in range(p.shape[1])
        ]
        return self

    @full_precision
    def __call__(
        self, probs: Float[Tensor, "n classes"] | Float[Tensor, "samples n classes"]
    ) -> Float[Tensor, "n classes"] | Float[Tensor, "1 n classes"]:
        """Return recalibrated predictions, [n, classes], or [1, n, classes] for posterior samples.

        Raises:
            TypeError, ValueError: Probabilities that do not sum to 1, or of other classes; before `fit`.
        """
        maps = fitted(self.maps, "IsotonicCalibration")
        p = of_classes(mean_prediction(probs), len(maps))
        columns = [torch.from_numpy(one.predict(p[:, k].cpu().numpy())) for k, one in enumerate(maps)]
        mapped = torch.stack(columns, 1).double().to(p.device)
        return shaped(mapped / mapped.sum(1, keepdim=True), probs)
