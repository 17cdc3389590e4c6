"""Measures as `evaluate` takes them: a function of a pair of clouds, and how to read the numbers it gives.

A measure may give several numbers from one computation (precision, recall, density, coverage), a *row* each. It sees a
`Pair`, whose three distance matrices are computed once for all measures.

A measure may bring its own standard errors, from the same computation, and the statistic of a permutation test.
Without the first `evaluate` takes the delete-half jackknife of `metrics.evaluation.jackknife`, which is right for any
function of two clouds; without the second there is no p-value.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import SupportsFloat

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.estimate import Better
from metrics.evaluation.influence import Influence, frechet_influence, sliced_influence
from metrics.evaluation.pair import Pair
from metrics.evaluation.permutation import (
    energy_permuted,
    frechet_permuted,
    mmd2_permuted,
    nearest_neighbour_permuted,
)
from metrics.kernels.energy import energy_distance_from_distances, energy_stderr_from_distances
from metrics.kernels.kernel import median_kernel
from metrics.kernels.mmd import mmd2_from_grams, mmd2_stderr_from_grams
from metrics.neighbours.balls import precision_recall_density_coverage_from_distances
from metrics.neighbours.modes import mode_coverage
from metrics.neighbours.two_sample import nearest_neighbour_accuracy_from_distances
from metrics.transport import sinkhorn_divergence, sliced_wasserstein, transport_cost

__all__ = ["Measure", "Row", "chosen_measures", "measure", "mode_measure", "standard_measures"]


@dataclass(frozen=True)
class Row:
    """One number of a measure.

    Attributes:
        name: Its name in reports.
        better: Which values are better.
        convention: What exactly is computed, in a few words.
        share: Whether it is a share of points, from 0 to 1.
    """

    name: str
    better: Better
    convention: str
    share: bool = False


@dataclass(frozen=True)
class Measure:
    """One or several numbers of a pair of clouds.

    Attributes:
        rows: What the numbers are.
        compute: From a pair to a tensor [rows].
        on_features: Whether the pair is always seen through the feature map, where `evaluate` was given one.
        on_points: Whether the pair is never seen through it, as by a measure that knows places in the points' space.
        with_stderr: From a pair to the numbers and their standard errors, [rows] each; None: by the jackknife.
        permuted: From a pair and b labellings of its pooled points (`metrics.evaluation.permutation`) to the
            statistic whose large values tell the clouds apart, [b]; it returns None where that would cost too much.
            None:
            no permutation test.
    """

    rows: tuple[Row, ...]
    compute: Callable[[Pair], Float[Tensor, " rows"]]
    on_features: bool = False
    on_points: bool = False
    with_stderr: Callable[[Pair], tuple[Float[Tensor, " rows"], Float[Tensor, " rows"]]] | None = None
    permuted: Callable[[Pair, Float[Tensor, "b N"]], Float[Tensor, " b"] | None] | None = None


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
        _single(Row("wasserstein", "lower", "exact W_2"), _wasserstein),
        _single(
            Row("sinkhorn_divergence", "lower", "debiased dual, cost ‖x−y‖², ε = 0.05 × mean cost"), _sinkhorn
        ),
        _of_influence(Row("sliced_wasserstein", "lower", f"SW_2, {projections} projections"), sliced),
        _of_formula(
            Row("mmd2", "lower", "U-statistic, five Gaussian kernels, reference's median distance"),
            _mmd2,
            permuted=mmd2_permuted,
        ),
        _of_formula(Row("energy_distance", "lower", "D, not squared"), _energy, permuted=energy_permuted),
        replace(
            _of_influence(Row("frechet_distance", "lower", "squared W_2 of fitted Gaussians"), _frechet),
            on_features=True,
            permuted=frechet_permuted,
        ),
        _neighbours(k),
        replace(
            _single(Row("nn_accuracy", 0.5, "leave-one-out 1-NN accuracy", share=True), _nearest_neighbour),
            permuted=nearest_neighbour_permuted,
        ),
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
            Row("high_quality", "higher", "share of samples within 3 σ of a centre", share=True),
            Row("reverse_kl", "lower", "nats, modes of the samples against uniform"),
        ),
        compute,
        on_points=True,
    )


def measure(
    name: str,
    function: Callable[[Tensor, Tensor], Tensor | SupportsFloat],
    *,
    better: Better,
    convention: str = "",
) -> Measure:
    """Return a measure for `evaluate` of any function of two clouds that gives one number.

    Args:
        name: Its name in reports.
        function: From samples [n, d] and reference [m, d] to a number: a 0-dim tensor, a float, a numpy scalar.
        better: "lower", "higher", or the number that the best values are near to.
        convention: What exactly is computed, in a few words, for the report.

    Returns:
        A measure whose standard error is the delete-half jackknife's, and without a permutation test.

    Raises:
        TypeError, ValueError: A name that is no text, a function that cannot be called, an unknown `better`; on use,
            a function that does not give one number.

    >>> gap = measure("mean gap", lambda x, y: (x.mean() - y.mean()).abs(), better="lower")
    >>> gap.rows[0].name, gap.rows[0].better
    ('mean gap', 'lower')
    """
    if not isinstance(name, str) or not name:
        raise TypeError(f"name must be a text, got {name!r}; name what the report shows")
    if not callable(function):
        raise TypeError(
            f"function must be callable on two clouds, got {type(function).__name__}; pass the function itself"
        )
    return _single(
        Row(name, _checked_better(better), convention),
        lambda pair: _one_number(function(pair.x, pair.y), name),
    )


def chosen_measures(measures: object) -> list[Measure]:
    """Return the measures that `evaluate` was asked for: objects, functions by name, or the standard ones.

    Raises:
        TypeError, ValueError: Names or bare functions, no measure at all, or two numbers of one name.

    >>> [m.rows[0].name for m in chosen_measures({"gap": lambda x, y: (x.mean() - y.mean()).abs()})]
    ['gap']
    """
    if measures is None:
        return standard_measures()
    if isinstance(measures, Mapping):
        chosen = [measure(name, function, better="lower") for name, function in measures.items()]
    elif isinstance(measures, str | Measure) or not isinstance(measures, Iterable):
        told = repr(measures) if isinstance(measures, str) else type(measures).__name__
        raise TypeError(f"measures must be a list of measures or a mapping, got {told}; {_remedy(measures)}")
    else:
        chosen = list(measures)
        for each in chosen:
            if not isinstance(each, Measure):
                told = repr(each) if isinstance(each, str) else type(each).__name__
                raise TypeError(f"measures must hold Measure objects, got {told}; {_remedy(each)}")
    names = [row.name for each in chosen for row in each.rows]
    if not names:
        raise ValueError("measures must not be empty, got none; pass None for the standard ones")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"measures must have different names, got {twice} more than once; rename one")
    return chosen


def _remedy(given: object) -> str:
    """The form in which `evaluate` takes what it was given."""
    if isinstance(given, Measure):
        return "pass [measure]"
    if isinstance(given, str):
        return f"names are for the command line: pass a function, measures={{{given!r}: metrics.{given}}}"
    if callable(given):
        name = getattr(given, "__name__", "name")
        return (
            f"give it a name, measures={{{name!r}: {name}}}, or metrics.measure(name, function, better=...)"
        )
    return "see metrics.standard_measures and metrics.measure"


def _checked_better(better: object) -> Better:
    if isinstance(better, str):
        if better in ("lower", "higher"):
            return better
    elif isinstance(better, SupportsFloat) and math.isfinite(float(better)):
        return float(better)
    raise ValueError(f'better must be "lower", "higher" or a number to be near to, got {better!r}')


def _one_number(value: object, name: str) -> Tensor:
    if isinstance(value, Tensor) and value.numel() == 1:
        return value.reshape(())
    if not isinstance(value, Tensor) and isinstance(value, SupportsFloat):
        return torch.tensor(float(value), dtype=torch.float64)
    told = f"shape {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
    raise ValueError(
        f"{name} must give one number for two clouds, got {told}; reduce it, for instance by .mean()"
    )


def _single(row: Row, compute: Callable[[Pair], Tensor]) -> Measure:
    return Measure((row,), lambda pair: compute(pair)[None])


def _of_formula(
    row: Row,
    with_stderr: Callable[[Pair], tuple[Tensor, Tensor]],
    *,
    permuted: Callable[[Pair, Tensor], Tensor] | None = None,
) -> Measure:
    def both(pair: Pair) -> tuple[Tensor, Tensor]:
        value, stderr = with_stderr(pair)
        return value[None], stderr[None]

    return Measure((row,), lambda pair: both(pair)[0], with_stderr=both, permuted=permuted)


def _of_influence(row: Row, influence: Callable[[Pair], Influence]) -> Measure:
    def with_stderr(pair: Pair) -> tuple[Tensor, Tensor]:
        found = influence(pair)
        return found.value, found.stderr

    return _of_formula(row, with_stderr)


def _wasserstein(pair: Pair) -> Tensor:
    return transport_cost(pair.xy.square()).clamp_min(0).sqrt()


def _sinkhorn(pair: Pair) -> Tensor:
    return sinkhorn_divergence(pair.x, pair.y)


def _directions(count: int, like: Tensor) -> Tensor:
    """Unit vectors for the error of the sliced distance, which needs fewer of them than its value."""
    normal = torch.randn(
        count, like.shape[1], dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    return (normal / normal.norm(dim=1, keepdim=True)).to(like.device)


def _mmd2(pair: Pair) -> tuple[Tensor, Tensor]:
    # The kernel is the reference's alone: whatever is held against one reference is measured by one kernel.
    kernel = median_kernel(pair.yy, pair.yy[:, :0], pair.yy[:0, :0])
    grams = [kernel.from_distances(r.double()) for r in (pair.xx, pair.xy, pair.yy)]
    return mmd2_from_grams(*grams), mmd2_stderr_from_grams(*grams)


def _energy(pair: Pair) -> tuple[Tensor, Tensor]:
    shared = pair.xx, pair.xy, pair.yy
    return energy_distance_from_distances(*shared), energy_stderr_from_distances(*shared)


def _frechet(pair: Pair) -> Influence:
    return frechet_influence(pair.x, pair.y)


def _nearest_neighbour(pair: Pair) -> Tensor:
    return nearest_neighbour_accuracy_from_distances(pair.xx, pair.xy, pair.yy)


def _neighbours(k: int) -> Measure:
    def compute(pair: Pair) -> Tensor:
        # The generated cloud is x and the reference y, whichever way a library orders its arguments.
        found = precision_recall_density_coverage_from_distances(rr=pair.yy, rf=pair.xy.T, ff=pair.xx, k=k)
        return torch.stack([found.precision, found.recall, found.density, found.coverage])

    return Measure(
        (
            Row("precision", "higher", f"share of samples near the reference, k = {k}", share=True),
            Row("recall", "higher", f"share of the reference near samples, k = {k}", share=True),
            Row("density", 1.0, f"mean count of reference balls around a sample / k, k = {k}"),
            Row("coverage", "higher", f"share of reference balls with a sample, k = {k}", share=True),
        ),
        compute,
    )
