"""Calibration: of the predictions made with confidence 80 %, are 80 % right?

The *top-label* calibration error looks at the class that a model predicts (ties: the first of them), with confidence
c_i = max_k p_ik and outcome h_i = 1[argmax_k p_ik = y_i]. In bins b of mean confidence c̄_b and accuracy h̄_b

    l1   Σ_b (n_b/n) |c̄_b − h̄_b|            the "expected calibration error" (Naeini et al. 2015; Guo et al. 2017)
    l2   √ Σ_b (n_b/n) (c̄_b − h̄_b)²         (Kumar et al. 2019)
    max  max_b |c̄_b − h̄_b|                  over bins that are not empty.

The *per-class* error (Nixon et al. 2019; Kull et al. 2019) does the same for each class k, with c_i = p_ik and
h_i = 1[y_i = k]. The two are different numbers: name the one that you report. Bins have equal width or, *adaptive*,
equal mass (Nixon et al. 2019); `metrics.predictions.binning` says where their edges belong.

A calibration error is biased upwards: h̄_b scatters around its mean, so that a calibrated model scores about
Σ_b (n_b/n) √(2 c̄_b(1 − c̄_b)/(π n_b)) in l1, and more with more bins. Binning also hides what cancels within a bin.
The number is no proper score, and a model that always predicts the base rates has none of it. `calibration_floor` is
what a calibrated model with these confidences would score on as many points: read the error beside it.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, SupportsIndex

import torch
from jaxtyping import Float, Int64
from torch import Tensor

if TYPE_CHECKING:
    import matplotlib.figure

from metrics.inputs import check_count, repeatable
from metrics.plots.colours import COLOURS
from metrics.precision import full_precision
from metrics.predictions.binning import (
    bin_forecasts,
    bin_index,
    binomial_stderr,
    equal_mass_edges,
    equal_width_edges,
)
from metrics.probabilities import check_labels, check_probabilities

__all__ = [
    "Norm",
    "ReliabilityDiagram",
    "calibration_error",
    "calibration_floor",
    "check_norm",
    "classwise_calibration_error",
    "norm_over_bins",
    "reliability_diagram",
    "top_label",
]

Norm = Literal["l1", "l2", "max"]
"""How the gaps of the bins become one number."""


@dataclass(frozen=True)
class ReliabilityDiagram:
    """Confidence beside accuracy, bin by bin.

    Attributes:
        edges: Ends of the bins, from 0 to 1, [bins + 1].
        confidence: Mean confidence per bin, [bins]; NaN in an empty bin, as the next two.
        accuracy: Share of right predictions per bin, [bins].
        stderr: One binomial standard error of the accuracy (Agresti & Coull 1998, never 0), [bins].
        count: Predictions per bin, [bins].
    """

    edges: Float[Tensor, " edges"]
    confidence: Float[Tensor, " bins"]
    accuracy: Float[Tensor, " bins"]
    stderr: Float[Tensor, " bins"]
    count: Int64[Tensor, " bins"]

    def error(self, norm: Norm = "l1") -> Float[Tensor, ""]:
        """Return the calibration error of these bins."""
        gap = (self.confidence - self.accuracy).nan_to_num(0.0).double()
        return norm_over_bins(gap, self.count.double(), check_norm(norm)).to(self.confidence.dtype)

    def plot(self) -> "matplotlib.figure.Figure":
        """Draw accuracy ± 1.96 standard errors against confidence, the diagonal, and the counts below."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(4.2, 5.2), layout="constrained")
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
        some = self.count > 0
        confidence, accuracy, stderr = (
            v[some].cpu().numpy() for v in (self.confidence, self.accuracy, self.stderr)
        )
        upper.plot([0, 1], [0, 1], color="0.5", lw=1, ls="--", label="calibrated")
        upper.vlines(confidence, confidence, accuracy, color=COLOURS[1], lw=3, alpha=0.6, label="gap")
        upper.errorbar(
            confidence, accuracy, 1.96 * stderr, fmt="o", color=COLOURS[0], capsize=3, label="accuracy ± 95 %"
        )
        upper.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy")
        upper.set_title(f"calibration error {float(self.error()):.3f} (l1), n = {int(self.count.sum())}")
        upper.legend(loc="best", fontsize=8)
        edges = self.edges.cpu().numpy()
        lower.stairs(self.count.cpu().numpy(), edges, fill=True, color=COLOURS[0])
        lower.set(xlabel="confidence", ylabel="count")
        for axis in (upper, lower):
            axis.grid(color="0.92")
            axis.set_axisbelow(True)
        return figure


