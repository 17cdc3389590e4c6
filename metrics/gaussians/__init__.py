"""Distances and divergences of Gaussians in closed form, with and without entropy."""

from metrics.gaussians.entropic import entropic_gaussian_cost, entropic_gaussian_divergence
from metrics.gaussians.extrapolated import ExtrapolatedDistance, frechet_distance_infinity
from metrics.gaussians.frechet import bures_wasserstein, frechet_distance, gaussian_kl

__all__ = [
    "ExtrapolatedDistance",
    "bures_wasserstein",
    "entropic_gaussian_cost",
    "entropic_gaussian_divergence",
    "frechet_distance",
    "frechet_distance_infinity",
    "gaussian_kl",
]
