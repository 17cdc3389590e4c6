"""Distances of Gaussians in closed form, with and without entropy; the likelihood of data under mixtures of them."""

from metrics.gaussians.entropic import entropic_gaussian_cost, entropic_gaussian_divergence
from metrics.gaussians.extrapolated import ExtrapolatedDistance, frechet_distance_infinity
from metrics.gaussians.feature_likelihood import FeatureLikelihood, feature_likelihood_divergence
from metrics.gaussians.frechet import bures_wasserstein, frechet_distance, gaussian_kl

__all__ = [
    "ExtrapolatedDistance",
    "FeatureLikelihood",
    "bures_wasserstein",
    "entropic_gaussian_cost",
    "entropic_gaussian_divergence",
    "feature_likelihood_divergence",
    "frechet_distance",
    "frechet_distance_infinity",
    "gaussian_kl",
]
