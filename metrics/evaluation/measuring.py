"""Numbers of a pair of clouds with their errors and p-values, job by job, under a bar."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from tqdm.auto import tqdm

from metrics.estimate import Estimate
from metrics.evaluation.jackknife import degrees_of_freedom, halves, spread_of_halves
from metrics.evaluation.measures import Measure
from metrics.evaluation.pair import Pair
from metrics.evaluation.permutation import p_value, permuted_labels
from metrics.evaluation.plan import Job
from metrics.evaluation.shared import prepare
from metrics.predictions.binning import binomial_stderr

__all__ = ["Settings", "Spent", "measured"]


@dataclass
class Spent:
    """A budget in seconds that runs from now on.

    >>> Spent(None).over()
    False
    """

    budget: float | None
    start: float = field(default_factory=time.perf_counter)

    def over(self) -> bool:
        """Whether nothing is left of it."""
        return self.budget is not None and time.perf_counter() - self.start >= self.budget


@dataclass(frozen=True)
class Settings:
    """How numbers get their errors and p-values: halvings, permutations, and the seed of both.

    Splits and permutations are the same for every measure that sees as many points, so that they can be compared.
    """

    splits: int
    permutations: int
    seed: int
    _drawn: dict[tuple[object, ...], tuple[Tensor, ...]] = field(default_factory=dict, repr=False)

    def halves(self, pair: Pair) -> tuple[Tensor, Tensor]:
        """Random halves of both clouds."""
        key = "halves", pair.sizes, pair.x.device
        if key not in self._drawn:
            random = torch.Generator().manual_seed(self.seed)
            self._drawn[key] = halves(*pair.sizes, self.splits, random, pair.x.device)
        return self._drawn[key]  # type: ignore[return-value]

    def labels(self, pair: Pair) -> Tensor:
        """The true labels and their permutations."""
        key = "labels", pair.sizes, pair.x.device
        if key not in self._drawn:
            random = torch.Generator().manual_seed(self.seed)
            self._drawn[key] = (permuted_labels(*pair.sizes, self.permutations, random).to(pair.x.device),)
        return self._drawn[key][0]


@torch.no_grad()
def measured(
    jobs: Sequence[Job], settings: Settings, *, bar: tqdm, task: str, spent: Spent
) -> tuple[dict[str, Estimate], dict[str, str]]:
    """Return an estimate per number, and why some are left out: a budget that is spent before their turn."""
    found: dict[str, Estimate] = {}
    left_out: dict[str, str] = {}
    prepared: set[int] = set()
    for job in jobs:
        bar.set_description(f"{task}: {job.name}")
        if job.measure.kernels is not None and id(job.pair) not in prepared and not (found and spent.over()):
            prepared.add(id(job.pair))
            _prepare(job.pair, jobs, settings)
        if found and spent.over():
            left_out |= {r.name: f"the budget of {spent.budget:g} s was spent" for r in job.measure.rows}
        else:
            found |= _one(job.measure, job.pair, settings)
        bar.update()
    return found, left_out


def _prepare(pair: Pair, jobs: Sequence[Job], settings: Settings) -> None:
    """One pass over all pairs of points for every job that has this pair and asks for sums over them."""
    asked = [
        job.measure.kernels(pair) for job in jobs if job.pair is pair and job.measure.kernels is not None
    ]
    kernels = [kernel for of_value, _ in asked for kernel in of_value]
    permuted = [kernel for _, of_test in asked for kernel in of_test] if settings.permutations else []
    prepare(pair, kernels, permuted, settings.labels(pair) if permuted else None)


def _one(measure: Measure, pair: Pair, settings: Settings) -> dict[str, Estimate]:
    dof = math.inf
    if measure.with_stderr is not None:
        value, stderr = measure.with_stderr(pair)
    else:
        value, stderr = _resampled(measure, pair, settings)
        dof = degrees_of_freedom(settings.splits)
    of_root = torch.zeros_like(value) if measure.root_variance is None else measure.root_variance(pair)
    columns = (column.double().tolist() for column in (value, stderr, of_root))
    found = {}
    for row, number, error, variance in zip(measure.rows, *columns, strict=True):
        if row.share and error == 0:
            # All halves agree, at 0 or 1 as a rule: that is no certainty about the next point.
            error = _stderr_of_a_share(number, min(pair.sizes))
        found[row.name] = Estimate(
            number,
            error,
            row.better,
            row.convention,
            pair.sizes,
            dof=dof,
            share=row.share,
            root_variance=variance,
        )
    if measure.p_values is not None and settings.permutations:
        told = zip(found.items(), measure.p_values(pair).tolist(), strict=True)
        return {name: replace(estimate, p_value=p) for (name, estimate), p in told}
    if measure.permuted is None or not settings.permutations:
        return found
    statistics = measure.permuted(pair, settings.labels(pair))
    if statistics is None:
        return found
    return {name: replace(estimate, p_value=p_value(statistics)) for name, estimate in found.items()}


def _resampled(measure: Measure, pair: Pair, settings: Settings) -> tuple[Tensor, Tensor]:
    """The numbers and the delete-half jackknife's errors."""
    in_x, in_y = settings.halves(pair)
    if measure.of_subsets is not None:
        in_x, in_y = (torch.cat([torch.ones_like(rows[:1]), rows]) for rows in (in_x, in_y))
        values = measure.of_subsets(pair, in_x, in_y).double()
        return values[0], spread_of_halves(values[1:])
    values = [
        measure.compute(pair.subset(i.nonzero()[:, 0], j.nonzero()[:, 0])).double()
        for i, j in zip(in_x, in_y, strict=True)
    ]
    return measure.compute(pair).double(), spread_of_halves(torch.stack(values))


def _stderr_of_a_share(share: float, count: int) -> float:
    total = torch.tensor(float(count), dtype=torch.float64)
    return float(binomial_stderr(share * total, total))
