"""Many measures of one pair of clouds, each with a standard error, a floor and, where there is a test, a p-value.

A measure that has a formula for its error brings it (`metrics.kernels.mmd`, `metrics.evaluation.influence`); the
others are computed on random halves of both clouds (`metrics.evaluation.jackknife`), which share one set of splits
and, as everything here, one set of distances. The error describes the spread over fresh samples, not the bias: that
is what the floor shows. Whether the clouds differ at all is asked by permuting their labels
(`metrics.evaluation.permutation`).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Literal, SupportsFloat, SupportsIndex

import torch
from torch import Tensor

from metrics.estimate import Estimate
from metrics.evaluation.jackknife import degrees_of_freedom, jackknife
from metrics.evaluation.measures import Measure, chosen_measures
from metrics.evaluation.pair import Pair
from metrics.evaluation.permutation import p_value, permuted_labels
from metrics.evaluation.report import Report, same_sizes
from metrics.features.fingerprint import fingerprint_of_module
from metrics.inputs import SupportsDLPack, as_cloud, as_tensor, check_count, check_pair, from_array
from metrics.precision import full_precision
from metrics.predictions.binning import binomial_stderr

__all__ = ["Features", "evaluate"]

Features = Callable[[Tensor], Tensor]
Measures = Sequence[Measure] | Mapping[str, Callable[[Tensor, Tensor], Tensor | SupportsFloat]]

LEAST = 20
"""Points that a cloud must have: halves of 10 leave the neighbours of standard measures some to choose from."""


@full_precision
def evaluate(
    samples: SupportsDLPack,
    reference: SupportsDLPack,
    *,
    measures: Measures | None = None,
    features: Features | None = None,
    features_for: Literal["frechet", "all"] = "frechet",
    train: SupportsDLPack | None = None,
    floor: Report | None = None,
    generator: torch.Generator | None = None,
    splits: SupportsIndex = 40,
    permutations: SupportsIndex = 199,
) -> Report:
    """Measure how far samples are from a reference.

    Args:
        samples: The cloud to judge, [n, d], n ≥ 20; or images [n, c, h, w], which are flattened. Tensors, numpy and
            DLPack arrays; float16 and bfloat16 are computed in float32, uint8 images with their values 0 … 255.
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
    chosen, through = chosen_measures(measures), _through(features, features_for)
    random = generator if generator is not None else torch.Generator().manual_seed(0)
    given = from_array(samples, "samples"), from_array(reference, "reference")
    plain, seen = _pairs(*given, features)
    if train is not None:
        if floor is not None:
            raise ValueError("train and floor must not both be given; train is what the floor is measured on")
        floor = evaluate(
            _truth(from_array(train, "train"), given[0], random),
            reference,
            measures=chosen,
            features=features,
            features_for=features_for,
            splits=splits,
            permutations=0,
        )
    seed = int(torch.randint(2**31, (), generator=random))
    estimates: dict[str, Estimate] = {}
    with torch.no_grad():
        for pair, those in (
            (plain, [m for m in chosen if not through(m)]),
            (seen, [m for m in chosen if through(m)]),
        ):
            estimates |= _measured(those, pair, splits, seed)
            if permutations:
                _test(those, pair, permutations, seed, estimates)
    ordered = {row.name: estimates[row.name] for measure in chosen for row in measure.rows}
    on_features = tuple(row.name for measure in chosen if through(measure) for row in measure.rows)
    report = Report(ordered, features=_identity(features), on_features=on_features if features else ())
    return report if floor is None else report.above(floor)


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
    _check_kind(samples, train, ("samples", "train"))
    pick = torch.randperm(len(as_cloud(train, "train")), generator=random, device=random.device)
    return train[pick[: len(samples)].to(train.device)]


