"""Forecasts: their rules' growth, what a budget keeps, subsets that fit into memory."""

from dataclasses import replace

import pytest
import torch

import metrics
from metrics.evaluation.measures import Work
from metrics.evaluation.pair import Pair
from metrics.evaluation.plan import forecast, planned, within_budget
from metrics.evaluation.published import published_measures
from metrics.evaluation.standard import standard_measures


def jobs(seconds, names="abcdef"):
    x = torch.zeros(50, 2)
    measures = [
        replace(metrics.measure(name, lambda a, b: 0.0, better="lower"), seconds=lambda work, s=s: s)
        for name, s in zip(names, seconds, strict=False)
    ]
    return planned(measures, [Pair(x, x)] * len(measures), splits=2, permutations=0)


@pytest.fixture(autouse=True)
def _reference_speed(monkeypatch):
    monkeypatch.setattr("metrics.evaluation.plan.slowness", lambda: 1.0)


def test_a_budget_keeps_the_cheapest_in_their_order():
    kept, left_out = within_budget(jobs([5, 1, 30, 3]), 10.0)
    assert [job.name for job in kept] == ["a", "b", "d"]
    assert left_out == {"c": "would take about 30 s, and the budget of 10 s has 1 s left"}
    assert forecast(kept).seconds == 9
    assert len(within_budget(jobs([5, 1, 30, 3]), None)[0]) == 4


def test_a_machine_of_half_the_speed_takes_twice_as_long(monkeypatch):
    monkeypatch.setattr("metrics.evaluation.plan.slowness", lambda: 2.0)
    assert [job.seconds for job in jobs([5, 1])] == [10, 2]


def test_a_floor_is_a_second_run_without_tests():
    x = torch.zeros(50, 2)
    measure = replace(
        metrics.measure("a", lambda a, b: 0.0, better="lower"), seconds=lambda work: 1 + work.permutations
    )
    (job,) = planned([measure], [Pair(x, x)], splits=2, permutations=9, runs=2)
    assert job.seconds == 10 + 1


@pytest.mark.parametrize(
    "measure", [*standard_measures(), *published_measures()], ids=lambda m: m.rows[0].name
)
def test_no_rule_grows_faster_than_the_square_beyond_its_subset(measure):
    most = measure.most or 10**9
    small, large = (Work(min(n, most), min(n, most), 64) for n in (10_000, 20_000))
    assert measure.seconds(small) > 0
    assert measure.seconds(large) <= 4 * measure.seconds(small)
    if measure.bytes is not None:
        assert measure.bytes(Work(most, most, 64)) <= 2**30


def test_less_memory_is_a_smaller_subset():
    x = torch.zeros(3000, 2)
    sizes = []
    for memory in (2.0**30, 64e6, 16e6):
        job = planned(standard_measures()[:1], [Pair(x, x, memory=memory)], splits=2, permutations=0)[0]
        sizes.append(job.pair.sizes[0])
        assert job.measure.bytes(Work(*job.pair.sizes, 2)) <= memory
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == 3000
    assert job.note(Pair(x, x)).startswith(f"wasserstein: on random subsets, {sizes[2]} of 3000")
