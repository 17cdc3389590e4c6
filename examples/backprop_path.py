"""The noisy path of mini-batches beside the full gradient's, on a plane through the landscape of the loss.

All walks begin in the same place and take as many steps of the same rate. The plane goes through the start
and through the end of the full gradient's walk (first axis); the second axis is the principal direction of what all
walks do outside that line. The contours are the loss *on* the plane; the walks are projected onto it, and the share of
their squared distance from the start that the plane holds says how far to trust the picture. A principal direction of
a walk in many dimensions shows smooth curves even where there is only diffusion, so read the picture for where the
walks go and not for their shape.
"""

import math
from dataclasses import dataclass, replace

import torch
from backprop_parts import Curves, Part, Setting, rate_of, seeded, train
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from tqdm import tqdm

from metrics.plots import COLOURS

__all__ = ["Plane", "path"]

BATCHES = (4, 32)
GRID = 41
MOMENTS = 150
DEPARTURE = 0.2
CLOSE = 0.05
"""Where on the full gradient's walk the close-up begins, and its length, in lengths of that walk."""
PALETTE = (1, 2, 0)
CHUNK = 64


@dataclass(frozen=True)
class Plane:
    """A plane of parameter space: an origin `[P]` and two orthonormal axes `[2, P]`."""

    origin: Tensor
    axes: Tensor

    @staticmethod
    def through(start: Tensor, end: Tensor, walks: Tensor) -> "Plane":
        """The plane of start, end and the principal direction of the walks `[k, P]` off the line between them."""
        first = (end - start) / (end - start).norm()
        moved = walks - start
        off = moved - (moved @ first)[:, None] * first
        second = torch.linalg.svd(off, full_matrices=False).Vh[0]
        # Once more: where the walks hardly leave the line, the singular vector does so only to rounding.
        second = second - (second @ first) * first
        # A sign of its own would make the picture a coin toss between machines.
        second = second * torch.sign(off[-1] @ second)
        return Plane(start, torch.stack([first, second / second.norm()]))

    def coordinates(self, points: Tensor) -> Tensor:
        """Project points `[k, P]` to `[k, 2]`."""
        return (points - self.origin) @ self.axes.mT

    def points(self, coordinates: Tensor) -> Tensor:
        """Place `[k, 2]` in parameter space, `[k, P]`."""
        return self.origin + coordinates @ self.axes

    def share(self, points: Tensor) -> float:
        """The share of the squared distance from the origin that lies in the plane, over all points."""
        held = self.coordinates(points).square().sum()
        return float(held / (points - self.origin).square().sum())


@dataclass(frozen=True)
class _Walks:
    """Walks `[moments, P]` by batch size from one start, their training losses, and the plane to draw them on."""

    walks: dict[int, Tensor]
    losses: dict[int, Tensor]
    plane: Plane
    steps: int

    def shares(self) -> dict[int, float]:
        return {size: self.plane.share(walk[1:]) for size, walk in self.walks.items()}


def path(setting: Setting) -> Part:
    """Walk with the full gradient and with mini-batches, and draw both on slices of the loss."""
    setting = replace(setting, model=setting.model.smooth())
    n, rate = len(setting.x), rate_of(setting.model)
    near = max(2, round(CLOSE * setting.steps))
    with tqdm(
        total=(len(BATCHES) + 1) * (setting.steps + near), desc="path", disable=not setting.bars
    ) as bar:
        whole = _explore(setting, setting.model.start(generator=seeded(setting, 40)), setting.steps, bar)
        close = _explore(setting, whole.walks[n][_at(whole, setting.steps * DEPARTURE)], near, bar)
    rows = [
        (f"{_name(size, n)}: training loss after {setting.steps} steps", f"{float(loss[-1]):.4f}")
        for size, loss in whole.losses.items()
    ]
    held = [", ".join(f"{100 * s:.0f} %" for s in found.shares().values()) for found in (whole, close)]
    rows.append(("squared distances from the start that the slice holds, whole walks", held[0]))
    rows.append(("squared distances from the start that the slice holds, close up", held[1]))
    return Part(
        title="The path of mini-batches and the path of the full gradient",
        text=f"Steps of {rate:g} ({setting.model.kind}). "
        f"Contours are the training loss on the plane through the start, the end of the full "
        f"gradient's walk and the walks' principal direction off that line, both axes in the same units. Left: "
        f"{setting.steps} steps; the plane holds {held[0]} of the walks' squared distances from the start (full "
        f"gradient first, then small batches and large). Middle: {near} steps from a point on the full gradient's "
        f"walk ({held[1]}). Right: the training loss over the images that were looked at.",
        rows=rows,
        numbers={
            name: {
                _name(size, n): {"loss": float(found.losses[size][-1]), "share": share}
                for size, share in found.shares().items()
            }
            for name, found in (("whole", whole), ("close", close))
        },
        figure=_draw(setting, whole, close),
    )


