"""Newton against SGD: what a step costs over the number of parameters P.

    SGD       θ ← θ − η g            one gradient, of n images                         time ∝ n P,   memory ∝ P
    Newton    θ ← θ − H⁻¹ g          forming H: P products of H with a unit vector     time ∝ n P²,  memory ∝ P²
                                     solving H s = −g by Cholesky's method             time ∝ P³/3

A product H v costs a few gradients whatever P is (Pearlmutter 1994): it is the derivative of the gradient along v,

    H v = d/dt g(θ + t v) at t = 0,

here by forward differentiation of the backpropagation that was written by hand. So the gradient is linear, forming the
Hessian quadratic, and solving cubic in P, whose operations overtake once P exceeds some 20 n (its time later: fewer and
larger calls). Times are medians of repeated runs on one thread, of a single run where one takes longer than 0.2 s;
floating-point operations are counted as the matrix products run, the solution's by the formula. Small networks cost
what calling costs, which is why measured times are flat on the left.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from backprop_network import Model
from backprop_parts import Part, Setting, seeded
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from torch.utils.benchmark import Timer
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from metrics.plots import COLOURS, MARKERS

__all__ = ["hessian", "newton", "newton_step", "product"]

IMAGES = 100
WIDTHS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
LARGEST_SOLVED = 4000
"""Parameters up to which the Hessian is formed and solved: 128 MB in float64."""
CHUNK = 256
KINDS = ("gradient", "product with the Hessian", "forming the Hessian", "solving for the step")
POWERS = (1, 1, 2, 3)
SECONDS = 0.2
QUICK_SECONDS = 0.01
"""How long an operation is repeated; one that takes longer is timed once."""
QUICK = 100
"""Trainings shorter than this are trials, and get small networks and short measurements only."""


def product(model: Model, theta: Tensor, x: Tensor, y: Tensor, v: Tensor) -> Tensor:
    """Return H v `[P]`, the derivative of the gradient by hand along v."""
    return torch.func.jvp(lambda t: model.gradient(t, x, y)[1], (theta,), (v,))[1]


def hessian(model: Model, theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Return H `[P, P]`, a product for each unit vector."""
    return torch.func.vmap(lambda v: product(model, theta, x, y, v), chunk_size=CHUNK)(
        torch.eye(len(theta), dtype=theta.dtype)
    )


def newton_step(H: Tensor, g: Tensor, *, damping: float = 0.0) -> Tensor:
    """Return s with (H + damping) s = −g.

    Raises:
        ValueError: H + damping is not positive definite, so that s would not lead downhill.

    >>> newton_step(torch.tensor([[2.0]]), torch.tensor([4.0]))
    tensor([-2.])
    """
    factor, wrong = torch.linalg.cholesky_ex(H + damping * torch.eye(len(g), dtype=H.dtype))
    if wrong:
        lowest = float(torch.linalg.eigvalsh(H)[0])
        raise ValueError(
            f"H + damping must be positive definite, got damping {damping:g} and an eigenvalue {lowest:.3g} of H; "
            f"take damping > {max(0.0, -lowest):.3g}"
        )
    return -torch.cholesky_solve(g[:, None], factor)[:, 0]


@dataclass(frozen=True)
class Cost:
    """What one operation costs at P parameters: seconds and floating-point operations."""

    size: int
    seconds: float
    operations: float


