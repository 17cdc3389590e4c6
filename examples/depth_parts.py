"""The parts of the lecture on depth and width: what each measures, its rows of the table, and its picture."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from depth_figures import Canvas, Circles, Panels, draw_boundary, draw_circles, draw_folding, draw_panels
from depth_folding import dragon_curve, parallel_regions, plane_folds, successive_regions
from depth_measures import (
    boundary_mask,
    boundary_scales,
    carried_circle,
    curvature_ratios,
    network,
    parameters,
    regions,
    train,
    width_at_equal_neurons,
    width_at_equal_parameters,
)
from torch import Generator, Tensor

from metrics.estimate import with_error
from metrics.geometry import MeanField

__all__ = [
    "EQUAL_NEURONS",
    "EQUAL_PARAMETERS",
    "Comparison",
    "Part",
    "Row",
    "Setting",
    "boundary",
    "curvature",
    "folding",
    "plane_regions",
]

FOLDS, BOUNDARIES = 14, (2, 5, 8)
TANH = MeanField(torch.tanh, 4.0, 0.3)
"""The chaotic phase of Poole et al. 2016, σw = 4 and σb = 0.3."""


@dataclass(frozen=True)
class Setting:
    """What every part is given.

    Attributes:
        draws: Random networks per row of the table.
        steps: Of training.
        depths: Hidden layers of the ReLU networks whose regions are counted.
        widths: Of the tanh networks that carry the circle, at least two, ascending.
        layers: How many of them carry it, at least three.
        pixels: Side of the boundary's picture.
        seed: Of all networks.
    """

    draws: int
    steps: int
    depths: Sequence[int]
    widths: Sequence[int]
    layers: int
    pixels: int
    seed: int

    def generator(self, stream: int) -> Generator:
        """A generator of the run's seed and of what it is for."""
        return torch.Generator().manual_seed(10000 * self.seed + stream)


class Row(NamedTuple):
    """A line of the table; `draws` tells how many networks a mean ± standard error is over."""

    what: str
    where: str
    found: str
    draws: str
    theory: str


@dataclass(frozen=True)
class Part:
    """What a part found: numbers for results.json, rows for the table, and its picture of `size` inches."""

    numbers: dict[str, object]
    rows: list[Row]
    draw: Callable[[Canvas], None]
    size: tuple[float, float]


@dataclass(frozen=True)
class Comparison:
    """What all networks of a comparison share, and the width that gives it to a depth."""

    title: str
    width: Callable[[int], int]
    stream: int


EQUAL_PARAMETERS = Comparison("equal parameters", width_at_equal_parameters, 0)
EQUAL_NEURONS = Comparison("equal neurons", width_at_equal_neurons, 100)


