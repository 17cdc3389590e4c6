"""The page of pictures: images and their divergences, supports that move apart, S_ε over ε, and what each costs.

Each function draws on a canvas, which is a figure of its own or a part of the page.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from torch import Tensor

from metrics.plots import COLOURS, MARKERS

__all__ = ["Canvas", "draw_between", "draw_costs", "draw_images", "draw_supports"]

Canvas = Figure | SubFigure
Interval = tuple[float, float]
"""Mean and standard error."""
Shown = tuple[int, Tensor, Sequence[tuple[str, Tensor, Mapping[str, float]]]]
"""A digit's class, its ink, and what it is compared with: name, ink, divergences."""
LN2 = math.log(2)
LINES = {"JS": COLOURS[3], "W₂": COLOURS[0], "√S_ε": COLOURS[2], "MMD²": COLOURS[1], "energy D²": COLOURS[4]}


def draw_images(
    canvas: Canvas,
    shown: Sequence[Shown],
    found: Mapping[str, Sequence[Mapping[str, float]]],
    floors: Tensor,
    floored: Tensor,
) -> None:
    """Digits beside what they are compared with, all pairs in the plane of JS and W₂, and KL over a floor."""
    canvas.suptitle("An image as a distribution of ink: what is near it?", fontsize="x-large")
    above, below = canvas.subfigures(2, 1, squeeze=False, height_ratios=(1.75, 1), hspace=0.02)[:, 0]
    columns = 1 + len(shown[0][2])
    for row, (axes, (_, image, others)) in enumerate(
        zip(above.subplots(len(shown), columns, squeeze=False), shown, strict=True)
    ):
        _image(axes[0], image)
        axes[0].set_title("an image" if row == 0 else "")
        for axis, (name, other, scores) in zip(axes[1:], others, strict=True):
            _image(axis, other)
            axis.set_title(name if row == 0 else "")
            axis.set_xlabel(
                f"KL {_number(scores['KL'])}   JS {scores['JS']:.2f}\nW₂ {scores['W2']:.2f}   √S {scores['root S']:.2f}"
            )
    plane, floor = below.subplots(1, 2)
    for (name, scores), colour, marker in zip(found.items(), COLOURS, MARKERS, strict=False):
        x, y = ([s[key] for s in scores] for key in ("JS", "W2"))
        plane.scatter(x, y, s=22, color=colour, marker=marker, alpha=0.7, lw=0, label=name)
    plane.axvline(LN2, color="black", lw=0.8, ls=":")
    plane.annotate("ln 2", (LN2, 0), ha="right", va="bottom")
    plane.set(xlabel="JS, nats", ylabel="exact W₂, pixels", title="every digit against its five comparisons")
    plane.legend(frameon=False)
    for name, curve, colour in zip(
        ("moved by a pixel", "another digit"), floored, COLOURS[2:5:2], strict=True
    ):
        floor.semilogx(floors, curve, "o-", color=colour, label=name)
    floor.set(xlabel="floor δ under every pixel of q", ylabel="KL(p‖q + δ), nats")
    floor.set_title("δ makes KL finite, and is what it then tells")
    floor.legend(frameon=False)


