"""Squared distances have the interval of their root."""

import math

import pytest
import torch

import metrics
from metrics.evaluation.influence import Influence
from metrics.kernels import NegativeDistance
from metrics.kernels.sums import KernelSums
from metrics.kernels.sweep import sweep


def test_reports_have_the_roots_interval_where_the_value_is_a_square(gen):
    x, y = torch.randn(2, 300, 2, dtype=torch.float64, generator=gen).unbind()
    report = metrics.evaluate(x + 1, y, train=torch.randn(400, 2, generator=gen).double(), permutations=0)
    squared = {name for name, e in report.estimates.items() if e.root_variance > 0}
    assert squared == {"mmd2", "frechet_distance", "sinkhorn_divergence"}
    for name in ("frechet_distance", "sinkhorn_divergence"):
        e = report[name]
        root, error = math.sqrt(e.value), e.stderr / (2 * math.sqrt(e.value))
        assert e.interval() == pytest.approx([(root - 1.959964 * error) ** 2, (root + 1.959964 * error) ** 2])
    assert report["frechet_distance"].floor_root_variance > 0
    e = report["mmd2"]
    assert 0.9 < e.root_variance * 4 * e.value / e.stderr**2 <= 1  # nearly all of first order
    told = e.to_dict()["interval"]
    assert told[0] + told[1] - 2 * e.value == pytest.approx(2 * 1.959964**2 * e.root_variance)


def test_an_average_over_trainings_has_none(gen):
    x, y = torch.randn(2, 60, 2, dtype=torch.float64, generator=gen).unbind()
    reports = [metrics.evaluate(x + k, y, permutations=0) for k in (1, 2)]
    assert metrics.Report.mean(reports)["frechet_distance"].root_variance == 0


def test_the_roots_variance_is_the_deltas(gen):
    """√T of a mean of squares about c: its influences are those of T over 2√T."""
    found = Influence(torch.tensor(4.0), torch.tensor([1.0, 3.0]), torch.tensor([0.0, 2.0]))
    assert found.root_variance == pytest.approx(float(found.root().stderr) ** 2)
    assert Influence(torch.tensor(-1e-9), found.x, found.y).root_variance == 0


def test_where_clouds_are_alike_it_does_not_blow_up(gen):
    """V₁ and T are noise around 0 there: no end moves by more than the half width."""
    below = 0
    for _ in range(50):
        x, y = torch.randn(2, 40, 2, dtype=torch.float64, generator=gen).unbind()
        sums: KernelSums = sweep(x, y, [NegativeDistance()]).sums[0]
        assert 0 <= 3.84 * sums.root_variance() <= 0.97 * sums.stderr()
        if 0 < sums.value() < sums.stderr():  # its error is then what it is divided by
            first = sums.variance_by_order()[0].clamp(min=0)
            assert sums.root_variance() * 4 * sums.stderr() == pytest.approx(float(first))
            below += 1
    assert below > 5
