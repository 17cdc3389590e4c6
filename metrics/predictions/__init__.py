"""What probabilistic predictions are worth once the outcomes are known.

A score S(P, y) compares a predicted distribution P with an outcome y; lower is better. It is *proper* if no
distribution has a lower expected score than the truth, E_{y~Q} S(Q, y) ≤ E_{y~Q} S(P, y), and strictly so if only the
truth reaches it (Gneiting & Raftery 2007, "Strictly proper scoring rules, prediction, and estimation"). A forecaster
cannot gain by hedging, and what separates two scores is a divergence of P from Q:

    score            S(P, y)                              its divergence
    log score        −ln p(y)                             KL(Q‖P)
    Brier            Σ_k (p_k − 1[y = k])²                Σ_k (p_k − q_k)²
    CRPS             ∫ (F(t) − 1[y ≤ t])² dt              ∫ (F − G)² dt, Cramér's distance
    energy score     E‖X − y‖ − ½ E‖X − X'‖               half the squared energy distance

Each of these returns the mean over the n outcomes, or with `per_point=True` the n scores: their standard deviation
over √n is the standard error of the mean, and the differences of two models' scores, point by point, compare them.
float32 comes back as float32; the arithmetic inside is float64.

Calibration, intervals and uncertainty are no scores: they say what is wrong with a prediction, not how good it is.
"""

from metrics.predictions.brier import BrierDecomposition, brier_decomposition, brier_score
from metrics.predictions.calibration import (
    ReliabilityDiagram,
    calibration_error,
    calibration_floor,
    classwise_calibration_error,
    reliability_diagram,
)
from metrics.predictions.crps import crps_ensemble, crps_gaussian
from metrics.predictions.energy_score import energy_score
from metrics.predictions.inception_score import InceptionScore, inception_score
from metrics.predictions.intervals import IntervalCoverage, interval_coverage, interval_score
from metrics.predictions.log_score import categorical_nll, categorical_nll_from_log_probs, gaussian_nll
from metrics.predictions.ordinal import ranked_probability_score
from metrics.predictions.quantiles import pit_values, quantile_calibration_error
from metrics.predictions.recalibration import (
    ConformalIntervals,
    ConformalSets,
    IsotonicCalibration,
    SetCoverage,
    TemperatureScaling,
    VectorScaling,
    set_coverage,
)
from metrics.predictions.selective import (
    RiskCoverage,
    error_detection_auroc,
    false_positive_rate,
    risk_coverage,
)
from metrics.predictions.smooth_calibration import smooth_calibration_error
from metrics.predictions.uncertainty import (
    agreement,
    categorical_kl,
    expected_entropy,
    mutual_information,
    out_of_distribution_auroc,
    predictive_entropy,
    total_variation,
)

__all__ = [
    "BrierDecomposition",
    "ConformalIntervals",
    "ConformalSets",
    "InceptionScore",
    "IntervalCoverage",
    "IsotonicCalibration",
    "ReliabilityDiagram",
    "RiskCoverage",
    "SetCoverage",
    "TemperatureScaling",
    "VectorScaling",
    "agreement",
    "brier_decomposition",
    "brier_score",
    "calibration_error",
    "calibration_floor",
    "categorical_kl",
    "categorical_nll",
    "categorical_nll_from_log_probs",
    "classwise_calibration_error",
    "crps_ensemble",
    "crps_gaussian",
    "energy_score",
    "error_detection_auroc",
    "expected_entropy",
    "false_positive_rate",
    "gaussian_nll",
    "inception_score",
    "interval_coverage",
    "interval_score",
    "mutual_information",
    "out_of_distribution_auroc",
    "pit_values",
    "predictive_entropy",
    "quantile_calibration_error",
    "ranked_probability_score",
    "reliability_diagram",
    "risk_coverage",
    "set_coverage",
    "smooth_calibration_error",
    "total_variation",
]
