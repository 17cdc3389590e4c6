"""The page of pictures: folds, regions, a circle through layers, and a decision boundary."""

import math
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from torch import Tensor

from metrics.geometry import BoxCount, PlaneRegions, draw_regions
from metrics.plots import COLOURS

__all__ = ["draw_boundary", "draw_circle", "draw_folding", "draw_regions_page"]


def draw_folding(
    counts: Mapping[str, Sequence[int]], sheets: Sequence[PlaneRegions], dragon: Tensor
) -> Figure:
    """Counts over folds, the two sheets, and the dragon curve."""
    figure = Figure(figsize=(11, 10.5), layout="constrained")
    (left, right), (below, last) = figure.subplots(2, 2)
    for (name, values), colour, marker in zip(counts.items(), COLOURS, "os", strict=False):
        left.semilogy(range(1, len(values) + 1), values, marker=marker, color=colour, label=name)
    left.set(xlabel="folds n", ylabel="linear regions, counted", title="Side by side, or one after another")
    left.legend(frameon=False)
    for axis, sheet, title in zip(
        (right, below), sheets, ("8 folds in parallel", "3 layers that fold both axes"), strict=True
    ):
        draw_regions(sheet, ax=axis)
        axis.set_title(title, pad=32)
    last.plot(*dragon.T, color=COLOURS[0], lw=0.8)
    last.set_aspect("equal")
    last.set_axis_off()
    last.set_title(f"A strip folded {int(math.log2(len(dragon) - 1))} times, opened to right angles")
    return figure


def draw_regions_page(panels: Mapping[str, PlaneRegions]) -> Figure:
    """Random networks above, the same ones trained below."""
    columns = len(panels) // 2
    figure = Figure(figsize=(4.3 * columns, 10.2), layout="constrained")
    for axis, (name, found) in zip(figure.subplots(2, columns).flatten(), panels.items(), strict=True):
        draw_regions(found, ax=axis)
        axis.set_title(name, fontsize=10, pad=46)
        axis.set(xticks=(-1, 0, 1), yticks=(-1, 0, 1))
    return figure


def draw_circle(
    pictures: Sequence[Tensor],
    theory: Sequence[float],
    found: Mapping[int, tuple[Sequence[float], Sequence[float]]],
) -> Figure:
    """A circle in some layers; total curvature over depth and over width, beside mean field.

    Args:
        pictures: The circle in layers 1 … depth.
        theory: Total curvature over 2π by layer.
        found: By width, the mean and its standard error by layer.
    """
    depth = len(theory)
    shown = sorted({1 + round(k * (depth - 1) / 5) for k in range(6)})
    figure = Figure(figsize=(13, 7.4), layout="constrained")
    above, beneath = figure.subfigures(2, 1, squeeze=False, height_ratios=(1, 1.6))[:, 0]
    for axis, layer in zip(above.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        axis.plot(*pictures[layer - 1].T, color=COLOURS[0], lw=0.6)
        axis.set_title(f"layer {layer}")
        axis.set_axis_off()
        axis.set_aspect("equal")
    left, right = beneath.subplots(1, 2, sharey=True)
    for (width, (mean, stderr)), colour in zip(found.items(), COLOURS, strict=False):
        left.errorbar(range(1, depth + 1), mean, yerr=stderr, color=colour, label=f"width {width}", capsize=2)
    left.semilogy(range(1, depth + 1), theory, "k--", label="mean field, infinite width")
    left.set(xlabel="layer", ylabel="total curvature / 2π", title="Over depth: exponential")
    left.legend(frameon=False, fontsize=9)
    for layer, colour in zip(shown[1:], COLOURS, strict=False):
        values, errors = zip(*((m[layer - 1], e[layer - 1]) for m, e in found.values()), strict=True)
        right.errorbar(
            list(found), values, yerr=errors, marker="o", color=colour, label=f"layer {layer}", capsize=2
        )
        right.axhline(theory[layer - 1], color=colour, ls="--", lw=1)
    right.set_xscale("log")
    right.set_xticks(list(found), [str(w) for w in found])
    right.minorticks_off()
    right.set(xlabel="width", title="Over width: levels off at mean field (dashed)")
    right.legend(frameon=False, fontsize=9)
    return figure


def draw_boundary(masks: Mapping[int, Tensor], counts: Mapping[int, BoxCount]) -> Figure:
    """Boundaries by depth, their box counts and local slopes."""
    figure = Figure(figsize=(12, 8), layout="constrained")
    above, beneath = figure.subfigures(2, 1, squeeze=False)[:, 0]
    for axis, (depth, mask) in zip(
        above.subplots(1, len(masks), squeeze=False)[0], masks.items(), strict=True
    ):
        axis.imshow(
            mask.T.numpy(), origin="lower", cmap="gray_r", extent=(-1, 1, -1, 1), interpolation="antialiased"
        )
        axis.set(title=f"{depth} layers", xlabel="u", ylabel="v")
    left, right = beneath.subplots(1, 2)
    sides = next(iter(counts.values())).scales
    for (depth, found), colour in zip(counts.items(), COLOURS, strict=False):
        left.loglog(
            found.scales, found.counts, "o-", color=colour, label=f"{depth} layers: {found.dimension:.2f}"
        )
        middle = [math.sqrt(a * b) for a, b in zip(found.scales, found.scales[1:], strict=False)]
        right.semilogx(middle, found.local_slopes, "o-", color=colour, label=f"{depth} layers")
    for axis in (left, right):
        axis.set_xticks(sides, [str(side) for side in sides])
        axis.minorticks_off()
    right.axhline(1, color="black", ls="--", lw=1, label="true dimension, 1")
    left.set(
        xlabel="side of a box in pixels",
        ylabel="boxes that meet the boundary",
        title="Box counts and fitted slope",
    )
    right.set(
        xlabel="side of a box in pixels", ylabel="local slope", title="Local slopes: no single dimension"
    )
    left.legend(frameon=False)
    right.legend(frameon=False)
    return figure