def folding(_: Setting) -> Part:
    """Count what folds make, beside the formulas."""
    parallel = [parallel_regions(n).count for n in range(1, FOLDS + 1)]
    successive = [successive_regions(n) for n in range(1, FOLDS + 1)]
    plane = [plane_folds(n).count for n in range(1, 6)]
    arranged, doubled = zip(*((n * (n + 1) // 2 + 1, 2**n) for n in range(1, FOLDS + 1)), strict=True)
    some = (2, 6, 10, 14)
    rows = [_exact("parallel folds, plane", f"n = {n}", parallel[n - 1], arranged[n - 1]) for n in some]
    rows += [_exact("successive folds, line", f"n = {n}", successive[n - 1], doubled[n - 1]) for n in some]
    rows += [_exact("layers that fold both axes", f"L = {n}", plane[n - 1], 4**n) for n in (1, 3, 5)]
    counts = {
        "side by side: n(n+1)/2 + 1": (parallel, arranged),
        "one after another: 2ⁿ": (successive, doubled),
    }
    sheets = parallel_regions(8), plane_folds(3)
    return Part(
        {"parallel": parallel, "successive": successive, "plane": plane},
        rows,
        lambda canvas: draw_folding(canvas, counts, sheets, dragon_curve(12)),
        (11, 11),
    )


def plane_regions(setting: Setting, equal: Comparison) -> Part:
    """Count the regions of random and trained networks that share their number of parameters or of neurons."""
    numbers, rows, panels = {}, [], Panels(equal.title)
    for depth in setting.depths:
        gen, width = setting.generator(equal.stream + depth), equal.width(depth)
        random, trained, right, size = [], [], [], 0
        for draw in range(setting.draws):
            net = network(depth, width, gen)
            first, size = regions(net), parameters(net)
            right.append(100 * train(net, setting.steps, gen))
            last = regions(net)
            if draw == 0:
                panels.shown[depth] = (first, last)
            random.append(first.count)
            trained.append(last.count)
        neurons = depth * width
        panels.names[depth] = f"{depth} × {width} neurons\n{size} parameters"
        panels.counts[depth] = (_mean(random), _mean(trained))
        panels.scales[depth] = neurons**2 / 2
        where = f"{depth} × {width} neurons, {size} parameters"
        scale = f"N²/2 = {neurons**2 / 2:.0f}"
        for name, counts in (("random", random), ("trained", trained)):
            rows.append(
                _measured(f"regions at {equal.title}, {name}", where, *_mean(counts), setting.draws, scale)
            )
        rows.append(
            _measured("points on their side once trained, %", where, *_mean(right), setting.draws, "")
        )
        numbers[str(depth)] = {
            "width": width,
            "parameters": size,
            "neurons": neurons,
            "random": random,
            "trained": trained,
            "accuracy": right,
        }
    return Part(numbers, rows, lambda canvas: draw_panels(canvas, panels), (17, 7.6))


def curvature(setting: Setting) -> Part:
    """Hold the total curvature of a circle against mean field, and its growth with depth beside that with width."""
    lengths = [layer.gauss_length / (2 * torch.pi) for layer in TANH.circle(setting.layers)]
    theory, last = torch.tensor(lengths, dtype=torch.float64), setting.layers - 1
    middle = max(1, setting.layers // 2 - 1)
    drawn: dict[int, Tensor] = {}
    for width in setting.widths:
        gen = setting.generator(200 + width)
        ratios = [curvature_ratios(TANH, width, setting.layers, gen) for _ in range(setting.draws)]
        drawn[width] = theory * torch.stack(ratios)
    rows = []
    for width, lengths in drawn.items():
        for layer in sorted({middle, last}):
            ratio = _mean(lengths[:, layer] / theory[layer])
            where = f"layer {layer + 1}, width {width}"
            rows.append(_measured("curvature / mean field", where, *ratio, setting.draws, "1"))
    growth, doubling = _growth(drawn, middle, last), _per_doubling(drawn, last)
    expected = float((theory[last] / theory[middle]) ** (1 / (last - middle)))
    where = f"layers {middle + 1} to {last + 1}, width {setting.widths[-1]}"
    rows.append(_measured("curvature, factor per layer", where, *growth, setting.draws, f"{expected:.3f}"))
    where = f"width {setting.widths[-2]} to {setting.widths[-1]}, layer {last + 1}"
    rows.append(
        _measured("curvature, factor per doubling of the width", where, *doubling, setting.draws, "1")
    )
    circles = Circles(
        carried_circle(TANH, 200, setting.layers, setting.generator(200)),
        theory.tolist(),
        {width: _columns(lengths) for width, lengths in drawn.items()},
    )
    numbers = {
        "theory": theory.tolist(),
        "widths": {str(width): lengths.tolist() for width, lengths in drawn.items()},
        "per layer": growth,
        "per doubling of the width": doubling,
    }
    return Part(numbers, rows, lambda canvas: draw_circles(canvas, circles), (15, 8.4))


def boundary(setting: Setting) -> Part:
    """Count boxes along the decision boundaries of random tanh networks."""
    numbers, rows, masks, slopes = {}, [], {}, {}
    for depth in BOUNDARIES:
        gen, found = setting.generator(300 + depth), []
        while len(found) < setting.draws:
            mask = boundary_mask(TANH, depth, setting.pixels, gen)
            # A score of one sign has no boundary in the picture: another network is drawn.
            if mask.any():
                masks.setdefault(depth, mask)
                found.append(boundary_scales(mask))
        dimensions = [count.dimension for count in found]
        fine, coarse = found[0].window
        where = f"{depth} layers, boxes of {fine} to {coarse} pixels"
        rows.append(_measured("apparent dimension", where, *_mean(dimensions), setting.draws, "1"))
        counts = torch.tensor([count.counts for count in found], dtype=torch.float64)
        local = torch.tensor([count.local_slopes for count in found], dtype=torch.float64)
        slopes[depth] = (found[0].scales, _columns(counts), _columns(local), _mean(dimensions))
        numbers[str(depth)] = {
            "dimensions": dimensions,
            "scales": found[0].scales,
            "counts": counts.tolist(),
            "local_slopes": local.tolist(),
        }
    return Part(numbers, rows, lambda canvas: draw_boundary(canvas, masks, slopes), (12.5, 9))


def _growth(drawn: dict[int, Tensor], first: int, last: int) -> tuple[float, float]:
    """The factor per layer of the widest networks, a mean over draws."""
    lengths = drawn[max(drawn)]
    return _mean((lengths[:, last] / lengths[:, first]) ** (1 / (last - first)))


def _per_doubling(drawn: dict[int, Tensor], layer: int) -> tuple[float, float]:
    """The factor per doubling between the two widest kinds, whose draws are independent."""
    below, above = sorted(drawn)[-2:]
    power = 1 / math.log2(above / below)
    (a, a_error), (b, b_error) = (_mean(drawn[width][:, layer]) for width in (below, above))
    value = (b / a) ** power
    return value, value * power * ((a_error / a) ** 2 + (b_error / b) ** 2) ** 0.5


def _exact(what: str, where: str, count: int, formula: int) -> Row:
    return Row(what, where, str(count), "exact", str(formula))


def _measured(what: str, where: str, mean: float, stderr: float, draws: int, theory: str) -> Row:
    # No scatter is no error bar of zero: all draws gave one number.
    return Row(what, where, with_error(mean, stderr) if stderr else f"{mean:g} in all", str(draws), theory)


def _mean(values: Sequence[float] | Tensor) -> tuple[float, float]:
    x = torch.as_tensor(values, dtype=torch.float64)
    return float(x.mean()), float(x.std() / len(x) ** 0.5)


def _columns(values: Tensor) -> tuple[list[float], list[float]]:
    """Mean and standard error of each column, over draws in the rows."""
    return values.mean(0).tolist(), (values.std(0) / len(values) ** 0.5).tolist()
