"""Many measures of one pair of clouds, each with a standard error and a floor.

The standard error is the delete-a-group jackknife (Efron & Tibshirani 1993, eq. 11.5; Kott 2001 for groups):
both clouds are split at random into G groups, θ₍g₎ is the measure without the g-th group of either, and

    se² = (G − 1)/G · Σ_g (θ₍g₎ − θ̄)².

To first order θ₍g₎ − θ̄ is −1/(G − 1) times the sum of the two groups' mean influences, and the groups are
independent, so one pass over G groups gives the variance from both clouds together. Groups, unlike single
points, are large enough for measures that are not smooth (nearest neighbours, optimal plans). Its own
relative error is about 1/√(2(G − 1)): 16 % at G = 20. It describes the spread over fresh samples, not the
bias: that is what the floor shows.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.estimate import Estimate
from metrics.fingerprint import fingerprint_of_module
from metrics.inputs import check_cloud, check_count, check_pair
from metrics.measures import Measure, named_measures, standard_measures
from metrics.pair import Pair
from metrics.report import Report

__all__ = ["evaluate", "jackknife"]

Features = Callable[[Tensor], Tensor]
Metrics = Sequence[Measure] | Mapping[str, Callable[[Tensor, Tensor], Tensor]]


def evaluate(
    samples: Float[Tensor, "n d"],
    reference: Float[Tensor, "m d"],
    *,
    metrics: Metrics | None = None,
    features: Features | None = None,
    train: Float[Tensor, "k d"] | None = None,
    floor: Report | None = None,
    generator: torch.Generator | None = None,
    groups: int = 20,
) -> Report:
    """Measure how far samples are from a reference.

    Args:
        samples: The cloud to judge, [n, d].
        reference: The truth, held out from whatever made the samples, [m, d].
        metrics: Measures from `metrics.measures`, or a mapping from a name to a function of two clouds where lower is
            better; `None` is `standard_measures()`.
        features: A map x → [n, k]; the measures that ask for features (the Fréchet distance) see the clouds through it.
            Reports of different features refuse to be compared; they are told apart by the map's `name` and `hash`,
            a network by its weights, and a plain function by its name alone.
        train: Samples of the truth other than the reference, [k, d]: n of them give the floor.
        floor: In place of `train`, the report of an earlier call whose samples were n points of the truth: many
            models held against one reference share one floor.
        generator: For the jackknife's groups and the choice of floor samples; `None` is seeded with 0.
        groups: The jackknife's G.

    Returns:
        A report with an `Estimate` per number.

    Raises:
        ValueError: Clouds that cannot be compared, or fewer points than groups.

    >>> random = torch.Generator().manual_seed(0)
    >>> x, y = torch.randn(2, 200, 2, generator=random).unbind()
    >>> "energy_distance" in evaluate(x, y).estimates
    True
    """
    check_count(groups, "groups", least=2)
    check_pair(samples, reference, ("samples", "reference"), least=2 * groups)
    chosen = named_measures(metrics) if isinstance(metrics, Mapping) else metrics or standard_measures()
    random = generator if generator is not None else torch.Generator().manual_seed(0)
    if train is not None:
        if floor is not None:
            raise ValueError("train and floor must not both be given; train is what the floor is measured on")
        pick = torch.randperm(len(check_cloud(train, "train", least=2 * groups)), generator=random)
        truth = train[pick[: len(samples)].to(train.device)]
        floor = evaluate(truth, reference, metrics=chosen, features=features, groups=groups)
    pairs, seed = _pairs(samples, reference, features), int(torch.randint(2**31, (), generator=random))
    estimates: dict[str, Estimate] = {}
    for measure in chosen:
        value, stderr = _measured(measure, pairs, groups, seed)
        for k, row in enumerate(measure.rows):
            sizes = (len(samples), len(reference))
            estimates[row.name] = Estimate(value[k], stderr[k], row.better, row.convention, sizes)
    report = Report(estimates, features=_identity(features))
    return report if floor is None else report.above(floor)


def jackknife(
    measure: Callable[[Pair], Float[Tensor, " rows"]], pair: Pair, *, groups: int, generator: torch.Generator
) -> Float[Tensor, " rows"]:
    """The delete-a-group jackknife's standard error of every row of a measure.

    >>> y = torch.randn(400, 1, generator=torch.Generator().manual_seed(0))
    >>> mean = lambda pair: pair.x.mean(0)
    >>> se = jackknife(mean, Pair(y, y), groups=20, generator=torch.Generator().manual_seed(0))
    >>> bool((se - 1 / 400**0.5).abs() < 0.02)  # the standard error of a mean
    True
    """
    left_out = zip(
        torch.randperm(len(pair.x), generator=generator).tensor_split(groups),
        torch.randperm(len(pair.y), generator=generator).tensor_split(groups),
        strict=True,
    )
    replicates = torch.stack(
        [measure(pair.subset(_all_but(i, pair.x), _all_but(j, pair.y))) for i, j in left_out]
    ).double()
    return replicates.var(0, unbiased=False).mul(groups - 1).sqrt()


def _all_but(index: Tensor, cloud: Tensor) -> Tensor:
    keep = torch.ones(len(cloud), dtype=torch.bool)
    keep[index] = False
    return keep.nonzero()[:, 0].to(cloud.device)


def _pairs(samples: Tensor, reference: Tensor, features: Features | None) -> tuple[Pair, Pair]:
    raw = Pair(samples.detach(), reference.detach())
    if features is None:
        return raw, raw
    with torch.no_grad():
        return raw, Pair(features(raw.x), features(raw.y))


def _measured(
    measure: Measure, pairs: tuple[Pair, Pair], groups: int, seed: int
) -> tuple[list[float], list[float]]:
    pair = pairs[1] if measure.on_features else pairs[0]
    with torch.no_grad():
        value = measure.compute(pair)
        # The same groups for every measure, so that their errors can be compared.
        random = torch.Generator().manual_seed(seed)
        stderr = jackknife(measure.compute, pair, groups=groups, generator=random)
    return value.double().tolist(), stderr.tolist()


def _identity(features: Features | None) -> str:
    if features is None:
        return "none"
    name = getattr(features, "name", getattr(features, "__name__", type(features).__name__))
    fingerprint = getattr(features, "hash", None)
    if fingerprint is None and isinstance(features, torch.nn.Module):
        fingerprint = fingerprint_of_module(features)
    # 64 bits of the hash: enough to tell two sets of weights apart, short enough for a table.
    return f"{name}, weights {fingerprint[:16]}" if fingerprint else str(name)