def draw_supports(
    canvas: Canvas,
    squares: Mapping[str, Sequence[float]],
    digits: Mapping[str, Any],
    pictures: Sequence[Tensor],
) -> None:
    """Divergences over the distance, their slopes, and a digit that leaves itself."""
    canvas.suptitle("Two supports that move apart", fontsize="x-large")
    top, bottom = canvas.subfigures(2, 1, squeeze=False, height_ratios=(3.4, 1), hspace=0.02)[:, 0]
    values, slopes, moved = top.subplots(1, 3)
    theta = squares["distance"]
    for (name, colour), marker in zip(LINES.items(), MARKERS, strict=False):
        # W₂ and √S_ε are one line.
        thick = 4 if name == "W₂" else 1.5
        style = {"color": colour, "marker": marker, "markersize": 3, "lw": thick, "label": name}
        values.plot(theta, squares[name], **style)
        slopes.semilogy(theta, [max(abs(s), 1e-18) for s in squares[f"{name} slope"]], **style)
    values.annotate("KL = ∞ for every θ > 0", (0.97, 0.03), xycoords="axes fraction", ha="right")
    values.axhline(LN2, color="black", lw=0.8, ls=":")
    values.set(
        xlabel="distance θ of two unit squares", ylabel="divergence", title="JS and MMD saturate, W grows"
    )
    values.legend(frameon=False)
    slopes.set(xlabel="distance θ of two unit squares", ylabel="|slope in θ|", title="and its gradient lives")
    slopes.set_ylim(1e-9, 10)
    slopes.annotate("JS: 0 from θ = 1 on", (0.03, 0.03), xycoords="axes fraction")
    steps = digits["pixels"]
    for axis, key, colour in ((moved, "W2", COLOURS[0]), (moved.twinx(), "JS", COLOURS[3])):
        mean, error = zip(*digits[key], strict=True)
        axis.errorbar(steps, mean, yerr=error, color=colour, marker="o", capsize=3)
        label = {"W2": "exact W₂, pixels", "JS": "JS, nats"}[key]
        axis.set_ylabel(label, color=colour)
        if key == "JS":
            axis.axhline(LN2, color=colour, lw=0.8, ls=":")
    moved.set(xlabel="pixels by which a digit is moved", title="real digits: mean ± s.e.")
    for axis, picture, step in zip(bottom.subplots(1, 3), pictures, (0, 4, 8), strict=True):
        _image(axis, pictures[0] + picture)
        axis.set_xlabel(f"a digit and itself moved by {step} pixels")


def draw_between(canvas: Canvas, curves: Mapping[str, Mapping[str, Any]], count: int) -> None:
    """S_ε over ε with both limits, for two classes and for two halves of one."""
    canvas.suptitle(
        f"S_ε goes from transport to MMD: clouds of {count} digits, 64 dimensions", fontsize="x-large"
    )
    limits = {1: ("W₁", "½ energy D²"), 2: ("W₂²", "‖Δ mean‖²")}
    for axis, p in zip(canvas.subplots(1, 2), (1, 2), strict=True):
        for name, colour in (("3 and 8", COLOURS[0]), ("3 and 3", COLOURS[1])):
            curve = curves[f"p = {p}, {name}"]
            mean, error = zip(*curve["S"], strict=True)
            axis.errorbar(curve["eps"], mean, yerr=error, color=colour, marker="o", capsize=3, label=name)
            for key, style in (("near", "--"), ("far", ":")):
                axis.axhline(curve[key][0], color=colour, ls=style, lw=1)
        near, far = limits[p]
        axis.set(
            xscale="log",
            xlabel="ε / mean cost",
            ylabel=f"S_ε, cost ‖x − y‖{'²' if p == 2 else ''}",
            ylim=(0, None),
        )
        axis.set_title(f"from {near} (dashed) to {far} (dotted)", fontsize="medium")
        axis.legend(frameon=False)


def draw_costs(
    canvas: Canvas, sizes: Sequence[int], seconds: Mapping[str, Sequence[Sequence[float]]]
) -> None:
    """Median seconds over n, the range of the runs as a bar."""
    canvas.suptitle("What each costs", fontsize="x-large")
    axis = canvas.subplots()
    for (name, runs), colour, marker in zip(seconds.items(), COLOURS, MARKERS, strict=False):
        middle = [median(times) for times in runs]
        low = [m - min(times) for m, times in zip(middle, runs, strict=True)]
        high = [max(times) - m for m, times in zip(middle, runs, strict=True)]
        axis.errorbar(sizes, middle, yerr=(low, high), color=colour, marker=marker, capsize=3, label=name)
    axis.set(xscale="log", yscale="log", xlabel="points in each cloud, n", ylabel="processor seconds")
    axis.set_xticks(sizes, [str(n) for n in sizes])
    axis.minorticks_off()
    axis.legend(frameon=False)


def _image(axis: Axes, image: Tensor) -> None:
    axis.imshow(image.numpy(), cmap="gray_r", vmin=0, vmax=16)
    axis.set(xticks=[], yticks=[])


def _number(value: float) -> str:
    return "∞" if math.isinf(value) else f"{value:.2f}"
