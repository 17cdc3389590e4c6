"""The other parts of the lecture on divergences: supports that move apart, S_ε over ε, and what each costs.

For the cost ‖x − y‖^p S_ε tends to W_p^p as ε → 0, and as ε → ∞ to an MMD²: half the squared energy distance for p = 1,
the squared distance of the means for p = 2 (Feydy et al. 2019; `metrics.transport.divergence`).
"""

import time
from collections.abc import Callable
from statistics import median

import torch
from divergence_figures import draw_between, draw_costs, draw_supports
from divergence_images import Part, Row, Setting, compare, ink, mean_and_error, places, told
from torch import Generator, Tensor

import metrics
from metrics.features import load_digits_split
from metrics.kernels import Gaussian, Polynomial

__all__ = ["between", "costs", "moved_squares", "supports"]

CELLS, BANDWIDTH = 12, 0.5
SHIFTS = 8


def supports(setting: Setting) -> Part:
    """Move a square, and digits, away from themselves."""
    squares = moved_squares(setting.grain)
    train, *_ = load_digits_split()
    order = torch.randperm(len(train), generator=setting.generator(1))[: setting.digits]
    wide = torch.nn.functional.pad(ink(train[order]), (0, SHIFTS))
    steps = range(SHIFTS + 1)
    js, w2 = [], []
    for step in steps:
        scores = [compare(image, image.roll(step, 1)) for image in wide]
        js.append([s["JS"] for s in scores])
        w2.append([s["W2"] for s in scores])
    digits = {
        "pixels": list(steps),
        "JS": [mean_and_error(x) for x in js],
        "W2": [mean_and_error(x) for x in w2],
    }
    rows = [
        ("JS of a digit and itself, nats", f"moved by {s} px", told(js[s]), str(setting.digits), end)
        for s, end in ((1, ""), (4, ""), (8, f"ln 2 = {torch.tensor(2.0).log():.4f}"))
    ]
    rows += [
        (
            "W₂ of a digit and itself, pixels",
            f"moved by {s} px",
            told(w2[s]),
            str(setting.digits),
            str(s),
        )
        for s in (1, 4, 8)
    ]
    last = {name: values[-1] for name, values in squares.items()}
    limits = {"JS": "0", "MMD²": "0", "W₂": "1", "√S_ε": "1", "energy D²": "2"}
    rows += [
        (
            f"slope of {name}",
            f"squares {last['distance']:.1f} apart",
            f"{last[f'{name} slope']:.3g}",
            "exact",
            limit,
        )
        for name, limit in limits.items()
    ]
    pictures = (wide[0], wide[0].roll(4, 1), wide[0].roll(8, 1))
    return Part(
        {"squares": squares, "digits": digits},
        rows,
        lambda canvas: draw_supports(canvas, squares, digits, pictures),
        (14, 7.5),
    )


def moved_squares(grain: int) -> dict[str, list[float]]:
    """Divergences of a unit square of CELLS² cells and itself moved by θ, and their slopes dδ/dθ.

    KL and JS are those of the cells, JS's slope is a difference quotient over two cells; the others are those of the
    cells' centres, with slopes by automatic differentiation.

    Args:
        grain: A distance is measured every so many cells.
    """
    x = places(CELLS, CELLS) / CELLS
    kernel = Gaussian(BANDWIDTH)
    functions = {
        "W₂": lambda y: metrics.wasserstein(x, y),
        "√S_ε": lambda y: metrics.sinkhorn_divergence(x, y, eps=0.1, tol=1e-5).sqrt(),
        "MMD²": lambda y: metrics.mmd2(x, y, kernel=kernel, unbiased=False),
        "energy D²": lambda y: metrics.energy_distance(x, y, squared=True),
    }
    found: dict[str, list[float]] = {"distance": []}
    for cells in range(grain, 3 * CELLS + 1, grain):
        found["distance"].append(cells / CELLS)
        kl, js = _of_cells(cells)
        slope = (_of_cells(cells + 1)[1] - _of_cells(cells - 1)[1]) / (2 / CELLS)
        for name, value in (("KL", kl), ("JS", js), ("JS slope", slope)):
            found.setdefault(name, []).append(value)
        for name, function in functions.items():
            theta = torch.tensor(cells / CELLS, dtype=torch.float64, requires_grad=True)
            value = function(x + torch.stack([theta, torch.zeros_like(theta)]))
            (gradient,) = torch.autograd.grad(value, theta)
            found.setdefault(name, []).append(float(value.detach()))
            found.setdefault(f"{name} slope", []).append(float(gradient))
    return found


def _of_cells(moved: int) -> tuple[float, float]:
    """KL and JS of the uniform distribution on CELLS cells of a row and itself moved by so many."""
    cells = torch.zeros(2, 5 * CELLS, dtype=torch.float64)
    cells[0, :CELLS] = cells[1, moved : moved + CELLS] = 1 / CELLS
    return float(metrics.categorical_kl(cells[:1], cells[1:])), float(
        metrics.mutual_information(cells[:, None])
    )


