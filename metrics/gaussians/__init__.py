"""Distances and divergences of Gaussians in closed form, with and without entropy."""

from metrics.gaussians.entropic import entropic_gaussian_cost, entropic_gaussian_divergence
from metrics.gaussians.frechet import bures_wasserstein, frechet_distance, gaussian_kl

__all__ = [
    "bures_wasserstein",
    "entropic_gaussian_cost",
    "entropic_gaussian_divergence",
    "frechet_distance",
    "gaussian_kl",
]