def newton(setting: Setting) -> Part:
    """Measure gradient, product, Hessian and solution over the number of parameters."""
    costs: dict[str, list[Cost]] = {kind: [] for kind in KINDS}
    widths = [w for w in WIDTHS if setting.steps >= QUICK or w <= WIDTHS[3]]
    for width in tqdm(widths, desc="newton", disable=not setting.bars):
        for kind, cost in _measure(setting, width).items():
            costs[kind].append(cost)
    rows = []
    for kind, found in costs.items():
        last = found[-1]
        powers = f"P^{exponent(found, 'operations'):.2f} operations, P^{exponent(found, 'seconds'):.2f} s"
        rows.append((f"{kind}: growth over the last two doublings of the width", powers))
        rows.append(
            (f"{kind} at P = {last.size:,}", f"{last.seconds:.2g} s, {last.operations:.1e} operations")
        )
    largest = costs["forming the Hessian"][-1].size
    sgd, rest = (next(c for c in costs[kind] if c.size == largest) for kind in ("gradient", KINDS[3]))
    ratio = (costs["forming the Hessian"][-1].seconds + rest.seconds) / sgd.seconds
    rows.append((f"a Newton step in gradients of {IMAGES} images, P = {largest:,}", f"{ratio:,.0f}"))
    numbers: dict[str, object] = {kind: [vars(cost) for cost in found] for kind, found in costs.items()}
    return Part(
        title="Newton against SGD: what a step costs",
        text=f"Gradient and Hessian of the mean cost of {IMAGES} images, on one thread, for networks with two hidden "
        f"layers of 1 to {widths[-1]} units ({setting.model.smooth().kind}). "
        "A gradient and a product H v are linear in the number of parameters P; "
        "forming H takes P products and P² numbers, so it is quadratic; solving for the step is cubic. Dashed lines "
        "have these slopes and pass through the last point. SGD's own step looks at a few images only, and is cheaper "
        "by that factor again.",
        rows=rows,
        numbers={**numbers, "newton_over_gradient": ratio},
        figure=_draw(costs),
    )


def exponent(costs: list[Cost], what: str) -> float:
    """The slope of the logarithms over the last two doublings of the width."""
    first, last = costs[max(0, len(costs) - 3)], costs[-1]
    return math.log(getattr(last, what) / getattr(first, what)) / math.log(last.size / first.size)


def _measure(setting: Setting, width: int) -> dict[str, Cost]:
    smooth = setting.model.smooth()
    model = replace(smooth, sizes=(smooth.sizes[0], width, width, smooth.sizes[-1]))
    x, y, P = setting.x[:IMAGES], setting.y[:IMAGES], model.size
    theta = model.start(generator=seeded(setting, 60))
    v, seconds = torch.ones_like(theta), SECONDS if setting.steps >= QUICK else QUICK_SECONDS
    found = {
        "gradient": _cost(P, seconds, lambda: model.gradient(theta, x, y)),
        "product with the Hessian": _cost(P, seconds, lambda: product(model, theta, x, y, v)),
    }
    if P <= LARGEST_SOLVED:
        found["forming the Hessian"] = _cost(P, seconds, lambda: hessian(model, theta, x, y))
        H, g = hessian(model, theta, x, y), model.gradient(theta, x, y)[1]
        # More than any eigenvalue is below zero, by Gershgorin, and by 1 where all are zero, as behind ReLUs that are
        # off: time is what is wanted, not the way.
        damping = 1 + float(H.abs().sum(1).max())
        solved = _cost(P, seconds, lambda: newton_step(H, g, damping=damping))
        found["solving for the step"] = replace(solved, operations=P**3 / 3 + 2 * P**2)
    return found


def _cost(P: int, seconds: float, run: Callable[[], object]) -> Cost:
    with FlopCounterMode(display=False) as counter:
        run()
    timer = Timer("run()", globals={"run": run}, num_threads=1)
    time = timer.timeit(1)
    if time.median < seconds:
        time = timer.blocked_autorange(min_run_time=seconds)
    return Cost(P, time.median, float(counter.get_total_flops()))


def _draw(costs: dict[str, list[Cost]]) -> Figure:
    figure = Figure(figsize=(13, 6), layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw_growth(left, costs, "seconds")
    _draw_growth(right, costs, "operations")
    left.set(ylabel="seconds", title="measured time")
    right.set(ylabel="floating-point operations", title="counted operations")
    right.plot([], [], color="0.4", ls="--", lw=1, label="that power of $P$, through the last point")
    right.legend(loc="lower right")
    return figure


def _draw_growth(axis: Axes, costs: dict[str, list[Cost]], what: str) -> None:
    for k, (kind, power) in enumerate(zip(KINDS, POWERS, strict=True)):
        found = costs[kind]
        sizes, values = [c.size for c in found], [getattr(c, what) for c in found]
        axis.plot(
            sizes,
            values,
            marker=MARKERS[k],
            ms=5,
            color=COLOURS[k],
            label=f"{kind}: $P^{power}$".replace("P^1", "P"),
        )
        guide = [values[-1] * (size / sizes[-1]) ** power for size in sizes]
        axis.plot(sizes, guide, color=COLOURS[k], ls="--", lw=1, alpha=0.7)
    axis.set(xscale="log", yscale="log", xlabel="parameters P")
    axis.grid(color="0.92")
    axis.set_axisbelow(True)
