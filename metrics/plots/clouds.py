"""Samples over their reference, on a plane.

For d = 2 the plane is that of the points. For d > 2 both clouds are projected on the two leading principal axes of the
*reference*, so that a picture of another model has the same axes. A projection hides: clouds that agree in it may
differ in every other direction, which is what the measures are for.
"""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from torch import Tensor

from metrics.inputs import check_pair
from metrics.plots._plane import axes_or_new, plane_of
from metrics.plots.colours import COLOURS

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.lines

__all__ = ["draw_clouds"]

REGIONS = (0.5, 0.9)
GRID = 120


def draw_clouds(
    samples: Float[Tensor, "n d"],
    reference: Float[Tensor, "m d"],
    *,
    ax: "matplotlib.axes.Axes | None" = None,
    contours: bool = False,
    names: tuple[str, str] = ("samples", "reference"),
) -> "matplotlib.axes.Axes":
    """Draw samples over a reference, one unit as long on both axes, with limits that hold both clouds.

    Args:
        samples: The cloud to judge, [n, d], d ≥ 2.
        reference: The truth, [m, d]; for d > 2 its two leading principal axes are the picture's.
        ax: Where to draw; `None` is a new figure's.
        contours: Also draw the reference's highest-density regions that hold 50 % and 90 % of it (Hyndman 1996), by a
            Gaussian kernel estimate with Scott's bandwidth, which is wider than the truth.
        names: For the legend, which adds the sizes.

    Returns:
        The axes.

    Raises:
        ValueError: Clouds that cannot be compared, fewer than two columns; contours of a reference on a line.

    >>> import torch
    >>> x, y = torch.randn(2, 100, 5, generator=torch.Generator().manual_seed(0))
    >>> draw_clouds(x, y).get_legend_handles_labels()[1]
    ['reference (m = 100)', 'samples (n = 100)']
    """
    from matplotlib.lines import Line2D

    check_pair(samples, reference, ("samples", "reference"))
    plane = plane_of(reference)
    x, y = (plane.project(cloud).cpu().numpy() for cloud in (samples, reference))
    axes = axes_or_new(ax, size=(4.8, 4.6))
    scatter_clouds(axes, x, y, names)
    if contours:
        _draw_contours(axes, y)
    axes.set(xlabel=plane.labels[0], ylabel=plane.labels[1])
    axes.set_aspect("equal", adjustable="datalim")
    axes.grid(color="0.92")
    axes.set_axisbelow(True)
    lines = []
    if contours:
        told = " and ".join(f"{share:.0%}".replace("%", " %") for share in REGIONS)
        lines = [Line2D([], [], color="0.25", lw=1, label=f"{told} of {names[1]}")]
    legend_above(axes, *lines)
    return axes


def legend_above(axes: "matplotlib.axes.Axes", *lines: "matplotlib.lines.Line2D") -> None:
    """Put the legend above the axes, where it hides no point.

    Args:
        axes: With the labelled clouds.
        lines: What else it explains.
    """
    handles = [*axes.get_legend_handles_labels()[0], *lines]
    axes.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=2,
        fontsize=8,
        markerscale=2,
        frameon=False,
        columnspacing=1,
        handletextpad=0.4,
    )


def scatter_clouds(
    axes: "matplotlib.axes.Axes", x: np.ndarray, y: np.ndarray, names: tuple[str, str]
) -> None:
    """Draw two clouds of the plane, the reference below and lighter.

    Args:
        axes: Where to draw.
        x: Samples on the plane, [n, 2].
        y: Reference on the plane, [m, 2].
        names: Of the two, for the legend.
    """
    # Smaller points for more of them, so that a thousand still show where they are dense.
    size = float(np.clip(6000 / max(len(x), len(y)), 3, 16))
    for cloud, name, letter, colour, marker in (
        (y, names[1], "m", COLOURS[1], "s"),
        (x, names[0], "n", COLOURS[0], "o"),
    ):
        label = f"{name} ({letter} = {len(cloud)})"
        axes.scatter(*cloud.T, s=size, color=colour, marker=marker, alpha=0.6, lw=0, label=label)


def _draw_contours(axes: "matplotlib.axes.Axes", y: np.ndarray) -> None:
    from scipy.stats import gaussian_kde

    try:
        density = gaussian_kde(y.T)
    except (np.linalg.LinAlgError, ValueError):
        raise ValueError(
            f"reference must spread over the plane for contours, got {len(y)} points on a line; pass contours=False"
        ) from None
    # A region of highest density that holds a share p begins at the 1 − p quantile of the density at the points.
    levels = np.quantile(density(y.T), sorted(1 - share for share in REGIONS))
    pad = 3 * np.sqrt(np.diag(density.covariance))
    low, high = y.min(0) - pad, y.max(0) + pad
    u, v = np.meshgrid(np.linspace(low[0], high[0], GRID), np.linspace(low[1], high[1], GRID))
    heights = density(np.stack([u.ravel(), v.ravel()])).reshape(u.shape)
    axes.contour(u, v, heights, levels=levels, colors="0.25", linewidths=1)
