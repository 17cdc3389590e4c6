"""The geometry of networks: how finely they fold their input space."""

from metrics.geometry.plane import Cells, PlaneRegions, linear_regions_in_plane
from metrics.geometry.regions import LineRegions, linear_regions_on_line

__all__ = [
    "Cells",
    "LineRegions",
    "PlaneRegions",
    "linear_regions_in_plane",
    "linear_regions_on_line",
]
