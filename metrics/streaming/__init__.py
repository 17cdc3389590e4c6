"""Measures of data that comes in pieces, on one machine or on many."""

from metrics.streaming.accumulator import Accumulator
from metrics.streaming.brier import BrierScore
from metrics.streaming.calibration import CalibrationError
from metrics.streaming.crps import CRPS
from metrics.streaming.frechet import FrechetDistance
from metrics.streaming.mmd import MMD
from metrics.streaming.neighbours import PrecisionRecallDensityCoverage

__all__ = [
    "CRPS",
    "MMD",
    "Accumulator",
    "BrierScore",
    "CalibrationError",
    "FrechetDistance",
    "PrecisionRecallDensityCoverage",
]
