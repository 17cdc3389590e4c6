"""Sigmoid, tanh, ReLU and stochastic units: what they do, how steep they are, and how they learn.

    sigmoid      a = 1/(1 + e^−z)              a' = a (1 − a) ≤ 1/4
    tanh         a = tanh z                    a' = 1 − a²    ≤ 1
    ReLU         a = max(z, 0)                 a' = 1 where z > 0, else 0
    stochastic   a = 1 with probability σ(z)   no slope; that of its mean is taken (straight-through)

A slope is multiplied in at every layer on the way back, so a quarter at most for a sigmoid: it wants steps ten times as
long as tanh's. Stochastic units are tested as they run: the outputs' mean over some passes.
"""

import torch
from backprop_network import CROSS_ENTROPY, RELU, SIGMOID, SOFTMAX, STOCHASTIC, TANH, Model, Unit
from backprop_parts import BATCH_SIZE, RATES, Curves, Part, Setting, band, seeded, told, train
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from tqdm import tqdm

from metrics.plots import COLOURS

__all__ = ["units"]

HIDDEN = (SIGMOID, TANH, RELU, STOCHASTIC)
PASSES = 10
MOMENTS = 30


def units(setting: Setting) -> Part:
    """Train networks with each hidden unit, softmax outputs and cross-entropy."""
    trained: dict[str, Curves] = {}
    with tqdm(total=len(HIDDEN) * setting.steps, desc="units", disable=not setting.bars) as bar:
        for unit in HIDDEN:
            trained[unit.name] = _train(setting, unit, bar)
    rows = [
        (f"{name} units: held-out error after {setting.steps} steps", f"{told(curves.values[-1])} %")
        for name, curves in trained.items()
    ]
    rates = ", ".join(f"{name} {RATES[name]:g}" for name in trained)
    return Part(
        title="Units to choose from",
        text="Left and middle: activations and slopes; ticks are the bits of a stochastic unit. Right: held-out error "
        f"with softmax outputs and cross-entropy, mean of {setting.seeds} seeds with its 95 % band; batches of "
        f"{BATCH_SIZE}, steps {rates}. Stochastic units learn by the straight-through rule and answer with the mean "
        f"of {PASSES} passes.",
        rows=rows,
        numbers={name: {"error": curves.values[-1].tolist()} for name, curves in trained.items()},
        figure=_draw(trained),
    )


def _train(setting: Setting, unit: Unit, bar: tqdm) -> Curves:
    model = Model(setting.model.sizes, unit, SOFTMAX, CROSS_ENTROPY)
    curves, passes = Curves(), PASSES if unit is STOCHASTIC else 1

    def error(theta: Tensor) -> Tensor:
        generator = seeded(setting, 22)
        p = sum(model.predict(theta, setting.held_x, generator) for _ in range(passes))
        assert isinstance(p, Tensor)
        return (p.argmax(-1) != setting.held_labels).double().mean(-1)

    train(
        model,
        model.start(setting.seeds, generator=seeded(setting, 20)),
        setting.x,
        setting.y,
        rate=RATES[unit.name],
        steps=setting.steps,
        batch_size=BATCH_SIZE,
        generator=seeded(setting, 21),
        bar=bar,
        watch=curves.watch(error),
        every=max(1, setting.steps // MOMENTS),
    )
    return curves


def _draw(trained: dict[str, Curves]) -> Figure:
    figure = Figure(figsize=(13, 4.8), layout="constrained")
    shape, slope, right = figure.subplots(1, 3)
    z = torch.linspace(-4, 4, 401, dtype=torch.float64)
    for colour, unit in enumerate((SIGMOID, TANH, RELU)):
        a = unit.fire(z, None)
        shape.plot(z, a, color=COLOURS[colour], label=unit.name)
        slope.plot(z, unit.pull(z, a, torch.ones_like(z)), color=COLOURS[colour])
    _draw_bits(shape)
    shape.set(ylim=(-1.2, 2.2), xlabel="z", title="activation a = σ(z)")
    shape.legend(frameon=False, loc="upper left")
    slope.set(ylim=(-0.05, 1.1), xlabel="z", title="slope σ'(z): a factor per layer")
    slope.axhline(0.25, color="0.7", lw=0.8, ls="--")
    slope.text(-4, 0.26, "¼", va="bottom")
    for colour, (name, curves) in enumerate(trained.items()):
        band(right, curves.steps, 100 * curves.stacked(), colour=colour, label=name)
    right.set(yscale="log", ylim=(2, 100), xlabel="step", ylabel="held-out error, %", title="how they learn")
    right.set_yticks([3, 5, 10, 20, 50, 100], ["3", "5", "10", "20", "50", "100"])
    right.minorticks_off()
    seeds = next(iter(trained.values())).stacked().shape[1]
    right.legend(frameon=False, title=f"mean and 95 % band, {seeds} seeds")
    return figure


def _draw_bits(axis: Axes) -> None:
    """Bits of the stochastic unit, many of them, at places spread over z."""
    generator = torch.Generator().manual_seed(0)
    z = torch.linspace(-4, 4, 161, dtype=torch.float64)
    bits = STOCHASTIC.fire(z, generator)
    axis.scatter(z, bits, marker="|", s=50, color=COLOURS[3], lw=0.8, label="stochastic: 0 or 1")
