"""A picture of the linear regions in a plane: every layer's lines in its colour, the decision boundary over them."""

import math
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.geometry.boundary import DecisionBoundary
from metrics.geometry.plane import PlaneRegions
from metrics.plots.colours import COLOURS

if TYPE_CHECKING:
    import matplotlib.axes

__all__ = ["draw_regions"]

MANY = 2000
"""Above so many cells a vector graphic keeps the lines as a picture."""
THICK, THIN = 1.2, 0.3
"""Lines of few cells and of very many, in points."""


def draw_regions(
    regions: PlaneRegions,
    *,
    boundary: DecisionBoundary | None = None,
    values: Float[Tensor, " cells"] | None = None,
    label: str = "",
    linewidth: float | None = None,
    legend: bool = True,
    ax: "matplotlib.axes.Axes | None" = None,
) -> "matplotlib.axes.Axes":
    """Draw the cells of a plane by the layer that cuts them.

    Args:
        regions: From `linear_regions_in_plane`.
        boundary: From `decision_boundary`, drawn in black.
        values: One number per cell to fill it with, such as the norm of its slope; a colour bar tells the scale.
        label: Of the values, for the colour bar.
        linewidth: In points, for panels that stand side by side. `None` follows the density: 20 / √cells, between 0.3
            and 1.2, so that lines keep their share of a cell.
        legend: Whether to name the layers' colours and tell the count, above the axes.
        ax: Where to draw; `None` is a new figure's.

    Returns:
        The axes, with equal units along both coordinates.

    Raises:
        ValueError: Values that are not one per cell.

    >>> from metrics.geometry.plane import linear_regions_in_plane
    >>> fold = torch.nn.Sequential(torch.nn.Identity(), torch.nn.ReLU())
    >>> axes = draw_regions(linear_regions_in_plane(fold, torch.zeros(2), torch.eye(2), (-1, 1, -1, 1)))
    >>> axes.get_legend().get_title().get_text()
    '4 linear regions'
    """
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    axes = Figure(figsize=(5.4, 5.3), layout="constrained").subplots() if ax is None else ax
    points = regions.vertices.numpy()
    small = regions.count > MANY
    if values is not None:
        _fill(axes, regions, values, label)
    drawn, handles = regions.edges.numpy(), []
    depth = int(regions.layers.max())
    width = min(THICK, max(THIN, 20 / math.sqrt(regions.count))) if linewidth is None else linewidth
    # The first layer's lines are the longest: they lie below, so that later ones show where they end on them.
    for layer in range(1, depth + 1):
        lines = points[drawn[(regions.layers == layer).numpy()]]
        colour = _colour(layer, depth)
        axes.add_collection(LineCollection(list(lines), colors=[colour], linewidths=width, rasterized=small))
        handles.append(Line2D([], [], color=colour, lw=1.6, label=f"layer {layer}"))
    if boundary is not None:
        segments = list(boundary.segments.numpy())
        axes.add_collection(LineCollection(segments, colors=["black"], linewidths=1.8, capstyle="round"))
        handles.append(Line2D([], [], color="black", lw=1.8, label="decision boundary"))
    low, high = points.min(0), points.max(0)
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), xlabel="u", ylabel="v")
    axes.set_aspect("equal")
    if legend:
        axes.legend(
            handles=handles,
            title=f"{regions.count:,} linear region{'s' if regions.count > 1 else ''}",
            loc="lower center",
            bbox_to_anchor=(0.5, 1.0),
            ncols=max(1, min(4, len(handles))),
            fontsize=8,
            frameon=False,
            handlelength=1.4,
        )
    return axes


def _colour(layer: int, depth: int) -> str:
    """The colour of a layer's lines: Okabe & Ito's for a few layers, an even scale for many."""
    import matplotlib as mpl
    from matplotlib.colors import to_hex

    few = COLOURS[:-2]
    return (
        few[layer - 1]
        if depth <= len(few)
        else to_hex(mpl.colormaps["viridis"](0.9 * (layer - 1) / (depth - 1)))
    )


def _fill(axes: "matplotlib.axes.Axes", regions: PlaneRegions, values: Tensor, label: str) -> None:
    import matplotlib as mpl
    from matplotlib.collections import PolyCollection
    from matplotlib.colors import ListedColormap

    if not isinstance(values, Tensor) or values.shape != (regions.count,):
        came = list(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise ValueError(f"values must have one entry per cell, [{regions.count}], got {came}")
    corners = regions.vertices.numpy()
    polygons = [corners[cell.numpy()] for cell in regions.cells]
    # Pale, so that the lines show on every value.
    pale = mpl.colormaps["Greys"](torch.linspace(0.0, 0.55, 256).numpy())
    picture = PolyCollection(
        polygons,
        array=values.detach().double().numpy(),
        cmap=ListedColormap(pale),
        edgecolors="none",
        rasterized=True,
        antialiaseds=False,
    )
    axes.add_collection(picture)
    beside = axes.inset_axes((1.03, 0, 0.04, 1))  # as high as the axes, which keep their aspect
    axes.figure.colorbar(picture, cax=beside, label=label)
