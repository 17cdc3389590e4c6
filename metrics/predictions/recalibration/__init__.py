"""Recalibration: a map from predictions to better ones, fitted on validation data that were not trained on.

Each is a small object: `fit(predictions, outcomes)` returns itself, a call maps predictions. What is mapped is the
predictive distribution, the mean over posterior samples: [samples, n, classes] comes back as [1, n, classes], ready
for `metrics.evaluate_predictions` beside the prediction it was made of.

    TemperatureScaling   one number, softmax(log p / T), with its standard error; keeps every predicted class
    VectorScaling        a slope and a bias for each class
    IsotonicCalibration  any monotone map for each class, by scikit-learn; needs many data
    ConformalSets        sets of classes that hold the label with a probability that is guaranteed
    ConformalIntervals   intervals that hold the outcome with a probability that is guaranteed
"""

from metrics.predictions.recalibration.conformal import (
    ConformalIntervals,
    ConformalSets,
    SetCoverage,
    set_coverage,
)
from metrics.predictions.recalibration.isotonic import IsotonicCalibration
from metrics.predictions.recalibration.temperature import TemperatureScaling
from metrics.predictions.recalibration.vector import VectorScaling

__all__ = [
    "ConformalIntervals",
    "ConformalSets",
    "IsotonicCalibration",
    "SetCoverage",
    "TemperatureScaling",
    "VectorScaling",
    "set_coverage",
]