def _name(size: int, n: int) -> str:
    return f"all {n} images" if size == n else f"batches of {size}"


def _at(found: _Walks, step: float) -> int:
    return round(step / found.steps * (len(found.losses[max(found.losses)]) - 1))


def _explore(setting: Setting, start: Tensor, steps: int, bar: tqdm) -> _Walks:
    n = len(setting.x)
    walks = {size: _walk(setting, start, size, steps, bar) for size in (n, *(b for b in BATCHES if b < n))}
    plane = Plane.through(start, walks[n][-1], torch.cat(list(walks.values())))
    return _Walks(walks, {size: _losses(setting, walk) for size, walk in walks.items()}, plane, steps)


def _walk(setting: Setting, theta: Tensor, size: int, steps: int, bar: tqdm) -> Tensor:
    model, kept = setting.model, Curves()
    watch, rate, every = kept.watch(torch.clone), rate_of(model), max(1, steps // MOMENTS)
    if size < len(setting.x):
        train(
            model,
            theta,
            setting.x,
            setting.y,
            rate=rate,
            steps=steps,
            batch_size=size,
            generator=seeded(setting, 41),
            bar=bar,
            watch=watch,
            every=every,
        )
        return kept.stacked()
    for step in range(steps + 1):
        if step % every == 0 or step == steps:
            watch(step, theta)
        if step < steps:
            theta = theta - rate * model.gradient(theta, setting.x, setting.y)[1]
            bar.update(1)
    return kept.stacked()


def _losses(setting: Setting, points: Tensor) -> Tensor:
    return torch.cat([setting.model.loss(some, setting.x, setting.y) for some in points.split(CHUNK)])


def _draw(setting: Setting, whole: _Walks, close: _Walks) -> Figure:
    figure = Figure(figsize=(15, 5.6), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    n = len(setting.x)
    for axis, found in ((left, whole), (middle, close)):
        _draw_slice(axis, setting, found)
        # The noisiest first, so that it does not hide the others.
        for colour, size in zip(PALETTE, sorted(found.walks), strict=False):
            where = found.plane.coordinates(found.walks[size])
            axis.plot(*where.mT, color=COLOURS[colour], lw=1.4, label=_name(size, n))
            axis.plot(*where[-1], "o", ms=7, color=COLOURS[colour], mec="k", mew=0.8)
        axis.plot(0, 0, "k*", ms=13, label="start")
        axis.set(xlabel="towards the full gradient's end", ylabel="principal direction off that line")
    left.set_title(f"{whole.steps} steps on a plane of parameter space")
    middle.set_title(f"close up: {close.steps} steps from a point on the way")
    left.legend(loc="best", framealpha=0.9)
    for colour, size in zip(PALETTE, sorted(whole.walks), strict=False):
        loss = whole.losses[size]
        steps = torch.linspace(0, whole.steps, len(loss), dtype=torch.float64)
        right.plot(steps[1:] * size, loss[1:], color=COLOURS[colour], label=_name(size, n))
    right.set(xscale="log", yscale="log", xlabel="images looked at", ylabel="training loss")
    right.set_title("what it costs")
    right.legend(frameon=False)
    return figure


def _draw_slice(axis: Axes, setting: Setting, found: _Walks) -> None:
    where = found.plane.coordinates(torch.cat(list(found.walks.values())))
    low, high = where.amin(0), where.amax(0)
    # A square, whatever the shape of the walks.
    half, middle = 0.57 * float((high - low).max()), 0.5 * (low + high)
    x, y = (torch.linspace(float(c) - half, float(c) + half, GRID, dtype=where.dtype) for c in middle)
    values = _losses(setting, found.plane.points(torch.cartesian_prod(x, y))).view(GRID, GRID).mT.log10()
    levels = torch.linspace(float(values.min()), float(values.max()), 22)
    drawn = axis.contourf(x, y, values, levels=levels, cmap="Greys_r", alpha=0.7)
    axis.contour(x, y, values, levels=levels, colors="0.35", linewidths=0.4)
    bar = axis.figure.colorbar(drawn, ax=axis, location="bottom", shrink=0.8)
    bar.set_label("training loss")
    shown = [v * 10.0**k for k in range(-4, 3) for v in (1, 2, 5)]
    ticks = [v for v in shown if float(values.min()) <= math.log10(v) <= float(values.max())]
    bar.set_ticks([math.log10(v) for v in ticks], labels=[f"{v:g}" for v in ticks])
    axis.set_aspect("equal")
