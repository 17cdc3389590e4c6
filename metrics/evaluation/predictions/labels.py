"""Rows for several labels per point, each of which is there or not.

Every label is an event of its own with a probability; a point's score is the mean over its L labels, so that errors
over points hold whatever the labels of one point have to do with each other.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from metrics.evaluation.predictions.binned import Forecasts, binned_error
from metrics.evaluation.predictions.classes import (
    check_length,
    drawn_from,
    outside_rows,
    reference_rows,
    uncertainty_rows,
)
from metrics.evaluation.predictions.halves import halves
from metrics.evaluation.predictions.numbers import Number, mean_number
from metrics.evaluation.predictions.points import Columns, Points
from metrics.inputs import check_tensor

__all__ = ["Labels"]


@dataclass(frozen=True)
class Labels:
    """Outcomes [n, labels] of predictions [samples, n, labels], each probability by itself."""

    bins: int = 15

    shape = "[samples, n, labels]"

    def outcomes(self, y: Tensor) -> Tensor:
        """Return zeros and ones."""
        least, most = int(y.min()), int(y.max())
        if least < 0 or most > 1:
            raise ValueError(
                f"y must hold 0 and 1 for every label, got {least} to {most}; for one class per point pass labels [n]"
            )
        return y.long()

    def prepared(self, reference: object, y: Tensor) -> Tensor:
        """Return what models are held against: the reference's mean prediction."""
        return _mean_and_entropy(self._checked(reference, "reference", len(y)))[0]

    def columns(self, prediction: object, y: Tensor, against: object, name: str) -> Columns:
        """Return a model's columns: mean probabilities, the samples' mean entropy, the gap to a reference."""
        p = self._checked(prediction, name, len(y))
        if p.shape[2] != y.shape[1]:
            raise ValueError(
                f"{name} must have y's {y.shape[1]} labels, got {p.shape[2]}; predict the same labels"
            )
        mean, entropy = _mean_and_entropy(p)
        columns = {"mean": mean, "aleatoric": entropy}
        return columns if against is None else columns | self.gaps(mean, against, name)

    def gaps(self, one: object, other: object, name: str = "reference") -> Columns:
        """Return agreement in all labels and the labels' mean total variation per point."""
        assert isinstance(one, Tensor)
        assert isinstance(other, Tensor)
        if one.shape != other.shape:
            raise ValueError(
                f"{name} and reference must have the same labels, got {one.shape[1]} and {other.shape[1]}; "
                "predict the same labels"
            )
        same = ((one > 0.5) == (other > 0.5)).all(1).double()
        return {"agreement": same, "total_variation": (one - other).abs().mean(1)}

    def rows(self, points: Points, name: str) -> dict[str, Number]:
        """Return a model's numbers."""
        columns, w = points.models[name], points.weight
        p, came = columns["mean"], points.y.double()
        parts = halves(len(w), w.device)
        hit = torch.where(came == 1, p, 1 - p)
        right = ((p > 0.5) == (came == 1)).double()
        each = Forecasts(p, came, w, self.bins, parts, lambda random: drawn_from(p, random))
        rows = {
            "nll": mean_number(-hit.log().mean(1), w, "lower", "−ln p(y), nats, mean over labels"),
            "accuracy": mean_number(right.mean(1), w, "higher", "share of labels that are right at ½"),
            "exact_match": mean_number(
                right.amin(1), w, "higher", "share of points with all labels right", share=True
            ),
            "brier": mean_number((p - came).square().mean(1), w, "lower", "(p − y)², mean over labels"),
            "labelwise_calibration_error": binned_error(
                each, f"mean over labels, l1, {self.bins} bins of equal width"
            ),
        }
        entropy = _entropy(p)
        return (
            rows
            | uncertainty_rows(entropy, columns["aleatoric"], w)
            | outside_rows(points, name, entropy)
            | reference_rows(points, name)
        )

    def strangers(self, prediction: object, name: str) -> Columns:
        """Return what is kept of strangers."""
        p = self._checked(prediction, name, None)
        return {"entropy": _entropy(_mean_and_entropy(p)[0])}

    def _checked(self, prediction: object, name: str, n: int | None) -> Tensor:
        p = check_tensor(prediction, name, shape=self.shape, ndim=3).detach()
        least, most = float(p.min()), float(p.max())
        if least < 0 or most > 1:
            raise ValueError(
                f"{name} must hold probabilities from 0 to 1, got {least:.3g} to {most:.3g}; "
                "take logits through .sigmoid()"
            )
        return p if n is None else check_length(p, name, n)


def _entropy(p: Tensor) -> Tensor:
    """Mean over the labels of each one's entropy, nats."""
    return (torch.special.entr(p) + torch.special.entr(1 - p)).mean(-1)


def _mean_and_entropy(samples: Tensor) -> tuple[Tensor, Tensor]:
    mean = torch.zeros(samples.shape[1:], dtype=torch.float64, device=samples.device)
    entropy = torch.zeros(samples.shape[1], dtype=torch.float64, device=samples.device)
    for one in samples:
        mean += one
        entropy += _entropy(one.double())
    return mean / len(samples), entropy / len(samples)
