"""Fidelity against diversity: precision over recall, and density over coverage, a point per model.

A model that has collapsed sits at the left, one that draws nonsense at the bottom, and the truth at its own floor, the
values of a second sample of the truth. Precision and recall hang on single outliers; density and coverage do not
(Naeem et al. 2020), so both planes are shown.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from metrics.estimate import Estimate
from metrics.plots.colours import COLOURS, MARKERS

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure

__all__ = ["draw_precision_recall"]

PLANES = (("recall", "precision"), ("coverage", "density"))
*MODELS, FLOOR = COLOURS


def draw_precision_recall(columns: Mapping[str, Mapping[str, Estimate]]) -> "matplotlib.figure.Figure":
    """Draw precision against recall and density against coverage, each model's point with 95 % intervals.

    Args:
        columns: From a model's name to its estimates, such as `report.estimates`; all hold precision, recall, density
            and coverage, and share the floor that is marked, where they have one.

    Returns:
        A figure of two panels. The intervals are those of `Estimate.interval`.

    Raises:
        ValueError: No models, or one of the four measures is missing.

    >>> value = Estimate(0.5, 0.1, "higher", "k = 5", (100, 100))
    >>> names = ("precision", "recall", "density", "coverage")
    >>> figure = draw_precision_recall({"model": dict.fromkeys(names, value)})
    >>> [(axis.get_xlabel(), axis.get_ylabel()) for axis in figure.axes]
    [('recall (diversity)', 'precision (fidelity)'), ('coverage (diversity)', 'density (fidelity)')]
    """
    from matplotlib.figure import Figure

    if not columns:
        raise ValueError("columns must not be empty; evaluate at least one model")
    for name, estimates in columns.items():
        missing = [row for plane in PLANES for row in plane if row not in estimates]
        if missing:
            raise ValueError(f"{name} lacks {missing}; evaluate it with the standard measures")
    figure = Figure(figsize=(8.6, 4.2), layout="constrained")
    for axis, (across, up) in zip(figure.subplots(1, 2), PLANES, strict=True):
        _draw_plane(axis, {name: (e[across], e[up]) for name, e in columns.items()})
        axis.set(xlabel=f"{across} (diversity)", ylabel=f"{up} (fidelity)")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(5, len(labels)), fontsize=8)
    figure.suptitle(
        "points: value ± 95 % interval; black cross: the floor, truth against truth; dotted: 1", fontsize=9
    )
    return figure


def _draw_plane(axis: "matplotlib.axes.Axes", points: Mapping[str, tuple[Estimate, Estimate]]) -> None:
    for limit in (axis.axhline, axis.axvline):
        limit(1, color="0.6", lw=1, ls=":")
    highest = 1.0
    for k, (name, (x, y)) in enumerate(points.items()):
        colour, marker = COLOURS[k % len(MODELS)], MARKERS[k % len(MARKERS)]
        _draw_cross(axis, (x.value, *x.interval()), (y.value, *y.interval()), name, colour, marker)
        highest = max(highest, y.interval()[1])
    x, y = next(iter(points.values()))
    across, up = x.floor_interval(), y.floor_interval()
    if x.floor is not None and y.floor is not None and across is not None and up is not None:
        _draw_cross(axis, (x.floor, *across), (y.floor, *up), "floor", FLOOR, "x")
        highest = max(highest, up[1])
    axis.set(xlim=(-0.05, 1.05), ylim=(-0.05 * highest, 1.05 * highest))
    axis.grid(color="0.92")
    axis.set_axisbelow(True)


def _draw_cross(
    axis: "matplotlib.axes.Axes",
    x: tuple[float, float, float],
    y: tuple[float, float, float],
    label: str,
    colour: str,
    marker: str,
) -> None:
    """A point from two values, each with the ends of its interval."""
    across, up = ([[v - low], [high - v]] for v, low, high in (x, y))
    axis.errorbar([x[0]], [y[0]], xerr=across, yerr=up, fmt=marker, color=colour, capsize=3, label=label)