@full_precision
def reliability_diagram(
    probs: Float[Tensor, "n classes"],
    labels: Int64[Tensor, " n"],
    *,
    bins: SupportsIndex = 15,
    adaptive: bool = False,
) -> ReliabilityDiagram:
    """Return accuracy against confidence of the predicted class, in bins.

    Args:
        probs: Predicted probabilities, [n, classes].
        labels: The outcomes, from 0 to classes − 1, [n].
        bins: The number of bins.
        adaptive: Bins of equal mass instead of equal width.

    Raises:
        TypeError, ValueError: Probabilities that do not sum to 1; labels that are not int64 or out of range;
            fewer than one bin.

    >>> diagram = reliability_diagram(torch.tensor([[0.9, 0.1], [0.2, 0.8]]), torch.tensor([0, 0]), bins=1)
    >>> diagram.confidence, diagram.accuracy, diagram.count
    (tensor([0.8500]), tensor([0.5000]), tensor([2]))
    """
    p = check_probabilities(probs).detach()
    y = check_labels(labels, p)
    confidence, right = top_label(p, y)
    table = bin_forecasts(confidence, right, bins=check_count(bins, "bins"), adaptive=adaptive)
    count, accuracy = table.count[:, 0], table.frequency[:, 0]
    columns = (table.forecast[:, 0], accuracy, binomial_stderr(accuracy * count, count))
    mean, share, stderr = (v.where(count > 0, math.nan).to(p.dtype) for v in columns)
    return ReliabilityDiagram(table.edges[:, 0].to(p.dtype), mean, share, stderr, count.long())


@full_precision
def calibration_error(
    probs: Float[Tensor, "n classes"],
    labels: Int64[Tensor, " n"],
    *,
    bins: SupportsIndex = 15,
    norm: Norm = "l1",
    adaptive: bool = False,
) -> Float[Tensor, ""]:
    """Return the top-label calibration error, from 0 to 1; biased upwards, see `calibration_floor`.

    l1: Σ_b (n_b/n) |c̄_b − h̄_b|; l2: its root mean square; max: the largest gap.

    Args:
        probs: Predicted probabilities, [n, classes].
        labels: The outcomes, from 0 to classes − 1, [n].
        bins: The number of bins.
        norm: "l1" (Guo et al. 2017), "l2" or "max".
        adaptive: Bins of equal mass instead of equal width.

    Returns:
        Not differentiable: predictions jump between bins.

    Raises:
        TypeError, ValueError: Probabilities that do not sum to 1; labels that are not int64 or out of range;
            fewer than one bin; an unknown norm.

    >>> calibration_error(torch.tensor([[0.9, 0.1], [0.2, 0.8]]), torch.tensor([0, 0]), bins=1)
    tensor(0.3500)
    """
    p = check_probabilities(probs).detach()
    y = check_labels(labels, p)
    confidence, right = top_label(p, y)
    return _binned_error(confidence, right, bins=bins, norm=norm, adaptive=adaptive)[0].to(p.dtype)


@full_precision
def classwise_calibration_error(
    probs: Float[Tensor, "n classes"],
    labels: Int64[Tensor, " n"],
    *,
    bins: SupportsIndex = 15,
    norm: Norm = "l1",
    adaptive: bool = False,
) -> Float[Tensor, " classes"]:
    """Return the calibration error of every class's own probability, [classes].

    Its mean is the static calibration error of Nixon et al. (2019), or with `adaptive=True` their adaptive one. With
    two classes, entry 1 is what others call the binary calibration error. Biased upwards, as `calibration_error`.

    Args:
        probs: Predicted probabilities, [n, classes].
        labels: The outcomes, from 0 to classes − 1, [n].
        bins: The number of bins, for each class.
        norm: "l1", "l2" or "max", over the bins of a class.
        adaptive: Bins of equal mass instead of equal width.

    Raises:
        TypeError, ValueError: As `calibration_error`.

    >>> p = torch.tensor([0.25, 0.25, 0.55, 0.75, 0.75])
    >>> labels = torch.tensor([0, 0, 1, 1, 1])
    >>> classwise_calibration_error(torch.stack([1 - p, p], 1), labels, bins=2)[1]
    tensor(0.2900)
    """
    p = check_probabilities(probs).detach()
    outcomes = torch.nn.functional.one_hot(check_labels(labels, p), p.shape[1])
    return _binned_error(p, outcomes.to(p.dtype), bins=bins, norm=norm, adaptive=adaptive).to(p.dtype)


