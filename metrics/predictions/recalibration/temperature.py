"""Temperature scaling: one number that sharpens or flattens every prediction.

    q_k ∝ p_k^{1/T},      T = argmin −(1/n) Σ_i ln q_{y_i}

(Guo et al. 2017). With a = 1/T and z = ln p, the objective is convex in a: its slope is the mean of E_q[z] − z_y,
its curvature the mean of Var_q[z], and Newton's method with a line search ends at the one minimum. The order of the
classes stays, and with it accuracy.

The error of T is that of an M-estimator over validation points, se(a) = √(Σ_i g_i²)/(n·h) with the slopes g_i and
the curvature h (the "sandwich", right also where no T makes the model true), and se(T) = se(a)/a².
"""

import math

from jaxtyping import Float, Int64
from torch import Tensor

from metrics.precision import full_precision
from metrics.predictions.recalibration._mean import fitted, log_of, mean_prediction, shaped, with_labels

__all__ = ["TemperatureScaling"]


class TemperatureScaling:
    """q ∝ p^{1/T} with T chosen by the log score of validation data.

    Attributes:
        temperature: T; above 1 where the predictions were too sure. None before `fit`.
        stderr: One standard error of T over validation points.

    >>> import torch
    >>> p = torch.tensor([[0.99, 0.01]]).expand(10, 2)
    >>> labels = torch.tensor([0] * 8 + [1] * 2)
    >>> scaling = TemperatureScaling().fit(p, labels)
    >>> scaling(p[:1])  # eight of ten were right
    tensor([[0.8000, 0.2000]])
    >>> round(scaling.temperature, 3)  # ln 99 / ln 4
    3.315
    """

    def __init__(self) -> None:
        self.temperature: float | None = None
        self.stderr: float | None = None

    @full_precision
    def fit(
        self,
        probs: Float[Tensor, "n classes"] | Float[Tensor, "samples n classes"],
        labels: Int64[Tensor, " n"],
    ) -> "TemperatureScaling":
        """Choose T on validation data; return this object.

        Args:
            probs: Predicted probabilities, [n, classes] or of posterior samples [samples, n, classes].
            labels: The outcomes, from 0 to classes − 1, [n].

        Raises:
            TypeError, ValueError: Probabilities that do not sum to 1, labels out of range; data for which the best
                T is 0 (every prediction right) or infinite (predictions that know nothing about the labels).
        """
        p, y = with_labels(probs, labels)
        z = log_of(p)
        z = z - z.max(1, keepdim=True).values
        own = z.gather(1, y[:, None])[:, 0]
        if not bool((own < 0).any()):
            raise ValueError(
                "labels must hold at least one that was not predicted: where all are right the best temperature is 0; "
                "fit on more validation points"
            )
        if float((z.mean(1) - own).mean()) >= 0:
            raise ValueError(
                "probs must know something about labels: even an infinite temperature scores better than these; "
                "check that the classes are in the labels' order"
            )
        a = _minimum(z, own)
        slope, curvature = _slopes(a, z, own)
        n = len(y)
        error = float(slope.square().sum().sqrt()) / (n * float(curvature.mean()))
        self.temperature, self.stderr = 1 / a, error / a**2
        return self

    @full_precision
    def __call__(
        self, probs: Float[Tensor, "n classes"] | Float[Tensor, "samples n classes"]
    ) -> Float[Tensor, "n classes"] | Float[Tensor, "1 n classes"]:
        """Return recalibrated predictions, [n, classes], or [1, n, classes] for posterior samples.

        Raises:
            TypeError, ValueError: Probabilities that do not sum to 1; before `fit`.
        """
        t = fitted(self.temperature, "TemperatureScaling")
        return shaped((log_of(mean_prediction(probs)) / t).softmax(1), probs)


def _slopes(a: float, z: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
    """Slope E_q[z] − z_y and curvature Var_q[z] of every point at q ∝ e^{a z}."""
    q = (a * z).softmax(1)
    mean = (q * z).sum(1)
    return mean - own, (q * (z - mean[:, None]).square()).sum(1)


def _minimum(z: Tensor, own: Tensor) -> float:
    """The a > 0 where the mean slope is 0: Newton's steps within a bracket, halved where one leaves it."""
    low, high = 0.0, 1.0
    while float(_slopes(high, z, own)[0].mean()) < 0:
        low, high = high, 2 * high
        if not math.isfinite(high):
            raise ValueError("labels must not all be predicted; fit on more validation points")
    a = (low + high) / 2
    for _ in range(200):
        slope, curvature = (float(v.mean()) for v in _slopes(a, z, own))
        low, high = (low, a) if slope > 0 else (a, high)
        step = a - slope / curvature if curvature > 0 else low
        following = step if low < step < high else (low + high) / 2
        if abs(following - a) <= 1e-14 * a:
            break
        a = following
    return a
