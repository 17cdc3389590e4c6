"""Predictions judged: scores with errors, paired differences, floors and pictures, in one call or in pieces."""

from metrics.evaluation.predictions.comparison import PredictionComparison
from metrics.evaluation.predictions.evaluate import PredictionAccumulator, evaluate_predictions

__all__ = ["PredictionAccumulator", "PredictionComparison", "evaluate_predictions"]
