"""The figures of the GAN example: samples beside the truth, and training curves."""

from collections.abc import Mapping

import torch
from matplotlib.figure import Figure
from torch import Tensor

from gan import Data
from gan.history import History
from metrics.plots import COLOURS

__all__ = ["draw_curves", "draw_samples"]

COLUMNS, ROWS = 12, 3


def draw_samples(samples: Mapping[str, Tensor], data: Data) -> Figure:
    """Samples of every loss beside the held-out truth: images as a sheet, points of the plane as clouds."""
    panels = {"held-out": data.held_out, **samples}
    if not data.is_image:
        return _clouds(panels)
    figure = Figure(figsize=(7, 1.95 * len(panels)), layout="constrained")
    axes = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
    for axis, (name, images) in zip(axes, panels.items(), strict=True):
        pick = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[: ROWS * COLUMNS]
        axis.imshow(_sheet(_pictures(images[pick], data)).numpy(), cmap="gray_r", vmin=0, vmax=1)
        axis.set_title(name, fontsize=10, loc="left")
        axis.set_axis_off()
    return figure


def draw_curves(histories: Mapping[str, History]) -> Figure:
    """Both players' losses over the steps, smoothed; a column per loss function, since their units differ."""
    figure = Figure(figsize=(3.4 * len(histories), 3.2), layout="constrained")
    axes = figure.subplots(1, len(histories), squeeze=False)[0]
    for axis, (name, history) in zip(axes, histories.items(), strict=True):
        curves = {"critic": history.critic_loss, "generator": history.generator_loss}
        for (player, values), colour in zip(curves.items(), COLOURS, strict=False):
            kept = torch.tensor(values)
            where = kept.isfinite().nonzero()[:, 0]
            if len(where):
                axis.plot(where, _smooth(kept[where]), color=colour, lw=1.2, label=player)
        axis.set_title(name, fontsize=10)
        axis.set_xlabel("generator step", fontsize=9)
        axis.tick_params(labelsize=8)
        axis.legend(fontsize=8, frameon=False)
    axes[0].set_ylabel("loss (moving mean)", fontsize=9)
    return figure


def _pictures(images: Tensor, data: Data) -> Tensor:
    """Pictures [n, c, h, w] with numbers in [0, 1]."""
    if images.ndim == 2:
        assert data.image_shape is not None
        images = images.view(len(images), 1, *data.image_shape)
    return images.float() / 255 if images.dtype == torch.uint8 else (images.clamp(-1, 1) + 1) / 2


def _sheet(images: Tensor) -> Tensor:
    """Rows of pictures as one, [height, width] if grey and else [height, width, 3], a frame around each."""
    _, channels, height, width = images.shape
    rows = -(-len(images) // COLUMNS)
    # Grey ones are drawn dark on light, where paper is 0.
    blank = images.new_full((rows * COLUMNS, channels, height + 2, width + 2), 0.0 if channels == 1 else 1.0)
    blank[: len(images), :, 1:-1, 1:-1] = images
    grid = blank.view(rows, COLUMNS, channels, height + 2, width + 2).permute(0, 3, 1, 4, 2)
    sheet = grid.reshape(rows * (height + 2), COLUMNS * (width + 2), channels)
    return sheet[:, :, 0] if channels == 1 else sheet


def _clouds(panels: Mapping[str, Tensor]) -> Figure:
    figure = Figure(figsize=(2.9 * len(panels), 3.1), layout="constrained")
    axes = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
    for axis, (name, points) in zip(axes, panels.items(), strict=True):
        axis.scatter(*points[:2000].T, s=3, alpha=0.4, color=COLOURS[0], lw=0)
        axis.set_title(name, fontsize=10)
        axis.set_aspect("equal")
    # A generator that left the plane's frame must not shrink the truth to a dot.
    reach = 1.4 * float(panels["held-out"].abs().max())
    axes[0].set_xlim(-reach, reach)
    axes[0].set_ylim(-reach, reach)
    return figure


def _smooth(values: Tensor) -> Tensor:
    width = max(1, len(values) // 50)
    padded = torch.cat([values[:1].expand(width - 1), values])
    return padded.unfold(0, width, 1).mean(1)
