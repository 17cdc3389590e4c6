"""Squared error against cross-entropy, with sigmoid outputs.

    squared         C = Σ (a − y)²                               ∂C/∂z = 2 (a − y) a (1 − a)
    cross-entropy   C = −Σ [y log a + (1 − y) log(1 − a)]        ∂C/∂z = a − y

An output that is wrong with conviction (y = 1, z ≪ 0) has a ≈ e^z: under squared error its slope dies out like 2e^z, so
that it learns the more slowly the more wrong it is. Its steepest slope, 8/27, is at a = 1/3. Cross-entropy divides the
factor a(1 − a) out again, and the slope tends to 1.

Both costs take the same step, RATE. It is not the best for either, which is 3: there squared error needs about 530
steps to a held-out error of 10 % and cross-entropy 330. But from the saturated start the first such steps of
cross-entropy, with nine wrong outputs at full strength, throw some of its hidden units into saturation.
"""

import math
from dataclasses import dataclass
from statistics import median

import torch
from backprop_network import CROSS_ENTROPY, SIGMOID, SQUARED, Model
from backprop_parts import BATCH_SIZE, Curves, Part, Setting, band, seeded, told, train
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from tqdm import tqdm

from metrics.plots import COLOURS

__all__ = ["costs", "entropy_slope", "squared_slope"]

RATE = 1.0
SHOUT = 8.0
"""The output biases of the saturated start: each output says yes with σ(8) = 0.9997, nine of ten wrongly."""
LEARNT = 0.1
MOMENTS = 60


def squared_slope(z: Tensor) -> Tensor:
    """Return |∂C/∂z| under squared error of an output that ought to be 1."""
    a = z.sigmoid()
    return 2 * (1 - a) * a * (1 - a)


def entropy_slope(z: Tensor) -> Tensor:
    """Return |∂C/∂z| under cross-entropy of an output that ought to be 1."""
    return (-z).sigmoid()


@dataclass(frozen=True)
class _Run:
    """Trainings with one cost from one start: held-out error over the steps, and the outputs before the first."""

    curves: Curves
    z: Tensor
    slope: Tensor

    def learnt(self) -> Tensor:
        """The first watched step of each seed with a held-out error below 10 %; infinite where there is none."""
        good = self.curves.stacked() < LEARNT
        steps = torch.tensor(self.curves.steps, dtype=torch.float64)[:, None]
        return torch.where(good, steps, math.inf).amin(0)


def costs(setting: Setting) -> Part:
    """Train with both costs, from the usual start and from one where all outputs are saturated."""
    runs: dict[tuple[str, str], _Run] = {}
    with tqdm(total=4 * setting.steps, desc="costs", disable=not setting.bars) as bar:
        for cost in (SQUARED, CROSS_ENTROPY):
            model = Model(setting.model.sizes, SIGMOID, SIGMOID, cost)
            for start in ("usual", "saturated"):
                runs[cost.name, start] = _run(setting, model, start, bar)
    rows, numbers = [], {}
    for (cost, start), run in runs.items():
        final, learnt = run.curves.stacked()[-1], run.learnt()
        # Of an even number of seeds torch's median is the lower of the two in the middle.
        middle = median(learnt.tolist())
        first = f"{middle:.0f}" if math.isfinite(middle) else f"> {setting.steps}"
        rows.append((f"{cost}, {start} start: steps to 10 % held-out error, median of seeds", first))
        rows.append(
            (f"{cost}, {start} start: held-out error after {setting.steps} steps", f"{told(final)} %")
        )
        numbers[f"{cost}, {start}"] = {
            "error": final.tolist(),
            "steps_to_10_percent": [float(s) if math.isfinite(s) else None for s in learnt],
        }
    return Part(
        title="Squared error against cross-entropy",
        text=f"Left: how strongly one output with the label 1 is corrected; dots are outputs of the networks, by "
        f"hand. Middle and right: held-out error, mean of {setting.seeds} seeds with its 95 % band; sigmoid units "
        f"throughout, step {RATE:g} and batches of {BATCH_SIZE} for both costs, "
        f"which is the best step of neither; the error is measured every {_every(setting)} steps. In the saturated "
        f"start the ten output biases are {SHOUT:g}.",
        rows=rows,
        numbers=numbers,
        figure=_draw(setting, runs),
    )


def _every(setting: Setting) -> int:
    return max(1, setting.steps // MOMENTS)


def _run(setting: Setting, model: Model, start: str, bar: tqdm) -> _Run:
    theta = model.start(setting.seeds, generator=seeded(setting, 10))
    if start == "saturated":
        theta[:, -model.sizes[-1] :] = SHOUT
    curves = Curves()
    slopes = model.backward(model.forward(theta, setting.x[:20]), setting.y[:20])
    # Towards the label: an output that ought to be 0 is the mirror image of one that ought to be 1.
    side = 2 * setting.y[:20] - 1
    run = _Run(curves, (side * slopes[-1].step.z)[0].flatten(), slopes[-1].z[0].abs().flatten())

    def error(theta: Tensor) -> Tensor:
        return (model.predict(theta, setting.held_x).argmax(-1) != setting.held_labels).double().mean(-1)

    train(
        model,
        theta,
        setting.x,
        setting.y,
        rate=RATE,
        steps=setting.steps,
        batch_size=BATCH_SIZE,
        generator=seeded(setting, 11),
        bar=bar,
        watch=curves.watch(error),
        every=_every(setting),
    )
    return run


def _draw(setting: Setting, runs: dict[tuple[str, str], _Run]) -> Figure:
    figure = Figure(figsize=(13, 4.8), layout="constrained")
    left, *others = figure.subplots(1, 3)
    z = torch.linspace(-9, 9, 400, dtype=torch.float64)
    names = (SQUARED.name, CROSS_ENTROPY.name)
    for colour, name, slope in zip((0, 3), names, (squared_slope, entropy_slope), strict=True):
        left.plot(z, slope(z), color=COLOURS[colour], label=name)
        for start in ("usual", "saturated"):
            run = runs[name, start]
            left.scatter(run.z, run.slope, s=9, color=COLOURS[colour], alpha=0.5, lw=0)
    left.set(
        yscale="log",
        ylim=(1e-5, 3),
        xlabel="z of an output with label 1",
        ylabel=r"$|\partial C/\partial z|$",
    )
    left.text(-8.8, 1.5e-5, "wrong with\nconviction", ha="left", va="bottom")
    left.text(8.8, 1.5e-5, "right", ha="right", va="bottom")
    left.set_title("who is corrected, and how much")
    left.scatter([], [], s=9, color="0.4", label="outputs at the start")
    left.legend(frameon=False, loc="lower center", fontsize=9)
    for axis, start in zip(others, ("usual", "saturated"), strict=True):
        _draw_curves(axis, runs, start)
    others[0].set_title("from random weights")
    others[1].set_title(f"from ten outputs that all say yes: z ≈ {SHOUT:g}")
    return figure


def _draw_curves(axis: Axes, runs: dict[tuple[str, str], _Run], start: str) -> None:
    for colour, name in zip((0, 3), (SQUARED.name, CROSS_ENTROPY.name), strict=True):
        curves = runs[name, start].curves
        band(axis, curves.steps, 100 * curves.stacked(), colour=colour, label=name)
    axis.set(xlabel="step", ylabel="held-out error, %", ylim=(0, 100))
    if start == "usual":
        seeds = runs[SQUARED.name, start].curves.stacked().shape[1]
        axis.legend(frameon=False, title=f"mean and 95 % band, {seeds} seeds")
