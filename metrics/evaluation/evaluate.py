"""Many measures of one pair of clouds, each with a standard error, a floor and, where there is a test, a p-value.

A measure that has a formula for its error brings it (`metrics.kernels.mmd`, `metrics.evaluation.influence`); the
others are computed on random halves of both clouds (`metrics.evaluation.jackknife`), which share one set of splits. The
error describes the spread over fresh samples, not the bias: that is what the floor shows. Whether the clouds differ
at all is asked by permuting their labels (`metrics.evaluation.permutation`).

Nothing of the size n × n is kept: sums go over tiles of pairs, neighbours are searched for once. Exact transport,
which grows like n³, is measured on a random subset of 3000 points where there are more, the Sinkhorn divergence on one
of 10 000 (`metrics.evaluation.standard`); the report says so. `metrics.evaluation.plan` foretells what it will take.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, SupportsFloat, SupportsIndex

import torch
from torch import Tensor
from torch.utils.data import Dataset
from tqdm.auto import tqdm

from metrics.estimate import Estimate
from metrics.evaluation.measures import Measure, chosen_measures
from metrics.evaluation.measuring import Settings, Spent, measured
from metrics.evaluation.pair import Pair
from metrics.evaluation.plan import Job, forecast, planned, within_budget
from metrics.evaluation.report import Report, same_sizes
from metrics.evaluation.standard import standard_measures
from metrics.evaluation.whole import check_kind, check_pictures, whole
from metrics.features.seen import seen
from metrics.features.sources import identity
from metrics.inputs import (
    SupportsDLPack,
    as_cloud,
    check_cloud,
    check_count,
    check_pair,
    check_positive,
    repeatable,
)
from metrics.precision import full_precision

__all__ = ["Features", "evaluate"]

Features = Callable[[Tensor], Tensor]
Measures = Sequence[Measure] | Mapping[str, Callable[[Tensor, Tensor], Tensor | SupportsFloat]]

Source = SupportsDLPack | str | Path | Iterable[Any] | Dataset[Any]
"""A tensor, an array, batches, a Dataset, or the path of a folder of pictures or of a file of arrays."""

LEAST = 20
"""Points that a cloud must have: halves of 10 leave the neighbours of standard measures some to choose from."""


@full_precision
def evaluate(
    samples: Source,
    reference: Source,
    *,
    measures: Measures | None = None,
    features: Features | None = None,
    features_for: Literal["frechet", "all"] = "frechet",
    train: Source | None = None,
    floor: Report | None = None,
    generator: torch.Generator | None = None,
    splits: SupportsIndex = 40,
    permutations: SupportsIndex = 199,
    memory: float | int = 2**30,
    budget: float | int | None = None,
    progress: bool = True,
) -> Report:
    """Measure how far samples are from a reference.

    Args:
        samples: The cloud to judge, [n, d], n ≥ 20; or images [n, c, h, w], which are flattened. Tensors, numpy and
            DLPack arrays; float16 and bfloat16 are computed in float32, uint8 images with their values 0 … 255. Also
            whatever `metrics.features.read_source` reads: batches, a Dataset, a folder of pictures, a file of arrays.
        reference: The truth, held out from whatever made the samples, [m, d], m ≥ 20.
        measures: A list of measures (`standard_measures`, `measure`), or a mapping from a name to a function of two
            clouds where lower is better; `None` is `standard_measures()`.
        features: A map x → [n, k] through which measures see the clouds; images [n, c, h, w] are handed to it as they
            are. Reports of different features refuse to be compared; they are told apart by the map's `name` and
            `hash`, a network by its weights, and a plain function by its name alone.
        features_for: "frechet": only the Fréchet distance sees the features. "all": every measure does but those that
            know places in the points' own space, such as `mode_measure`. The report lists them as `on_features`.
        train: Samples of the truth other than the reference, [k, d], k ≥ n: n of them give the floor.
        floor: In place of `train`, a report that compares n true samples with this reference; reuse it across models.
        generator: For the splits, the permutations and the choice of floor samples; `None` is seeded with 0.
        splits: Random halvings behind the error of a measure that has no formula for it.
        permutations: B of the p-values, the least of which is 1/(B + 1); 0 skips the tests.
        memory: Bytes that one measure may take beside the clouds, 1 GiB; what would need more is measured on a smaller
            random subset, and a matrix of distances that a measure of one's own asks for is refused.
        budget: Seconds that the call may take; measures that would not fit, by a forecast that is right to a factor of
            two or so, are left out, and the report says which and why. `None`: all of them.
        progress: Show a bar with the measure at work, where there is a terminal.

    Returns:
        A report with an `Estimate` per number. A p-value is that of the hypothesis that samples and reference come
        from one distribution, one test at a time.

    Raises:
        TypeError, ValueError: Clouds that cannot be compared, too few points, measures that are none, a floor of other
            sizes.

    References: each measure's own, in `standard_measures`. Errors: Shao & Wu 1989, "A general theory for jackknife
    variance estimation", Annals of Statistics 17, eq. 2.3 (`metrics.evaluation.jackknife`), influence functions (del
    Barrio & Loubes 2019; Rippl, Munk & Sturm 2016; `metrics.evaluation.influence`) and variances of U-statistics
    (Sutherland & Deka 2019, arXiv 1906.02104). p-values: Phipson & Smyth 2010, "Permutation p-values should never be
    zero", where 1/(B + 1) is the least.

    >>> random = torch.Generator().manual_seed(0)
    >>> x, y = torch.randn(2, 200, 2, generator=random).unbind()
    >>> report = evaluate(x, y + 1)
    >>> report["energy_distance"].p_value, round(report["recall"].dof)
    (0.005, 13)
    """
    splits = check_count(splits, "splits", least=2)
    permutations = check_count(permutations, "permutations", least=0)
    memory = check_positive(memory, "memory")
    spent = Spent(None if budget is None else check_positive(budget, "budget"))
    chosen = standard_measures() if measures is None else chosen_measures(measures)
    through = _through(features, features_for)
    random = repeatable(generator)
    given = whole(samples, "samples"), whole(reference, "reference")
    if floor is not None and not isinstance(floor, Report):
        raise TypeError(f"floor must be a Report, got {type(floor).__name__}; pass what evaluate returned")
    if train is not None and floor is not None:
        raise ValueError("train and floor must not both be given; train is what the floor is measured on")
    pairs = _pairs(*given, features, memory)
    truth = None
    if train is not None:
        drawn = _truth(whole(train, "train"), given[0], random)
        truth = _pairs(drawn, given[1], features, memory)
    settings = Settings(splits, permutations, int(torch.randint(2**31, (), generator=random)))

    def seen(of: tuple[Pair, Pair], measure: Measure) -> Pair:
        return of[1] if through(measure) else of[0]

    rules = {"splits": splits, "permutations": permutations}
    runs = 1 if truth is None else 2
    jobs = planned(chosen, [seen(pairs, measure) for measure in chosen], **rules, runs=runs)
    jobs, left_out = within_budget(jobs, spent.budget)
    kept = [job.measure for job in jobs]
    bar: tqdm[Any] = tqdm(total=runs * len(jobs), disable=None if progress else True, unit="measure")
    with bar:
        task = f"evaluate, {forecast(jobs)}"
        if truth is not None:
            seed = int(torch.randint(2**31, (), generator=torch.Generator().manual_seed(0)))
            floored = [measure for measure in kept if measure.floor]
            under = planned(floored, [seen(truth, measure) for measure in floored], **rules)
            plain = Settings(splits, 0, seed)
            floors, _ = measured(under, plain, bar=bar, task=f"{task}, floor", spent=Spent(None))
            floor = _report(floors, floored, through, features)
        estimates, late = measured(jobs, settings, bar=bar, task=task, spent=spent)
    notes = [job.note(seen(pairs, job.measure)) for job in jobs]
    report = replace(
        _report(_told(estimates, jobs, pairs), kept, through, features),
        notes=tuple(note for note in notes if note is not None),
        left_out=left_out | late,
    )
    if floor is None:
        return report
    without = {row.name for measure in kept if not measure.floor for row in measure.rows}
    return report.above(floor, without=without)


def _report(
    estimates: Mapping[str, Estimate],
    measures: Sequence[Measure],
    through: Callable[[Measure], bool],
    features: Features | None,
) -> Report:
    names = [row.name for measure in measures if through(measure) for row in measure.rows]
    on_features = tuple(name for name in names if name in estimates) if features else ()
    return Report(estimates, features=identity(features), on_features=on_features)


def _told(
    estimates: Mapping[str, Estimate], jobs: Sequence[Job], pairs: tuple[Pair, Pair]
) -> dict[str, Estimate]:
    """Estimates whose convention says of how many points a subset was."""
    found = dict(estimates)
    for job in jobs:
        for row in job.measure.rows:
            if row.name in found and job.pair.sizes != pairs[0].sizes:
                n, m = job.pair.sizes
                told = f"{row.convention}; random subsets of {n} and {m} points"
                found[row.name] = replace(found[row.name], convention=told)
    return found


def _through(features: Features | None, features_for: str) -> Callable[[Measure], bool]:
    """Whether a measure sees the clouds through the features."""
    if features_for not in ("frechet", "all"):
        raise ValueError(f'features_for must be "frechet" or "all", got {features_for!r}')
    if features is None and features_for == "all":
        raise ValueError('features must be given for features_for="all", got None; pass the feature map')
    return lambda measure: not measure.on_points if features_for == "all" else measure.on_features


def _truth(train: Tensor, samples: Tensor, random: torch.Generator) -> Tensor:
    """As many points of the training set as there are samples, drawn without replacement."""
    if train.ndim and len(train) < LEAST:
        raise ValueError(f"train must hold at least {LEAST} samples, got {len(train)}; pass more")
    if train.ndim and len(train) < len(samples) and not same_sizes((len(train),), (len(samples),)):
        raise ValueError(
            f"train must hold at least as many points as samples, {len(samples)}, got {len(train)}: a floor has "
            f"the sizes of what it is held against; pass more, or judge samples[:{len(train)}]"
        )
    check_kind(samples, train, ("samples", "train"))
    pick = torch.randperm(len(as_cloud(train, "train")), generator=random, device=random.device)
    return train[pick[: len(samples)].to(train.device)]


def _pairs(samples: Tensor, reference: Tensor, features: Features | None, memory: float) -> tuple[Pair, Pair]:
    """The points themselves, and what the features make of them."""
    names = ("samples", "reference")
    check_kind(samples, reference, names)
    check_pictures(samples, reference)
    clouds = [
        as_cloud(x, name, least=LEAST).detach() for x, name in zip((samples, reference), names, strict=True)
    ]
    raw = Pair(*check_pair(clouds[0], clouds[1], names), memory=memory)
    if features is None:
        return raw, raw
    # Images go to the features as they are: a network of images knows what their values mean.
    x, y = (
        seen(features, x.detach() if x.ndim > 2 else cloud, "features").flatten(1)
        for x, cloud in zip((samples, reference), clouds, strict=True)
    )
    return raw, Pair(check_cloud(x, "features(x)"), check_cloud(y, "features(x)"), memory=memory)
