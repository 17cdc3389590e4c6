"""Predictions as pictures: differences, reliability, risk against coverage, entropies, PIT histograms, bands.

A panel per model on shared axes, or one panel with a line per model; every function returns its figure.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch
from torch import Tensor

from metrics.estimate import Estimate, with_error
from metrics.plots.colours import COLOURS, MARKERS
from metrics.plots.estimates import BETTER

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure

__all__ = [
    "draw_bands",
    "draw_differences",
    "draw_entropies",
    "draw_pit",
    "draw_reliability",
    "draw_risk_coverage",
]

LINES = ("-", "--", ":", "-.")


@runtime_checkable
class Diagram(Protocol):
    """Confidence beside accuracy, bin by bin, as `metrics.reliability_diagram` tells it."""

    confidence: Tensor
    accuracy: Tensor
    count: Tensor


def draw_differences(
    differences: Mapping[str, Mapping[str, Estimate]], *, baseline: str, panels_per_row: int = 4
) -> "matplotlib.figure.Figure":
    """Draw a panel per row: every model's paired difference to a baseline with its 95 % interval.

    Args:
        differences: From a model's name to its rows; all hold the same.
        baseline: Its name; its own place is the line at 0.
        panels_per_row: Panels side by side.

    Raises:
        ValueError: No models.

    >>> gap = Estimate(-0.1, 0.02, "lower", "", (50, 50))
    >>> figure = draw_differences({"ensemble": {"nll": gap}}, baseline="SGD")
    >>> figure.axes[0].get_title()
    'nll'
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    if not differences:
        raise ValueError("differences must hold a model, got none; compare at least two")
    rows = [
        row
        for row in next(iter(differences.values()))
        if any(math.isfinite(e[row].value) for e in differences.values())
    ]
    height, width = -(-len(rows) // panels_per_row), min(panels_per_row, len(rows))
    figure = Figure(
        figsize=(3.1 * width, (0.9 + 0.26 * len(differences)) * height + 0.6), layout="constrained"
    )
    axes = list(figure.subplots(height, width, squeeze=False).flat)
    for k, (axis, row) in enumerate(zip(axes, rows, strict=False)):
        axis.axvline(0, color="0.4", lw=1)
        for place, estimates in enumerate(differences.values()):
            e = estimates[row]
            if not math.isfinite(e.value):
                continue
            low, high = e.interval()
            colour, marker = COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)]
            axis.errorbar(
                e.value,
                place,
                xerr=[[e.value - low], [high - e.value]],
                color=colour,
                marker=marker,
                capsize=3,
            )
        better = next(iter(differences.values()))[row].better
        axis.set_title(row.replace("_", " "), fontsize=9)
        axis.set_xlabel(BETTER.get(str(better), f"best near {better}"), fontsize=8)
        axis.set_yticks(range(len(differences)), list(differences) if k % panels_per_row == 0 else [])
        axis.set_ylim(len(differences) - 0.5, -0.5)
        axis.tick_params(labelsize=8)
        axis.xaxis.set_major_locator(MaxNLocator(4))
        axis.margins(x=0.15)
        axis.grid(axis="x", color="0.92")
        axis.set_axisbelow(True)
    for axis in axes[len(rows) :]:
        axis.set_visible(False)
    figure.suptitle(f"minus {baseline}, on the same points: difference ± 95 % interval", fontsize=9)
    return figure


