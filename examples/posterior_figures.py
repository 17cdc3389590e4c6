"""Pictures for the notebook: predictive bands, reliability, entropy inside and outside."""

from collections.abc import Mapping, Sequence

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from posterior_methods import Fit, Task
from posterior_scores import calibration, class_probabilities, outputs_of
from torch import Tensor

import metrics
from metrics.estimate import with_error
from metrics.plots import COLOURS

__all__ = ["draw_bands", "draw_entropy", "draw_reliability"]


def draw_bands(task: Task, fits: Mapping[str, Fit], grid: Tensor, noise: float, truth: Tensor) -> Figure:
    """One panel per method: mean, the band of the function and that of new data, two standard deviations each."""
    outputs = outputs_of(task, fits, grid[:, None])
    titles = [f"{name}\n{fit.passes:,.0f} passes" for name, fit in fits.items()]
    figure, axes = _panels(titles, size=(2.9, 2.3), xlabel="x", ylabel="y")
    t = grid.numpy()
    for ax, output in zip(axes, outputs.values(), strict=True):
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
        ax.set_ylim(-3, 3)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False)
    return figure


def draw_reliability(task: Task, fits: Mapping[str, Fit], x: Tensor, labels: Tensor) -> Figure:
    """Reliability diagrams of all methods, on one scale."""
    each = {name: class_probabilities(task, fit, x).mean(0) for name, fit in fits.items()}
    titles = [f"{name}\ncalibration error {with_error(*calibration(p, labels))}" for name, p in each.items()]
    figure, axes = _panels(titles, size=(2.6, 2.6), xlabel="confidence", ylabel="accuracy")
    for ax, probs in zip(axes, each.values(), strict=True):
        diagram = metrics.reliability_diagram(probs, labels)
        filled = diagram.count > 0
        confidence, accuracy, stderr, count = (
            t[filled] for t in (diagram.confidence, diagram.accuracy, diagram.stderr, diagram.count)
        )
        ax.plot([0, 1], [0, 1], color="0.6", lw=0.8, label="calibrated")
        ax.errorbar(
            confidence, accuracy, stderr, fmt="none", lw=1.2, color=COLOURS[0], capsize=2, label="± one s.e."
        )
        # Areas as the logarithm of counts, from 1 to some 500 a bin: the few that lie far off weigh little.
        ax.scatter(
            confidence,
            accuracy,
            s=5 * (1 + count.log2()),
            color=COLOURS[0],
            zorder=3,
            label="accuracy of a bin; area by the logarithm of its count",
        )
        ax.set_xlim(-0.03, 1.03)
        ax.set_ylim(-0.03, 1.03)
        ax.set_aspect("equal")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return figure


def draw_entropy(
    task: Task, fits: Mapping[str, Fit], inside: Tensor, outside: Mapping[str, Tensor]
) -> Figure:
    """Empirical distributions of the predictive entropy, of known inputs and of strangers."""
    figure, axes = _panels(
        list(fits), size=(2.6, 2.2), xlabel="predictive entropy, nats", ylabel="share of inputs below"
    )
    kinds = {"test digits": inside, **outside}
    for ax, fit in zip(axes, fits.values(), strict=True):
        for k, (kind, points) in enumerate(kinds.items()):
            entropy = metrics.predictive_entropy(class_probabilities(task, fit, points)).sort().values
            share = torch.arange(1, len(entropy) + 1) / len(entropy)
            ax.step(
                entropy, share, where="post", color=COLOURS[k], lw=1.4, ls=("-", "--", ":")[k % 3], label=kind
            )
        ax.set_ylim(0, 1)
        ax.set_xlim(0, None)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return figure


def _panels(
    titles: Sequence[str], *, size: tuple[float, float], xlabel: str, ylabel: str
) -> tuple[Figure, list[Axes]]:
    """A panel per title, five in a row, on shared axes; `size` is one panel's, in inches."""
    columns = 5
    rows = -(-len(titles) // columns)
    figure = Figure(figsize=(size[0] * columns, size[1] * rows), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for ax in grid.flat[len(titles) :]:
        ax.set_visible(False)
    for ax in grid[-1]:
        ax.set_xlabel(xlabel)
    for ax in grid[:, 0]:
        ax.set_ylabel(ylabel)
    axes = list(grid.flat[: len(titles)])
    for ax, title in zip(axes, titles, strict=True):
        ax.set_title(title, fontsize=9)
    return figure, axes
