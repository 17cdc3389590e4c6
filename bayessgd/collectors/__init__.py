"""What keeps the iterates of an optimizer: means, moments, or the iterates themselves."""

from bayessgd.collectors.iterate_average import IterateAverage
from bayessgd.collectors.swag import SWAG
from bayessgd.collectors.trajectory import Trajectory

__all__ = ["SWAG", "IterateAverage", "Trajectory"]
