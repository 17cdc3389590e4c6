"""Measures of clouds of samples: one set for posteriors, generators and predictions.

A metric is a plain function of tensors that returns a tensor, differentiable where the mathematics is.
`evaluate` runs many of them on one pair of clouds and adds what makes a number honest: a standard error and
the floor that a perfect model would reach.
"""

from metrics.energy import energy_distance
from metrics.estimate import Estimate
from metrics.evaluate import Features, evaluate
from metrics.gaussian import bures_wasserstein, frechet_distance, gaussian_kl
from metrics.measures import Measure, standard_measures
from metrics.mmd import mmd2
from metrics.modes import mode_coverage
from metrics.neighbours import knn_kl, precision_recall_density_coverage
from metrics.report import Comparison, Report
from metrics.transport import SinkhornResult, sinkhorn, sinkhorn_divergence, sliced_wasserstein, wasserstein
from metrics.two_sample import classifier_two_sample_test, nearest_neighbour_accuracy

__all__ = [
    "Comparison",
    "Estimate",
    "Features",
    "Measure",
    "Report",
    "SinkhornResult",
    "bures_wasserstein",
    "classifier_two_sample_test",
    "energy_distance",
    "evaluate",
    "frechet_distance",
    "gaussian_kl",
    "knn_kl",
    "mmd2",
    "mode_coverage",
    "nearest_neighbour_accuracy",
    "precision_recall_density_coverage",
    "sinkhorn",
    "sinkhorn_divergence",
    "sliced_wasserstein",
    "standard_measures",
    "wasserstein",
]