@full_precision
def calibration_floor(
    probs: Float[Tensor, "n classes"],
    *,
    bins: SupportsIndex = 15,
    norm: Norm = "l1",
    adaptive: bool = False,
    repeats: SupportsIndex = 200,
    generator: torch.Generator | None = None,
) -> Float[Tensor, " repeats"]:
    """Return draws of the calibration error that a calibrated model with these confidences would show, [repeats].

    Consistency resampling (Bröcker & Smith 2007): outcomes are drawn from the predictions themselves. The
    mean of the draws is the floor, their standard deviation its scatter, and the share of them at or above
    a measured error is the p-value of "the model is calibrated".

    Args:
        probs: Predicted probabilities, [n, classes].
        bins: As for the error that the floor is for, with `norm` and `adaptive`.
        norm: "l1", "l2" or "max".
        adaptive: Bins of equal mass instead of equal width.
        repeats: The number of draws.
        generator: On the device of probs; None is a fresh one with seed 0.

    Raises:
        TypeError, ValueError: Probabilities that do not sum to 1; fewer than one bin or draw; an unknown norm.

    >>> floor = calibration_floor(torch.tensor([[0.7, 0.3]]).expand(100, 2), bins=1)
    >>> bool((floor.mean() - 0.037).abs() < 0.01)  # √(2 · 0.7 · 0.3 / 100π)
    True
    """
    p = check_probabilities(probs).detach()
    bins = check_count(bins, "bins")
    repeats = check_count(repeats, "repeats")
    check_norm(norm)
    draw = repeatable(generator, p.device)
    # A calibrated prediction is right with probability equal to its confidence, whatever the other classes are.
    confidence = p.max(1, keepdim=True).values.clamp(max=1)
    index = bin_index(confidence, (equal_mass_edges if adaptive else equal_width_edges)(confidence, bins))
    member = (index == torch.arange(bins, device=p.device)).double()
    count = member.sum(0)
    mean = member.T @ confidence[:, 0].double() / count.clamp(min=1)
    errors = []
    for _ in range(repeats):
        right = torch.bernoulli(confidence[:, 0], generator=draw).double()
        errors.append(norm_over_bins(mean - member.T @ right / count.clamp(min=1), count, norm))
    return torch.stack(errors).to(p.dtype)


def top_label(
    probs: Float[Tensor, "n classes"], labels: Int64[Tensor, " n"]
) -> tuple[Float[Tensor, "n 1"], Float[Tensor, "n 1"]]:
    """Return the confidence in the predicted class and whether it was right, as columns.

    >>> top_label(torch.tensor([[0.25, 0.75]]), torch.tensor([0]))
    (tensor([[0.7500]]), tensor([[0.]]))
    """
    confidence, predicted = probs.max(1)
    return confidence[:, None], (predicted == labels).to(probs.dtype)[:, None]


def _binned_error(
    forecasts: Tensor, outcomes: Tensor, *, bins: SupportsIndex, norm: Norm, adaptive: bool
) -> Tensor:
    check_norm(norm)
    table = bin_forecasts(forecasts, outcomes, bins=check_count(bins, "bins"), adaptive=adaptive)
    return norm_over_bins(table.forecast - table.frequency, table.count, norm)


def norm_over_bins(gap: Tensor, count: Tensor, norm: Norm) -> Tensor:
    """Return the norm of gaps [bins, ...] that are weighted by counts; an empty bin has gap 0."""
    weight = count / count.sum(0)
    if norm == "l1":
        return (weight * gap.abs()).sum(0)
    if norm == "l2":
        return (weight * gap.square()).sum(0).sqrt()
    return gap.abs().amax(0)


def check_norm(norm: Norm) -> Norm:
    """Return a norm that is known."""
    if norm not in ("l1", "l2", "max"):
        raise ValueError(f'norm must be "l1", "l2" or "max", got {norm!r}')
    return norm
