"""Many measures of one pair of clouds at once, each with its error, its floor and a p-value."""

from metrics.evaluation.classification import ClassificationAccuracy, classification_accuracy_score
from metrics.evaluation.conditional import evaluate_conditional, joint_cloud
from metrics.evaluation.conditional_report import ConditionalReport
from metrics.evaluation.copying import copying_measures, feature_likelihood_measure
from metrics.evaluation.evaluate import Features, evaluate
from metrics.evaluation.measures import Measure, ReportRow, measure, memorisation_measure, mode_measure
from metrics.evaluation.pair import Pair
from metrics.evaluation.predictions import PredictionAccumulator, PredictionComparison, evaluate_predictions
from metrics.evaluation.published import inception_measure, published_measures
from metrics.evaluation.report import Comparison, Report
from metrics.evaluation.standard import standard_measures

__all__ = [
    "ClassificationAccuracy",
    "Comparison",
    "ConditionalReport",
    "Features",
    "Measure",
    "Pair",
    "PredictionAccumulator",
    "PredictionComparison",
    "Report",
    "ReportRow",
    "classification_accuracy_score",
    "copying_measures",
    "evaluate",
    "evaluate_conditional",
    "evaluate_predictions",
    "feature_likelihood_measure",
    "inception_measure",
    "joint_cloud",
    "measure",
    "memorisation_measure",
    "mode_measure",
    "published_measures",
    "standard_measures",
]
