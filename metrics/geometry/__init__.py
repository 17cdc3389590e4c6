"""The geometry of networks: how finely they fold their input space, and how they bend what passes through.

- exact linear regions on a line (`regions`) and in a plane (`plane`), the decision boundary there (`boundary`), a
  picture of both (`draw`), and bounds of their number (`bounds`, `patterns`);
- curves through a network: their jets (`jets`), length and total curvature (`curves`), and what mean field theory says
  of them at infinite width (`mean_field`, `simulation`);
- the apparent box-counting dimension of a picture (`dimension`).
"""

from metrics.geometry.boundary import DecisionBoundary, decision_boundary
from metrics.geometry.bounds import (
    max_regions_arrangement,
    montufar_lower_bound,
    raghu_upper_bound,
    serra_upper_bound,
)
from metrics.geometry.curves import total_curvature, trajectory_length
from metrics.geometry.dimension import BoxCount, box_counting_dimension
from metrics.geometry.draw import draw_regions
from metrics.geometry.jets import Circle, Jets, curve_jets
from metrics.geometry.mean_field import CircleGeometry, MeanField
from metrics.geometry.patterns import PatternCount, sampled_patterns
from metrics.geometry.plane import Cells, PlaneRegions, linear_regions_in_plane
from metrics.geometry.regions import LineRegions, linear_regions_on_line
from metrics.geometry.simulation import simulated_circle

__all__ = [
    "BoxCount",
    "Cells",
    "Circle",
    "CircleGeometry",
    "DecisionBoundary",
    "Jets",
    "LineRegions",
    "MeanField",
    "PatternCount",
    "PlaneRegions",
    "box_counting_dimension",
    "curve_jets",
    "decision_boundary",
    "draw_regions",
    "linear_regions_in_plane",
    "linear_regions_on_line",
    "max_regions_arrangement",
    "montufar_lower_bound",
    "raghu_upper_bound",
    "sampled_patterns",
    "serra_upper_bound",
    "simulated_circle",
    "total_curvature",
    "trajectory_length",
]
