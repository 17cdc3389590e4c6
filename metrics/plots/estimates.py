"""Reports as pictures: a panel per measure, each model's value with its interval beside the floor."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from metrics.estimate import Estimate
from metrics.plots.colours import COLOURS, MARKERS

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure

__all__ = ["BETTER", "draw_estimates"]

BETTER = {"lower": "lower is better", "higher": "higher is better", "neither": "only describes"}


def draw_estimates(
    columns: Mapping[str, Mapping[str, Estimate]], *, panels_per_row: int = 4
) -> "matplotlib.figure.Figure":
    """Draw a panel per measure: each model's value with its 95 % interval, and the floor with its own as a band.

    Args:
        columns: From a model's name to its estimates; all hold the same measures.
        panels_per_row: Panels side by side.

    Raises:
        ValueError: No models, or no measures.

    >>> value = Estimate(0.5, 0.1, "lower", "D", (100, 100), floor=0.1, floor_stderr=0.05)
    >>> [axis.get_title() for axis in draw_estimates({"model": {"energy_distance": value}}).axes]
    ['energy distance']
    """
    from matplotlib.figure import Figure

    if not columns or not next(iter(columns.values())):
        raise ValueError("columns must hold a model with a measure, got none; evaluate at least one")
    measures = list(next(iter(columns.values())))
    height = -(-len(measures) // panels_per_row)
    width = min(panels_per_row, len(measures))
    size = (3.1 * width, (0.9 + 0.32 * len(columns)) * height + 0.6)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(height, width, squeeze=False).flat
    for axis, measure in zip(axes, measures, strict=False):
        _panel(axis, measure, {name: estimates[measure] for name, estimates in columns.items()})
    for axis in list(figure.axes)[len(measures) :]:
        axis.set_visible(False)
    for k, axis in enumerate(figure.axes):
        if k % panels_per_row:
            axis.set_yticklabels([])
    figure.suptitle(
        "points: value ± 95 % interval; line and band: the floor, truth against truth", fontsize=9
    )
    return figure


def _panel(axis: "matplotlib.axes.Axes", measure: str, estimates: Mapping[str, Estimate]) -> None:
    from matplotlib.ticker import MaxNLocator

    first = next(iter(estimates.values()))
    band = first.floor_interval()
    if first.floor is not None and band is not None:
        axis.axvspan(*band, color="0.85", lw=0)
        axis.axvline(first.floor, color="0.4", lw=1)
    for k, e in enumerate(estimates.values()):
        colour, marker = COLOURS[k % len(COLOURS)], MARKERS[k % len(MARKERS)]
        low, high = e.interval()
        axis.errorbar(
            e.value, k, xerr=[[e.value - low], [high - e.value]], color=colour, marker=marker, capsize=3
        )
    arrow = BETTER.get(str(first.better))
    axis.set_title(measure.replace("_", " "), fontsize=9)
    axis.set_xlabel(arrow or f"best near {first.better}", fontsize=8)
    axis.set_yticks(range(len(estimates)), list(estimates))
    axis.set_ylim(len(estimates) - 0.5, -0.5)
    axis.tick_params(labelsize=8)
    axis.xaxis.get_offset_text().set_fontsize(8)
    axis.xaxis.set_major_locator(MaxNLocator(5))
    axis.margins(x=0.15)
    axis.grid(axis="x", color="0.92")
    axis.set_axisbelow(True)
