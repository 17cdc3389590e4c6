"""The measures that `evaluate` reports when it is given none, each in memory that does not grow like n².

| measure | value | error | beyond |
|---|---|---|---|
| W_2 | network simplex | dual potentials | 3000 points: a random subset |
| Sinkhorn divergence | Anderson-accelerated scaling | dual potentials | 10 000 points: a random subset |
| sliced W_2 | sorting | potentials on the lines | any |
| MMD², energy distance | one pass over tiles of 512 × 512 pairs | row sums of the tiles | any |
| Fréchet distance | moments | quadratic potentials | any |
| precision … coverage, 1-NN | one search for each cloud | 80 halves of the same search | any |

The subset of W_2 has the bias of its own size, n^{−2/d} in W_2², more than the whole would have; a floor is
measured on as many points and shows it.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.distances import product_distances
from metrics.evaluation.influence import Influence, frechet_influence, sliced_influence
from metrics.evaluation.measures import Measure, ReportRow, Work
from metrics.evaluation.pair import Pair
from metrics.evaluation.permutation import (
    WIDEST,
    energy_permuted,
    frechet_permuted,
    mmd2_permuted,
    nearest_neighbour_permuted,
)
from metrics.evaluation.potentials import sinkhorn_influence, transport_influence
from metrics.evaluation.shared import kernel_sums_of, neighbours_of, once, pooled_kernels, reference_kernel
from metrics.kernels.energy import energy_of_sums
from metrics.kernels.kernel import NegativeDistance
from metrics.neighbours.balls import precision_recall_density_coverage
from metrics.neighbours.subsets import accuracy_of_subsets, scores_of_subsets
from metrics.neighbours.two_sample import nearest_neighbour_accuracy
from metrics.transport import sliced_wasserstein

__all__ = ["EXACT_POINTS", "SINKHORN_POINTS", "standard_measures"]

EXACT_POINTS = 3000
"""Points up to which W_2 is exact: the simplex grows like n³, and takes some 4 s and 0.6 GiB here."""

SINKHORN_POINTS = 10_000
"""Points up to which the Sinkhorn divergence is that of the whole clouds: its kernels are 0.4 GiB in float32 here."""


def standard_measures(*, k: int = 5, projections: int = 512) -> list[Measure]:
    """Return the measures that `evaluate` reports when it is given none.

    Args:
        k: The neighbour that sets the radius of precision, recall, density and coverage.
        projections: Directions of the sliced Wasserstein distance, the same ones at every call.

    References: W₂ by POT (Flamary et al. 2021); Sinkhorn divergence (Feydy et al. 2019, eq. 3); sliced Wasserstein
    (Bonneel et al. 2015); MMD² (Gretton et al. 2012, eq. 3); energy distance (Székely & Rizzo 2013); Fréchet distance
    (Dowson & Landau 1982; Heusel et al. 2017); precision and recall (Kynkäänniemi et al. 2019), density and coverage
    (Naeem et al. 2020); leave-one-out nearest neighbours (Lopez-Paz & Oquab 2017; Xu et al. 2018).

    >>> [row.name for measure in standard_measures() for row in measure.rows][:3]
    ['wasserstein', 'sinkhorn_divergence', 'sliced_wasserstein']
    """

    def sliced(pair: Pair) -> Influence:
        found = sliced_influence(pair.x, pair.y, _directions(min(projections, 128), pair.x))
        value = sliced_wasserstein(pair.x, pair.y, num_projections=projections)
        return replace(found.root(), value=value)

    return [
        replace(
            _of_influence(
                ReportRow("wasserstein", "lower", "exact W_2"),
                lambda pair: transport_influence(product_distances(pair.x, pair.y)).root(),
            ),
            most=EXACT_POINTS,
            bytes=lambda w: 64 * w.n * w.m,
            seconds=lambda w: 1.7e-10 * max(w.n, w.m) ** 3,
        ),
        replace(
            _of_influence(
                ReportRow("sinkhorn_divergence", "lower", "debiased dual, cost ‖x−y‖², ε = 0.05 × mean cost"),
                lambda pair: sinkhorn_influence(pair.x, pair.y, memory=pair.memory),
                squared=True,
            ),
            most=SINKHORN_POINTS,
            bytes=lambda w: 10 * max(w.n, w.m) ** 2,
            seconds=lambda w: 2e-8 * (w.n + w.m) ** 2,
        ),
        replace(
            _of_influence(
                ReportRow("sliced_wasserstein", "lower", f"SW_2, {projections} projections"), sliced
            ),
            seconds=lambda w: projections * (w.n + w.m) * (3e-7 + 1e-10 * w.d),
        ),
        replace(
            _of_formula(
                ReportRow(
                    "mmd2",
                    "lower",
                    "U-statistic, five Gaussian kernels, reference's median distance; p of three kernels",
                ),
                _mmd2,
            ),
            root_variance=lambda pair: kernel_sums_of(pair, reference_kernel(pair)).root_variance()[None],
            permuted=mmd2_permuted,
            kernels=lambda pair: ([reference_kernel(pair)], pooled_kernels(pair)),
            seconds=lambda w: _tiles(w, 1.8e-8, [1.8e-8, 0.8e-8, 0.8e-8]),
        ),
        replace(
            _of_formula(ReportRow("energy_distance", "lower", "D, not squared"), _energy),
            permuted=energy_permuted,
            kernels=lambda pair: ([NegativeDistance()], [NegativeDistance()]),
            seconds=lambda w: _tiles(w, 0.3e-8, [0.3e-8]),
        ),
        replace(
            _of_influence(
                ReportRow("frechet_distance", "lower", "squared W_2 of fitted Gaussians"),
                lambda pair: frechet_influence(pair.x, pair.y),
                squared=True,
            ),
            on_features=True,
            permuted=frechet_permuted,
            seconds=_frechet_seconds,
        ),
        replace(_neighbours(k), seconds=lambda w: _searches(w, 4)),
        Measure(
            (ReportRow("nn_accuracy", 0.5, "leave-one-out 1-NN accuracy", share=True),),
            lambda pair: nearest_neighbour_accuracy(pair.x, pair.y)[None],
            of_subsets=lambda pair, i, j: accuracy_of_subsets(pair.x, pair.y, i, j, neighbours_of(pair))[
                :, None
            ],
            permuted=nearest_neighbour_permuted,
            seconds=lambda w: _searches(w, 4),
        ),
    ]


def _of_formula(row: ReportRow, with_stderr: Callable[[Pair], tuple[Tensor, Tensor]]) -> Measure:
    def both(pair: Pair) -> tuple[Tensor, Tensor]:
        value, stderr = with_stderr(pair)
        return value[None], stderr[None]

    return Measure((row,), lambda pair: both(pair)[0], with_stderr=both)


def _of_influence(
    row: ReportRow, influence: Callable[[Pair], Influence], *, squared: bool = False
) -> Measure:
    def found(pair: Pair) -> Influence:
        return once(pair, ("influence", row.name), lambda: influence(pair))

    measure = _of_formula(row, lambda pair: (found(pair).value, found(pair).stderr))
    if not squared:
        return measure
    return replace(measure, root_variance=lambda pair: found(pair).root_variance[None])


def _directions(count: int, like: Tensor) -> Float[Tensor, "l d"]:
    """Unit vectors for the error of the sliced distance, which needs fewer of them than its value."""
    normal = torch.randn(
        count, like.shape[1], dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    return (normal / normal.norm(dim=1, keepdim=True)).to(like.device)


def _mmd2(pair: Pair) -> tuple[Tensor, Tensor]:
    sums = kernel_sums_of(pair, reference_kernel(pair))
    return sums.value(), sums.stderr()


def _energy(pair: Pair) -> tuple[Tensor, Tensor]:
    return energy_of_sums(kernel_sums_of(pair, NegativeDistance()))


def _neighbours(k: int) -> Measure:
    # The generated cloud is x and the reference y, whichever way a library orders its arguments.
    def compute(pair: Pair) -> Tensor:
        found = precision_recall_density_coverage(real=pair.y, fake=pair.x, k=k)
        return torch.stack([found.precision, found.recall, found.density, found.coverage])

    return Measure(
        (
            ReportRow("precision", "higher", f"share of samples near the reference, k = {k}", share=True),
            ReportRow("recall", "higher", f"share of the reference near samples, k = {k}", share=True),
            ReportRow("density", 1.0, f"mean count of reference balls around a sample / k, k = {k}"),
            ReportRow("coverage", "higher", f"share of reference balls with a sample, k = {k}", share=True),
        ),
        compute,
        of_subsets=lambda pair, i, j: scores_of_subsets(pair.y, pair.x, j, i, k),
    )


def _tiles(work: Work, of_value: float, of_test: Sequence[float]) -> float:
    """A pass over half of all pairs: distances, kernels, products with the labels. In company it costs less."""
    pairs = (work.n + work.m) ** 2 / 2
    tested = sum(kernel + 6e-11 * work.permutations for kernel in of_test) if work.permutations else 0
    return pairs * (1.2e-8 + 1e-10 * work.d + of_value + tested)


def _frechet_seconds(work: Work) -> float:
    each = 3e-10 * (work.n + work.m) * work.d**2 + 3e-9 * work.d**3
    tests = work.permutations if work.d <= WIDEST else 0
    return 4 * each + tests * (each + 2e-9 * work.d**3)


def _searches(work: Work, passes: int) -> float:
    pairs = (work.n + work.m) ** 2
    return passes / 4 * pairs * (1e-8 + 1e-10 * work.d) + 2e-7 * work.splits * (work.n + work.m) * 64
