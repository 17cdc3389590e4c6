"""What nearest neighbours tell of two clouds: fidelity, diversity, their KL divergence, tests, modes and copies."""

from metrics.neighbours.authenticity import Authenticity, authenticity
from metrics.neighbours.balls import NeighbourScores, knn_kl, precision_recall_density_coverage
from metrics.neighbours.copying import DataCopyingTest, data_copying_test
from metrics.neighbours.memorisation import Memorisation, memorisation
from metrics.neighbours.modes import ClassCoverage, ModeCoverage, class_coverage, mode_coverage
from metrics.neighbours.realism import rarity_scores, realism_scores
from metrics.neighbours.two_sample import (
    Classifier,
    ClassifierTest,
    classifier_two_sample_test,
    nearest_neighbour_accuracy,
)

__all__ = [
    "Authenticity",
    "ClassCoverage",
    "Classifier",
    "ClassifierTest",
    "DataCopyingTest",
    "Memorisation",
    "ModeCoverage",
    "NeighbourScores",
    "authenticity",
    "class_coverage",
    "classifier_two_sample_test",
    "data_copying_test",
    "knn_kl",
    "memorisation",
    "mode_coverage",
    "nearest_neighbour_accuracy",
    "precision_recall_density_coverage",
    "rarity_scores",
    "realism_scores",
]
