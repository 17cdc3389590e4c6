"""Many measures of one pair of clouds at once, each with its error, its floor and a p-value."""

from metrics.evaluation.evaluate import Features, evaluate
from metrics.evaluation.measures import Measure, Row, measure, memorisation_measure, mode_measure
from metrics.evaluation.pair import Pair
from metrics.evaluation.predictions import PredictionAccumulator, PredictionComparison, evaluate_predictions
from metrics.evaluation.report import Comparison, Report
from metrics.evaluation.standard import standard_measures

__all__ = [
    "Comparison",
    "Features",
    "Measure",
    "Pair",
    "PredictionAccumulator",
    "PredictionComparison",
    "Report",
    "Row",
    "evaluate",
    "evaluate_predictions",
    "measure",
    "memorisation_measure",
    "mode_measure",
    "standard_measures",
]
