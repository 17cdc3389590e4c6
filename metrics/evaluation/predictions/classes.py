"""Rows for classes: one label per point out of K, with or without an order."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from metrics.evaluation.predictions.binned import Forecasts, binned_error, brier_parts, smooth_error
from metrics.evaluation.predictions.halves import halves
from metrics.evaluation.predictions.numbers import Number, mean_number
from metrics.evaluation.predictions.points import Columns, Points
from metrics.evaluation.predictions.ranks import errors_auroc, outside_auroc, outside_fpr
from metrics.predictions._influence import risk_coverage_influence
from metrics.predictions.brier import brier_score
from metrics.predictions.calibration import top_label
from metrics.predictions.ordinal import ranked_probability_score
from metrics.probabilities import check_labels, check_probabilities

__all__ = ["Classes", "mean_and_entropy", "outside_rows", "reference_rows"]


@dataclass(frozen=True)
class Classes:
    """Labels [n] of predictions [samples, n, classes].

    Attributes:
        bins: Of calibration errors and of Brier's decomposition.
        ordinal: Whether the classes have an order.
    """

    bins: int = 15
    ordinal: bool = False

    shape = "[samples, n, classes]"

    def outcomes(self, y: Tensor) -> Tensor:
        """Return labels as they are kept."""
        return y.long()

    def prepared(self, reference: object, y: Tensor) -> Tensor:
        """Return what models are held against: the reference's mean prediction."""
        return mean_and_entropy(self._checked(reference, "reference", len(y)), entropy=False)[0]

    def columns(self, prediction: object, y: Tensor, against: object, name: str) -> Columns:
        """Return a model's columns: the mean prediction, the samples' mean entropy, the gap to a reference."""
        mean, entropy = mean_and_entropy(self._checked(prediction, name, len(y)))
        check_labels(y, mean, "y")
        columns = {"mean": mean, "aleatoric": entropy}
        return columns if against is None else columns | self.gaps(mean, against, name)

    def gaps(self, one: object, other: object, name: str = "reference") -> Columns:
        """Return agreement and total variation of two mean predictions per point."""
        assert isinstance(one, Tensor)
        assert isinstance(other, Tensor)
        if one.shape != other.shape:
            raise ValueError(
                f"{name} and reference must have the same classes, got {one.shape[1]} and {other.shape[1]}; "
                "predict the same classes"
            )
        same = (one.argmax(1) == other.argmax(1)).double()
        return {"agreement": same, "total_variation": 0.5 * (one - other).abs().sum(1)}

    def rows(self, points: Points, name: str) -> dict[str, Number]:
        """Return a model's numbers."""
        columns, w, labels = points.models[name], points.weight, points.y
        p = columns["mean"]
        confidence, right = (column[:, 0].double() for column in top_label(p, labels))
        nll = -p.gather(1, labels[:, None])[:, 0].log()
        rows = {
            "nll": mean_number(nll, w, "lower", "−ln p(y), nats"),
            "accuracy": mean_number(right, w, "higher", "share of right predictions", share=True),
            "brier": mean_number(
                brier_score(p, labels, per_point=True), w, "lower", "Σ_k (p_k − 1[y = k])², 0 to 2"
            ),
        }
        rows |= self._calibration(p, labels, confidence, right, w)
        area, terms = risk_coverage_influence(confidence, 1 - right, w)
        told = "area under the risk-coverage curve, by confidence"
        rows["aurc"] = Number(float(area), terms, "lower", told, (len(w), len(w)), bounded=True)
        rows["error_auroc"] = errors_auroc(confidence, right, w)
        if self.ordinal:
            rps = ranked_probability_score(p, labels, per_point=True)
            rows["rps"] = mean_number(rps, w, "lower", "Σ_k (P(Y ≤ k) − 1[y ≤ k])²")
            off = (p.argmax(1) - labels).abs().double()
            rows["class_distance"] = mean_number(off, w, "lower", "|predicted class − label|")
        entropy = torch.special.entr(p).sum(1)
        return (
            rows
            | uncertainty_rows(entropy, columns["aleatoric"], w)
            | outside_rows(points, name, entropy)
            | reference_rows(points, name)
        )

    def strangers(self, prediction: object, name: str) -> Columns:
        """Return what is kept of strangers: the entropy of their mean prediction."""
        mean, _ = mean_and_entropy(self._checked(prediction, name, None), entropy=False)
        return {"entropy": torch.special.entr(mean).sum(1)}

    def _calibration(
        self, p: Tensor, labels: Tensor, confidence: Tensor, right: Tensor, w: Tensor
    ) -> dict[str, Number]:
        parts = halves(len(w), w.device)
        one_hot = torch.nn.functional.one_hot(labels, p.shape[1]).double()
        every = Forecasts(p, one_hot, w, self.bins, parts, _labels_from(p))
        sure = confidence[:, None].clamp(max=1)
        top = Forecasts(sure, right[:, None], w, self.bins, parts, lambda random: drawn_from(sure, random))
        width = f"l1, {self.bins} bins of equal width"
        return brier_parts(every) | {
            "calibration_error": binned_error(top, f"top label, {width}"),
            "classwise_calibration_error": binned_error(every, f"mean over classes, {width}"),
            "smooth_calibration_error": smooth_error(top),
        }

    def _checked(self, prediction: object, name: str, n: int | None) -> Tensor:
        p = check_probabilities(prediction, name, shape=self.shape, ndim=3).detach()
        return p if n is None else check_length(p, name, n)