def between(setting: Setting) -> Part:
    """S_ε over ε, from W to MMD, between two classes of digits and between two halves of one."""
    train, labels, held_out, others = load_digits_split()
    pixels, labels = torch.cat([train, held_out]).double(), torch.cat([labels, others])
    threes, eights = (pixels[labels == k] for k in (3, 8))
    count = min(len(threes), len(eights)) // 2
    factors = torch.logspace(-2.5, 2.5, 11, dtype=torch.float64)
    curves: dict[str, dict[str, object]] = {}
    rows: list[Row] = []
    for p in (1, 2):
        scale = float(torch.cdist(threes, eights).pow(p).mean())
        for name in ("3 and 8", "3 and 3"):
            drawn = []
            for repeat in range(setting.repeats):
                x, y = _two(
                    threes, eights if name == "3 and 8" else None, count, setting.generator(100 + repeat)
                )
                values = [
                    metrics.sinkhorn_divergence(x, y, eps=scale * float(f), p=p, tol=1e-4) for f in factors
                ]
                drawn.append(torch.stack([*values, _far(x, y, p), metrics.wasserstein(x, y, p=p) ** p]))
            table = torch.stack(drawn)
            columns = [mean_and_error(column) for column in table.T]
            key = f"p = {p}, {name}"
            curves[key] = {
                "eps": factors.tolist(),
                "S": columns[:-2],
                "far": columns[-2],
                "near": columns[-1],
                "scale": scale,
            }
            ends = (("smallest", 0, table[:, -1]), ("largest", len(factors) - 1, table[:, -2]))
            for end, column, limit in ends:
                ratio = table[:, column] / limit
                where = f"{key}, {end} ε: {float(factors[column]):.3g} of the mean cost"
                what = (
                    "S_ε / W_p^p"
                    if column == 0
                    else "S_ε / " + ("½ D²" if p == 1 else "‖difference of means‖²")
                )
                rows.append((what, where, told(ratio), str(setting.repeats), "→ 1"))
    return Part(
        {"curves": curves, "points": count}, rows, lambda canvas: draw_between(canvas, curves, count), (14, 5)
    )


def _two(x: Tensor, y: Tensor | None, count: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """So many points of each, at random; without a second cloud two disjoint halves of the first."""
    order = torch.randperm(len(x), generator=generator)
    if y is None:
        return x[order[:count]], x[order[count : 2 * count]]
    return x[order[:count]], y[torch.randperm(len(y), generator=generator)[:count]]


def _far(x: Tensor, y: Tensor, p: int) -> Tensor:
    """The limit of S_ε as ε → ∞, an MMD²: half the squared energy distance, or that of the kernel ⟨x, y⟩."""
    if p == 1:
        return metrics.energy_distance(x, y, squared=True) / 2
    return metrics.mmd2(x, y, kernel=Polynomial(degree=1, gamma=1.0, offset=0.0), unbiased=False)


def costs(setting: Setting) -> Part:
    """Processor seconds of each divergence of two clouds of n digits in 64 dimensions, in several runs."""
    train, _, held_out, _ = load_digits_split()
    kernel = Gaussian(metrics.median_heuristic(train))
    functions: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "KL, k neighbours": metrics.knn_kl,
        "MMD²": lambda x, y: metrics.mmd2(x, y, kernel=kernel),
        "sliced W₂": metrics.sliced_wasserstein,
        "S_ε, ε = .05 mean cost": metrics.sinkhorn_divergence,
        "W₂, exact": metrics.wasserstein,
    }
    seconds: dict[str, list[list[float]]] = {}
    for name, function in functions.items():
        function(train[:20], held_out[:20])  # what is loaded at first use is no part of the cost
        seconds[name] = [
            [_timed(function, train[:n], held_out[:n]) for _ in range(setting.repeats)] for n in setting.sizes
        ]
    rows: list[Row] = []
    for name, runs in seconds.items():
        for n, times in zip(setting.sizes, runs, strict=True):
            if n in (setting.sizes[0], setting.sizes[-1]):
                taken = f"{1e3 * median(times):.2g} ({1e3 * min(times):.2g} to {1e3 * max(times):.2g})"
                rows.append((f"cost of {name}, CPU ms", f"n = {n}", taken, str(setting.repeats), ""))
    sizes = list(setting.sizes)
    return Part(
        {"sizes": sizes, "seconds": seconds}, rows, lambda canvas: draw_costs(canvas, sizes, seconds), (7, 5)
    )


def _timed(function: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor) -> float:
    started = time.process_time()
    function(x, y)
    return time.process_time() - started
