"""The page of pictures: folds, regions, a circle through layers, and a decision boundary.

Each function draws on a canvas, which is a figure of its own or a part of the page.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from metrics.geometry import PlaneRegions, draw_regions
from metrics.plots import COLOURS, MARKERS

__all__ = [
    "Canvas",
    "Circles",
    "Panels",
    "draw_boundary",
    "draw_circles",
    "draw_folding",
    "draw_panels",
]

Canvas = Figure | SubFigure
Interval = tuple[float, float]
"""Mean and standard error."""
Intervals = tuple[Sequence[float], Sequence[float]]
"""Means and their standard errors."""
HAIR = 0.5
"""One width for the lines of all panels, so that what looks denser is denser."""


@dataclass
class Panels:
    """Random and trained networks of one comparison, by depth.

    Attributes:
        shared: What they have in common.
        names: What stands over a column.
        shown: The first network's regions, random and trained.
        counts: How many regions, random and trained, over draws.
        scales: N²/2, N their neurons.
    """

    shared: str
    names: dict[int, str] = field(default_factory=dict)
    shown: dict[int, tuple[PlaneRegions, PlaneRegions]] = field(default_factory=dict)
    counts: dict[int, tuple[Interval, Interval]] = field(default_factory=dict)
    scales: dict[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Circles:
    """A circle in layers 1, 2, …, its total curvature over 2π in theory, and found by width and layer."""

    pictures: Sequence[Tensor]
    theory: Sequence[float]
    found: Mapping[int, Intervals]


def draw_folding(
    canvas: Canvas,
    counts: Mapping[str, tuple[Sequence[int], Sequence[int]]],
    sheets: Sequence[PlaneRegions],
    dragon: Tensor,
) -> None:
    """Counts over folds beside their formulas, the two sheets, and the dragon curve."""
    canvas.suptitle("Networks built to fold: side by side or one after another", fontsize="x-large")
    (left, right), (below, last) = canvas.subplots(2, 2)
    for (name, (counted, formula)), colour, marker in zip(counts.items(), COLOURS, MARKERS, strict=False):
        folds = range(1, len(counted) + 1)
        left.semilogy(folds, formula, color=colour, label=name)
        left.semilogy(folds, counted, marker, color=colour)
    left.set(xlabel="folds n", ylabel="linear regions", box_aspect=1)
    left.set_title("counted (markers) and formulas (lines)")
    left.legend(frameon=False)
    for axis, sheet, name in zip(
        (right, below), sheets, ("8 folds side by side", "3 layers that fold both axes"), strict=True
    ):
        _plane(axis, sheet, 1.2)
        axis.set(title=f"{name}: {sheet.count} regions", xlabel="u", ylabel="v")
    below.legend(handles=_layers(3), loc="upper right", framealpha=1, fontsize="small")
    last.plot(*dragon.T, color=COLOURS[0], lw=0.8)
    last.set_aspect("equal")
    last.set_axis_off()
    last.set_title(f"a strip folded {int(math.log2(len(dragon) - 1))} times,\nopened to right angles")


def draw_panels(canvas: Canvas, panels: Panels) -> None:
    """Draw random networks above, the same ones trained below, and the counts beside them."""
    canvas.suptitle(f"Linear regions in a square of the input plane at {panels.shared}", fontsize="x-large")
    columns = len(panels.shown)
    pictures, beside = canvas.subfigures(1, 2, squeeze=False, width_ratios=(columns, 1.5))[0]
    grid = pictures.subplots(2, columns, sharex=True, sharey=True, squeeze=False)
    for column, (depth, pair) in enumerate(panels.shown.items()):
        for row, (found, state) in enumerate(zip(pair, ("random", "trained"), strict=True)):
            axis = grid[row, column]
            _plane(axis, found, HAIR)
            head = f"{panels.names[depth]}\n" if row == 0 else ""
            axis.set_title(f"{head}{state}: {found.count:,} regions")
            # Not at the ends, where the labels of neighbours would meet.
            axis.set(xticks=(-0.5, 0, 0.5), yticks=(-0.5, 0, 0.5))
            axis.set(xlabel="u" if row else "", ylabel="" if column else "v")
    handles = _layers(max(panels.shown))
    pictures.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    axis = beside.subplots()
    for state, name in enumerate(("random", "trained")):
        mean, stderr = zip(*(pair[state] for pair in panels.counts.values()), strict=True)
        axis.errorbar(
            list(panels.counts),
            mean,
            yerr=stderr,
            marker=MARKERS[state],
            color=COLOURS[state],
            capsize=3,
            label=f"{name}, mean ± s.e.",
        )
    axis.plot(*zip(*panels.scales.items(), strict=True), "k--", label="N²/2, N neurons")
    axis.set_yscale("log")
    low, high = axis.get_ylim()
    # At least two decades, so that a flat curve looks flat.
    middle, half = math.sqrt(low * high), max(10.0, math.sqrt(high / low))
    axis.set(ylim=(middle / half, middle * half), xticks=list(panels.counts))
    axis.set(xlabel="hidden layers", ylabel="linear regions", title=f"at {panels.shared}")
    axis.legend(frameon=False, fontsize="small")


def draw_circles(canvas: Canvas, circles: Circles) -> None:
    """Draw a circle in some layers; total curvature over depth and over width, beside mean field."""
    canvas.suptitle(
        "A circle through random tanh networks: its curvature grows with depth, not with width",
        fontsize="x-large",
    )
    depth = len(circles.theory)
    shown = sorted({1, *(round(k * depth / 5) for k in range(1, 6))} & set(range(1, depth + 1)))
    above, beneath = canvas.subfigures(2, 1, squeeze=False, height_ratios=(1, 1.7))[:, 0]
    for axis, layer in zip(above.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        axis.plot(*circles.pictures[layer - 1].T, color=COLOURS[0], lw=0.6)
        axis.set_title(f"layer {layer}", y=1)
        axis.set_axis_off()
        axis.set_aspect("equal", adjustable="datalim")
    left, right = beneath.subplots(1, 2, sharey=True)
    for (width, (mean, stderr)), colour, marker in zip(circles.found.items(), COLOURS, MARKERS, strict=False):
        layers = range(1, depth + 1)
        left.errorbar(
            layers, mean, yerr=stderr, color=colour, marker=marker, ms=4, label=f"width {width}", capsize=2
        )
    left.semilogy(range(1, depth + 1), circles.theory, "k--", label="mean field, infinite width")
    left.set(xlabel="layer", ylabel="total curvature / 2π", title="over depth: exponential (mean ± s.e.)")
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    left.legend(frameon=False)
    for layer, colour, marker in zip(shown[1:], COLOURS, MARKERS, strict=False):
        values, errors = zip(*((m[layer - 1], e[layer - 1]) for m, e in circles.found.values()), strict=True)
        right.errorbar(list(circles.found), values, yerr=errors, marker=marker, color=colour, capsize=2)
        right.axhline(circles.theory[layer - 1], color=colour, ls="--", lw=1)
        right.annotate(
            f"layer {layer}",
            (1.01, values[-1]),
            xycoords=("axes fraction", "data"),
            color=colour,
            va="center",
        )
    right.set_xscale("log")
    right.set_xticks(list(circles.found), [str(w) for w in circles.found])
    right.minorticks_off()
    right.set(xlabel="width", title="over width: levels off at mean field (dashed)")


def draw_boundary(
    canvas: Canvas,
    masks: Mapping[int, Tensor],
    boxes: Mapping[int, tuple[Sequence[int], Intervals, Intervals, Interval]],
) -> None:
    """Draw boundaries by depth, and over draws their box counts and local slopes.

    Args:
        canvas: Where to draw.
        masks: One picture for each depth.
        boxes: For each depth the sides, the counts, the local slopes, and the fitted slope.
    """
    canvas.suptitle("Decision boundaries of random tanh networks: rough on some scales", fontsize="x-large")
    above, beneath = canvas.subfigures(2, 1, squeeze=False, height_ratios=(1, 1.1))[:, 0]
    for axis, (depth, mask) in zip(
        above.subplots(1, len(masks), squeeze=False)[0], masks.items(), strict=True
    ):
        axis.imshow(
            mask.T.numpy(), origin="lower", cmap="gray_r", extent=(-1, 1, -1, 1), interpolation="antialiased"
        )
        axis.set(title=f"{depth} layers", xlabel="u", xticks=(-1, 0, 1), yticks=(-1, 0, 1))
        axis.set_ylabel("v", labelpad=-6)
    left, right = beneath.subplots(1, 2)
    for (depth, (sides, counts, slopes, fitted)), colour, marker in zip(
        boxes.items(), COLOURS, MARKERS, strict=False
    ):
        style = {"marker": marker, "color": colour, "capsize": 2}
        label = f"{depth} layers: slope {fitted[0]:.2f} ± {fitted[1]:.2f}"
        left.errorbar(sides, counts[0], yerr=counts[1], label=label, **style)
        between = [math.sqrt(a * b) for a, b in pairwise(sides)]
        right.errorbar(between, slopes[0], yerr=slopes[1], label=f"{depth} layers", **style)
        for axis in (left, right):
            axis.set_xscale("log")
            axis.set_xticks(sides, [str(side) for side in sides])
            axis.minorticks_off()
    left.set_yscale("log")
    right.axhline(1, color="black", ls="--", lw=1, label="true dimension, 1")
    left.set(
        xlabel="side of a box in pixels",
        ylabel="boxes that meet the boundary",
        title="box counts, mean ± s.e.",
    )
    right.set(xlabel="side of a box in pixels", ylabel="local slope", title="the slope depends on the scale")
    left.legend(frameon=False, loc="lower left")
    right.legend(frameon=False)


def _plane(axis: Axes, found: PlaneRegions, linewidth: float) -> None:
    draw_regions(found, linewidth=linewidth, legend=False, ax=axis)
    axis.set(xticks=(-1, 0, 1), yticks=(-1, 0, 1))


def _layers(depth: int) -> list[Line2D]:
    return [Line2D([], [], color=COLOURS[k], lw=2, label=f"layer {k + 1}") for k in range(depth)]
