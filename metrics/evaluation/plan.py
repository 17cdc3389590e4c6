"""What a call of `evaluate` will take, before it starts: seconds, bytes, and which measures a budget leaves room for.

A standard measure knows its operations: pairs of points times columns for whatever goes over tiles, n³ for exact
transport on at most 3000 points. Its rule (`Measure.seconds`) is for one core that multiplies matrices at 20 GFlop/s
in float64; the speed of this machine as it is now is taken from a product of 512 × 512 that is timed first. Such a
forecast is right to a factor of two or so. A measure of one's own has no rule and counts as nothing until the budget is
spent.

A budget keeps the measures that are cheap: they are taken in the order of their forecasts as long as the sum fits.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from metrics.evaluation.measures import Measure, Work
from metrics.evaluation.pair import Pair

__all__ = ["Forecast", "Job", "forecast", "planned", "slowness", "within_budget"]

REFERENCE = 20e9
"""Operations per second that the rules are for."""

LEAST = 100
"""Points that a subset for the memory's sake is not smaller than."""


@dataclass(frozen=True)
class Job:
    """A measure, the pair that it sees (a random subset where the clouds are too large for it), and a forecast."""

    measure: Measure
    pair: Pair
    seconds: float
    bytes: float

    @property
    def name(self) -> str:
        """Of its first number, for the bar."""
        return self.measure.rows[0].name

    def note(self, whole: Pair) -> str | None:
        """What the report has to say of a subset."""
        if self.pair.sizes == whole.sizes:
            return None
        rows = ", ".join(row.name for row in self.measure.rows)
        told = " and ".join(f"{k} of {n}" for k, n in zip(self.pair.sizes, whole.sizes, strict=True))
        return f"{rows}: on random subsets, {told} points; bias and error are those of the subsets' sizes."


@dataclass(frozen=True)
class Forecast:
    """What a call will take: seconds on this machine, and bytes beside the clouds themselves.

    >>> str(Forecast(75.0, 3e8))
    'about 75 s and 0.3 GB'
    """

    seconds: float
    bytes: float

    def __str__(self) -> str:
        return f"about {self.seconds:.{0 if self.seconds >= 10 else 1}f} s and {self.bytes / 1e9:.1f} GB"


def slowness() -> float:
    """Return how many seconds of this machine are one of a core of 20 GFlop/s.

    The best of three products counts: the first one wakes the threads.
    """
    a = torch.ones(512, 512, dtype=torch.float64)
    best = math.inf
    for _ in range(3):
        start = time.perf_counter()
        torch.mm(a, a)
        best = min(best, time.perf_counter() - start)
    return best * REFERENCE / (2 * 512**3)


def planned(
    measures: Sequence[Measure],
    pairs: Sequence[Pair],
    *,
    splits: int,
    permutations: int,
    runs: int = 1,
    seed: int = 0,
) -> list[Job]:
    """Return a job for each measure and the pair that it is to see.

    Args:
        measures: What is to be measured.
        pairs: As many.
        splits: Halvings for an error without a formula.
        permutations: Of the tests.
        runs: 2 where a floor is measured too, which has no tests.
        seed: Of random subsets.
    """
    slow, jobs = slowness(), []
    for measure, whole in zip(measures, pairs, strict=True):
        pair = whole.at_most(_allowed(measure, whole), seed)
        n, m = pair.sizes
        work = Work(n, m, pair.x.shape[1], splits, permutations)
        seconds = 0.0
        if measure.seconds is not None:
            floors = (runs - 1) * measure.seconds(replace(work, permutations=0))
            seconds = slow * (measure.seconds(work) + floors)
        size = 0.0 if measure.bytes is None else measure.bytes(work)
        shared = 32 * (n + m) * work.d + 16 * (permutations + 1) * (n + m)
        jobs.append(Job(measure, pair, float(seconds), float(size + shared)))
    return jobs


def within_budget(jobs: Sequence[Job], budget: float | None) -> tuple[list[Job], dict[str, str]]:
    """Return the jobs that fit into so many seconds, and why the others are left out, by number.

    Raises:
        ValueError: Not even the cheapest fits.
    """
    if budget is None:
        return list(jobs), {}
    kept, total, left_out = set(), 0.0, {}
    for k in sorted(range(len(jobs)), key=lambda k: jobs[k].seconds):
        job = jobs[k]
        if total + job.seconds <= budget:
            kept.add(k)
            total += job.seconds
        else:
            left = f"the budget of {budget:g} s has {budget - total:.2g} s left"
            told = f"would take about {job.seconds:.2g} s, and {left}"
            left_out |= {row.name: told for row in job.measure.rows}
    if not kept:
        least = min(job.seconds for job in jobs)
        raise ValueError(
            f"budget must be enough for one measure, about {least:.2g} s for the cheapest, got {budget:g}; "
            "raise it, or pass fewer samples"
        )
    return [job for k, job in enumerate(jobs) if k in kept], left_out


def forecast(jobs: Sequence[Job]) -> Forecast:
    """Return what some jobs take together: their seconds one after another, and the bytes of the largest.

    >>> forecast([])
    Forecast(seconds=0.0, bytes=0.0)
    """
    return Forecast(sum((job.seconds for job in jobs), 0.0), max((job.bytes for job in jobs), default=0.0))


def _allowed(measure: Measure, pair: Pair) -> int | None:
    """The points that a measure takes of a cloud: its own rule, and fewer where the memory is short."""
    if measure.most is None or measure.bytes is None:
        return measure.most
    size = min(measure.most, max(pair.sizes))
    while size > LEAST and measure.bytes(Work(size, size, pair.x.shape[1])) > pair.memory:
        size = int(0.9 * size)
    return size
