"""Kernels, and what is measured with them: MMD, energy distance, witness function, Vendi score."""

from metrics.kernels.aggregated import (
    AggregatedTest,
    ProductLaplace,
    aggregated_mmd_test,
    kernel_collection,
)
from metrics.kernels.energy import energy_distance
from metrics.kernels.inception_distance import KernelInceptionDistance, clip_mmd, kernel_inception_distance
from metrics.kernels.kernel import (
    Gaussian,
    Kernel,
    Laplace,
    NegativeDistance,
    Polynomial,
    Radial,
    RationalQuadratic,
    median_heuristic,
    median_kernel,
)
from metrics.kernels.mmd import mmd2, mmd2_variance
from metrics.kernels.vendi import vendi_score
from metrics.kernels.witness import mmd_witness

__all__ = [
    "AggregatedTest",
    "Gaussian",
    "Kernel",
    "KernelInceptionDistance",
    "Laplace",
    "NegativeDistance",
    "Polynomial",
    "ProductLaplace",
    "Radial",
    "RationalQuadratic",
    "aggregated_mmd_test",
    "clip_mmd",
    "energy_distance",
    "kernel_collection",
    "kernel_inception_distance",
    "median_heuristic",
    "median_kernel",
    "mmd2",
    "mmd2_variance",
    "mmd_witness",
    "vendi_score",
]