def drawn_from(p: Tensor, random: torch.Generator) -> Tensor:
    """Return events drawn with these probabilities; faster than `torch.bernoulli`."""
    return (torch.rand(p.shape, generator=random, dtype=p.dtype, device=p.device) < p).to(p.dtype)


def check_length(p: Tensor, name: str, n: int) -> Tensor:
    """Return predictions of n points."""
    if p.shape[1] != n:
        told = "samples come first: pass it transposed" if p.shape[0] == n else "predict the same inputs"
        raise ValueError(f"{name} must predict the {n} points of y, got {p.shape[1]}; {told}")
    return p


def mean_and_entropy(samples: Tensor, *, entropy: bool = True) -> tuple[Tensor, Tensor]:
    """Return the mean prediction [n, ...] and the samples' mean entropy [n], in float64."""
    mean = torch.zeros(samples.shape[1:], dtype=torch.float64, device=samples.device)
    total = torch.zeros(samples.shape[1], dtype=torch.float64, device=samples.device)
    ones = mean.new_ones(samples.shape[2])
    for one in samples:
        mean += one
        if entropy:
            total += torch.special.entr(one.double()) @ ones
    return mean / len(samples), total / len(samples)


def uncertainty_rows(entropy: Tensor, aleatoric: Tensor, w: Tensor) -> dict[str, Number]:
    """Return the entropy of the mean prediction and its epistemic part."""
    gap = entropy - aleatoric
    epistemic = gap.where(gap > 1e-12, 0.0)  # of a single sample it is 0, but for the rounding
    return {
        "predictive_entropy": mean_number(entropy, w, "neither", "H of the mean prediction, nats"),
        "mutual_information": mean_number(epistemic, w, "neither", "epistemic part of the entropy, nats"),
    }


def outside_rows(points: Points, name: str, entropy: Tensor) -> dict[str, Number]:
    """Return AUROC and FPR95 against every set of strangers, by predictive entropy."""
    rows = {}
    for kind, models in points.outside.items():
        strangers = models[name]["entropy"]
        rows[f"auroc, {kind}"] = outside_auroc(entropy, strangers, points.weight)
        rows[f"fpr95, {kind}"] = outside_fpr(entropy, strangers, points.weight)
    return rows


REFERENCE = {
    "agreement": ("higher", "share of points with the reference's most probable class"),
    "total_variation": ("lower", "½ Σ|p − q| to the reference's prediction"),
    "w1": ("lower", "1-D W_1 to the reference's prediction, mean over points"),
}


def reference_rows(points: Points, name: str) -> dict[str, Number]:
    """Return the distances to the reference, with those between its own chains as floor."""
    rows = {}
    for column, (better, told) in REFERENCE.items():
        if column not in points.models[name]:
            continue
        share, w = column == "agreement", points.weight
        floor = None
        if column in points.floor:
            own = mean_number(points.floor[column], w, "lower", "", share=share)
            floor = (own.value, own.stderr)
        direction = "higher" if better == "higher" else "lower"
        rows[column] = mean_number(points.models[name][column], w, direction, told, share=share, floor=floor)
    return rows


def _labels_from(p: Tensor) -> Callable[[torch.Generator], Tensor]:
    """Outcomes drawn from predictions [n, K] as one-hot rows, by inversion."""
    ends = p.cumsum(1)[:, :-1].contiguous()

    def draw(random: torch.Generator) -> Tensor:
        u = torch.rand(len(p), 1, generator=random, dtype=p.dtype, device=p.device)
        label = torch.searchsorted(ends, u)
        return torch.zeros_like(p).scatter_(1, label, 1.0)

    return draw
