"""Measures as `evaluate` takes them: a function of a pair of clouds, and how to read the numbers it gives.

A measure may give several numbers from one computation (precision, recall, density, coverage), a *row* each. It sees a
`Pair`. Those that `evaluate` takes by itself are in `metrics.evaluation.standard`.

A measure may bring its own standard errors, from the same computation, and the statistic of a permutation test.
Without the first `evaluate` takes the delete-half jackknife of `metrics.evaluation.jackknife`, which is right for any
function of two clouds; without the second there is no p-value. What grows faster than the square of the sizes names the
number of points from which on a random subset is measured (`most`): m out of n, with the bias and the error of m.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import SupportsFloat, SupportsIndex

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from metrics.estimate import Better
from metrics.evaluation.pair import Pair
from metrics.inputs import check_count, check_positive, check_tensor
from metrics.kernels.kernel import Kernel
from metrics.neighbours.memorisation import memorisation
from metrics.neighbours.modes import mode_coverage

__all__ = [
    "Measure",
    "ReportRow",
    "Work",
    "chosen_measures",
    "measure",
    "memorisation_measure",
    "mode_measure",
]


@dataclass(frozen=True)
class ReportRow:
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
class Work:
    """What a measure is asked to do: n points against m of d columns, so many halvings and so many permutations."""

    n: int
    m: int
    d: int
    splits: int = 40
    permutations: int = 199


@dataclass(frozen=True)
class Measure:
    """One or several numbers of a pair of clouds.

    Attributes:
        rows: What the numbers are.
        compute: From a pair to a tensor [rows].
        on_features: Whether the pair is always seen through the feature map, where `evaluate` was given one.
        on_points: Whether the pair is never seen through it, as by a measure that knows places in the points' space.
        with_stderr: From a pair to the numbers and their standard errors, [rows] each; None: by the jackknife.
        root_variance: From a pair to the variance of each number's root to first order, [rows], where they are squared
            distances: their intervals are those of the roots, squared. None: they are not.
        permuted: From a pair and b labellings of its pooled points (`metrics.evaluation.permutation`) to the
            statistic whose large values tell the clouds apart, [b]; it returns None where that would cost too much.
            None: no permutation test.
        p_values: From a pair to a p-value for each number by a test of the measure's own; None: no such test.
        floor: Whether true samples have a value of it that a perfect model would have.
        of_subsets: From a pair and s subsets of either cloud, booleans [s, n] and [s, m], to the numbers of all,
            [s, rows]; None: each is computed by itself.
        kernels: From a pair to the kernels whose sums over all pairs of points the measure asks for, and those whose
            sums over the blocks of its test it does (`metrics.evaluation.shared`): several measures' are then
            taken in one pass. None: none that could be shared.
        most: Points of a cloud beyond which a random subset of so many is measured; None: any number.
        seconds: About how long it takes on one core that multiplies matrices at 20 GFlop/s in float64; None: not known.
        bytes: About how much memory it takes beside the clouds; None: little.
    """

    rows: tuple[ReportRow, ...]
    compute: Callable[[Pair], Float[Tensor, " rows"]]
    on_features: bool = False
    on_points: bool = False
    with_stderr: Callable[[Pair], tuple[Float[Tensor, " rows"], Float[Tensor, " rows"]]] | None = None
    root_variance: Callable[[Pair], Float[Tensor, " rows"]] | None = None
    permuted: Callable[[Pair, Float[Tensor, "b N"]], Float[Tensor, " b"] | None] | None = None
    p_values: Callable[[Pair], Float[Tensor, " rows"]] | None = None
    floor: bool = True
    of_subsets: Callable[[Pair, Bool[Tensor, "s n"], Bool[Tensor, "s m"]], Float[Tensor, "s rows"]] | None = (
        None
    )
    kernels: Callable[[Pair], tuple[Sequence[Kernel], Sequence[Kernel]]] | None = None
    most: int | None = None
    seconds: Callable[[Work], float] | None = None
    bytes: Callable[[Work], float] | None = None


def mode_measure(centres: Float[Tensor, "modes d"], std: float) -> Measure:
    """Return modes found, share of high-quality samples and reverse KL of a mixture with known centres.

    >>> [row.name for row in mode_measure(torch.zeros(1, 2), 0.1).rows]
    ['modes', 'high_quality', 'reverse_kl']
    """
    check_tensor(centres, "centres", shape="[modes, d]", ndim=2)
    check_positive(std, "std")

    def compute(pair: Pair) -> Tensor:
        found = mode_coverage(pair.x, centres=centres.to(pair.x), std=std)
        return torch.stack([found.modes, found.high_quality, found.reverse_kl])

    return Measure(
        (
            ReportRow("modes", "higher", f"of {len(centres)}, with a sample within 3 σ"),
            ReportRow("high_quality", "higher", "share of samples within 3 σ of a centre", share=True),
            ReportRow("reverse_kl", "lower", "nats, modes of the samples against uniform"),
        ),
        compute,
        on_points=True,
    )


def memorisation_measure(train: Float[Tensor, "n d"]) -> Measure:
    """Return the share of samples that are nearer to a training point than to any point of the reference.

    .5 is chance, and 1 a copier: see `metrics.neighbours.memorisation`, whose standard error is that of chance. It has
    no floor: true samples that come from the training set are copies, at 1.

    Args:
        train: As many training points as there are points in the reference.

    >>> memorisation_measure(torch.zeros(5, 2)).rows[0].name
    'nearer_train'
    """

    def compute(pair: Pair) -> tuple[Tensor, Tensor]:
        if len(train) != len(pair.y):
            raise ValueError(
                f"train must hold as many points as the reference, {len(pair.y)}, got {len(train)}; take a random part"
            )
        found = memorisation(pair.x, train=train.to(pair.x), held_out=pair.y)
        return found.nearer_train[None], found.stderr[None]

    convention = "share of samples nearer to the training than to the reference points; 1 for a copier"
    return Measure(
        (ReportRow("nearer_train", 0.5, convention, share=True),),
        lambda pair: compute(pair)[0],
        on_points=True,
        with_stderr=compute,
        floor=False,
    )


def measure(
    name: str,
    function: Callable[[Tensor, Tensor], Tensor | SupportsFloat],
    *,
    better: Better,
    convention: str = "",
    most: SupportsIndex | None = None,
) -> Measure:
    """Return a measure for `evaluate` of any function of two clouds that gives one number.

    Args:
        name: Its name in reports.
        function: From samples [n, d] and reference [m, d] to a number: a 0-dim tensor, a float, a numpy scalar.
        better: "lower", "higher", or the number that the best values are near to.
        convention: What exactly is computed, in a few words, for the report.
        most: Points of a cloud beyond which a random subset of so many is measured, for a function that grows fast.

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
    return Measure(
        (ReportRow(name, _checked_better(better), convention),),
        # Copies: what a function writes into its arguments shall not reach the next measure, or the user's own clouds.
        lambda pair: _one_number(function(pair.x.clone(), pair.y.clone()), name)[None],
        most=None if most is None else check_count(most, "most", least=20),
    )


def chosen_measures(measures: object) -> list[Measure]:
    """Return the measures that `evaluate` was asked for: objects, or functions by name.

    Raises:
        TypeError, ValueError: Names or bare functions, no measure at all, or two numbers of one name.

    >>> [m.rows[0].name for m in chosen_measures({"gap": lambda x, y: (x.mean() - y.mean()).abs()})]
    ['gap']
    """
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
        return (
            "names are for the command line: pass "
            f"[m for m in metrics.standard_measures() if {given!r} in [row.name for row in m.rows]]"
        )
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
