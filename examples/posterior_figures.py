"""Pictures for the notebook: predictive bands, reliability, entropy inside and outside."""

from collections.abc import Mapping

import torch
from matplotlib.figure import Figure
from posterior_methods import Fit, Task
from posterior_scores import class_probabilities, outputs_of
from torch import Tensor

import metrics
from metrics.plots import COLOURS

__all__ = ["draw_bands", "draw_entropy", "draw_reliability"]


def draw_bands(task: Task, fits: Mapping[str, Fit], grid: Tensor, noise: float, truth: Tensor) -> Figure:
    """One panel per method: mean, the band of the function and that of new data, two standard deviations each."""
    outputs = outputs_of(task, fits, grid[:, None])
    columns = 5
    rows = -(-len(fits) // columns)
    figure = Figure(figsize=(2.9 * columns, 2.3 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for ax in axes.flat[len(fits) :]:
        ax.set_visible(False)
    t = grid.numpy()
    for ax, (name, output) in zip(axes.flat, outputs.items(), strict=False):
        mean, spread = output[..., 0].mean(0), output[..., 0].std(0, correction=0)
        wide = (spread.square() + noise**2).sqrt()
        ax.fill_between(t, mean - 2 * wide, mean + 2 * wide, color="0.87", label="new data, ± 2 sd")
        ax.fill_between(
            t,
            mean - 2 * spread,
            mean + 2 * spread,
            color=COLOURS[0],
            alpha=0.45,
            lw=0,
            label="function, ± 2 sd",
        )
        ax.plot(t, mean, color=COLOURS[0], lw=1.4, label="mean")
        ax.plot(t, truth, color="0.25", lw=0.8, ls="--", label="truth")
        ax.plot(task.x[:, 0], task.y[:, 0], ".", color=COLOURS[1], ms=3, label="data")
        ax.set_title(f"{name}\n{fits[name].passes:,.0f} passes", fontsize=9)
        ax.set_ylim(-3, 3)
    for ax in axes[-1]:
        ax.set_xlabel("x")
    for ax in axes[:, 0]:
        ax.set_ylabel("y")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False)
    return figure


def draw_reliability(task: Task, fits: Mapping[str, Fit], x: Tensor, labels: Tensor) -> Figure:
    """Reliability diagrams of all methods, on one scale."""
    columns = 5
    rows = -(-len(fits) // columns)
    figure = Figure(figsize=(2.6 * columns, 2.6 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for ax in axes.flat[len(fits) :]:
        ax.set_visible(False)
    for ax, fit in zip(axes.flat, fits.values(), strict=False):
        probs = class_probabilities(task, fit, x).mean(0)
        diagram = metrics.reliability_diagram(probs, labels, bins=10)
        filled = diagram.count > 0
        confidence, accuracy, stderr = (
            t[filled] for t in (diagram.confidence, diagram.accuracy, diagram.stderr)
        )
        ax.plot([0, 1], [0, 1], color="0.6", lw=0.8)
        ax.errorbar(confidence, accuracy, stderr, fmt="o-", ms=3.5, lw=1.2, color=COLOURS[0], capsize=2)
        error = float(metrics.calibration_error(probs, labels))
        ax.set_title(f"{fit.name}\ncalibration error {error:.3f}", fontsize=9)
        ax.set_xlim(0, 1)
        ax.set_ylim(0, 1)
        ax.set_aspect("equal")
    for ax in axes[-1]:
        ax.set_xlabel("confidence")
    for ax in axes[:, 0]:
        ax.set_ylabel("accuracy")
    return figure


def draw_entropy(
    task: Task, fits: Mapping[str, Fit], inside: Tensor, outside: Mapping[str, Tensor]
) -> Figure:
    """Empirical distributions of the predictive entropy, of known inputs and of strangers."""
    columns = 5
    rows = -(-len(fits) // columns)
    figure = Figure(figsize=(2.6 * columns, 2.2 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for ax in axes.flat[len(fits) :]:
        ax.set_visible(False)
    kinds = {"test digits": inside, **outside}
    for ax, fit in zip(axes.flat, fits.values(), strict=False):
        for k, (kind, points) in enumerate(kinds.items()):
            entropy = metrics.predictive_entropy(class_probabilities(task, fit, points)).sort().values
            share = torch.arange(1, len(entropy) + 1) / len(entropy)
            ax.step(
                entropy, share, where="post", color=COLOURS[k], lw=1.4, ls=("-", "--", ":")[k % 3], label=kind
            )
        ax.set_title(fit.name, fontsize=9)
        ax.set_ylim(0, 1)
        ax.set_xlim(0, None)
    for ax in axes[-1]:
        ax.set_xlabel("predictive entropy, nats")
    for ax in axes[:, 0]:
        ax.set_ylabel("share of inputs below")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return figure
