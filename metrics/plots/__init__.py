"""Pictures of measurements, with matplotlib and without its global state.

A picture of one panel takes `ax=`, the axes to draw on, and returns them; without it they are on a figure of their own,
`axes.figure`. A picture of several panels returns its `Figure`. Nothing is shown and no style is set: save with
`figure.savefig("name.png")`.
"""

from metrics.plots.clouds import draw_clouds
from metrics.plots.colours import COLOURS, MARKERS
from metrics.plots.estimates import draw_estimates
from metrics.plots.fidelity import draw_precision_recall
from metrics.plots.witness import draw_witness

__all__ = [
    "COLOURS",
    "MARKERS",
    "draw_clouds",
    "draw_estimates",
    "draw_precision_recall",
    "draw_witness",
]
