"""Where two clouds differ, as a map: the witness function of the MMD with both clouds on it."""

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.inputs import check_count, check_pair
from metrics.kernels.kernel import Kernel
from metrics.kernels.witness import mmd_witness
from metrics.plots._plane import axes_or_new, plane_of
from metrics.plots.clouds import legend_above, scatter_clouds
from metrics.plots.colours import COLOURS

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.colors

__all__ = ["draw_witness"]


def _diverging() -> "matplotlib.colors.Colormap":
    """From the reference's colour, where it outweighs, to the samples'; pale, so that their points show on it."""
    from matplotlib.colors import LinearSegmentedColormap, to_rgb

    reference, samples = (tuple((1 + part) / 2 for part in to_rgb(COLOURS[k])) for k in (1, 0))
    return LinearSegmentedColormap.from_list("witness", [reference, "white", samples])


def draw_witness(
    samples: Float[Tensor, "n d"],
    reference: Float[Tensor, "m d"],
    *,
    kernel: Kernel | None = None,
    ax: "matplotlib.axes.Axes | None" = None,
    grid: int = 80,
    names: tuple[str, str] = ("samples", "reference"),
) -> "matplotlib.axes.Axes":
    """Draw the witness f(t) = (1/n) Σ k(x_i, t) − (1/m) Σ k(y_j, t) as a map, with the clouds and a colour bar.

    The colour's ends are ± the largest |f| of the map, so that white is 0 and equal depths are equal differences.

    Args:
        samples: The cloud to judge, x, [n, d], d ≥ 2 and n ≥ 2; the map has their colour where they outweigh.
        reference: The truth, y, [m, d], m ≥ 2. For d > 2 the map is read on the plane through its mean along its two
            leading principal axes, and the clouds are projected on that plane.
        kernel: As in `mmd_witness`.
        ax: Where to draw; `None` is a new figure's. The colour bar takes its room from them.
        grid: Points of the map along each side.
        names: For the legend, which adds the sizes.

    Returns:
        The axes of the map.

    Raises:
        ValueError: Clouds that cannot be compared, fewer than two points or columns.

    >>> x, y = torch.randn(2, 50, 2, generator=torch.Generator().manual_seed(0))
    >>> axes = draw_witness(x + 1, y, grid=10)
    >>> axes.figure.axes[1].get_ylabel()
    'witness: mean k(samples, t) − mean k(reference, t)'
    """
    check_pair(samples, reference, ("samples", "reference"), least=2)
    grid = check_count(grid, "grid", least=2)
    plane = plane_of(reference)
    x, y = plane.project(samples), plane.project(reference)
    pooled = torch.cat([x, y])
    low, high = pooled.min(0).values, pooled.max(0).values
    # A constant pair of clouds still gets a map around its point.
    margin = 0.08 * (high - low).max().clamp(min=1e-6 * pooled.abs().max().clamp(min=1e-6))
    sides = [
        torch.linspace(float(low[k] - margin), float(high[k] + margin), grid, dtype=torch.float64)
        for k in (0, 1)
    ]
    across, up = torch.meshgrid(*sides, indexing="xy")
    places = plane.lift(torch.stack([across.flatten(), up.flatten()], 1).to(pooled)).to(samples.dtype)
    with torch.no_grad():
        values = mmd_witness(places, samples, reference, kernel=kernel).double().reshape(grid, grid).cpu()
    axes = axes_or_new(ax, size=(5.6, 4.4))
    largest = float(values.abs().max()) or 1.0
    picture = axes.pcolormesh(
        *(side.numpy() for side in sides),
        values.numpy(),
        cmap=_diverging(),
        vmin=-largest,
        vmax=largest,
        shading="gouraud",
        rasterized=True,
    )
    scatter_clouds(axes, x.cpu().numpy(), y.cpu().numpy(), names)
    axes.set(xlabel=plane.labels[0], ylabel=plane.labels[1])
    axes.set_aspect("equal")
    legend_above(axes)
    told = f"witness: mean k({names[0]}, t) − mean k({names[1]}, t)"
    axes.figure.colorbar(picture, ax=axes, label=told)
    return axes