def _pairs(samples: Tensor, reference: Tensor, features: Features | None) -> tuple[Pair, Pair]:
    """The points themselves, and what the features make of them."""
    names = ("samples", "reference")
    _check_kind(samples, reference, names)
    clouds = [
        as_cloud(x, name, least=LEAST).detach() for x, name in zip((samples, reference), names, strict=True)
    ]
    raw = Pair(*check_pair(clouds[0], clouds[1], names))
    if features is None:
        return raw, raw
    with torch.no_grad():
        # Images go to the features as they are: a network of images knows what their values mean.
        x, y = (
            as_tensor(features(x.detach() if x.ndim > 2 else cloud), "features(x)")
            for x, cloud in zip((samples, reference), clouds, strict=True)
        )
        return raw, Pair(x.flatten(1) if x.ndim > 2 else x, y.flatten(1) if y.ndim > 2 else y)


def _check_kind(a: Tensor, b: Tensor, names: tuple[str, str]) -> None:
    """Refuse grey values 0 … 255 against floats, which are scaled otherwise."""
    if (a.dtype == torch.uint8) != (b.dtype == torch.uint8):
        raise TypeError(
            f"{names[0]} and {names[1]} must both be uint8 or both be floats, got {a.dtype} and {b.dtype}; "
            "bring both to one scale"
        )


def _measured(measures: Sequence[Measure], pair: Pair, splits: int, seed: int) -> dict[str, Estimate]:
    found: dict[str, Estimate] = {}
    for measure in measures:
        if measure.with_stderr is not None:
            found |= _estimates([measure], *measure.with_stderr(pair), math.inf, pair)
    rest = [measure for measure in measures if measure.with_stderr is None]
    if rest:
        # One set of splits for all of them: half of a pair holds its distances for every measure.
        def compute(of: Pair) -> Tensor:
            return torch.cat([measure.compute(of).double() for measure in rest])

        random = torch.Generator().manual_seed(seed)
        stderr = jackknife(compute, pair, splits=splits, generator=random)
        found |= _estimates(rest, compute(pair), stderr, degrees_of_freedom(splits), pair)
    return found


def _estimates(
    measures: Sequence[Measure], value: Tensor, stderr: Tensor, dof: float, pair: Pair
) -> dict[str, Estimate]:
    rows = [row for measure in measures for row in measure.rows]
    numbers = zip(rows, value.double().tolist(), stderr.double().tolist(), strict=True)
    sizes = (len(pair.x), len(pair.y))
    found = {}
    for row, number, error in numbers:
        if row.share and error == 0:
            # All halves agree, at 0 or 1 as a rule: that is no certainty about the next point.
            error = _stderr_of_a_share(number, min(sizes))
        found[row.name] = Estimate(number, error, row.better, row.convention, sizes, dof=dof, share=row.share)
    return found


def _stderr_of_a_share(share: float, count: int) -> float:
    total = torch.tensor(float(count), dtype=torch.float64)
    return float(binomial_stderr(share * total, total))


def _test(
    measures: Sequence[Measure], pair: Pair, permutations: int, seed: int, estimates: dict[str, Estimate]
) -> None:
    """Add the p-values; the same permutations for every measure, so that they can be compared."""
    tested = [measure for measure in measures if measure.permuted is not None]
    if not tested:
        return
    random = torch.Generator().manual_seed(seed)
    labels = permuted_labels(len(pair.x), len(pair.y), permutations, random).to(pair.x.device)
    for measure in tested:
        statistics = measure.permuted(pair, labels) if measure.permuted is not None else None
        if statistics is not None:
            for row in measure.rows:
                estimates[row.name] = replace(estimates[row.name], p_value=p_value(statistics))


def _identity(features: Features | None) -> str:
    if features is None:
        return "none"
    name = getattr(features, "name", getattr(features, "__name__", type(features).__name__))
    fingerprint = getattr(features, "hash", None)
    if fingerprint is None and isinstance(features, torch.nn.Module):
        fingerprint = fingerprint_of_module(features)
    # 64 bits of the hash: enough to tell two sets of weights apart, short enough for a table.
    return f"{name}, weights {fingerprint[:16]}" if fingerprint else str(name)
