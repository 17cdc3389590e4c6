"""The figures of the constant-SGD example: iterates over the posterior, and predicted beside simulated divergences."""

from collections.abc import Mapping, Sequence

import torch
from mandt_data import PAPER
from mandt_methods import Problem
from mandt_simulation import Outcome
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from metrics.plots import COLOURS

__all__ = ["draw_divergences", "draw_iterates"]

BLUE, ORANGE, _, RED = COLOURS[:4]
COLUMNS, PANELS, POINTS = 4, 3, 400
# Squared Mahalanobis radii that hold 50 % and 95 % of a Gaussian in the plane.
LEVELS = (1.386, 5.991)


def draw_iterates(problem: Problem, outcomes: Sequence[Outcome]) -> Figure:
    """A panel per sampler: a sample of every chain, over the posterior of the two parameters that it correlates most.

    Args:
        problem: The posterior.
        outcomes: What the samplers did.
    """
    posterior = torch.linalg.inv(problem.num_data * problem.A)
    pair = most_correlated(posterior)
    plane = torch.tensor(pair)
    truth, centre = posterior[plane][:, plane], problem.optimum[plane]
    # At least one place is left over for the legend.
    height = len(outcomes) // COLUMNS + 1
    figure = Figure(figsize=(2.9 * COLUMNS, 2.75 * height + 0.3), layout="constrained")
    axes = figure.subplots(height, COLUMNS, sharex=True, sharey=True, squeeze=False).flatten()
    reach = 1.6 * LEVELS[1] ** 0.5 * truth.diagonal().sqrt()
    axes[0].set_xlim(float(centre[0] - reach[0]), float(centre[0] + reach[0]))
    axes[0].set_ylim(float(centre[1] - reach[1]), float(centre[1] + reach[1]))
    for axis, outcome in zip(axes, outcomes, strict=False):
        x, y = outcome.points[:POINTS][:, plane].T
        axis.scatter(
            x, y, s=4 if len(x) > 100 else 12, color=BLUE, alpha=0.45, lw=0, label="a sample of each chain"
        )
        for level, label in zip(LEVELS, ("posterior, 50 % and 95 %", None), strict=True):
            axis.plot(*_ellipse(centre, truth, level), color="0.15", lw=1.1, label=label)
        predicted = _ellipse(centre, outcome.method.samples[plane][:, plane], LEVELS[1])
        axis.plot(*predicted, color=RED, lw=1.4, ls="--", label="predicted, 95 %")
        axis.set_title(f"{outcome.method.label}: {_nats(outcome.simulated)} nats", fontsize=10)
        axis.tick_params(labelsize=8)
    for axis in axes[len(outcomes) - COLUMNS : len(outcomes)]:
        axis.tick_params(labelbottom=True)
    for axis in axes[len(outcomes) :]:
        axis.set_axis_off()
    handles, labels = axes[0].get_legend_handles_labels()
    axes[-1].legend(
        handles, labels, loc="center", fontsize=9, frameon=False, markerscale=3, title="* not in the paper"
    )
    labels = [problem.task.features[k] for k in pair]
    figure.supxlabel(f"weight of {labels[0]}", fontsize=10)
    figure.supylabel(f"weight of {labels[1]}", fontsize=10)
    figure.suptitle(f"{problem.task.name}: simulated divergence from the posterior", fontsize=11)
    return figure


def most_correlated(cov: Tensor) -> tuple[int, int]:
    """Return the two parameters whose correlation is largest in size.

    >>> most_correlated(torch.tensor([[1.0, 0.1, -0.8], [0.1, 1.0, 0.3], [-0.8, 0.3, 1.0]]))
    (0, 2)
    """
    scale = cov.diagonal().rsqrt()
    correlation = (scale[:, None] * cov * scale).abs().triu(1)
    first, second = divmod(int(correlation.argmax()), len(cov))
    return first, second


def draw_divergences(tables: Mapping[str, Sequence[Outcome]]) -> Figure:
    """A panel per data set: each sampler's divergence, predicted both ways, simulated, and as the paper printed it."""
    labels = [outcome.method.label for outcome in next(iter(tables.values()))]
    width, height = min(PANELS, len(tables)), -(-len(tables) // PANELS)
    size = (3.7 * width + 1.2, (0.3 * len(labels) + 0.7) * height + 1.0)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(height, width, sharex=True, sharey=True, squeeze=False).flatten()
    for axis, (name, outcomes) in zip(axes, tables.items(), strict=False):
        _chart(axis, outcomes, PAPER.get(name, {}))
        axis.set_title(name, fontsize=10)
        axis.tick_params(labelbottom=True, labelsize=8)
    for axis in axes[len(tables) :]:
        axis.set_axis_off()
    axes[0].set_yticks(range(len(labels)), labels)
    axes[0].set_ylim(len(labels) - 0.5, -0.5)
    axes[0].set_xscale("symlog", linthresh=0.01)
    farthest = max(axis.get_xlim()[1] for axis in axes)
    axes[0].set_xlim(-0.02, 1.5 * farthest)
    figure.supxlabel(
        "divergence from the posterior in nats, linear below 0.01; * not in the paper", fontsize=9
    )
    most = max(axes, key=lambda axis: len(axis.get_legend_handles_labels()[0]))
    figure.legend(
        *most.get_legend_handles_labels(), loc="outside upper center", ncols=4, fontsize=9, frameon=False
    )
    return figure


def _chart(axis: Axes, outcomes: Sequence[Outcome], paper: Mapping[str, float]) -> None:
    places = range(len(outcomes))
    continuous, discrete = [o.continuous for o in outcomes], [o.discrete for o in outcomes]
    simulated, errors = [o.simulated for o in outcomes], [1.96 * o.stderr for o in outcomes]
    hollow = {"marker": "D", "s": 34, "facecolors": "none", "edgecolors": ORANGE}
    axis.scatter(continuous, places, label="predicted, continuous time", **hollow)
    axis.scatter(discrete, places, marker="|", s=190, color=RED, label="predicted, discrete time")
    style = {"fmt": "o", "ms": 4, "color": BLUE, "capsize": 2}
    axis.errorbar(simulated, places, xerr=errors, label="simulated, 95 % interval", **style)
    printed = [(paper[o.method.name], k) for k, o in enumerate(outcomes) if o.method.name in paper]
    if printed:
        axis.scatter(*zip(*printed, strict=True), marker="x", s=34, color="0.2", label="Mandt et al. 2017")
    axis.grid(color="0.92")
    axis.set_axisbelow(True)


def _nats(value: float) -> str:
    return f"{value:.2f}" if value >= 0.01 else "< 0.01"


def _ellipse(centre: Tensor, cov: Tensor, level: float) -> tuple[Tensor, Tensor]:
    angle = torch.linspace(0, 2 * torch.pi, 200, dtype=cov.dtype)
    circle = level**0.5 * torch.stack([angle.cos(), angle.sin()])
    x, y = centre[:, None] + torch.linalg.cholesky(cov) @ circle
    return x, y
