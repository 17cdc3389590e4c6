"""Vector scaling: a slope and a bias for each class.

    q ∝ exp(w_k ln p_k + b_k)

(Guo et al. 2017, who leave w and b free). Log-linear in its 2K numbers, so that the log score is convex in them.
Guo's objective has no minimum where the validation data are separable; here Σ_i −ln q_{y_i} + (ridge/2)(‖w − 1‖² +
‖b‖²) is minimised, which always has one: a prior of unit width around no change, which n data outweigh.
"""

from typing import SupportsFloat

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from metrics.inputs import check_positive
from metrics.precision import full_precision
from metrics.predictions.recalibration._mean import (
    fitted,
    log_of,
    mean_prediction,
    of_classes,
    shaped,
    with_labels,
)

__all__ = ["VectorScaling"]


class VectorScaling:
    """q ∝ exp(w ∘ ln p + b), chosen by the log score of validation data.

    Attributes:
        weight: w, [classes]; None before `fit`.
        bias: b, [classes].

    >>> p = torch.tensor([[0.6, 0.4]]).expand(1000, 2)
    >>> labels = (torch.arange(1000) % 10 == 0).long()  # the second class comes once in ten
    >>> scaling = VectorScaling().fit(p, labels)
    >>> bool((scaling(p[:1])[0, 1] - 0.1).abs() < 0.002)
    True
    """

    def __init__(self, *, ridge: SupportsFloat = 1.0) -> None:
        """Make it for the weight of one unit of squared change in the sum of log scores.

        Raises:
            TypeError, ValueError: A ridge that is not above 0.
        """
        self.ridge = check_positive(ridge, "ridge")
        self.weight: Tensor | None = None
        self.bias: Tensor | None = None

    @full_precision
    def fit(
        self,
        probs: Float[Tensor, "n classes"] | Float[Tensor, "samples n classes"],
        labels: Int64[Tensor, " n"],
    ) -> "VectorScaling":
        """Choose w and b on validation data; return this object.

        Args:
            probs: Predicted probabilities, [n, classes] or of posterior samples [samples, n, classes].
            labels: The outcomes, from 0 to classes − 1, [n].

        Raises:
            TypeError, ValueError: Probabilities that do not sum to 1; labels out of range.
        """
        p, y = with_labels(probs, labels)
        z, k = log_of(p), p.shape[1]
        y = y.clone() if y.is_inference() else y  # which autograd could not keep
        change = torch.zeros(2, k, dtype=torch.float64, device=p.device, requires_grad=True)
        optimizer = torch.optim.LBFGS(
            [change],
            max_iter=500,
            tolerance_grad=1e-10,
            tolerance_change=1e-14,
            line_search_fn="strong_wolfe",
        )

        def objective() -> Tensor:
            optimizer.zero_grad()
            logits = (1 + change[0]) * z + change[1]
            nll = torch.nn.functional.cross_entropy(logits, y)
            loss = nll + self.ridge / (2 * len(y)) * change.square().sum()
            loss.backward()
            return loss

        with torch.enable_grad():
            optimizer.step(objective)  # pyright: ignore[reportArgumentType]
        self.weight, self.bias = (1 + change[0]).detach(), change[1].detach()
        return self

    @full_precision
    def __call__(
        self, probs: Float[Tensor, "n classes"] | Float[Tensor, "samples n classes"]
    ) -> Float[Tensor, "n classes"] | Float[Tensor, "1 n classes"]:
        """Return recalibrated predictions, [n, classes], or [1, n, classes] for posterior samples.

        Raises:
            TypeError, ValueError: Probabilities that do not sum to 1, or of other classes; before `fit`.
        """
        w, b = fitted(self.weight, "VectorScaling"), fitted(self.bias, "VectorScaling")
        p = of_classes(mean_prediction(probs), len(w))
        return shaped((w * log_of(p) + b).softmax(1), probs)