def draw_reliability(
    diagrams: Mapping[str, Diagram], errors: Mapping[str, Estimate]
) -> "matplotlib.figure.Figure":
    """Draw accuracy against confidence, a panel per model.

    The band holds the accuracy of a calibrated model's bins in 95 % of test sets: c̄ ± 1.96 √(c̄(1 − c̄)/n_b).

    Args:
        diagrams: From a model's name to its bins.
        errors: To its calibration error, for the title.

    >>> from types import SimpleNamespace
    >>> bins = SimpleNamespace(confidence=torch.tensor([0.9]), accuracy=torch.tensor([0.8]), count=torch.tensor([50]))
    >>> error = Estimate(0.1, 0.02, "lower", "", (50, 50), floor=0.03, floor_stderr=0.01)
    >>> draw_reliability({"model": bins}, {"model": error}).axes[0].get_xlabel()
    'confidence'
    """
    titles = [
        f"{name}\nerror {with_error(e.value, e.stderr)}"
        + ("" if e.floor is None else f" (floor {e.floor:.3f})")
        for name, e in errors.items()
    ]
    figure, axes = _panels(titles, size=(2.6, 2.9), xlabel="confidence", ylabel="accuracy")
    for ax, diagram in zip(axes, diagrams.values(), strict=True):
        some = diagram.count > 0
        confidence, accuracy, count = (
            v[some].double().cpu() for v in (diagram.confidence, diagram.accuracy, diagram.count)
        )
        band = 1.96 * (confidence * (1 - confidence) / count).clamp(min=0).sqrt()
        ax.plot([0, 1], [0, 1], color="0.6", lw=0.8, label="calibrated")
        ax.fill_between(
            confidence,
            (confidence - band).clamp(min=0),
            (confidence + band).clamp(max=1),
            color="0.85",
            lw=0,
            label="95 % if calibrated",
        )
        # Areas as the logarithm of counts: the few predictions that lie far off weigh little.
        ax.scatter(
            confidence,
            accuracy,
            s=5 * (1 + count.log2()),
            color=COLOURS[0],
            zorder=3,
            label="a bin; area by the logarithm of its count",
        )
        ax.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
        ax.set_aspect("equal")
    _legend(figure, axes[0])
    return figure


