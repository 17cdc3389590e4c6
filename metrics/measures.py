"""Measures as `evaluate` takes them: a function of a pair of clouds, and how to read the numbers it gives.

A measure may give several numbers from one computation (precision, recall, density, coverage), a *row* each. It sees a
`Pair`, whose three distance matrices are computed once for all measures.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.energy import energy_distance_from_distances
from metrics.estimate import Better
from metrics.gaussian import frechet_distance
from metrics.kernels import median_kernel
from metrics.mmd import mmd2_from_distances
from metrics.modes import mode_coverage
from metrics.neighbours import precision_recall_density_coverage_from_distances
from metrics.pair import Pair
from metrics.transport import sinkhorn_divergence, sliced_wasserstein, transport_cost
from metrics.two_sample import nearest_neighbour_accuracy_from_distances

__all__ = ["Measure", "Row", "mode_measure", "named_measures", "standard_measures"]


@dataclass(frozen=True)
class Row:
    """One number of a measure: its name, which values are better, and what exactly is computed."""

    name: str
    better: Better
    convention: str


@dataclass(frozen=True)
class Measure:
    """One or several numbers of a pair of clouds.

    Attributes:
        rows: What the numbers are.
        compute: From a pair to a tensor [rows].
        on_features: Whether the pair is seen through the feature map, where `evaluate` was given one.
    """

    rows: tuple[Row, ...]
    compute: Callable[[Pair], Float[Tensor, " rows"]]
    on_features: bool = False


def standard_measures(*, k: int = 5, projections: int = 512) -> list[Measure]:
    """Return the measures that `evaluate` reports when it is given none.

    Args:
        k: The neighbour that sets the radius of precision, recall, density and coverage.
        projections: Directions of the sliced Wasserstein distance, the same ones at every call.

    >>> [row.name for measure in standard_measures() for row in measure.rows][:3]
    ['wasserstein', 'sinkhorn_divergence', 'sliced_wasserstein']
    """

    def sliced(pair: Pair) -> Tensor:
        return sliced_wasserstein(pair.x, pair.y, num_projections=projections)

    return [
        _single(Row("wasserstein", "lower", "exact W_2"), _wasserstein),
        _single(
            Row("sinkhorn_divergence", "lower", "debiased dual, cost ‖x−y‖², ε = 0.05 × mean cost"), _sinkhorn
        ),
        _single(Row("sliced_wasserstein", "lower", f"SW_2, {projections} projections"), sliced),
        _single(
            Row("mmd2", "lower", "U-statistic, five Gaussian kernels, reference's median distance"), _mmd2
        ),
        _single(Row("energy_distance", "lower", "D, not squared"), _energy),
        _single(
            Row("frechet_distance", "lower", "squared W_2 of fitted Gaussians"), _frechet, on_features=True
        ),
        _neighbours(k),
        _single(Row("nn_accuracy", 0.5, "leave-one-out 1-NN accuracy"), _nearest_neighbour),
    ]


def mode_measure(centres: Float[Tensor, "modes d"], std: float) -> Measure:
    """Return modes found, share of high-quality samples and reverse KL of a mixture with known centres.

    >>> [row.name for row in mode_measure(torch.zeros(1, 2), 0.1).rows]
    ['modes', 'high_quality', 'reverse_kl']
    """

    def compute(pair: Pair) -> Tensor:
        found = mode_coverage(pair.x, centres=centres.to(pair.x), std=std)
        return torch.stack([found.modes, found.high_quality, found.reverse_kl])

    return Measure(
        (
            Row("modes", "higher", f"of {len(centres)}, with a sample within 3 σ"),
            Row("high_quality", "higher", "share of samples within 3 σ of a centre"),
            Row("reverse_kl", "lower", "nats, modes of the samples against uniform"),
        ),
        compute,
    )


def named_measures(functions: Mapping[str, Callable[[Tensor, Tensor], Tensor]]) -> list[Measure]:
    """Turn plain functions of two clouds, for which lower is better, into measures.

    >>> measure = named_measures({"gap": lambda x, y: (x.mean() - y.mean()).abs()})[0]
    >>> measure.compute(Pair(torch.zeros(2, 1), torch.ones(2, 1)))
    tensor([1.])
    """

    def measure(name: str, function: Callable[[Tensor, Tensor], Tensor]) -> Measure:
        return _single(Row(name, "lower", "as given"), lambda pair: function(pair.x, pair.y))

    return [measure(name, function) for name, function in functions.items()]


def _single(row: Row, compute: Callable[[Pair], Tensor], *, on_features: bool = False) -> Measure:
    return Measure((row,), lambda pair: compute(pair)[None], on_features)


def _wasserstein(pair: Pair) -> Tensor:
    return transport_cost(pair.xy.square()).clamp_min(0).sqrt()


def _sinkhorn(pair: Pair) -> Tensor:
    return sinkhorn_divergence(pair.x, pair.y)


def _mmd2(pair: Pair) -> Tensor:
    # The kernel is the reference's alone: whatever is held against one reference is measured by one kernel.
    kernel = median_kernel(pair.yy, pair.yy[:, :0], pair.yy[:0, :0])
    return mmd2_from_distances(pair.xx, pair.xy, pair.yy, kernel=kernel)


def _energy(pair: Pair) -> Tensor:
    return energy_distance_from_distances(pair.xx, pair.xy, pair.yy)


def _frechet(pair: Pair) -> Tensor:
    return frechet_distance(pair.x, pair.y)


def _nearest_neighbour(pair: Pair) -> Tensor:
    return nearest_neighbour_accuracy_from_distances(pair.xx, pair.xy, pair.yy)


def _neighbours(k: int) -> Measure:
    def compute(pair: Pair) -> Tensor:
        # The generated cloud is x and the reference y, whichever way a library orders its arguments.
        found = precision_recall_density_coverage_from_distances(rr=pair.yy, rf=pair.xy.T, ff=pair.xx, k=k)
        return torch.stack([found.precision, found.recall, found.density, found.coverage])

    return Measure(
        (
            Row("precision", "higher", f"share of samples near the reference, k = {k}"),
            Row("recall", "higher", f"share of the reference near samples, k = {k}"),
            Row("density", 1.0, f"mean count of reference balls around a sample / k, k = {k}"),
            Row("coverage", "higher", f"share of reference balls with a sample, k = {k}"),
        ),
        compute,
    )
