"""Measures of clouds of samples: one set for posteriors, generators and predictions.

A metric is a plain function of tensors that returns a tensor, differentiable where the mathematics is.
`evaluate` runs many of them on one pair of clouds and adds what makes a number honest: a standard error and
the floor that a perfect model would reach.
"""

from metrics import geometry, plots, streaming
from metrics.brier import brier_decomposition
from metrics.calibration import calibration_error, classwise_calibration_error, reliability_diagram
from metrics.chains import chain_diagnostics, effective_sample_size, monte_carlo_error, r_hat
from metrics.energy import energy_distance
from metrics.ensembles import crps_ensemble, energy_score
from metrics.estimate import Estimate
from metrics.evaluate import Features, evaluate
from metrics.features import digits_classifier
from metrics.gaussian import bures_wasserstein, frechet_distance, gaussian_kl
from metrics.inception import InceptionFeatures
from metrics.intervals import interval_coverage, interval_score
from metrics.layer_features import LayerFeatures
from metrics.measures import Measure, standard_measures
from metrics.memorisation import memorisation
from metrics.mmd import mmd2, mmd2_variance
from metrics.modes import mode_coverage
from metrics.neighbours import knn_kl, precision_recall_density_coverage
from metrics.report import Comparison, Report
from metrics.scoring import brier_score, categorical_nll, crps_gaussian, gaussian_nll
from metrics.transport import (
    SinkhornDivergence,
    SinkhornDivergenceResult,
    SinkhornResult,
    entropic_gaussian_cost,
    entropic_gaussian_divergence,
    sinkhorn,
    sinkhorn_divergence,
    sliced_wasserstein,
    wasserstein,
)
from metrics.two_sample import classifier_two_sample_test, nearest_neighbour_accuracy
from metrics.uncertainty import (
    agreement,
    mutual_information,
    out_of_distribution_auroc,
    predictive_entropy,
    total_variation,
)
from metrics.vendi import vendi_score
from metrics.witness import mmd_witness

__all__ = [
    "Comparison",
    "Estimate",
    "Features",
    "InceptionFeatures",
    "LayerFeatures",
    "Measure",
    "Report",
    "SinkhornDivergence",
    "SinkhornDivergenceResult",
    "SinkhornResult",
    "agreement",
    "brier_decomposition",
    "brier_score",
    "bures_wasserstein",
    "calibration_error",
    "categorical_nll",
    "chain_diagnostics",
    "classifier_two_sample_test",
    "classwise_calibration_error",
    "crps_ensemble",
    "crps_gaussian",
    "digits_classifier",
    "effective_sample_size",
    "energy_distance",
    "energy_score",
    "entropic_gaussian_cost",
    "entropic_gaussian_divergence",
    "evaluate",
    "frechet_distance",
    "gaussian_kl",
    "gaussian_nll",
    "geometry",
    "interval_coverage",
    "interval_score",
    "knn_kl",
    "memorisation",
    "mmd2",
    "mmd2_variance",
    "mmd_witness",
    "mode_coverage",
    "monte_carlo_error",
    "mutual_information",
    "nearest_neighbour_accuracy",
    "out_of_distribution_auroc",
    "plots",
    "precision_recall_density_coverage",
    "predictive_entropy",
    "r_hat",
    "reliability_diagram",
    "sinkhorn",
    "sinkhorn_divergence",
    "sliced_wasserstein",
    "standard_measures",
    "streaming",
    "total_variation",
    "vendi_score",
    "wasserstein",
]