def draw_risk_coverage(curves: Mapping[str, tuple[Tensor, Tensor]]) -> "matplotlib.figure.Figure":
    """Draw the share of errors among the most confident predictions, a line per model.

    Args:
        curves: From a model's name to coverages and risks.

    >>> curve = (torch.tensor([0.5, 1.0]), torch.tensor([0.0, 0.5]))
    >>> draw_risk_coverage({"model": curve}).axes[0].get_ylabel()
    'share of errors among them'
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6, 3.8), layout="constrained")
    axis = figure.subplots()
    for k, (name, (coverage, risk)) in enumerate(curves.items()):
        axis.plot(
            coverage.cpu(), risk.cpu(), color=COLOURS[k % len(COLOURS)], ls=LINES[k % 4], lw=1.3, label=name
        )
    axis.set(xlabel="coverage: most confident share", ylabel="share of errors among them", xlim=(0, 1))
    axis.set_ylim(bottom=0)
    _gridded(axis)
    figure.legend(*axis.get_legend_handles_labels(), loc="outside right upper", frameon=False, fontsize=8)
    return figure


def draw_entropies(kinds: Mapping[str, Mapping[str, Tensor]]) -> "matplotlib.figure.Figure":
    """Draw distribution functions of the predictive entropy, a panel per model and a line per set of inputs.

    Args:
        kinds: From a set's name to each model's entropies.

    >>> draw_entropies({"test": {"model": torch.tensor([0.1, 0.2])}}).axes[0].get_title()
    'model'
    """
    names = list(next(iter(kinds.values())))
    figure, axes = _panels(
        names, size=(2.6, 2.2), xlabel="predictive entropy, nats", ylabel="share of inputs below"
    )
    for ax, name in zip(axes, names, strict=True):
        for k, (kind, models) in enumerate(kinds.items()):
            entropy = models[name].sort().values.cpu()
            share = torch.arange(1, len(entropy) + 1) / len(entropy)
            ax.step(entropy, share, where="post", color=COLOURS[k % 8], lw=1.4, ls=LINES[k % 4], label=kind)
        ax.set_ylim(0, 1)
        ax.set_xlim(left=0)
    _legend(figure, axes[0])
    return figure


def draw_pit(values: Mapping[str, Tensor], *, cells: int = 10) -> "matplotlib.figure.Figure":
    """Draw histograms of the probability integral transform, a panel per model.

    The band holds a cell's height in 95 % of test sets where it is uniform: 1 ± 1.96 √((B − 1)/n).

    Args:
        values: From a model's name to its PIT, [n].
        cells: B.

    >>> draw_pit({"model": torch.tensor([0.1, 0.9])}).axes[0].get_xlabel()
    'F(y)'
    """
    figure, axes = _panels(list(values), size=(2.6, 2.2), xlabel="F(y)", ylabel="density")
    for ax, pit in zip(axes, values.values(), strict=True):
        n = len(pit)
        height = torch.histc(pit.double().cpu(), cells, 0, 1) * cells / n
        band = 1.96 * math.sqrt((cells - 1) / n)
        edges = torch.arange(cells + 1) / cells
        ax.stairs(height.numpy(), edges.numpy(), fill=True, color=COLOURS[0], alpha=0.6, label="outcomes")
        ax.axhspan(max(0, 1 - band), 1 + band, color="0.6", alpha=0.3, lw=0, label="95 % if calibrated")
        ax.axhline(1, color="0.4", lw=1)
        ax.set_xlim(0, 1)
    _legend(figure, axes[0])
    return figure


def draw_bands(
    x: Tensor,
    y: Tensor,
    bands: Mapping[str, tuple[Tensor, Tensor]],
    *,
    data: tuple[Tensor, Tensor] | None = None,
) -> "matplotlib.figure.Figure":
    """Draw predictions against one input: mean ± 2 standard deviations of a new outcome, and the outcomes.

    Args:
        x: Inputs, [n].
        y: Outcomes, [n].
        bands: From a model's name to means and standard deviations, [n] each.
        data: Inputs and outcomes that were trained on.

    >>> one = torch.ones(2)
    >>> draw_bands(torch.tensor([0.0, 1.0]), one, {"model": (one, one)}).axes[0].get_title()
    'model'
    """
    order = x.argsort()
    at = x[order].cpu()
    figure, axes = _panels(list(bands), size=(2.9, 2.3), xlabel="x", ylabel="y")
    for ax, (mean, std) in zip(axes, bands.values(), strict=True):
        centre, spread = mean[order].cpu(), std[order].cpu()
        ax.fill_between(at, centre - 2 * spread, centre + 2 * spread, color="0.85", lw=0, label="± 2 sd")
        ax.plot(at, centre, color=COLOURS[0], lw=1.4, label="predicted mean")
        ax.plot(at, y[order].cpu(), ".", color="0.45", ms=2, label="outcomes")
        if data is not None:
            ax.plot(*(part.flatten().cpu() for part in data), ".", color=COLOURS[1], ms=3, label="trained on")
    low, high = float(y.min()), float(y.max())
    margin = 0.6 * (high - low) or 1.0
    axes[0].set_ylim(low - margin, high + margin)
    _legend(figure, axes[0])
    return figure


def _panels(
    titles: Sequence[str], *, size: tuple[float, float], xlabel: str, ylabel: str
) -> tuple["matplotlib.figure.Figure", list["matplotlib.axes.Axes"]]:
    """A panel per title, up to five in a row, on shared axes; `size` is one panel's, in inches."""
    from matplotlib.figure import Figure

    columns = min(5, len(titles))
    rows = -(-len(titles) // columns)
    figure = Figure(figsize=(max(5.2, size[0] * columns), size[1] * rows + 0.5), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for ax in grid.flat[len(titles) :]:
        ax.set_visible(False)
    for ax in grid.flat[max(0, len(titles) - columns) : len(titles)]:  # the lowest of every column
        ax.set_xlabel(xlabel)
        ax.xaxis.set_tick_params(labelbottom=True)
    for ax in grid[:, 0]:
        ax.set_ylabel(ylabel)
    axes = list(grid.flat[: len(titles)])
    for ax, title in zip(axes, titles, strict=True):
        ax.set_title(title, fontsize=9)
        _gridded(ax)
    return figure, axes


def _gridded(axis: "matplotlib.axes.Axes") -> None:
    axis.grid(color="0.92")
    axis.set_axisbelow(True)


def _legend(figure: "matplotlib.figure.Figure", axis: "matplotlib.axes.Axes") -> None:
    handles, labels = axis.get_legend_handles_labels()
    ncols = 5 if figure.get_figwidth() > 7 else 2
    figure.legend(handles, labels, loc="outside lower center", ncols=ncols, frameon=False, fontsize=8)
