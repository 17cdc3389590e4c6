"""Pictures of measurements, with matplotlib and without its global state.

A picture of one panel takes `ax=`, the axes to draw on, and returns them; without it they are on a figure of their own,
`axes.figure`. A picture of several panels returns its `Figure`. Nothing is shown and no style is set: save with
`figure.savefig("name.png")`.
"""

from metrics.plots.clouds import draw_clouds
from metrics.plots.colours import COLOURS, MARKERS
from metrics.plots.estimates import draw_estimates
from metrics.plots.fidelity import draw_precision_recall
from metrics.plots.predictions import (
    draw_bands,
    draw_differences,
    draw_entropies,
    draw_pit,
    draw_reliability,
    draw_risk_coverage,
)
from metrics.plots.witness import draw_witness

__all__ = [
    "COLOURS",
    "MARKERS",
    "draw_bands",
    "draw_clouds",
    "draw_differences",
    "draw_entropies",
    "draw_estimates",
    "draw_pit",
    "draw_precision_recall",
    "draw_reliability",
    "draw_risk_coverage",
    "draw_witness",
]
